"""Figures of the feature-targeted study: histograms of both kinds with δ, metrics against each other, over training."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from ontogeny.analysis.second_order import at_minimum
from ontogeny.plots import theme
from ontogeny.plots.curvature import GRADIENT_TITLE

KIND_NAMES = {"sae": "SAE features", "random": "random directions"}
KIND_COLOURS = {"sae": "#0072b2", "random": "#d55e00"}
BINS = 24
ROUNDING = 1e-6
"""Of the prediction: less than this the gradient takes off by rounding alone."""


def kind_histograms(values: Mapping[str, ArrayLike], label: str, delta: float, threshold: float) -> go.Figure:
    """How one metric is distributed over each kind of direction, on common bins, with the best threshold and its δ.

    values: kind -> its values, of which those that are not finite are left out.
    """
    finite = {kind: _finite(one) for kind, one in values.items()}
    every = np.concatenate(list(finite.values()))
    edges = np.linspace(every.min(), every.max(), BINS + 1) if np.ptp(every) > 0 else np.linspace(0, 1, 2) + every[0]
    made = theme.figure(360, barmode="overlay", legend={"orientation": "h", "y": 1.12})
    for kind, one in finite.items():
        counts, _ = np.histogram(one, edges)
        made.add_trace(
            go.Bar(
                x=0.5 * (edges[1:] + edges[:-1]),
                y=counts,
                width=np.diff(edges),
                name=f"{KIND_NAMES.get(kind, kind)} ({len(one)})",
                marker={"color": theme.fade(KIND_COLOURS.get(kind, "#7a7f87"), 0.55), "line": {"width": 0}},
                hovertemplate="%{x:.4g}: %{y}<extra>" + KIND_NAMES.get(kind, kind) + "</extra>",
            )
        )
    made.add_vline(x=threshold, line={"color": theme.MUTED, "dash": "dash", "width": 1.3})
    made.add_annotation(x=threshold, y=1.0, yref="paper", xanchor="left", xshift=6, text=f"δ = {100 * delta:.1f} %")
    made.update_xaxes(title_text=label)
    made.update_yaxes(title_text="directions")
    return made


def metric_scatter(
    x: ArrayLike, y: ArrayLike, kind: ArrayLike, x_error: ArrayLike, names: tuple[str, str]
) -> go.Figure:
    """One metric against another, a point a direction, x with its standard error."""
    xs, ys, kinds, errors = (np.asarray(one) for one in (x, y, kind, x_error))
    made = theme.figure(460, legend={"orientation": "h", "y": 1.1})
    for one in dict.fromkeys(kinds.tolist()):
        of_kind = np.flatnonzero(kinds == one)
        made.add_trace(
            go.Scatter(
                x=xs[of_kind],
                y=ys[of_kind],
                mode="markers",
                name=KIND_NAMES.get(one, one),
                marker={"color": theme.fade(KIND_COLOURS.get(one, "#7a7f87"), 0.75), "size": 7},
                error_x={"type": "data", "array": errors[of_kind], "thickness": 0.8, "width": 0},
                customdata=(of_kind // 2).tolist(),
                hovertemplate="%{customdata}: %{x:.4g}, %{y:.4g}<extra>" + KIND_NAMES.get(one, one) + "</extra>",
            )
        )
    made.update_xaxes(title_text=names[0])
    made.update_yaxes(
        title_text=names[1],
    )
    return made


def predicted_against_measured(table: xr.Dataset) -> go.Figure:
    """Second order's λ̂ against the measured one, a point a direction, and below it what the gradient takes off.

    table: `kind`, and what `ontogeny.analysis.second_order.at_minimum` reads; dim feature. Hollow points are no minima.
    Where the gradient takes off no more than rounding, as from a loss that is least at w*, nothing stands below.
    """
    names = ("llc", "llc_se", "second_order_llc", "second_order_llc_se", "second_order_llc_gradient")
    llc, llc_se, whole, whole_se, gradient = (np.asarray(table[name].values, dtype=float) for name in names)
    taken = np.where(-gradient > ROUNDING * np.abs(whole), -gradient, np.nan)
    below = bool(np.isfinite(taken).any())
    made = make_subplots(
        rows=1 + below,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.06 if below else None,
        row_heights=[0.75, 0.25] if below else None,
    )
    height = 560 if below else 440
    made.update_layout(template=theme.template(), height=height, legend={"orientation": "h", "y": 1.08})
    good, kinds = at_minimum(table).values, table["kind"].values.astype(str)
    words = [theme.status_name(str(word)) for word in table["second_order_llc_status"].values]
    ends = [min(0.0, float(_finite([llc, whole]).min(initial=0.0))), float(_finite([llc, whole]).max(initial=1.0))]
    line = {"color": theme.MUTED, "dash": "dash", "width": 1.3}
    made.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line, name="equal", hoverinfo="skip"), row=1, col=1)
    for kind in dict.fromkeys(kinds.tolist()):
        at = np.flatnonzero(kinds == kind)
        name, colour = KIND_NAMES.get(kind, kind), KIND_COLOURS.get(kind, "#7a7f87")
        symbols = ["circle" if good[k] else "circle-open" for k in at]
        made.add_trace(
            go.Scatter(
                x=theme.compact(llc[at]),
                y=theme.compact(whole[at]),
                mode="markers",
                name=name,
                marker={"color": colour, "size": 8, "symbol": symbols},
                error_x={"type": "data", "array": theme.compact(1.96 * llc_se[at]), "thickness": 0.8, "width": 0},
                error_y={"type": "data", "array": theme.compact(1.96 * whole_se[at]), "thickness": 0.8, "width": 0},
                customdata=[[int(k) // 2, words[k], float(gradient[k])] for k in at],
                hovertemplate="%{customdata[0]}: λ̂ = %{x:.4g}, second order %{y:.4g} (%{customdata[1]}),<br>"
                "of it the gradient's %{customdata[2]:.2g}<extra>" + name + "</extra>",
            ),
            row=1,
            col=1,
        )
        if not below:
            continue
        made.add_trace(
            go.Scatter(
                x=theme.compact(llc[at]),
                y=theme.compact(taken[at]),
                mode="markers",
                showlegend=False,
                marker={"color": colour, "size": 6, "symbol": symbols},
                hovertemplate="the gradient takes off %{y:.2g}<extra>" + name + "</extra>",
            ),
            row=2,
            col=1,
        )
    made.update_yaxes(title_text="second order", row=1, col=1)
    if below:
        made.update_yaxes(title_text=GRADIENT_TITLE, type="log", exponentformat="power", row=2, col=1)
    made.update_xaxes(title_text="λ̂(nβ, γ) measured, dimensionless", row=1 + below, col=1)
    return made


def features_over_training(steps: ArrayLike, llc: ArrayLike, llc_se: ArrayLike, r_squared: ArrayLike) -> go.Figure:
    """λ̂ of final features at each checkpoint with ±1.96 s.e., and below it r² of their values with the final ones.

    Each (features, checkpoints); step 0 stands at half the first step after it.
    """
    when = np.asarray(steps, dtype=float)
    when = np.where(when == 0, when[when > 0].min() / 2, when) if (when > 0).any() else when + 1
    made = theme.figure(520, legend={"orientation": "h", "y": 1.08})
    rows = zip(np.asarray(llc), np.asarray(llc_se), np.asarray(r_squared), strict=True)
    for number, (values, errors, shared) in enumerate(rows):
        look = {"color": theme.feature_colour(number)}
        made.add_trace(
            go.Scatter(
                x=when, y=values, name=f"feature {number}", legendgroup=str(number), line=look, mode="lines+markers",
                error_y={"type": "data", "array": 1.96 * errors, "thickness": 0.9, "width": 2},
            )
        )  # fmt: skip
        made.add_trace(
            go.Scatter(x=when, y=shared, legendgroup=str(number), showlegend=False, line=look, mode="lines", yaxis="y2")
        )
    made.update_layout(
        xaxis={"type": "log", "title": {"text": "training step"}},
        yaxis={"domain": [0.42, 1.0], "title": {"text": "functional λ̂"}},
        yaxis2={"domain": [0.0, 0.32], "title": {"text": "r² with the final"}, "range": [-0.02, 1.05], "anchor": "x"},
    )
    return made


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float).ravel()
    return array[np.isfinite(array)]
