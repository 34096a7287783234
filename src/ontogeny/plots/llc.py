"""The local learning coefficient over training: one seed with its errors, all seeds, all jumps over each other."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ontogeny.analysis import t_interval
from ontogeny.estimators.status import usable
from ontogeny.plots import theme

COLOUR, RANK_COLOUR = "#0072b2", "#a94a00"
NO_MINIMUM = "triangle-down-open"
NO_MINIMUM_NAME = "λ̂ where w* is no minimum (below baseline)"
RANK_BELOW = (0.94, 2.5)
"""Range of the rank's axis under the LLC: the curve of the rank, 1 to 2, takes the lower two thirds."""
ALIGNED_SHOWN = 0.12


def llc_range(measurements: xr.Dataset) -> tuple[float, float] | None:
    """First range of every axis of λ̂: from below 0 and the 1 % quantile of the usable estimates to above their maximum.

    Far from a minimum λ̂ can be hundreds below zero, and would leave nothing of the others to be seen. None where there
    is no usable estimate: the axis then finds its range itself.
    """
    values = measurements["llc"].values.astype(float)[usable(measurements).values]
    if not values.size:
        return None
    low, high = min(0.0, float(np.quantile(values, 0.01))), float(values.max())
    span = (high - low) or 1.0
    return low - 0.12 * span, high + 0.08 * span


def out_of_view(measurements: xr.Dataset) -> tuple[int, int]:
    """Count the estimates outside `llc_range`, and how many of them are of regime "below_baseline"."""
    shown, values = llc_range(measurements), measurements["llc"].values.astype(float)
    if shown is None:
        return 0, 0
    outside = np.isfinite(values) & ((values < shown[0]) | (values > shown[1]))
    return int(outside.sum()), int((outside & (measurements["regime"].values == "below_baseline")).sum())


def llc_over_rank(
    measurements: xr.Dataset, trajectory: xr.Dataset, seed: int, *, inflection: float = math.nan
) -> go.Figure:
    """Draw λ̂ ± 1.96 s.e. of one seed over training step, over its effective rank on the right axis.

    measurements: `llc`, `llc_se`, `status`, `regime`, `r_hat`, `ess`, `chains_lost` (seed, checkpoint) with coordinate
    `step`; trajectory: `effective_rank` (seed, time). A status other than "ok" has its own symbol, and so has λ̂ where
    w* is no minimum; a checkpoint without a value (NaN) is a cross at the bottom. Neither line nor band is drawn across
    either, where they would plunge out of the picture. The axis shows `llc_range` of all of `measurements` first, and a
    note counts what lies outside.
    """
    made = make_subplots(specs=[[{"secondary_y": True}]])
    made.update_layout(template=theme.template(), height=540, uirevision="keep", **theme.legend_above(2))
    made.update_layout(margin={"r": 64})
    run = trajectory.sel(seed=seed)
    run = run.isel(time=theme.thin(run.sizes["time"], theme.points_a_curve(trajectory.sizes["seed"], 240)))
    made.add_trace(
        go.Scatter(
            x=theme.whole(run["step"].values),
            y=theme.compact(run["effective_rank"].values),
            mode="lines",
            line={"color": RANK_COLOUR, "width": 1.6},
            opacity=0.75,
            name="effective rank (right axis)",
            hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>effective rank %{{y:.3f}}<extra></extra>",
        ),
        secondary_y=False,
    )
    one, shown = measurements.sel(seed=seed), llc_range(measurements)
    step, llc, se = (np.asarray(one[k].values, dtype=float) for k in ("step", "llc", "llc_se"))
    drawn = np.where(usable(one).values, llc, np.nan)
    line = {"color": COLOUR, "width": 1.5}
    curve = {"mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False, "connectgaps": False}
    band = theme.band(step, drawn - 1.96 * se, drawn + 1.96 * se, COLOUR, name="±1.96 s.e.", showlegend=True)
    for trace in (
        band,
        go.Scatter(x=theme.whole(step), y=theme.compact(drawn), **curve),
        *_markers(one, seed, shown),
    ):
        made.add_trace(trace, secondary_y=True)
    if math.isfinite(inflection):
        made.add_vline(x=inflection, line={"color": "#b3261e", "width": 1.2})
    made.update_xaxes(title_text="training step")
    made.update_yaxes(
        title_text="LLC estimate λ̂(nβ, γ), dimensionless",
        title_font_color=COLOUR,
        side="left",
        tickmode="auto",
        showgrid=True,
        secondary_y=True,
    )
    made.update_yaxes(  # the axis below, so that the LLC is drawn over the rank
        title_text="effective rank (1 to 2)",
        title_font_color=RANK_COLOUR,
        range=list(RANK_BELOW),
        tickmode="array",
        tickvals=[1, 1.2, 1.4, 1.6, 1.8, 2],
        showgrid=False,
        side="right",
        secondary_y=False,
    )
    _first_range(made, shown, llc, axis="y2")
    return made


def _first_range(made: go.Figure, shown: tuple[float, float] | None, llc: NDArray[np.float64], *, axis: str) -> None:
    """Set the first range of the axis of λ̂ and say in the picture what lies outside it."""
    if shown is None:
        return
    made.update_layout({axis.replace("y", "yaxis"): {"range": list(shown)}})
    values = llc[np.isfinite(llc)]
    below, above = values[values < shown[0]], values[values > shown[1]]
    said = [f"{below.size:,} below this picture, down to {below.min():,.0f}"] if below.size else []
    said += [f"{above.size:,} above it, up to {above.max():,.0f}"] if above.size else []
    if said:
        made.add_annotation(
            text=("λ̂: " + "; ".join(said) + " (double click shows all)").replace("-", "−"),
            xref="x domain",
            yref="y domain",
            x=0.985,
            y=0.015,
            xanchor="right",
            yanchor="bottom",
            font={"size": 11.5, "color": theme.MUTED},
            bgcolor="rgba(255,255,255,0.8)",
        )


def _markers(one: xr.Dataset, seed: int, shown: tuple[float, float] | None) -> list[go.Scatter]:
    """Make a trace a status, one where w* is no minimum, and crosses at the bottom for checkpoints without a value."""
    words, regimes = (one[k].values.astype(str) for k in ("status", "regime"))
    step, llc, se = (np.asarray(one[k].values, dtype=float) for k in ("step", "llc", "llc_se"))
    finite, below = np.isfinite(llc), regimes == "below_baseline"
    floor = 0.0 if shown is None else shown[0] + 0.03 * (shown[1] - shown[0])
    about = theme.cells(
        se,
        [theme.status_name(w) for w in words],
        [theme.status_name(w) for w in regimes],
        one["r_hat"].values,
        one["ess"].values,
        one["chains_lost"].values,
    )
    health = (
        "status: %{customdata[1]}, %{customdata[2]}<br>R̂ %{customdata[3]:.3f}, ESS %{customdata[4]:.0f}<extra></extra>"
    )
    groups = [
        (f"λ̂, status {theme.status_name(word)}", finite & ~below & (words == word), word, "")
        for word in sorted(set(words[finite & ~below]), key=lambda w: (w != "ok", w))
    ]
    if (finite & below).any():
        groups.append((NO_MINIMUM_NAME, finite & below, "", "w* is no minimum here<br>"))
    traces = []
    for name, at, word, remark in groups:
        symbol = theme.STATUS_SYMBOLS.get(word, "hexagon-open") if word else NO_MINIMUM
        traces.append(
            go.Scatter(
                x=theme.whole(step[at]),
                y=theme.compact(llc[at]),
                mode="markers",
                marker={
                    "symbol": symbol,
                    "size": 5 if word == "ok" else 9,
                    "color": COLOUR,
                    "line": {"width": 1.6 if word != "ok" else 0, "color": COLOUR},
                },
                customdata=[row for row, here in zip(about, at, strict=True) if here],
                name=name,
                hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>λ̂ = %{{y:.3f}} ± %{{customdata[0]:.3f}} (s.e.)<br>"
                + remark
                + health,
            )
        )
    if not finite.all():
        traces.append(
            go.Scatter(
                x=step[~finite],
                y=np.full(int((~finite).sum()), floor),
                mode="markers",
                marker={"symbol": "x", "size": 8, "color": "#b3261e"},
                customdata=[row for row, here in zip(about, ~finite, strict=True) if here],
                name="no value",
                hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>no value: %{{customdata[1]}}, "
                "%{customdata[5]} chains lost<extra></extra>",
            )
        )
    return traces


def llc_all_seeds(measurements: xr.Dataset, classes: xr.DataArray) -> go.Figure:
    """Draw λ̂ of every seed over training step, a line a seed coloured by class; it breaks where a value is missing.

    It breaks as well where w* is no minimum: hollow triangles stand there. The axis shows `llc_range` first.
    """
    made = theme.figure(480, **theme.legend_above())
    small = measurements.sizes["seed"] > 40
    for seed in (int(s) for s in measurements["seed"].values):
        one, name = measurements.sel(seed=seed), str(classes.sel(seed=seed).item())
        step, llc, se = (np.asarray(one[k].values, dtype=float) for k in ("step", "llc", "llc_se"))
        regimes = one["regime"].values.astype(str)
        below = regimes == "below_baseline"
        words = [theme.status_name(f"{s}, {r}") for s, r in zip(one["status"].values, regimes, strict=True)]
        about = theme.cells(se, words)
        shared = {
            "opacity": 0.75,
            "legendgroup": name,
            "showlegend": False,
            "name": f"seed {seed}",
            "hovertemplate": f"seed {seed} ({theme.class_name(name)})<br>step %{{x:,.0f}}<br>"
            "λ̂ = %{y:.3f} ± %{customdata[0]:.3f} (s.e.)<br>%{customdata[1]}<extra></extra>",
        }
        made.add_trace(
            go.Scatter(
                x=theme.whole(step),
                y=theme.compact(np.where(below, np.nan, llc)),
                mode="lines+markers",
                marker={"size": 2 if small else 3, "line": {"width": 0}},
                line={"color": theme.class_colour(name), "width": 0.8 if small else 1.2},
                connectgaps=False,
                customdata=about,
                **shared,
            )
        )
        if below.any():
            made.add_trace(
                go.Scatter(
                    x=theme.whole(step[below]),
                    y=theme.compact(llc[below]),
                    mode="markers",
                    marker={"size": 7, "symbol": NO_MINIMUM, "color": theme.class_colour(name)},
                    customdata=[row for row, here in zip(about, below, strict=True) if here],
                    **shared,
                )
            )
    for name in sorted({str(c) for c in classes.values}, key=lambda c: ([*theme.CLASS_NAMES, c].index(c), c)):
        line = {"color": theme.class_colour(name), "width": 2}
        entry = {"legendgroup": name, "name": theme.class_name(name)}
        made.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line=line, **entry))
    if (measurements["regime"].values.astype(str) == "below_baseline").any():
        marker = {"symbol": NO_MINIMUM, "size": 7, "color": theme.MUTED, "line": {"width": 1.4}}
        made.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name="w* is no minimum here"))
    made.update_xaxes(title_text="training step")
    made.update_yaxes(title_text="LLC estimate λ̂(nβ, γ), dimensionless")
    _first_range(made, llc_range(measurements), measurements["llc"].values.astype(float), axis="y")
    return made


def aligned_at_jump(
    measurements: xr.Dataset, inflection: xr.DataArray, *, windows: Sequence[tuple[float, float]] = ()
) -> go.Figure:
    """Draw λ̂ and effective rank of the jumping seeds over steps since their inflection, with mean ± 95 % t interval.

    measurements: (seed, checkpoint); inflection: (seed,), in steps, NaN for a seed that does not jump. λ̂ enters where
    it is `usable`. The mean is taken where two seeds or more have a value, over the part of training that every jumping
    seed's checkpoints span; between two neighbouring checkpoints a seed is interpolated linearly, and not across an
    estimate that is missing or not usable. windows: stretches of steps since the inflection to be shaded. First shown
    is `ALIGNED_SHOWN` of training on both sides.
    """
    when = inflection.dropna("seed")
    if not when.size:
        return theme.empty("No seed jumps: there is nothing to align.")
    jumping = measurements.sel(seed=when["seed"])
    jumping = jumping.assign(llc=jumping["llc"].where(usable(jumping)))
    made = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.6, 0.4])
    made.update_layout(template=theme.template(), height=600, uirevision="keep", **theme.legend_above())
    made.update_xaxes(title_text="training steps since the inflection of effective rank", row=2, col=1)
    made.update_yaxes(title_text="LLC estimate λ̂(nβ, γ)", row=1, col=1)
    made.update_yaxes(title_text="effective rank (1 to 2)", row=2, col=1)
    since = jumping["step"].values - when.values[:, None]
    first, last = common_stretch(since)
    reach = ALIGNED_SHOWN * float(np.nanmax(measurements["step"].values))
    made.update_xaxes(range=[max(first - 0.08 * (last - first), -reach), min(last + 0.08 * (last - first), reach)])
    for row, (key, colour) in enumerate((("llc", COLOUR), ("effective_rank", RANK_COLOUR)), start=1):
        values = np.asarray(jumping[key].values, dtype=float)
        _aligned_row(
            made, row, since, values, when["seed"].values, colour, "λ̂" if key == "llc" else "effective rank", reach
        )
        near = values[np.isfinite(values) & (np.abs(since) <= reach)]
        if near.size:
            made.update_yaxes(
                range=[near.min() - 0.15 * np.ptp(near), near.max() + 0.15 * np.ptp(near)], row=row, col=1
            )
        for x0, x1 in windows:
            made.add_vrect(x0=x0, x1=x1, fillcolor="#eef0f3", line_width=0, layer="below", row=row, col=1)
        made.add_vline(x=0, row=row, col=1, line={"color": "#b3261e", "width": 1.2})
    return made


def _aligned_row(
    made: go.Figure,
    row: int,
    since: NDArray[np.float64],
    values: NDArray[np.float64],
    seeds: NDArray[np.int_],
    colour: str,
    label: str,
    reach: float,
) -> None:
    for i, seed in enumerate(seeds):
        made.add_trace(
            go.Scatter(
                x=theme.compact(since[i]),
                y=theme.compact(values[i]),
                mode="lines+markers",
                line={"color": "#8a909c", "width": 1},
                marker={"size": 3},
                opacity=0.7 if len(seeds) < 10 else 0.4,
                name="one seed",
                legendgroup="one",
                showlegend=row == 1 and i == 0,
                hovertemplate=f"seed {int(seed)}<br>%{{x:+,.0f}} steps<br>{label} %{{y:.3f}}<extra></extra>",
            ),
            row=row,
            col=1,
        )
    first, last = common_stretch(since)
    near = np.linspace(max(first, -reach), min(last, reach), 101)
    grid = np.unique(np.concatenate([np.linspace(first, last, 121), near]))
    curves = np.stack(
        [np.interp(grid, t[np.isfinite(t)], v[np.isfinite(t)]) for t, v in zip(since, values, strict=True)]
    )
    intervals = [t_interval(column) for column in curves.T]
    mean = np.array([i.mean if i.n > 1 else math.nan for i in intervals])
    half = np.array([i.high - i.mean for i in intervals])
    made.add_trace(
        theme.band(
            grid, mean - half, mean + half, colour, name="95 % t interval", legendgroup="interval", showlegend=row == 1
        ),
        row=row,
        col=1,
    )
    made.add_trace(
        go.Scatter(
            x=theme.compact(grid),
            y=theme.compact(mean),
            mode="lines",
            line={"color": colour, "width": 2.4},
            name=f"mean {label}",
            customdata=theme.cells(theme.compact(half), [i.n for i in intervals]),
            hovertemplate=f"%{{x:+,.0f}} steps<br>mean {label} %{{y:.3f}} ± %{{customdata[0]:.3f}}<br>"
            "(95 % t interval, %{customdata[1]} seeds)<extra></extra>",
        ),
        row=row,
        col=1,
    )


def common_stretch(since: NDArray[np.float64]) -> tuple[float, float]:
    """Return first and last step since the inflection that all seeds' checkpoints span; since: (seed, checkpoint)."""
    return float(np.nanmin(since, axis=1).max()), float(np.nanmax(since, axis=1).min())
