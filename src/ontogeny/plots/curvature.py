"""Curvature along training, and the measured λ̂ against what second order predicts of it."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ontogeny.analysis import t_interval
from ontogeny.estimators.status import usable
from ontogeny.plots import theme
from ontogeny.plots.llc import COLOUR, NO_MINIMUM, llc_range
from ontogeny.plots.sweep import sparsity_name, step_axis, step_position

PREDICTED, CURVED, PULLED = "#d55e00", "#b87900", "#a8447f"
"""Second order, its curvature's part, what the gradient takes off."""
GRADIENT_TITLE = "taken off by<br>the gradient"


def curvature_over_training(measurements: xr.Dataset, seed: int, *, inflection: float = math.nan) -> go.Figure:
    """One seed: λ̂ and its second-order prediction, the gradient's part of that, Hessian trace and rank.

    measurements: (seed, checkpoint) with coordinate `step`; `second_order_llc…`, `hessian_trace` with `_se`,
    `hessian_rank` and what `ontogeny.plots.llc.llc_over_rank` needs. Where the quadratic has no posterior, or the
    prediction's status is another than "ok", a cross at the bottom of the first panel says so. Bars are ±1.96 standard
    errors.
    """
    made = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.42, 0.2, 0.19, 0.19])
    made.update_layout(template=theme.template(), height=860, uirevision="keep", **theme.legend_above(2))
    one, shown = measurements.sel(seed=seed), llc_range(measurements)
    for trace in _measured(one, seed):
        made.add_trace(trace, row=1, col=1)
    for trace in _predicted(one, seed):
        made.add_trace(trace, row=1, col=1)
    floor = 0.0 if shown is None else shown[0] + 0.03 * (shown[1] - shown[0])
    for trace in _undefined(one, seed, floor):
        made.add_trace(trace, row=1, col=1)
    made.add_trace(_gradient(one, seed), row=2, col=1)
    for row, (name, colour) in enumerate((("hessian_trace", theme.INK), ("hessian_rank", theme.INK)), start=3):
        made.add_trace(_plain(one, seed, name, colour), row=row, col=1)
    if shown is not None:
        made.update_yaxes(range=list(shown), row=1, col=1)
    if math.isfinite(inflection):
        for row in range(1, 5):
            made.add_vline(x=inflection, row=row, col=1, line={"color": "#b3261e", "width": 1.2})
    titles = (
        "λ̂(nβ, γ),<br>dimensionless",
        GRADIENT_TITLE,
        "Hessian trace,<br>loss/weight²",
        "Hessian rank,<br>eigenvalues",
    )
    for row, title in enumerate(titles, start=1):
        made.update_yaxes(title_text=title, row=row, col=1)
    made.update_yaxes(type="log", exponentformat="power", row=2, col=1)
    made.update_yaxes(rangemode="tozero", row=4, col=1)
    made.update_xaxes(title_text="training step", row=4, col=1)
    return made


def _numbers(one: xr.Dataset, *names: str) -> list[NDArray[np.float64]]:
    return [np.asarray(one[name].values, dtype=float) for name in names]


def _measured(one: xr.Dataset, seed: int) -> list[go.Scatter]:
    """λ̂: filled where usable, hollow triangles where w* is no minimum."""
    step, llc, se = _numbers(one, "step", "llc", "llc_se")
    good, words = usable(one).values, one["status"].values.astype(str)
    traces = []
    for name, at, symbol in (
        ("λ̂ measured", good, "circle"),
        ("λ̂ where w* is no minimum (below baseline)", ~good & np.isfinite(llc), NO_MINIMUM),
    ):
        if at.any():
            traces.append(
                go.Scatter(
                    x=theme.whole(step[at]),
                    y=theme.compact(llc[at]),
                    mode="markers",
                    marker={"color": COLOUR, "symbol": symbol, "size": 6 if symbol == "circle" else 9},
                    error_y={"type": "data", "array": theme.compact(1.96 * se[at]), "thickness": 1, "width": 0},
                    name=name,
                    customdata=theme.cells(se[at], [theme.status_name(word) for word in words[at]]),
                    hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>λ̂ = %{{y:.3f}} ± %{{customdata[0]:.3f}} (s.e.)"
                    "<br>status: %{customdata[1]}<extra></extra>",
                )
            )
    return traces


def _predicted(one: xr.Dataset, seed: int) -> list[go.Scatter]:
    """The whole prediction with its band, and the curvature's part alone."""
    step, whole, se, curved = _numbers(
        one, "step", "second_order_llc", "second_order_llc_se", "second_order_llc_curvature"
    )
    words = [theme.status_name(str(word)) for word in one["second_order_llc_status"].values]
    band = theme.band(step, whole - 1.96 * se, whole + 1.96 * se, PREDICTED)
    lines = [
        go.Scatter(
            x=theme.whole(step),
            y=theme.compact(values),
            mode="lines",
            line={"color": colour, "width": width, "dash": dash},
            connectgaps=False,
            name=name,
            customdata=theme.cells(se, words),
            hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>{name}: %{{y:.3f}}{error}<br>"
            "status: %{customdata[1]}<extra></extra>",
        )
        for name, values, colour, width, dash, error in (
            ("second order, curvature's part", curved, CURVED, 1.4, "dash", ""),
            ("second order", whole, PREDICTED, 2.0, "solid", " ± %{customdata[0]:.3f} (s.e.)"),
        )
    ]
    return [band, *lines]


def _undefined(one: xr.Dataset, seed: int, floor: float) -> list[go.Scatter]:
    step, words = np.asarray(one["step"].values, dtype=float), one["second_order_llc_status"].values.astype(str)
    traces = []
    for word in sorted(set(words) - {"ok"}):
        at = words == word
        traces.append(
            go.Scatter(
                x=theme.whole(step[at]),
                y=np.full(int(at.sum()), floor),
                mode="markers",
                marker={"symbol": "x-thin-open", "size": 7, "color": PREDICTED, "line": {"width": 1.4}},
                name=f"second order: {theme.status_name(word)}",
                hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>{theme.status_name(word)}<extra></extra>",
            )
        )
    return traces


def _gradient(one: xr.Dataset, seed: int) -> go.Scatter:
    step, pulled = _numbers(one, "step", "second_order_llc_gradient")
    return go.Scatter(
        x=theme.whole(step),
        y=theme.compact(np.where(pulled < 0, -pulled, np.nan)),
        mode="lines+markers",
        marker={"size": 3},
        line={"color": PULLED, "width": 1.4},
        connectgaps=False,
        showlegend=False,
        hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>the gradient takes off %{{y:.3g}}<extra></extra>",
    )


def _plain(one: xr.Dataset, seed: int, name: str, colour: str) -> go.Scatter:
    step, values = _numbers(one, "step", name)
    error: dict[str, object] = {}
    if f"{name}_se" in one:
        se = np.asarray(one[f"{name}_se"].values, dtype=float)
        error = {"error_y": {"type": "data", "array": theme.compact(1.96 * se), "thickness": 1, "width": 0}}
    return go.Scatter(
        x=theme.whole(step),
        y=theme.compact(values),
        mode="lines+markers",
        marker={"size": 3},
        line={"color": colour, "width": 1.4},
        showlegend=False,
        hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>{name.replace('_', ' ')} %{{y:.4g}}<extra></extra>",
        **error,
    )


def second_order_by_sparsity(measurements: xr.Dataset) -> go.Figure:
    """λ̂ against its second-order prediction at one (nβ, γ), a column a sparsity: means over seeds with t intervals.

    measurements: (sparsity, seed, checkpoint), `step` (checkpoint,); only checkpoints of a seed at which λ̂ is usable
    and the prediction defined enter, in all curves alike, so that they compare. Below: what the gradient takes off, its
    median over seeds and the range of the middle half, on a logarithmic axis.
    """
    sparsities = [float(s) for s in measurements["sparsity"].values]
    made = make_subplots(
        rows=2,
        cols=len(sparsities),
        shared_xaxes=True,
        shared_yaxes="rows",
        horizontal_spacing=0.018,
        vertical_spacing=0.05,
        row_heights=[0.68, 0.32],
        column_titles=[f"<b>{sparsity_name(s)}</b>" for s in sparsities],
    )
    made.update_layout(template=theme.template(), height=520, uirevision="keep", **theme.legend_above())
    made.update_layout(margin={"l": 84, "t": 70})
    step = measurements["step"].transpose(..., "checkpoint").values.astype(float)
    rows: tuple[list[int], list[int]] = ([], [])
    both = usable(measurements) & (measurements["second_order_llc_status"] != "no_posterior")
    for column, sparsity in enumerate(sparsities, start=1):
        one, at = measurements.sel(sparsity=sparsity), both.sel(sparsity=sparsity)
        for name, label, colour, dash in (
            ("llc", "λ̂ measured", COLOUR, "solid"),
            ("second_order_llc_curvature", "second order, curvature's part", CURVED, "dash"),
            ("second_order_llc", "second order", PREDICTED, "solid"),
        ):
            values = one[name].where(at).transpose("seed", "checkpoint").values.astype(float)
            for trace in _mean(step, values, label, colour, dash, legend=column == 1):
                rows[0].append(len(made.data))
                made.add_trace(trace, row=1, col=column)
        pulled = -one["second_order_llc_gradient"].where(at).transpose("seed", "checkpoint").values.astype(float)
        for trace in _middle(step, np.where(pulled > 0, pulled, np.nan)):
            rows[1].append(len(made.data))
            made.add_trace(trace, row=2, col=column)
    made.update_xaxes(step_axis(float(step.max()), title=""))
    for column in range(1, len(sparsities) + 1):
        made.update_xaxes(title_text="training step", row=2, col=column)
    made.update_yaxes(title_text="λ̂(nβ, γ),<br>dimensionless", row=1, col=1)
    made.update_yaxes(title_text=GRADIENT_TITLE, row=2, col=1)
    made.update_yaxes(range=_reach(made, rows[0]), row=1)
    reach = [math.log10(end) for end in _reach(made, rows[1], positive=True)]
    made.update_yaxes(type="log", exponentformat="power", range=reach, row=2)
    return made


def _reach(made: go.Figure, numbers: list[int], *, positive: bool = False) -> list[float]:
    """Ends of an axis that panels share, which plotly does not find itself; numbers: of the traces on it."""
    values = np.concatenate([np.asarray(made.data[number].y, dtype=float) for number in numbers])
    values = values[np.isfinite(values) & ((values > 0) | (not positive))]
    if not values.size:
        return [1.0, 10.0]
    low, high = float(values.min()), float(values.max())
    if positive:
        return [low / 1.5, high * 1.5]
    aside = 0.06 * ((high - low) or 1.0)
    return [low - aside, high + aside]


def _mean(
    step: NDArray[np.float64], values: NDArray[np.float64], label: str, colour: str, dash: str, *, legend: bool
) -> list[go.Scatter]:
    enough = np.isfinite(values).sum(0) * 2 >= max(len(values), 2)
    means = [t_interval(v) if e else t_interval([]) for v, e in zip(values.T, enough, strict=True)]
    mean, low, high = (np.array([getattr(m, k) for m in means]) for k in ("mean", "low", "high"))
    where = step_position(step)
    line = go.Scatter(
        x=theme.compact(where),
        y=theme.compact(mean),
        mode="lines",
        line={"color": colour, "width": 2, "dash": dash},
        connectgaps=False,
        name=label,
        legendgroup=label,
        showlegend=legend,
        customdata=theme.cells(step, low, high, np.array([m.n for m in means])),
        hovertemplate=f"{label}<br>step %{{customdata[0]:,.0f}}: %{{y:.4g}} (%{{customdata[1]:.4g}} to "
        "%{customdata[2]:.4g}), %{customdata[3]} seeds<extra></extra>",
    )
    return [theme.band(where, low, high, colour), line]


def _middle(step: NDArray[np.float64], values: NDArray[np.float64]) -> list[go.Scatter]:
    enough = np.isfinite(values).sum(0) * 2 >= max(len(values), 2)
    low, middle, high = (
        np.array([np.nanquantile(v, q) if e else np.nan for v, e in zip(values.T, enough, strict=True)])
        for q in (0.25, 0.5, 0.75)
    )
    where = step_position(step)
    line = go.Scatter(
        x=theme.compact(where),
        y=theme.compact(middle),
        mode="lines",
        line={"color": PULLED, "width": 1.8},
        connectgaps=False,
        showlegend=False,
        customdata=theme.cells(step),
        hovertemplate="step %{customdata[0]:,.0f}: the gradient takes off %{y:.3g}<extra></extra>",
    )
    return [theme.band(where, low, high, PULLED), line]
