"""Events of training: when they happen in every seed, and what the indicators do around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from ontogeny.core.errors import OntogenyError
from ontogeny.plots import theme
from ontogeny.plots.sweep import indicator_name, sparsity_name, step_axis, step_position

KIND_NAMES = {
    "emergence": "feature emerges",
    "count_change": "count changes",
    "polygon_change": "polygon changes",
    "rank_jump": "rank jump",
    "any": "any event",
    "change": "change point of the LLC",
}
KIND_LOOKS = {
    "emergence": ("#0072b2", "circle-open"),
    "count_change": ("#009e73", "diamond-open"),
    "polygon_change": ("#b87900", "triangle-up-open"),
    "rank_jump": ("#b3261e", "line-ns-open"),
    "change": ("#7a7f87", "x-thin-open"),
}
UNITS = {
    "llc": "λ̂",
    "loss": "loss",
    "effective_rank": "dimensions",
    "features_represented": "features",
    "feature_norm": "weight",
    "mean_feature_norm": "weight",
    "weight_norm": "weight",
    "gradient_norm": "loss/weight",
    "hessian_trace": "loss/weight²",
    "hessian_rank": "eigenvalues",
    "h_max": "loss/weight²",
    "cosine_similarity": "cosine",
    "mean_cosine": "cosine",
}
FEWEST_RUNS = 3
"""Below it an average is not drawn: the interval of two is as wide as anything."""
A_ROW = 15.0
"""Pixels that one seed takes in the raster."""


def kind_name(kind: str) -> str:
    """Name a kind of event as figures and tables do; an unknown one with its underscores replaced."""
    return KIND_NAMES.get(kind, theme.status_name(kind))


def event_raster(events: xr.Dataset, runs: xr.Dataset, changes: xr.Dataset | None = None) -> go.Figure:
    """Draw each event of each seed at its training step, a panel a sparsity and a row a seed.

    events: dim event; `seed`, `sparsity`, `step`, `kind`, `feature` (−1 where none). runs: the coordinates `sparsity`
    and `seed` of all seeds that were looked at, so that a seed without events keeps its empty row, and `step`, whose
    largest value ends the axis. changes: an event table of change points to be drawn beside them. Kinds are set
    slightly above each other, since one change of the weights is often an event of several kinds.

    Raises:
        OntogenyError: for an event of a sparsity or seed that is not among the runs.
    """
    kept = ["sparsity", "seed", "step", "kind"]
    if changes is not None:
        events = xr.concat([events[kept], changes[kept]], "event", combine_attrs="drop")
    sparsities = [float(s) for s in runs["sparsity"].values]
    seeds = [int(s) for s in runs["seed"].values]
    pairs = list(zip(events["sparsity"].values.tolist(), events["seed"].values.tolist(), strict=True))
    strange = sorted({p for p in pairs if p[0] not in sparsities or p[1] not in seeds})
    if strange:
        raise OntogenyError(
            f"events must be of the sparsities and seeds of runs; got (sparsity, seed) = {strange[0]} and "
            f"{len(strange) - 1} more that are not: pass the runs that the events were found in."
        )
    columns = min(2, len(sparsities))
    rows = -(-len(sparsities) // columns)
    made = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes=True,
        shared_yaxes="rows",
        horizontal_spacing=0.025,
        vertical_spacing=0.2 / rows,
        subplot_titles=[f"<b>{sparsity_name(s)}</b>" for s in sparsities],
    )
    height = int(rows * (A_ROW * max(len(seeds), 6) + 50) + 110)
    made.update_layout(template=theme.template(), height=height, uirevision="keep", **theme.legend_above())
    made.update_layout(margin={"t": 76})
    place = {seed: i for i, seed in enumerate(seeds)}
    found = [str(k) for k in events["kind"].values]
    kinds = [k for k in KIND_LOOKS if k in found] + sorted(set(found) - set(KIND_LOOKS))
    for number, sparsity in enumerate(sparsities):
        at = {"row": number // columns + 1, "col": number % columns + 1}
        for order, kind in enumerate(kinds):
            here = (events["sparsity"].values == sparsity) & (events["kind"].values.astype(str) == kind)
            aside = 0.44 * (order - (len(kinds) - 1) / 2) / max(len(kinds) - 1, 1)
            made.add_trace(_marks(events.isel(event=here), kind, sparsity, place, aside, number == 0), **at)
    last = float(runs["step"].max())
    made.update_xaxes(step_axis(last, title=""))
    for column in range(1, columns + 1):
        made.update_xaxes(title_text="training step", row=rows, col=column)
    shown = list(range(0, len(seeds), max(1, len(seeds) // 10)))
    made.update_yaxes(tickvals=shown, ticktext=[str(seeds[i]) for i in shown], range=[len(seeds) - 0.4, -0.6])
    made.update_yaxes(title_text="seed", col=1)
    return made


def _marks(
    one: xr.Dataset, kind: str, sparsity: float, place: dict[int, int], aside: float, legend: bool
) -> go.Scatter:
    colour, symbol = KIND_LOOKS.get(kind, ("#7a7f87", "cross-thin-open"))
    seeds = [int(s) for s in one["seed"].values]
    features = one["feature"].values if "feature" in one else np.full(len(seeds), -1)
    which = [f", feature {int(f)}" if f >= 0 else "" for f in features]
    steps = one["step"].values.astype(float)
    return go.Scatter(
        x=theme.compact(step_position(steps)) if seeds else [None],
        y=[place[s] + aside for s in seeds] if seeds else [None],
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 7, "line": {"width": 1.6, "color": colour}},
        name=kind_name(kind),
        legendgroup=kind,
        showlegend=legend,
        customdata=theme.cells(seeds, steps, which),
        hovertemplate=f"{sparsity_name(sparsity)}, seed %{{customdata[0]}}<br>{kind_name(kind)}%{{customdata[2]}}"
        "<br>step %{customdata[1]:,.0f}<extra></extra>",
    )


def event_averages(aligned: xr.Dataset, *, indicators: Sequence[str] | None = None) -> go.Figure:
    """Draw what each indicator does around each kind of event on average over seeds: rows indicators, columns kinds.

    aligned: dims indicator, kind, offset (training steps since the event); `mean`, `low`, `high`, `seeds`, as
    `ontogeny.analysis.event_aligned` gives them, each in the indicator's unit and relative to its baseline. Rows
    have a common axis over the kinds. A stretch with fewer than three seeds is not drawn; an empty panel says so.
    """
    names = [str(i) for i in (aligned["indicator"].values if indicators is None else indicators)]
    kinds = [str(k) for k in aligned["kind"].values]
    made = make_subplots(
        rows=len(names),
        cols=len(kinds),
        shared_xaxes=True,
        shared_yaxes="rows",
        horizontal_spacing=0.018,
        vertical_spacing=0.13 / max(len(names), 2),
        column_titles=[f"<b>{kind_name(k)}</b>" for k in kinds],
    )
    made.update_layout(template=theme.template(), height=118 * len(names) + 110, uirevision="keep", showlegend=False)
    made.update_layout(margin={"l": 96, "t": 40})
    offset = aligned["offset"].values.astype(float)
    for row, name in enumerate(names, start=1):
        for column, kind in enumerate(kinds, start=1):
            one = aligned.sel(indicator=name, kind=kind)
            for trace in _average(one, name, kind, offset):
                made.add_trace(trace, row=row, col=column)
            if not (one["seeds"] >= FEWEST_RUNS).any():
                made.add_annotation(
                    text="too few runs",
                    xref="x domain",
                    yref="y domain",
                    x=0.03,
                    y=0.9,
                    font={"color": theme.MUTED, "size": 11.5},
                    row=row,
                    col=column,
                )
            made.add_hline(y=0, line={"color": theme.MUTED, "width": 0.8, "dash": "dot"}, row=row, col=column)
            made.add_vline(x=0, line={"color": theme.INK, "width": 1}, row=row, col=column)
        made.update_yaxes(range=_ends(aligned.sel(indicator=name)), row=row)
        unit = UNITS.get(name, "")
        made.update_yaxes(
            title_text=f"{indicator_name(name)}<br>({unit})"
            if unit and unit not in ("λ̂", name)
            else indicator_name(name),
            title_font_size=11.5,
            nticks=4,
            row=row,
            col=1,
        )
    ends = float(offset.min()), float(offset.max())
    made.update_xaxes(range=list(ends), tickvals=theme.round_ticks(ends[0], 1.1 * ends[1], 4), tickangle=0)
    for column in range(1, len(kinds) + 1):
        made.update_xaxes(title_text="steps since the event", row=len(names), col=column)
    return made


def _ends(one: xr.Dataset) -> list[float]:
    """Range of a row's axis: all means, and the bounds as far as they are not much wider."""
    drawn = one.where(one["seeds"] >= FEWEST_RUNS)
    mean, low, high = (drawn[k].values[np.isfinite(drawn[k].values)] for k in ("mean", "low", "high"))
    if not mean.size:
        return [-1.0, 1.0]
    span = max(float(np.ptp(np.append(mean, 0.0))), 1e-9)
    bounds = np.clip(np.concatenate([low, high, [0.0]]), mean.min() - 0.7 * span, mean.max() + 0.7 * span)
    ends = float(min(bounds.min(), mean.min())), float(max(bounds.max(), mean.max()))
    aside = 0.06 * (ends[1] - ends[0])
    return [ends[0] - aside, ends[1] + aside]


def _average(one: xr.Dataset, name: str, kind: str, offset: np.ndarray) -> list[go.Scatter]:
    seeds = one["seeds"].values.astype(float)
    mean, low, high = (
        np.where(seeds >= FEWEST_RUNS, one[k].values.astype(float), np.nan) for k in ("mean", "low", "high")
    )
    colour = KIND_LOOKS.get(kind, (theme.INK, ""))[0]
    line = go.Scatter(
        x=theme.compact(offset),
        y=theme.compact(mean),
        mode="lines",
        line={"color": colour, "width": 2},
        connectgaps=False,
        customdata=theme.cells(low, high, seeds),
        hovertemplate=f"{indicator_name(name)} around {kind_name(kind)}<br>%{{x:+,.0f}} steps: %{{y:+.4g}} "
        "(%{customdata[0]:.4g} to %{customdata[1]:.4g}), %{customdata[2]:.0f} runs<extra></extra>",
    )
    return [theme.band(offset, low, high, colour), line]
