"""Seeds compared: shares of classes, features' emergence against the rank's jump, LLC at jumps against random cuts."""

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ontogeny.core.errors import OntogenyError
from ontogeny.plots import theme

SIZES = (15, 7, 10, 13, 11, 9)  # of the features' symbols: those at one place stand inside each other


def class_fractions(fractions: xr.Dataset) -> go.Figure:
    """Share of seeds in each class with its binomial interval.

    fractions: dim `kind`; `count` (seeds), `fraction`, `low`, `high`; attrs `seeds` and `level`, as made by
    `ontogeny.analysis.proportions.class_fractions`.
    """
    kinds = [str(k) for k in fractions["kind"].values][::-1]
    table = fractions.isel(kind=slice(None, None, -1))
    value, low, high = (table[k].values.astype(float) for k in ("fraction", "low", "high"))
    count, n = [int(c) for c in table["count"].values], int(fractions.attrs["seeds"])
    level = f"{100 * float(fractions.attrs['level']):g} %"
    made = theme.figure(52 * len(kinds) + 110, showlegend=False)
    made.add_trace(
        go.Bar(
            x=value,
            y=[theme.class_name(k) for k in kinds],
            orientation="h",
            width=0.55,
            marker={"color": [theme.fade(theme.class_colour(k), 0.75) for k in kinds]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": high - value,
                "arrayminus": value - low,
                "color": theme.INK,
                "thickness": 1.4,
                "width": 6,
            },
            customdata=theme.cells(count, low, high),
            hovertemplate=f"%{{y}}: %{{customdata[0]}} of {n} seeds<br>fraction %{{x:.3f}}, "
            f"{level} interval %{{customdata[1]:.3f}} to %{{customdata[2]:.3f}}<extra></extra>",
        )
    )
    for k, right, c in zip(kinds, high, count, strict=True):
        made.add_annotation(
            x=float(right),
            y=theme.class_name(k),
            text=f"{c} of {n}",
            xanchor="left",
            xshift=10,
            font={"color": theme.MUTED},
        )
    made.update_xaxes(title_text="fraction of seeds", range=[0, 1.12], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    return made


def emergence_against_jump(emergence: xr.Dataset, fits: xr.Dataset, inflection: xr.DataArray) -> go.Figure:
    """Step at which each feature emerges against the step at which its seed's rank jumps, one point a feature.

    emergence: `emergence` (seed, feature) in steps, NaN for a feature that is not represented at the end (not drawn);
    inflection: (seed,), NaN for a seed that does not jump (not drawn); fits: its `inflection_se`, drawn as ±1.96 s.e.
    Both axes are logarithmic, since most features emerge in the first hundreds of steps, unless one emerges at step 0.
    """
    when = inflection.dropna("seed")
    if not when.size:
        return theme.empty("No seed jumps: there is nothing to compare.")
    made = theme.figure(520, **theme.legend_above())
    steps = emergence["emergence"].sel(seed=when["seed"])
    seen = np.array([*when.values, *steps.values[np.isfinite(steps.values)]])
    logarithmic = bool(seen.min() > 0)
    for j in range(steps.sizes["feature"]):
        se = fits["inflection_se"].sel(seed=when["seed"]).values
        colour = theme.feature_colour(j)
        made.add_trace(
            go.Scatter(
                x=when.values,
                y=steps.isel(feature=j).values,
                mode="markers",
                marker={
                    "color": colour,
                    "size": SIZES[j % len(SIZES)],
                    "symbol": theme.feature_symbol(j),
                    "line": {"width": 1.7},
                },
                error_x={
                    "type": "data",
                    "array": 1.96 * se,
                    "color": theme.fade(colour, 0.35),
                    "thickness": 1,
                    "width": 0,
                },
                name=f"feature {j}",
                customdata=theme.cells(when["seed"].values, se),
                hovertemplate=f"seed %{{customdata[0]}}, feature {j}<br>emerges at step %{{y:,.0f}}<br>"
                "rank jumps at step %{x:,.0f} ± %{customdata[1]:,.0f} (s.e.)<extra></extra>",
            )
        )
    low, high = (seen.min() / 1.25, seen.max() * 1.25) if logarithmic else (0.0, 1.06 * seen.max())
    made.add_trace(
        go.Scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": theme.MUTED, "width": 1, "dash": "dot"},
            hoverinfo="skip",
            name="both at the same step",
        )
    )
    steps_of_jumps = when.values if logarithmic else np.array([low, high])
    across = (steps_of_jumps.min() / 1.25, steps_of_jumps.max() * 1.25) if logarithmic else (low, high)
    for update, title, (start, stop) in (
        (made.update_xaxes, "step of the rank jump (inflection)", across),
        (made.update_yaxes, "step at which a feature emerges", (low, high)),
    ):
        if logarithmic:
            ticks = theme.log_ticks([start, stop])
            update(type="log", range=[math.log10(start), math.log10(stop)], tickvals=ticks)
            update(ticktext=[f"{t:,.10g}" for t in ticks])
        else:
            update(range=[start, stop])
        update(title_text=title + (", log scale" if logarithmic else ""))
    return made


def cut_point_differences(tests: xr.Dataset) -> go.Figure:
    """LLC at each jumping seed's inflection minus its mean over random cuts, a point a seed, with mean ± t interval.

    tests: what `ontogeny.analysis.cut_points.cut_point_test` returns: `difference` (variant, statistic, seed), and by
    (variant, statistic) `mean_difference`, `low`, `high`, `p_value`, `seeds`, `detectable_difference`.
    """
    if not np.isfinite(tests["difference"].values).any():
        return theme.empty("No seed with a jump entered the test.")
    made = theme.figure(460, **theme.legend_above())
    labels = [f"{s}<br>{theme.status_name(v)}" for s in tests["statistic"].values for v in tests["variant"].values]
    cells = [tests.sel(variant=v, statistic=s) for s in tests["statistic"].values for v in tests["variant"].values]
    seeds = tests["seed"].values
    spread = np.linspace(-0.16, 0.16, len(seeds)) if len(seeds) > 1 else np.zeros(len(seeds))
    made.add_trace(
        go.Scatter(
            x=np.concatenate([i + spread for i in range(len(cells))]),
            y=np.concatenate([c["difference"].values for c in cells]),
            mode="markers",
            marker={"color": "#8a909c", "size": 6, "opacity": 0.8},
            name="one seed",
            customdata=[[int(s), label.replace("<br>", ", ")] for label in labels for s in seeds],
            hovertemplate="seed %{customdata[0]}<br>%{customdata[1]}<br>difference %{y:.3f}<extra></extra>",
        )
    )
    mean, low, high = (np.array([float(c[k]) for c in cells]) for k in ("mean_difference", "low", "high"))
    made.add_trace(
        go.Scatter(
            x=np.arange(len(cells)) + 0.28,
            y=mean,
            mode="markers",
            marker={"color": "#0072b2", "size": 9, "symbol": "diamond"},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": high - mean,
                "arrayminus": mean - low,
                "color": "#0072b2",
                "thickness": 2,
                "width": 5,
            },
            name="mean over seeds, 95 % t interval",
            customdata=[[float(c["p_value"]), int(c["seeds"]), float(c["low"]), float(c["high"])] for c in cells],
            hovertemplate="mean %{y:.3f}, 95 % interval %{customdata[2]:.3f} to %{customdata[3]:.3f}<br>"
            "p = %{customdata[0]:.4f}, %{customdata[1]} seeds<extra></extra>",
        )
    )
    made.add_hline(y=0, line={"color": theme.MUTED, "width": 1, "dash": "dot"})
    made.update_xaxes(tickvals=list(range(len(cells))), ticktext=labels, range=[-0.5, len(cells) - 0.4])
    made.update_xaxes(title_text="statistic and variant of the test")
    made.update_yaxes(title_text="statistic at the inflection −<br>mean over random cuts (LLC)")
    return made


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ends of the histogram's bins; one bin where the values differ by rounding only, which no bins can part."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return np.array([low - 0.5, high + 0.5])
    return np.linspace(low, high, min(60, max(10, math.isqrt(values.size))) + 1)


def null_distribution(
    null: ArrayLike, observed: float, *, label: str, p: float = math.nan, unit: str = "LLC units"
) -> go.Figure:
    """Histogram of a permutation test's statistic under random cuts, with the observed value as a line.

    null: the statistic of each permutation, of which only the counts by bin are drawn; observed: that of the
    inflections; label: what the statistic is.
    """
    values = np.asarray(null, dtype=float)
    if not values.size or not np.isfinite(values).all():
        raise OntogenyError(
            f"null must hold one finite statistic a permutation; got {values.size} values for {label!r}."
        )
    made = theme.figure(400, **theme.legend_above())
    edges = _edges(values)
    count, _ = np.histogram(values, edges)
    made.add_trace(
        go.Bar(
            x=theme.compact((edges[:-1] + edges[1:]) / 2),
            y=count.tolist(),
            width=float(edges[1] - edges[0]),
            marker={"color": "#b9c0cb", "line": {"width": 0}},
            name=f"random cuts ({values.size:,} permutations)",
            hovertemplate="statistic about %{x:.3f}<br>%{y:,} permutations<extra></extra>",
        )
    )
    said = f"<br>p = {p:.4g}" if math.isfinite(p) else ""
    if math.isfinite(observed):
        made.add_trace(
            go.Scatter(
                x=[observed, observed],
                y=[0, 1.06 * int(count.max())],
                mode="lines",
                line={"color": "#b3261e", "width": 2.2},
                name="at the inflections (observed)",
                hovertemplate=f"observed {observed:.4g}{said}<extra></extra>",
            )
        )
    shown = [*edges[[0, -1]].tolist(), *([observed] if math.isfinite(observed) else [])]
    low, high = min(shown), max(shown)
    aside = 0.04 * (high - low)  # else the line of an extreme observed value would lie on the frame
    made.update_xaxes(title_text=f"{label} ({unit})", range=[low - aside, high + aside])
    made.update_yaxes(title_text="permutations", rangemode="tozero")
    return made
