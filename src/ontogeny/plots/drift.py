"""How far the LLC drifts at each sparsity, what its variance is made of, and which indicators go together."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ontogeny.core.errors import OntogenyError
from ontogeny.plots import sensitivity, theme
from ontogeny.plots.sweep import indicator_name

FROZEN = "frozen"
SETTING_NAMES = sensitivity.NAMES | {"equal_curvature": "equal nβ·h_max"}
SETTING_LOOKS = sensitivity.LOOKS | {"equal_curvature": ("#a8447f", "diamond-open")}
DEFINITION_NAMES = {
    "net_change": "net change",
    "range": "range",
    "total_variation": "total variation",
}
DEFINITION_LOOKS = {
    "net_change": ("#0072b2", "circle"),
    "range": ("#d55e00", "square"),
    "total_variation": ("#009e73", "diamond"),
}
SCALES = {"raw": "raw, in units of λ̂", "relative": "relative to the size of λ̂"}
SOURCE_NAMES = {
    "group": "sparsity",
    "sparsity": "sparsity",
    "checkpoint": "checkpoint",
    "group:checkpoint": "sparsity × checkpoint",
    "sparsity:checkpoint": "sparsity × checkpoint",
    "seed": "seed (within sparsity)",
    "seed:checkpoint": "seed × checkpoint (rest)",
    "sampler": "sampler",
}
RATIO = ("ratio", "ratio_low", "ratio_high")
BAR = "#9fb4cc"


def setting_name(name: str) -> str:
    """Name a setting of (nβ, γ) as figures and tables do; an unknown one with its underscores replaced."""
    return SETTING_NAMES.get(name, theme.status_name(name))


def definition_name(name: str) -> str:
    """Name a definition of drift as figures and tables do."""
    return DEFINITION_NAMES.get(name, theme.status_name(name))


def source_name(name: str) -> str:
    """Name a source of variance as figures and tables do."""
    return SOURCE_NAMES.get(name, theme.status_name(name))


def drift_bars(by_setting: xr.Dataset) -> go.Figure:
    """Mean drift of the LLC over seeds by sparsity: a column a definition; raw above, relative below.

    by_setting: dims setting ("frozen" among them), sparsity, definition; `mean`, `low`, `high`, `relative_mean`,
    `relative_low`, `relative_high`, as `ontogeny.analysis.drift` gives them. Bars with intervals: the frozen setting;
    markers with intervals: the others. Axes begin at zero, or below where an interval does.

    Raises:
        OntogenyError: without the setting "frozen".
    """
    settings = [str(s) for s in by_setting["setting"].values]
    if FROZEN not in settings:
        raise OntogenyError(
            f"by_setting must hold the setting {FROZEN!r}, which the bars show; got {settings}: add or rename it."
        )
    definitions = [str(d) for d in by_setting["definition"].values]
    made = make_subplots(
        rows=2,
        cols=len(definitions),
        shared_xaxes=True,
        horizontal_spacing=0.075,
        vertical_spacing=0.07,
        column_titles=[f"<b>{definition_name(d)}</b>" for d in definitions],
    )
    made.update_layout(template=theme.template(), height=680, uirevision="keep", **theme.legend_above(2))
    made.update_layout(margin={"t": 96})
    others = [s for s in settings if s != FROZEN]
    places = dict(zip(others, np.linspace(-0.3, 0.3, len(others)) if len(others) > 1 else [0.2], strict=True))
    for row, (scale, title) in enumerate(SCALES.items(), start=1):
        prefix = "" if scale == "raw" else f"{scale}_"
        for column, definition in enumerate(definitions, start=1):
            one = by_setting.sel(definition=definition)
            first = row == 1 and column == 1
            made.add_trace(_bars(one.sel(setting=FROZEN), prefix, first), row=row, col=column)
            for name in others:
                made.add_trace(_variant(one.sel(setting=name), prefix, name, places[name], first), row=row, col=column)
        made.update_yaxes(title_text=f"drift of λ̂,<br>{title}", row=row, col=1)
        made.update_yaxes(rangemode="tozero", row=row)
    sparsities = [float(s) for s in by_setting["sparsity"].values]
    made.update_xaxes(tickvals=list(range(len(sparsities))), ticktext=[f"{s:g}" for s in sparsities])
    made.update_xaxes(range=[-0.55, len(sparsities) - 0.45])
    made.update_xaxes(title_text="sparsity S", row=2)
    return made


def _arms(mean: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> dict[str, object]:
    return {"type": "data", "symmetric": False, "array": high - mean, "arrayminus": mean - low}


def _numbers(one: xr.Dataset, *names: str) -> tuple[NDArray[np.float64], ...]:
    return tuple(np.atleast_1d(one[name].values.astype(float)) for name in names)


def _bars(one: xr.Dataset, prefix: str, legend: bool) -> go.Bar:
    mean, low, high = _numbers(one, *(prefix + k for k in ("mean", "low", "high")))
    sparsities = one["sparsity"].values.astype(float)
    return go.Bar(
        x=np.arange(len(mean)),
        y=mean,
        width=0.78,
        marker={"color": BAR},
        error_y=_arms(mean, low, high) | {"color": theme.INK, "thickness": 1.8, "width": 6},
        name="frozen (bars)",
        legendgroup=FROZEN,
        showlegend=legend,
        customdata=theme.cells(sparsities, low, high),
        hovertemplate="frozen, S = %{customdata[0]}<br>%{y:.4g} (%{customdata[1]:.4g} to %{customdata[2]:.4g})"
        "<extra></extra>",
    )


def _variant(one: xr.Dataset, prefix: str, name: str, aside: float, legend: bool) -> go.Scatter:
    mean, low, high = _numbers(one, *(prefix + k for k in ("mean", "low", "high")))
    colour, symbol = SETTING_LOOKS.get(name, ("#7a7f87", "cross-open"))
    return go.Scatter(
        x=np.arange(len(mean)) + aside,
        y=mean,
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 8},
        error_y=_arms(mean, low, high) | {"color": theme.fade(colour, 0.75), "thickness": 1, "width": 2},
        name=setting_name(name),
        legendgroup=name,
        showlegend=legend,
        customdata=theme.cells(one["sparsity"].values.astype(float), low, high),
        hovertemplate=f"{setting_name(name)}, S = %{{customdata[0]}}<br>%{{y:.4g}} (%{{customdata[1]:.4g}} to "
        "%{customdata[2]:.4g})<extra></extra>",
    )


def drift_ratios(ratios: xr.Dataset, *, quiet: float, canonical: float) -> go.Figure:
    """Draw the ratio of the LLC's mean drift at two sparsities, a row a setting, with lines at 1 and 3.

    ratios: dims setting, definition, scale ("raw", "relative"); `ratio`, `ratio_low`, `ratio_high`, as
    `ontogeny.analysis.compare_drifts` gives them. The axis is logarithmic where every ratio is positive. An interval
    that is unbounded, or that ends at or below zero on a logarithmic axis, is drawn to the edge with an arrow's head.
    """
    settings = [str(s) for s in ratios["setting"].values][::-1]
    made = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        column_titles=["<b>raw</b>", "<b>relative to the size of λ̂</b>"],
    )
    made.update_layout(template=theme.template(), height=56 * len(settings) + 150, uirevision="keep")
    made.update_layout(**theme.legend_above(), hovermode="closest")
    made.update_layout(margin={"t": 66})
    values = ratios["ratio"].values.astype(float)
    logarithmic = bool((values[np.isfinite(values)] > 0).all())
    for column, scale in enumerate(SCALES, start=1):
        edges = _edges(ratios.sel(scale=scale), logarithmic)
        for order, definition in enumerate(ratios["definition"].values):
            one = ratios.sel(definition=definition, setting=settings, scale=scale)
            aside = 0.2 * ((ratios.sizes["definition"] - 1) / 2 - order)
            for trace in _ratio(one, str(definition), aside, edges, column == 1):
                made.add_trace(trace, row=1, col=column)
        for at, dash in ((1, "solid"), (3, "dot")):
            made.add_vline(x=at, line={"color": theme.MUTED, "width": 1.1, "dash": dash}, row=1, col=column)
        if logarithmic:
            ticks = sorted({*theme.log_ticks([edges[0], edges[1]]), 1.0, 3.0} - {2.5})
            made.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], row=1, col=column)
        shown = np.log10(edges) if logarithmic else np.asarray(edges)
        made.update_xaxes(range=[float(v) for v in shown], row=1, col=column)
    scale = ", log scale" if logarithmic else ""
    made.update_xaxes(title_text=f"mean drift at S = {quiet:g} over that at S = {canonical:g}{scale}")
    made.update_yaxes(
        tickvals=list(range(len(settings))),
        ticktext=[setting_name(s) for s in settings],
        range=[-0.6, len(settings) - 0.4],
    )
    made.update_yaxes(title_text="setting of (nβ, γ)", row=1, col=1)
    return made


def _edges(ratios: xr.Dataset, logarithmic: bool) -> tuple[float, float]:
    """Ends of the axis: all ratios, 1 and 3, and those ends of intervals that are not far away from them."""
    ratio, low, high = (v.ravel() for v in _numbers(ratios, *RATIO))
    ends = np.concatenate([ratio, low, high, [1.0, 3.0]])
    ends = ends[np.isfinite(ends)]
    middle = np.concatenate([ratio[np.isfinite(ratio)], [1.0, 3.0]])
    if logarithmic:
        within = ends[(ends > 0.2 * middle.min()) & (ends < 5 * middle.max())]
        return float(within.min() / 1.2), float(within.max() * 1.2)
    span = 2 * float(np.ptp(middle))
    within = ends[(ends > middle.min() - span) & (ends < middle.max() + span)]
    aside = 0.05 * float(np.ptp(within))
    return float(within.min() - aside), float(within.max() + aside)


def _ratio(
    one: xr.Dataset, definition: str, aside: float, edges: tuple[float, float], legend: bool
) -> list[go.Scatter]:
    colour, symbol = DEFINITION_LOOKS.get(definition, ("#7a7f87", "cross"))
    ratio, low, high = _numbers(one, *RATIO)
    y = np.arange(len(ratio)) + aside
    known = np.isfinite(ratio)
    left, right = (np.clip(v, *edges) for v in (low, high))
    said = [f"{a:.3g} to {b:.3g}" if np.isfinite([a, b]).all() else "unbounded" for a, b in zip(low, high, strict=True)]
    name = definition_name(definition)
    made = [
        go.Scatter(
            x=ratio,
            y=y,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9},
            error_x=_arms(ratio, left, right) | {"color": colour, "thickness": 1.6, "width": 4},
            name=name,
            legendgroup=definition,
            showlegend=legend,
            customdata=[[setting_name(str(s)), text] for s, text in zip(one["setting"].values, said, strict=True)],
            hovertemplate=f"%{{customdata[0]}}, {name}<br>ratio %{{x:.3g}}, interval %{{customdata[1]}}<extra></extra>",
        )
    ]
    for cut, at, head in ((low < edges[0], edges[0], "triangle-left"), (high > edges[1], edges[1], "triangle-right")):
        if (cut & known).any():
            made.append(
                go.Scatter(
                    x=np.full(int((cut & known).sum()), at),
                    y=y[cut & known],
                    mode="markers",
                    marker={"color": colour, "symbol": head, "size": 10},
                    cliponaxis=False,
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=definition,
                )
            )
    return made


def variance_components(components: xr.Dataset) -> go.Figure:
    """Bars of the variance of the LLC by source, with intervals; a panel the values, one the changes between them.

    components: dims of ("values", "increments"), source; `variance`, `low`, `high` (units of λ̂²), `share`, as
    `ontogeny.analysis.variance_components` gives them. A component may be negative: it is drawn as it is.
    """
    sources = [str(s) for s in components["source"].values][::-1]
    kinds = [str(k) for k in components["of"].values]
    titles = {"values": "<b>values of λ̂</b>", "increments": "<b>changes from checkpoint to checkpoint</b>"}
    made = make_subplots(
        rows=1,
        cols=len(kinds),
        shared_yaxes=True,
        horizontal_spacing=0.05,
        column_titles=[titles.get(k, theme.status_name(k)) for k in kinds],
    )
    made.update_layout(template=theme.template(), height=50 * len(sources) + 120, uirevision="keep", showlegend=False)
    made.update_layout(margin={"t": 40})
    names = [source_name(s) for s in sources]
    for column, kind in enumerate(kinds, start=1):
        one = components.sel(of=kind, source=sources)
        variance, low, high = _numbers(one, "variance", "low", "high")
        share = one["share"].values.astype(float)
        made.add_trace(
            go.Bar(
                x=variance,
                y=names,
                orientation="h",
                width=0.6,
                marker={"color": ["#e0b48a" if s == "sampler" else BAR for s in sources]},
                error_x=_arms(variance, low, high) | {"color": theme.INK, "thickness": 1.4, "width": 5},
                customdata=theme.cells(share, low, high),
                hovertemplate="%{y}: variance %{x:.3g} (%{customdata[1]:.3g} to %{customdata[2]:.3g})<br>"
                "share %{customdata[0]:.1%}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        right = np.where(np.isfinite(high), np.maximum(high, variance), variance)
        for name, at, part in zip(names, right, share, strict=True):
            if np.isfinite([at, part]).all():
                made.add_annotation(
                    x=max(float(at), 0.0),
                    y=name,
                    text=f"{100 * part:.1f} %",
                    xanchor="left",
                    xshift=6,
                    font={"color": theme.MUTED, "size": 11.5},
                    row=1,
                    col=column,
                )
        ends = np.concatenate([low, high, variance, [0.0]])
        ends = ends[np.isfinite(ends)]
        span = float(np.ptp(ends)) or 1.0
        made.update_xaxes(range=[float(ends.min()) - 0.04 * span, float(ends.max()) + 0.16 * span], row=1, col=column)
        made.add_vline(x=0, line={"color": theme.MUTED, "width": 1}, row=1, col=column)
    made.update_xaxes(title_text="variance, units of λ̂²")
    made.update_yaxes(title_text="source of variance", row=1, col=1)
    return made


def factor_loadings(factors: xr.Dataset) -> go.Figure:
    """Heat map of the loadings of each indicator on each factor; the interval over seeds is in the hover label.

    factors: dims indicator, factor; `loading`, `loading_low`, `loading_high` (correlations, −1 to 1), `communality`
    (indicator), `variance_share` (factor), as `ontogeny.analysis.factor_analysis` gives them. A loading whose interval
    includes zero stands in brackets.
    """
    if not factors.sizes["factor"]:
        return theme.empty("No factor stands out from what independent indicators give.")
    names = [indicator_name(str(i)) for i in factors["indicator"].values]
    table = factors.transpose("indicator", "factor", ...)
    loading, low, high = (table[k].values.astype(float) for k in ("loading", "loading_low", "loading_high"))
    share = factors["variance_share"].values.astype(float)
    columns = [f"factor {i + 1}<br>({100 * s:.0f} %)" for i, s in enumerate(share)]
    clear = (low > 0) | (high < 0)
    text = [
        [f"{v:.2f}".replace("-", "−") if c else f"({v:.2f})".replace("-", "−") for v, c in zip(vs, cs, strict=True)]
        for vs, cs in zip(loading, clear, strict=True)
    ]
    made = theme.figure(34 * len(names) + 130)
    made.add_trace(
        go.Heatmap(
            z=loading,
            x=columns,
            y=names,
            zmin=-1,
            zmax=1,
            colorscale=[[0, "#b35806"], [0.25, "#f1b76a"], [0.5, "#ffffff"], [0.75, "#8fb7dc"], [1, "#2166ac"]],
            text=text,
            texttemplate="%{text}",
            customdata=np.stack([low, high], axis=-1).round(3),
            hovertemplate="%{y}, %{x}<br>loading %{z:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})"
            "<extra></extra>",
            xgap=2,
            ygap=2,
            colorbar={"title": {"text": "loading", "side": "right"}, "thickness": 14},
        )
    )
    made.update_yaxes(autorange="reversed", title_text="indicator", showgrid=False)
    made.update_xaxes(title_text="factor (share of the indicators' variance)", showgrid=False)
    return made
