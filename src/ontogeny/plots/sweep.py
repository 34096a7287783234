"""A sweep over sparsity seen whole: every indicator of every seed over training, a column a sparsity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from ontogeny.analysis import t_interval
from ontogeny.core.errors import OntogenyError
from ontogeny.estimators.status import usable
from ontogeny.plots import theme

LINEAR_BELOW = 100.0
"""Steps below which the axis of steps is close to linear, and above which it is close to logarithmic."""
ROWS: dict[str, tuple[str, bool]] = {
    # indicator: (title of its axis, logarithmic)
    "llc": ("LLC λ̂(nβ, γ),<br>dimensionless", False),
    "loss": ("loss<br>(log scale)", True),
    "effective_rank": ("effective rank,<br>dimensions", False),
    "features_represented": ("features<br>represented", False),
    "hessian_trace": ("Hessian trace,<br>loss/weight²", False),
    "hessian_rank": ("Hessian rank,<br>eigenvalues", False),
}
INDICATOR_NAMES = {
    "llc": "LLC λ̂",
    "h_max": "h_max (curvature)",
    "hessian_trace": "Hessian trace",
    "hessian_rank": "Hessian rank",
}
COLOURS = {
    "llc": "#0072b2",
    "loss": "#7a7f87",
    "effective_rank": "#a94a00",
    "features_represented": "#009e73",
    "hessian_trace": "#a8447f",
    "hessian_rank": "#b87900",
}
TICKS = (0, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)


def step_position(step: ArrayLike) -> NDArray[np.float64]:
    """Where a training step stands on a log-like axis that has a place for step 0: log10(1 + step/100).

    >>> float(step_position(900.0)), float(step_position(0.0))
    (1.0, 0.0)
    """
    return np.log10(1 + np.asarray(step, dtype=np.float64) / LINEAR_BELOW)


def step_axis(last: float, *, title: str = "training step", first: float = 0.0) -> dict[str, object]:
    """Settings of an axis of `step_position` from step `first` to `last`, with ticks at round steps.

    The ticks end at `last`; one that would touch it is left out.
    """
    left, right = (float(p) for p in step_position([first, last]))
    places = [float(p) for p in step_position(TICKS)]
    ticks = [(p, t) for p, t in zip(places, TICKS, strict=True) if left <= p < right - 0.1 * (right - left)]
    ticks.append((right, round(last)))
    aside = 0.03 * (right - left)
    return {
        "title_text": title,
        "range": [left - aside, right + aside],
        "tickvals": [p for p, _ in ticks],
        "ticktext": [f"{t:,}" for _, t in ticks],
        "tickangle": 0,
    }


def indicator_name(indicator: str) -> str:
    """Name an indicator as figures and tables do."""
    return INDICATOR_NAMES.get(indicator, theme.status_name(indicator))


def sparsity_name(sparsity: float) -> str:
    """Name a sparsity as figures do, "S = 0.3"."""
    return f"S = {sparsity:g}"


def sweep_grid(measurements: xr.Dataset, rows: Sequence[str] = tuple(ROWS)) -> go.Figure:
    """Draw small multiples of a sweep: a row an indicator, a column a sparsity, a faint line a seed, the mean bold.

    measurements: variables `rows`, and `llc_se`, `regime`, `chains_lost` beside `llc`, with dims (sparsity, seed,
    checkpoint) and the coordinate `step` (checkpoint,) or with the seed's own. λ̂ that is not usable is not drawn. The
    mean and its 95 % Student t interval (band) are over the seeds with a value, where at least half of them have one;
    the bar in the corner of the LLC's panels is ±1.96 median standard errors of one estimate: the sampler's part, which
    is not the spread over seeds. Axes of a row are the same for all sparsities.

    Raises:
        OntogenyError: for a row that is not among the measurements.
    """
    missing = [name for name in rows if name not in measurements]
    if missing:
        raise OntogenyError(f"rows must be variables of measurements; got {missing}, which it lacks: leave them out.")
    sparsities = [float(s) for s in measurements["sparsity"].values]
    made = make_subplots(
        rows=len(rows),
        cols=len(sparsities),
        shared_xaxes=True,
        shared_yaxes="rows",
        horizontal_spacing=0.018,
        vertical_spacing=0.028,
        column_titles=[f"<b>{sparsity_name(s)}</b>" for s in sparsities],
    )
    made.update_layout(template=theme.template(), height=170 * len(rows) + 100, uirevision="keep", showlegend=False)
    made.update_layout(margin={"l": 84, "t": 40})
    last = float(measurements["step"].max())
    for row, name in enumerate(rows, start=1):
        title, logarithmic = ROWS.get(name, (measurements[name].attrs.get("long_name", name), False))
        for column, sparsity in enumerate(sparsities, start=1):
            for trace in _panel(measurements.sel(sparsity=sparsity), name, sparsity):
                made.add_trace(trace, row=row, col=column)
        made.update_yaxes(title_text=title, row=row, col=1)
        values = _values(measurements, name).values
        seen = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
        if not seen.size:
            continue
        if logarithmic:
            ticks, ends = theme.log_ticks(seen), np.log10([seen.min() / 1.15, seen.max() * 1.15])
            made.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], row=row)
            made.update_yaxes(range=[float(e) for e in ends], row=row)
        else:
            low, high = float(np.quantile(seen, 0.002)), float(np.quantile(seen, 0.998))
            aside = 0.06 * ((high - low) or 1.0)
            made.update_yaxes(range=[low - aside, high + aside], row=row)
    made.update_xaxes(step_axis(last, title=""))
    for column in range(1, len(sparsities) + 1):
        made.update_xaxes(title_text="training step", row=len(rows), col=column)
    return made


def _values(measurements: xr.Dataset, name: str) -> xr.DataArray:
    values = measurements[name].astype(float)
    return values.where(usable(measurements)) if name == "llc" else values


def _panel(one: xr.Dataset, name: str, sparsity: float) -> list[go.Scatter]:
    """The seeds as one trace, the mean with its band, and the error of one estimate."""
    values = _values(one, name).transpose("seed", "checkpoint").values
    steps = np.broadcast_to(one["step"].transpose(..., "checkpoint").values.astype(float), values.shape)
    colour = COLOURS.get(name, theme.INK)
    where = step_position(steps)
    gap = np.full((len(values), 1), np.nan)
    seeds = np.repeat(one["seed"].values, values.shape[1] + 1)
    label = name.replace("_", " ") if name != "llc" else "λ̂"
    faint = go.Scatter(
        x=theme.compact(np.hstack([where, gap]).ravel()),
        y=theme.compact(np.hstack([values, gap]).ravel()),
        mode="lines",
        line={"color": theme.fade(colour, 0.28), "width": 1},
        connectgaps=False,
        customdata=theme.cells(seeds, np.hstack([steps, gap]).ravel()),
        hovertemplate=f"{sparsity_name(sparsity)}, seed %{{customdata[0]}}<br>step %{{customdata[1]:,.0f}}<br>"
        f"{label} %{{y:.4g}}<extra></extra>",
    )
    common = np.array_equal(steps, np.broadcast_to(steps[:1], steps.shape))
    if not common:  # a mean needs all seeds at the same steps
        return [faint]
    enough = np.isfinite(values).sum(0) * 2 >= max(len(values), 2)
    means = [t_interval(v) if e else t_interval([]) for v, e in zip(values.T, enough, strict=True)]
    mean, low, high = (np.array([getattr(m, k) for m in means]) for k in ("mean", "low", "high"))
    bold = go.Scatter(
        x=theme.compact(where[0]),
        y=theme.compact(mean),
        mode="lines",
        line={"color": colour if name != "loss" else theme.INK, "width": 2.6},
        connectgaps=False,
        customdata=theme.cells(steps[0], low, high, np.array([m.n for m in means])),
        hovertemplate=f"{sparsity_name(sparsity)}, mean over %{{customdata[3]}} seeds<br>step %{{customdata[0]:,.0f}}"
        f"<br>{label} %{{y:.4g}} (%{{customdata[1]:.4g}} to %{{customdata[2]:.4g}})<extra></extra>",
    )
    made = [faint, theme.band(where[0], low, high, colour), bold]
    if name == "llc":
        made += _error_of_one(one, values)
    return made


def _error_of_one(one: xr.Dataset, values: NDArray[np.float64]) -> list[go.Scatter]:
    se = one["llc_se"].transpose("seed", "checkpoint").values.astype(float)[np.isfinite(values)]
    seen = values[np.isfinite(values)]
    middle = float(np.median(se[np.isfinite(se)])) if np.isfinite(se).any() else math.nan
    if not math.isfinite(middle):
        return []
    return [
        go.Scatter(
            x=[float(step_position(2.0))],
            y=[float(np.median(seen))],
            mode="markers",
            marker={"color": theme.INK, "size": 3},
            error_y={"type": "data", "array": [1.96 * middle], "color": theme.INK, "thickness": 1.5, "width": 4},
            hovertemplate=f"±1.96 median standard errors of one estimate, s.e. {middle:.3g}<extra></extra>",
        )
    ]
