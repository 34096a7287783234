"""λ̂ at half and twice nβ and γ: around the jump, against the frozen setting, and over training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from ontogeny.estimators.status import usable
from ontogeny.plots import theme

NAMES = {
    "frozen": "frozen",
    "half_n_beta": "nβ/2",
    "twice_n_beta": "2nβ",
    "half_localization": "γ/2",
    "twice_localization": "2γ",
}
LOOKS = {
    "frozen": (theme.INK, "circle"),
    "half_n_beta": ("#2e93c9", "triangle-down"),
    "twice_n_beta": ("#0072b2", "triangle-up"),
    "half_localization": ("#b87900", "triangle-down-open"),
    "twice_localization": ("#d55e00", "triangle-up-open"),
}
PLACES = ("before", "at", "after")


def plain_names(neighbours: xr.Dataset) -> xr.Dataset:
    """The stored group under the names that every other function knows: llc, llc_se."""
    return neighbours.rename(
        {k: str(k).replace("_sensitivity", "") for k in neighbours.data_vars if "_sensitivity" in str(k)}
    )


def sensitivity(neighbours: xr.Dataset, across: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Draw λ̂ at every setting before, at and after the jump, against the frozen setting, and over training.

    neighbours: `llc`, `llc_se`, `regime`, `chains_lost` (setting, seed, checkpoint), the setting "frozen" among them,
    with coordinate `step`; across: by setting, {before, at, after: {mean, interval}} over the jumping seeds. Estimates
    that are not usable are not drawn.
    """
    settings = [str(name) for name in neighbours["setting"].values]
    seeds = neighbours["seed"].values
    columns = max(len(seeds), 2)
    left = (columns + 1) // 2
    top: list[dict[str, int] | None] = [None] * columns
    top[0], top[left] = {"colspan": left}, {"colspan": columns - left}
    specs = [top, [{}] * columns]
    made = make_subplots(
        rows=2, cols=columns, specs=specs, row_heights=[0.58, 0.42], vertical_spacing=0.17, horizontal_spacing=0.05
    )
    made.update_layout(template=theme.template(), height=760, uirevision="keep", **theme.legend_above())
    llc = neighbours["llc"].where(usable(neighbours))
    for order, name in enumerate(settings):
        look = {"legendgroup": name, "name": NAMES.get(name, name)}
        _levels(made, name, across[name], 0.07 * (order - (len(settings) - 1) / 2), look)
        if name != "frozen":
            _against(made, neighbours, llc, name, left + 1, look)
        for column, seed in enumerate(seeds, start=1):
            _over_training(made, llc.sel(setting=name, seed=seed), name, column, look)
    at_frozen = llc.sel(setting="frozen").values
    if np.isfinite(at_frozen).any():
        ends = [float(np.nanmin(at_frozen)), float(np.nanmax(at_frozen))]
        line = {"color": theme.MUTED, "width": 1, "dash": "dot"}
        equal = go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False)
        made.add_trace(equal, row=1, col=left + 1)
    made.update_xaxes(
        tickvals=[0, 1, 2], ticktext=list(PLACES), title_text="where, from the jump of effective rank", row=1, col=1
    )
    made.update_xaxes(range=[-0.4, 2.4], row=1, col=1)
    made.update_yaxes(title_text="λ̂, dimensionless", row=1, col=1)
    made.update_xaxes(title_text="λ̂ at the frozen setting (dotted: equal)", row=1, col=left + 1)
    made.update_yaxes(title_text="λ̂ at the neighbour, dimensionless", row=1, col=left + 1)
    last = 1.02 * float(neighbours["step"].max())
    for column, seed in enumerate(seeds, start=1):
        made.update_xaxes(title_text=f"training step, seed {int(seed)}", range=[0, last], row=2, col=column)
        made.update_xaxes(tickvals=theme.round_ticks(0, last, 3), row=2, col=column)
        made.update_yaxes(title_text="λ̂, dimensionless" if column == 1 else "", row=2, col=column)
    beside = next(made.select_xaxes(row=1, col=left + 1))
    beside.update(domain=[beside.domain[0] + 0.04, 1.0])  # room for the title of its other axis
    for column in range(2, len(seeds) + 1):
        made.update_yaxes(matches=next(made.select_yaxes(row=2, col=1)).anchor.replace("x", "y"), row=2, col=column)
    shown = llc.values[np.isfinite(llc.values)]
    if shown.size:  # error bars of a few wide ones would leave nothing of the others to be seen
        aside = 0.08 * float(np.ptp(shown))
        made.update_yaxes(range=[shown.min() - aside, shown.max() + aside], row=1, col=left + 1)
        known = at_frozen[np.isfinite(at_frozen)]
        aside = 0.08 * float(np.ptp(known)) if known.size else 1.0
        made.update_xaxes(range=[min(known, default=0) - aside, max(known, default=1) + aside], row=1, col=left + 1)
    return made


def _levels(made: go.Figure, name: str, across: Mapping[str, Any], aside: float, look: dict[str, Any]) -> None:
    colour, symbol = LOOKS[name]
    mean, low, high = (
        np.array([float(v) if v is not None else np.nan for v in values])
        for values in zip(*((across[p]["mean"], *across[p]["interval"]) for p in PLACES), strict=True)
    )
    made.add_trace(
        go.Scatter(
            x=np.arange(3) + aside,
            y=mean,
            mode="lines+markers",
            line={"color": colour, "width": 2.2 if name == "frozen" else 1.2},
            marker={"symbol": symbol, "size": 9},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": high - mean,
                "arrayminus": mean - low,
                "thickness": 1.1,
                "width": 3,
            },
            customdata=theme.cells(low, high),
            hovertemplate=f"{look['name']}<br>λ̂ = %{{y:.3f}} (%{{customdata[0]:.3f}} to %{{customdata[1]:.3f}})"
            "<extra></extra>",
            **look,
        ),
        row=1,
        col=1,
    )


def _against(
    made: go.Figure, neighbours: xr.Dataset, llc: xr.DataArray, name: str, column: int, look: dict[str, Any]
) -> None:
    colour, symbol = LOOKS[name]
    x, y = (llc.sel(setting=key).values.ravel() for key in ("frozen", name))
    error = {"type": "data", "thickness": 0.7, "width": 0, "color": theme.fade(colour, 0.35)}
    both = np.isfinite(x) & np.isfinite(y)
    se = [neighbours["llc_se"].sel(setting=key).values.ravel()[both] for key in ("frozen", name)]
    seed = np.repeat(neighbours["seed"].values, neighbours.sizes["checkpoint"])[both]
    step = neighbours["step"].values.ravel()[both]
    made.add_trace(
        go.Scatter(
            x=theme.compact(x[both]),
            y=theme.compact(y[both]),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 6},
            error_x=error | {"array": theme.compact(1.96 * se[0])},
            error_y=error | {"array": theme.compact(1.96 * se[1])},
            customdata=theme.cells(seed, step),
            hovertemplate=f"{look['name']}<br>seed %{{customdata[0]}}, step %{{customdata[1]:,}}<br>"
            "λ̂ = %{y:.3f}, frozen %{x:.3f}<extra></extra>",
            showlegend=False,
            **look,
        ),
        row=1,
        col=column,
    )


def _over_training(made: go.Figure, llc: xr.DataArray, name: str, column: int, look: dict[str, Any]) -> None:
    colour, symbol = LOOKS[name]
    made.add_trace(
        go.Scatter(
            x=theme.whole(llc["step"].values),
            y=theme.compact(llc.values),
            mode="lines+markers",
            connectgaps=False,
            line={"color": colour, "width": 1.8 if name == "frozen" else 1},
            marker={"symbol": symbol, "size": 4},
            hovertemplate=f"{look['name']}<br>step %{{x:,.0f}}<br>λ̂ = %{{y:.3f}}<extra></extra>",
            showlegend=False,
            **look,
        ),
        row=2,
        col=column,
    )
