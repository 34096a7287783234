"""Feature vectors: their polygon along training, for one seed or for all at once, and the cosines between them."""

import math
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from ontogeny.plots import theme

LABEL_DISTANCE, LABELLED_ABOVE = 0.09, 0.1
FRAMES, FRAMES_OF_ALL = 121, 6_000
POINTS_OF_A_CURVE = 120


@dataclass(frozen=True)
class Animation:
    """A figure some of whose traces move: in frame f of option o, trace k shows points slices[k] of x[o, f], y[o, f].

    x, y: (option, frame, point), NaN for a gap; slices: per trace (start, stop), (0, 0) for one that stays;
    options: what the selector offers (one: no selector); frames: the label of each frame, for the slider; notes: what
    is said below the slider, per option and frame, or nothing.
    """

    figure: go.Figure
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    slices: list[tuple[int, int]]
    options: list[str]
    frames: list[str]
    first_option: int = 0
    first_frame: int = 0
    notes: list[list[str]] = field(default_factory=list)


def polytope(
    trajectory: xr.Dataset, *, threshold: float = 0.5, start: str = "", measurements: xr.Dataset | None = None
) -> Animation:
    """Draw the columns of W of one seed in the plane along training: an option a seed, a frame a step.

    trajectory: `weight` (seed, time, hidden, feature) with two hidden dimensions, `step` (time,). The polygon is the
    convex hull of the features of norm above `threshold`. start: the seed shown first, as a word; else the first one.
    measurements: the polygon of the checkpoint nearest in step is named below the slider.
    """
    weight, steps = _frames(trajectory)
    frames = [f"step {s:,}" for s in steps]
    seeds, times, _, n = weight.shape
    spokes = np.zeros((seeds, times, 2, n, 2))
    spokes[..., 1] = weight
    hull = _hulls(weight, threshold)
    norm = np.linalg.norm(weight, axis=2, keepdims=True)
    outwards = np.where(norm > LABELLED_ABOVE, 1 + LABEL_DISTANCE / np.maximum(norm, 1e-12), np.nan)
    points = np.concatenate([spokes.reshape(seeds, times, 2, 2 * n), hull, weight * outwards], axis=-1)
    slices = [(2 * n, 3 * n + 1), *((2 * j, 2 * j + 2) for j in range(n)), (3 * n + 1, 4 * n + 1), (0, 0)]
    first = points[0, -1]
    made = theme.figure(560, legend={"x": 1.02, "y": 1, "yanchor": "top", "title": {"text": "feature"}})
    made.add_trace(
        go.Scatter(
            x=theme.compact(first[0, slice(*slices[0])]),
            y=theme.compact(first[1, slice(*slices[0])]),
            mode="lines",
            fill="toself",
            fillcolor="rgba(91,98,112,0.08)",
            line={"color": "#9aa1ad", "width": 1},
            hoverinfo="skip",
            name="hull",
        )
    )
    for j in range(n):
        colour = theme.feature_colour(j)
        made.add_trace(
            go.Scatter(
                x=theme.compact(first[0, 2 * j : 2 * j + 2]),
                y=theme.compact(first[1, 2 * j : 2 * j + 2]),
                mode="lines+markers",
                line={"color": colour, "width": 2.5},
                marker={"color": colour, "size": [0, 9], "opacity": 1, "line": {"width": 0}},
                name=str(j),
                hovertemplate=f"feature {j}<br>(%{{x:.3f}}, %{{y:.3f}})<extra></extra>",
            )
        )
    made.add_trace(
        go.Scatter(
            x=theme.compact(first[0, 3 * n + 1 :]),
            y=theme.compact(first[1, 3 * n + 1 :]),
            mode="text",
            text=[str(j) for j in range(n)],
            textfont={"color": [theme.feature_colour(j) for j in range(n)], "size": 14},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    made.add_trace(_circles([(0.0, 0.0)]))
    reach = _reach(weight)
    made.update_xaxes(
        range=[-reach, reach],
        constrain="domain",
        title_text="hidden unit 1, W₁ⱼ",
        zeroline=True,
        zerolinecolor=theme.GRID,
    )
    made.update_yaxes(range=[-reach, reach], constrain="domain", scaleanchor="x", title_text="hidden unit 2, W₂ⱼ")
    made.update_yaxes(zeroline=True, zerolinecolor=theme.GRID)
    options = [str(int(s)) for s in trajectory["seed"].values]
    shown = options.index(start) if start in options else 0
    x, y = theme.compact(points[:, :, 0]), theme.compact(points[:, :, 1])
    notes = [] if measurements is None else [_nearest_polygons(measurements.sel(seed=int(s)), steps) for s in options]
    return Animation(made, x, y, slices, options, frames, shown, times - 1, notes)


def gallery(trajectory: xr.Dataset, classes: xr.DataArray, *, measurements: xr.Dataset | None = None) -> Animation:
    """Draw all seeds' feature vectors at the same step, a cell each with its unit circle; a frame a step.

    trajectory as in `polytope`; classes: one word a seed, which colours the cell's label. Cells lie on one pair of axes
    with equal aspect, 2·reach apart, so that six traces, one a feature, carry any number of seeds. measurements: the
    polygon of each seed's last checkpoint stands under its cell where there is room, and in the hover label.
    """
    weight, steps = _frames(trajectory)
    seeds, times, _, n = weight.shape
    columns = min(range(min(seeds, 5), 11), key=lambda c: (-seeds % c, abs(c - math.sqrt(1.6 * seeds))))
    rows = math.ceil(seeds / columns)
    pitch = 2.25 * _reach(weight)
    where = [(i % columns * pitch, -(i // columns) * pitch) for i in range(seeds)]
    centre = np.array(where).T[None, :, :, None]
    tips = weight.transpose(1, 2, 0, 3) + centre
    base = np.broadcast_to(centre, tips.shape)
    gap = np.full(tips.shape, np.nan)
    lines = np.stack([base, tips, gap], axis=-1)
    points = lines.transpose(0, 1, 3, 2, 4).reshape(times, 2, n, 3 * seeds)
    flat = points.reshape(times, 2, -1)
    made = theme.figure(min(190, 1000 // columns) * rows + 60, **theme.legend_above())
    names = [int(s) for s in trajectory["seed"].values]
    ends = [""] * seeds if measurements is None else [_last_polygon(measurements.sel(seed=s)) for s in names]
    made.add_trace(_circles(where))
    for j in range(n):
        made.add_trace(
            go.Scatter(
                x=theme.compact(points[-1, 0, j]),
                y=theme.compact(points[-1, 1, j]),
                mode="lines+markers",
                line={"color": theme.feature_colour(j), "width": 2},
                marker={
                    "color": theme.feature_colour(j),
                    "size": [0, 5, 0] * seeds,
                    "opacity": 1,
                    "line": {"width": 0},
                },
                name=f"feature {j}",
                text=[
                    f"seed {s}" + (f"<br>ends closest to a {e}" if e else "")
                    for s, e in zip(names, ends, strict=True)
                    for _ in range(3)
                ],
                hovertemplate=f"%{{text}}<br>feature {j}<extra></extra>",
            )
        )
    for (x, y), seed, end in zip(where, names, ends, strict=True):
        name = str(classes.sel(seed=seed).item())
        made.add_annotation(
            x=x - 0.48 * pitch,
            y=y + 0.48 * pitch,
            xanchor="left",
            yanchor="top",
            text=f"<b>{seed}</b> {theme.SHORT_CLASS_NAMES.get(name, name)}" if columns <= 6 else f"<b>{seed}</b>",
            font={"size": 11, "color": theme.class_colour(name)},
        )
        if end and columns <= 6:
            made.add_annotation(
                x=x,
                y=y - 0.5 * pitch,
                yanchor="bottom",
                text=end,
                font={"size": 10.5, "color": theme.MUTED},
            )
    made.update_layout(margin={"b": 8})
    hidden = {"visible": False, "constrain": "domain"}
    made.update_xaxes(range=[-pitch / 2, (columns - 0.5) * pitch], **hidden)
    made.update_yaxes(range=[-(rows - 0.5) * pitch, pitch / 2], scaleanchor="x", **hidden)
    frames = [f"step {s:,}" for s in steps]
    slices = [(0, 0), *((3 * seeds * j, 3 * seeds * (j + 1)) for j in range(n))]
    return Animation(
        made, theme.compact(flat[None, :, 0]), theme.compact(flat[None, :, 1]), slices, ["all"], frames, 0, times - 1
    )


def cosines(trajectory: xr.Dataset, seed: int, *, threshold: float = 0.3, inflection: float = math.nan) -> go.Figure:
    """Draw the cosine similarity of every pair of one seed's feature vectors over training step.

    The direction of a tiny vector is noise: a pair is faint while the smaller norm is below `threshold`, and not drawn
    while it is below a third of that. Colour is the pair's lower feature, dash its higher one. trajectory: as in
    `polytope`.
    """
    run = trajectory.sel(seed=seed)
    run = run.isel(
        time=theme.thin(run.sizes["time"], theme.points_a_curve(trajectory.sizes["seed"], POINTS_OF_A_CURVE))
    )
    step, weight = run["step"].values, run["weight"].transpose("time", "hidden", "feature").values
    norm = np.linalg.norm(weight, axis=1)
    unit = weight / np.maximum(norm, 1e-12)[:, None]
    made = theme.figure(
        520, legend={"x": 1.02, "y": 1, "yanchor": "top", "title": {"text": "pair of features"}, "itemwidth": 46}
    )
    for i, j in combinations(range(weight.shape[-1]), 2):
        cosine = (unit[:, :, i] * unit[:, :, j]).sum(1)
        smaller = np.minimum(norm[:, i], norm[:, j])
        strong, some = smaller >= threshold, smaller >= threshold / 3
        look = {"color": theme.feature_colour(i), "dash": theme.DASHES[j % len(theme.DASHES)]}
        for part, alpha, width in ((strong, 1.0, 1.8), (some & ~strong, 0.3, 1.2)):
            keep = _with_neighbours(part) & some
            x, y = _gapped(step, cosine, keep)
            made.add_trace(
                go.Scatter(
                    x=x,
                    y=y,
                    mode="lines",
                    line=look | {"width": width},
                    opacity=alpha,
                    name=f"{i} · {j}",
                    legendgroup=f"{i}{j}",
                    showlegend=alpha == 1.0,
                    hovertemplate=f"seed {seed}, features {i} and {j}<br>step %{{x:,.0f}}<br>"
                    "cosine %{y:.3f}<extra></extra>",
                )
            )
    if math.isfinite(inflection):
        made.add_vline(x=inflection, line={"color": "#b3261e", "width": 1.2})
    made.update_xaxes(title_text="training step", range=[float(step[0]), float(step[-1])])
    made.update_yaxes(title_text="cosine similarity (−1 to 1)", range=[-1.06, 1.06])
    return made


def polygon_name(corners: int, near_zero: int) -> str:
    """Name the closest polygon, as in "4-gon, 2 near zero": so many corners and so many features left over.

    >>> polygon_name(4, 2), polygon_name(2, 0), polygon_name(1, 5)
    ('4-gon, 2 near zero', 'antipodal pair', 'single feature, 5 near zero')
    """
    shape = {1: "single feature", 2: "antipodal pair"}.get(corners, f"{corners}-gon")
    return shape + (f", {near_zero} near zero" if near_zero else "")


def _polygon(one: xr.Dataset, checkpoint: int) -> str:
    """Name the polygon and say how far off it is, relative to the length of all weights."""
    at = one.isel(checkpoint=checkpoint)
    name = polygon_name(int(at["polygon"]), int(at["features_near_zero"]))
    return f"{name} ({float(at['polygon_distance']):.2f})"


def _last_polygon(one: xr.Dataset) -> str:
    return _polygon(one, int(one["step"].notnull().sum()) - 1)


def _nearest_polygons(one: xr.Dataset, steps: list[int]) -> list[str]:
    """Say for every step which polygon the weights are closest to at the checkpoint nearest in step."""
    known = one["step"].values.astype(float)
    nearest = [int(np.nanargmin(np.abs(known - s))) for s in steps]
    said = {k: _polygon(one, k) for k in set(nearest)}
    return [f"closest regular polygon at checkpoint {int(known[k]):,}: {said[k]}" for k in nearest]


def _frames(trajectory: xr.Dataset) -> tuple[NDArray[np.float64], list[int]]:
    """Weights (seed, frame, 2, feature) and the frames' steps, fewer frames where there are many seeds."""
    at_most = min(FRAMES, max(40, FRAMES_OF_ALL // max(1, trajectory.sizes["seed"])))
    run = trajectory.isel(time=theme.thin(trajectory.sizes["time"], at_most))
    weight = run["weight"].transpose("seed", "time", "hidden", "feature").values.astype(float)
    return weight, [int(s) for s in run["step"].values]


def _reach(weight: NDArray[np.float64]) -> float:
    return 1.12 * max(1.0, float(np.linalg.norm(weight, axis=-2).max()))


def _hulls(weight: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Return (seed, frame, 2, feature + 1): the convex hull of the long features, filled up with its first point."""
    seeds, times, _, n = weight.shape
    made = np.zeros((seeds, times, 2, n + 1))
    for seed, time in np.ndindex(seeds, times):
        tips = weight[seed, time].T
        hull = _convex_hull(tips[np.linalg.norm(tips, axis=1) > threshold])
        if len(hull):
            made[seed, time] = np.concatenate([hull, np.repeat(hull[:1], n + 1 - len(hull), axis=0)]).T
    return made


def _convex_hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners of the convex hull of `points` (n, 2), anticlockwise (Andrew's monotone chain, 1979)."""
    ordered = sorted(map(tuple, points))
    if len(ordered) < 3:
        return points
    chains: list[list[tuple[float, ...]]] = []
    for pass_ in (ordered, ordered[::-1]):
        chain: list[tuple[float, ...]] = []
        for p in pass_:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], p) <= 0:
                chain.pop()
            chain.append(p)
        chains.append(chain[:-1])
    return np.array(chains[0] + chains[1])


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _circles(centres: list[tuple[float, float]]) -> go.Scatter:
    """Draw unit circles, so that norms can be read off."""
    angle = np.linspace(0, 2 * np.pi, 49)
    x = np.concatenate([[*(cx + np.cos(angle)), np.nan] for cx, _ in centres])
    y = np.concatenate([[*(cy + np.sin(angle)), np.nan] for _, cy in centres])
    line = {"color": "#c3c8d0", "width": 1, "dash": "dot"}
    return go.Scatter(
        x=theme.compact(x), y=theme.compact(y), mode="lines", line=line, hoverinfo="skip", name="unit circle"
    )


def _with_neighbours(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`part` and the point after each of its runs, so that the two halves of a curve meet."""
    wide = part.copy()
    wide[1:] |= part[:-1]
    return wide


def _gapped(
    step: NDArray[np.generic], cosine: NDArray[np.float64], keep: NDArray[np.bool_]
) -> tuple[NDArray[np.int64] | NDArray[np.float32], NDArray[np.float32]]:
    """Return the kept points only, with a gap between runs: no bytes are spent on what is not drawn."""
    x: list[float] = []
    y: list[float] = []
    for part in theme.runs(keep):
        x += [*step[part].astype(float), float(step[part][-1])]
        y += [*cosine[part], math.nan]
    return theme.whole(x), theme.compact(y)
