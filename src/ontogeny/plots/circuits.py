"""Circuits moving over training under the curves that go with them, and curves of several models side by side."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ontogeny.estimators.status import usable
from ontogeny.plots import theme

LEVELS = 127
"""Entries are drawn as whole numbers between minus and plus this, so that a page of many frames stays small."""
SCALE_QUANTILE = 0.995
"""Of the absolute entries of a circuit over all of training: what has the full colour."""
COLOURS = ((0.0, "#b2182b"), (0.25, "#f4a582"), (0.5, "#ffffff"), (0.75, "#92c5de"), (1.0, "#2166ac"))
MILLISECONDS_A_FRAME = 350
CURVES = {
    "llc": ("λ̂(nβ, γ)", "#0072b2"),
    "token_accuracy": ("accuracy per token", "#009e73"),
    "list_accuracy": ("accuracy per list", "#7a7f87"),
    "head_overlap": ("head overlap", "#d55e00"),
    "translational_symmetry": ("translational symmetry", "#a8447f"),
    "rank_sum": ("sum of ranks", "#b87900"),
    "participation_sum": ("sum of participation ratios", "#000000"),
    "second_order_llc": ("second order of λ̂", "#d55e00"),
    "hessian_trace": ("Hessian trace (loss/weight²)", "#b3261e"),
    "hessian_rank": ("Hessian rank (eigenvalues)", "#5b6270"),
}
PANELS = (
    ("λ̂", ("llc", "second_order_llc")),
    ("Hessian trace<br>(loss/weight²)", ("hessian_trace",)),
    ("Hessian rank<br>(eigenvalues)", ("hessian_rank",)),
    ("share or symmetry", ("token_accuracy", "list_accuracy", "head_overlap", "translational_symmetry")),
    ("dimensions", ("rank_sum", "participation_sum")),
)


def clock(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Step 0 on a logarithmic axis: drawn at half the first step after it."""
    later = steps[steps > 0]
    return np.where(steps > 0, steps, later.min() / 2 if later.size else 1.0)


def step_axis(steps: NDArray[np.float64]) -> dict[str, object]:
    """A logarithmic axis of training steps with a tick at each power of ten, and one for step 0 where there is one."""
    powers = [10**power for power in range(int(np.log10(max(steps.max(), 1.0))) + 1)]
    places, words = [float(power) for power in powers], [f"{power:,}" for power in powers]
    if steps.min() == 0:
        places, words = [float(clock(steps)[0]), *places], ["0", *words]
    return {"type": "log", "tickvals": places, "ticktext": words}


def _llc_axis(measured: Iterable[xr.Dataset]) -> dict[str, object]:
    """Logarithmic, since the hills of λ̂ differ by orders of magnitude; linear where no usable λ̂ is positive."""
    return _positive_axis([one["llc"].where(usable(one)) for one in measured])


def _positive_axis(curves: Iterable[xr.DataArray]) -> dict[str, object]:
    """Logarithmic over what is positive; linear where nothing is."""
    values = np.concatenate([one.values.astype(float).ravel() for one in curves])
    positive = values[values > 0]
    if not positive.size:
        return {}
    low, high = np.log10(positive.min()), np.log10(positive.max())
    edge = 0.05 * (high - low) + 0.05
    return {"type": "log", "range": [low - edge, high + edge], "dtick": 1 if high - low > 1.5 else "D2"}


def _logarithmic(measured: Sequence[xr.Dataset]) -> dict[str, dict[str, object]]:
    """The axes of the curves that get a logarithmic one, by curve."""
    axes = {"llc": _llc_axis(measured), "hessian_trace": _positive_axis([one["hessian_trace"] for one in measured])}
    return {name: axis for name, axis in axes.items() if axis}


def _on_its_axis(values: NDArray[np.float64], name: str, axes: Container[str]) -> NDArray[np.float64]:
    """The values, with gaps where a logarithmic axis has no place for them: a line would drop straight down there."""
    return np.where(values > 0, values, np.nan) if name in axes else values


def circuits_over_training(measurements: xr.Dataset) -> go.Figure:
    """One seed: curves over log step above the QK and OV circuits of every head, with a slider, a button and a cursor.

    measurements: ``llc``, ``llc_se``, ``chains_lost``, ``regime``, ``qk``, ``ov`` and the curves of ``CURVES``, with
    dims checkpoint, head and those of circuits, of one seed, setting and component.
    """
    heads = [str(name) for name in measurements["head"].values]
    steps, panels = measurements["step"].values.astype(float), len(PANELS)
    made = make_subplots(
        rows=panels + 2,
        cols=len(heads),
        row_heights=[0.15, 0.09, 0.07, 0.13, 0.1, 0.23, 0.23],
        vertical_spacing=0.05,
        horizontal_spacing=0.06,
        specs=[*[[{"colspan": len(heads)}, *[None] * (len(heads) - 1)]] * panels, *[[{}] * len(heads)] * 2],
        subplot_titles=[
            *[""] * panels,
            *(f"QK of head {name}" for name in heads),
            *(f"OV of head {name}" for name in heads),
        ],
    )
    made.update_layout(template=theme.template(), height=1500, uirevision="keep", **theme.legend_above(2))
    axes = _logarithmic([measurements])
    for row, (title, names) in enumerate(PANELS, start=1):
        for name in names:
            for trace in _curve(measurements, name, clock(steps), axes):
                made.add_trace(trace, row=row, col=1)
        made.update_yaxes(title_text=title, row=row, col=1)
        made.update_xaxes(**step_axis(steps), row=row, col=1, matches="x", showticklabels=row == panels)
    made.update_xaxes(title_text="training step", row=panels, col=1)
    for row, name in ((1, "llc"), (2, "hessian_trace")):
        made.update_yaxes(**axes.get(name, {}), row=row, col=1)
    made.update_yaxes(rangemode="tozero", row=3, col=1)
    first = len(made.data)
    pictures = [levels(measurements[name].sel(head=head)) for name in ("qk", "ov") for head in heads]
    shown = len(steps) - 1
    for number, values in enumerate(pictures):
        row, col = divmod(number, len(heads))
        place = panels + 1 + number
        made.add_trace(
            _heatmap(values[shown], row == 0, number == len(pictures) - 1), row=panels + 1 + row, col=1 + col
        )
        made.update_xaxes(
            title_text="source token" if row == 0 else "output token",
            constrain="domain",
            row=panels + 1 + row,
            col=1 + col,
        )
        made.update_yaxes(
            title_text=("destination token" if row == 0 else "source token") if col == 0 else "",
            autorange="reversed",
            scaleanchor=f"x{place}",
            constrain="domain",
            row=panels + 1 + row,
            col=1 + col,
        )
    places = list(range(first, len(made.data)))
    made.frames = [
        go.Frame(
            name=str(int(step)),
            data=[{"type": "heatmap", "z": values[number]} for values in pictures],
            traces=places,
            layout={"shapes": _cursor(clock(steps)[number])},
        )
        for number, step in enumerate(steps)
    ]
    made.update_layout(shapes=_cursor(clock(steps)[shown]), sliders=[_slider(steps, shown)], updatemenus=[_buttons()])
    return made


def _curve(one: xr.Dataset, name: str, x: NDArray[np.float64], axes: Container[str]) -> list[go.Scatter]:
    label, colour = CURVES[name]
    values = one[name].values.astype(float)
    out = []
    if name == "llc":
        values = np.where(usable(one).values, values, np.nan)
    values = _on_its_axis(values, "llc" if name == "second_order_llc" else name, axes)
    if f"{name}_se" in one:
        error = 1.96 * one[f"{name}_se"].values.astype(float)
        low = np.where(values > 0, np.maximum(values - error, values / 100), values - error)  # for its logarithm
        out.append(theme.band(x, low, values + error, colour))
    hover = f"step %{{x}}<br>{label} %{{y:.4g}}<extra></extra>"
    line = {"color": colour, "width": 2, "dash": "dash" if name == "second_order_llc" else "solid"}
    out.append(
        go.Scatter(
            x=theme.compact(x), y=theme.compact(values), name=label, mode="lines+markers", line=line,
            marker=_marker(one, name, colour), hovertemplate=hover,
        )
    )  # fmt: skip
    return out


def _marker(one: xr.Dataset, name: str, colour: str) -> dict[str, object]:
    """Full for what can be trusted; hollow for a λ̂ whose status is another word than "ok"."""
    if name != "llc" or "status" not in one:
        return {"size": 4, "color": colour}
    good = one["status"].values == "ok"
    return {
        "size": np.where(good, 4, 7),
        "color": colour,
        "symbol": np.where(good, "circle", "circle-open").tolist(),
    }


def levels(circuit: xr.DataArray) -> NDArray[np.int8]:
    """Whole numbers, (checkpoint, row, column), of which ``LEVELS`` has the full colour, at each checkpoint its own."""
    values = circuit.transpose("checkpoint", ...).values.astype(float)
    full = np.quantile(np.abs(values), SCALE_QUANTILE, axis=(1, 2), keepdims=True)
    share = np.divide(values, full, out=np.zeros_like(values), where=full > 0)
    return np.clip(np.round(share * LEVELS), -LEVELS, LEVELS).astype(np.int8)


def _heatmap(values: NDArray[np.int8], qk: bool, with_bar: bool) -> go.Heatmap:
    rows, columns = ("destination", "source") if qk else ("source", "output")
    return go.Heatmap(
        z=values,
        zmin=-LEVELS,
        zmax=LEVELS,
        colorscale=[list(pair) for pair in COLOURS],
        showscale=with_bar,
        colorbar={
            "title": {"text": "entry"},
            "tickvals": [-LEVELS, 0, LEVELS],
            "ticktext": ["−full", "0", "full"],
            "len": 0.25,
            "y": 0.0,
            "yanchor": "bottom",
        },
        hovertemplate=f"{rows} %{{y}}, {columns} %{{x}}<br>%{{z}}/{LEVELS} of full<extra></extra>",
    )


def _cursor(x: float) -> list[dict[str, object]]:
    line = {"color": theme.INK, "width": 1.5, "dash": "dot"}
    return [
        {"type": "line", "xref": axis.replace("y", "x"), "yref": f"{axis} domain", "x0": x, "x1": x, "y0": 0, "y1": 1,
         "line": line} for axis in ("y", *(f"y{number}" for number in range(2, len(PANELS) + 1)))
    ]  # fmt: skip


def _slider(steps: NDArray[np.float64], shown: int) -> dict[str, object]:
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    return {
        "active": shown,
        "currentvalue": {"prefix": "training step ", "xanchor": "right"},
        "pad": {"t": 36},
        "x": 0.12,
        "len": 0.88,
        "steps": [
            {"label": f"{int(step):,}", "method": "animate", "args": [[str(int(step))], still]} for step in steps
        ],
    }


def _buttons() -> dict[str, object]:
    go_on = {"frame": {"duration": MILLISECONDS_A_FRAME, "redraw": True}, "transition": {"duration": 0}}
    stop = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0.0,
        "y": 0.0,
        "xanchor": "left",
        "yanchor": "top",
        "pad": {"t": 44},
        "buttons": [
            {"label": "Play", "method": "animate", "args": [None, {**go_on, "fromcurrent": True}]},
            {"label": "Pause", "method": "animate", "args": [[None], stop]},
        ],
    }


def side_by_side(measured: Mapping[str, xr.Dataset]) -> go.Figure:
    """λ̂, curvature, accuracy, overlap, symmetry and ranks of several models; thin a seed, thick the mean."""
    names = (
        "llc", "hessian_trace", "hessian_rank", "list_accuracy", "head_overlap", "translational_symmetry", "rank_sum"
    )  # fmt: skip
    made = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=0.03)
    made.update_layout(template=theme.template(), height=1180, uirevision="keep", **theme.legend_above(2))
    axes = _logarithmic(list(measured.values()))
    for number, (model, one) in enumerate(measured.items()):
        colour = theme.feature_colour(number)
        dash = "solid" if number < len(theme.FEATURE_COLOURS) else "dash"  # colours come again
        x = clock(one["step"].values.astype(float))
        for row, name in enumerate(names, start=1):
            curve = one[name].where(usable(one)) if name == "llc" else one[name]
            values = curve.transpose("seed", "checkpoint").values.astype(float)
            known = np.isfinite(values).any(0)
            mean = np.full(values.shape[1], np.nan)
            mean[known] = np.nanmean(values[:, known], axis=0)
            values, mean = (_on_its_axis(each, name, axes) for each in (values, mean))
            for line in values if len(values) > 1 else ():
                made.add_trace(
                    go.Scatter(x=theme.compact(x), y=theme.compact(line), mode="lines", showlegend=False,
                               line={"color": theme.fade(colour, 0.35), "width": 1}, hoverinfo="skip",
                               legendgroup=model),
                    row=row, col=1,
                )  # fmt: skip
            made.add_trace(
                go.Scatter(x=theme.compact(x), y=theme.compact(mean), mode="lines", name=model, legendgroup=model,
                           showlegend=row == 1, line={"color": colour, "width": 2.5, "dash": dash},
                           hovertemplate=f"{model}<br>step %{{x}}<br>%{{y:.4g}}<extra></extra>"),
                row=row, col=1,
            )  # fmt: skip
    longest = max((one["step"].values.astype(float) for one in measured.values()), key=max)
    for row, name in enumerate(names, start=1):
        made.update_yaxes(title_text=CURVES[name][0].replace(" (", "<br>("), row=row, col=1)
        made.update_xaxes(**step_axis(longest), row=row, col=1)
    for row, name in ((1, "llc"), (2, "hessian_trace")):
        made.update_yaxes(**axes.get(name, {}), row=row, col=1)
    made.update_yaxes(rangemode="tozero", row=3, col=1)
    made.update_xaxes(title_text="training step", row=len(names), col=1)
    return made
