"""How weights develop: effective rank of every seed with its sigmoid fit, and one seed's loss, norms and shape."""

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from ontogeny.analysis import sigmoid
from ontogeny.core.errors import OntogenyError
from ontogeny.plots import theme

POINTS_A_SEED = 160


def seed_grid(trajectory: xr.Dataset, fits: xr.Dataset, classes: xr.DataArray, *, columns: int = 5) -> go.Figure:
    """Draw small multiples of effective rank over training step, one panel a seed, all with the same axes.

    trajectory: `effective_rank` (seed, time) with coordinate `step` (time,). fits: what
    `ontogeny.analysis.fit_sigmoids` returns; each curve is drawn over the stretch it was fitted to, a rejected one
    faint and without an inflection line. classes: one word a seed.
    """
    seeds = [int(s) for s in trajectory["seed"].values]
    if not seeds:
        raise OntogenyError("trajectory holds no seed; a seed grid needs one or more.")
    columns = min(columns, len(seeds))
    rows = math.ceil(len(seeds) / columns)
    made = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.018,
        vertical_spacing=min(0.07, 0.3 / rows),
        x_title="training step",
        y_title="effective rank (1 to 2)",
    )
    made.update_layout(template=theme.template(), height=145 * rows + 130, uirevision="keep", **theme.legend_above(2))
    made.update_layout(margin={"t": 84, "b": 64}, legend={"itemwidth": 44})
    pick = theme.thin(trajectory.sizes["time"], POINTS_A_SEED)
    step = trajectory["step"].values[pick]
    for i, seed in enumerate(seeds):
        at = {"row": i // columns + 1, "col": i % columns + 1}
        name = str(classes.sel(seed=seed).item())
        rank = trajectory["effective_rank"].sel(seed=seed).values[pick]
        made.add_trace(_rank_line(step, rank, seed, name), **at)
        for trace in _fit_lines(fits.sel(seed=seed), seed):
            made.add_trace(trace, **at)
        mark = "✓" if bool(fits["accepted"].sel(seed=seed)) else "✗"
        short = theme.SHORT_CLASS_NAMES.get(name, name)
        made.add_annotation(
            text=f"<b>{seed}</b> {mark} <span style='color:{theme.class_colour(name)}'>{short}</span>",
            xref="x domain",
            yref="y domain",
            x=0,
            y=1.0,
            xanchor="left",
            yanchor="bottom",
            font={"size": 11},
            **at,
        )
    for trace in _grid_legend(sorted({str(c) for c in classes.values})):
        made.add_trace(trace, row=1, col=1)
    made.update_yaxes(range=list(theme.RANK_RANGE), tickvals=[1, 1.5, 1.8, 2])
    ends = float(step[0]), float(step[-1])
    made.update_xaxes(range=list(ends), tickvals=theme.round_ticks(*ends), tickangle=0)
    made.update_annotations(selector={"text": "training step"}, yshift=-34, font={"size": 13})
    made.update_annotations(selector={"text": "effective rank (1 to 2)"}, xshift=-36, font={"size": 13})
    return made


def _rank_line(step: np.ndarray, rank: np.ndarray, seed: int, name: str) -> go.Scatter:
    return go.Scatter(
        x=theme.whole(step),
        y=theme.compact(rank),
        mode="lines",
        line={"color": theme.fade(theme.class_colour(name), 0.6), "width": 2.6},
        legendgroup=name,
        showlegend=False,
        name=f"seed {seed}",
        hovertemplate=f"seed {seed} ({theme.class_name(name)})<br>step %{{x:,.0f}}<br>"
        "effective rank %{y:.3f}<extra></extra>",
    )


def _fit_lines(fit: xr.Dataset, seed: int) -> list[go.Scatter]:
    values = {k: float(fit[k]) for k in ("lo", "hi", "inflection", "inflection_se", "width", "r2")}
    if not all(math.isfinite(values[k]) for k in ("lo", "hi", "inflection", "width")) or values["width"] == 0:
        return []
    accepted = bool(fit["accepted"])
    x = np.linspace(float(fit["start"]), float(fit["end"]), 100)
    y = sigmoid(x, values["lo"], values["hi"], values["inflection"], values["width"])
    word = "accepted" if accepted else "rejected"
    verdict = word if accepted else f"rejected ({theme.status_name(str(fit['verdict'].item()))})"
    about = (
        f"seed {seed}: sigmoid fit, {verdict}<br>{values['lo']:.3f} → {values['hi']:.3f}, R² {values['r2']:.3f}<br>"
        f"inflection at step {values['inflection']:,.0f} ± {values['inflection_se']:,.0f}<extra></extra>"
    )
    line = {"color": theme.INK if accepted else "#8a909c", "width": 1.4, "dash": "dash" if accepted else "dot"}
    curve = go.Scatter(
        x=theme.compact(x),
        y=theme.compact(y),
        mode="lines",
        line=line,
        legendgroup=word,
        showlegend=False,
        hovertemplate=about,
    )
    if not accepted:
        return [curve]
    mark = go.Scatter(
        x=[values["inflection"]] * 2,
        y=[1.0, 2.05],
        mode="lines",
        line={"color": "#b3261e", "width": 1.2},
        legendgroup="inflection",
        showlegend=False,
        hovertemplate=about,
    )
    return [curve, mark]


def _grid_legend(names: list[str]) -> list[go.Scatter]:
    entries = [(n, theme.class_name(n), {"color": theme.class_colour(n), "width": 2}) for n in names]
    entries += [
        ("accepted", "sigmoid fit, accepted (✓)", {"color": theme.INK, "width": 1.5, "dash": "dash"}),
        ("rejected", "sigmoid fit, rejected (✗)", {"color": "#8a909c", "width": 1.5, "dash": "dot"}),
        ("inflection", "inflection", {"color": "#b3261e", "width": 1.5}),
    ]
    return [
        go.Scatter(x=[None], y=[None], mode="lines", line=line, legendgroup=group, name=label)
        for group, label, line in entries
    ]


def development(
    measurements: xr.Dataset,
    trajectory: xr.Dataset,
    seed: int,
    *,
    emergence: xr.DataArray | None = None,
    inflection: float = math.nan,
    threshold: float = 0.5,
    loss_label: str = "loss",
) -> go.Figure:
    """Draw one seed's loss, feature norms, number of features represented and closest polygon over training step.

    emergence: (seed, feature), the step at which each feature emerges (NaN: never), marked on its norm; inflection: the
    step of the rank's jump, a vertical line where finite; threshold: the norm above which a feature is represented;
    loss_label: what the loss was taken over, the title of its axis.
    """
    titles = (loss_label, "norm of feature", "features<br>represented", "closest polygon<br>(corners)")
    made = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.24, 0.4, 0.18, 0.18])
    made.update_layout(template=theme.template(), height=760, uirevision="keep", **theme.legend_above())
    pick = theme.thin(trajectory.sizes["time"], theme.points_a_curve(trajectory.sizes["seed"], POINTS_A_SEED))
    step = theme.whole(trajectory["step"].values[pick])
    run = trajectory.sel(seed=seed).isel(time=pick)
    at = f"seed {seed}<br>step %{{x:,.0f}}<br>"
    made.add_trace(
        go.Scatter(
            x=step,
            y=theme.compact(run["loss"].values),
            mode="lines",
            line={"color": theme.INK, "width": 1.5},
            name="loss",
            showlegend=False,
            hovertemplate=at + "loss %{y:.4g}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    for j in range(run.sizes["feature"]):
        _norm(made, step, run["feature_norm"].isel(feature=j).values, seed, j, emergence, at)
    made.add_hline(y=threshold, row=2, col=1, line={"color": theme.MUTED, "width": 1, "dash": "dot"})
    measured = measurements.sel(seed=seed)
    at_checkpoint = {
        "x": theme.whole(measured["step"].values),
        "mode": "lines+markers",
        "showlegend": False,
        "marker": {"size": 4},
    }
    made.add_trace(
        go.Scatter(
            y=measured["features_represented"].values,
            line={"color": theme.INK, "width": 1.3, "shape": "hv"},
            hovertemplate=at + "%{y} features represented<extra></extra>",
            **at_checkpoint,
        ),
        row=3,
        col=1,
    )
    made.add_trace(
        go.Scatter(
            y=measured["polygon"].values,
            line={"color": theme.INK, "width": 1.3, "shape": "hv"},
            customdata=theme.cells(measured["features_near_zero"].values, measured["polygon_distance"].values),
            hovertemplate=at + "closest to a %{y}-gon, distance %{customdata[1]:.3f}<br>"
            "%{customdata[0]} features near zero<extra></extra>",
            **at_checkpoint,
        ),
        row=4,
        col=1,
    )
    if math.isfinite(inflection):
        for row in range(1, 5):
            made.add_vline(x=inflection, row=row, col=1, line={"color": "#b3261e", "width": 1.2})
    for row, title in enumerate(titles, start=1):
        made.update_yaxes(title_text=title, row=row, col=1)
    made.update_yaxes(type="log", row=1, col=1, tickvals=theme.log_ticks(run["loss"].values))
    made.update_yaxes(rangemode="tozero", row=2, col=1)
    most = run.sizes["feature"]
    made.update_yaxes(range=[-0.4, most + 0.4], dtick=2, row=3, col=1)
    made.update_yaxes(range=[-0.4, most + 0.4], dtick=2, row=4, col=1)
    made.update_xaxes(title_text="training step", row=4, col=1)
    return made


def _norm(
    made: go.Figure, step: np.ndarray, norm: np.ndarray, seed: int, j: int, emergence: xr.DataArray | None, at: str
) -> None:
    """Feature j's norm in the second row, with a ring where it emerges."""
    colour = theme.feature_colour(j)
    made.add_trace(
        go.Scatter(
            x=step,
            y=theme.compact(norm),
            mode="lines",
            line={"color": colour, "width": 1.6},
            name=f"feature {j}",
            legendgroup=f"feature {j}",
            hovertemplate=at + f"norm of feature {j}: %{{y:.3f}}<extra></extra>",
        ),
        row=2,
        col=1,
    )
    when = math.nan if emergence is None else float(emergence.sel(seed=seed).isel(feature=j))
    if math.isfinite(when):
        made.add_trace(
            go.Scatter(
                x=[when],
                y=[float(np.interp(when, step, norm))],
                mode="markers",
                marker={"symbol": "circle-open", "size": 10, "color": colour, "line": {"width": 2}},
                legendgroup=f"feature {j}",
                showlegend=False,
                hovertemplate=f"seed {seed}<br>feature {j} emerges at step {when:,.0f}<extra></extra>",
            ),
            row=2,
            col=1,
        )
