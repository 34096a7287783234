"""Curves of many heads over training, panel by panel, behind them the stages of development."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from ontogeny.plots import theme

TYPE_COLOURS = {
    "multigram": "#d55e00",
    "previous-token": "#0072b2",
    "current-token": "#009e73",
    "induction": "#a8447f",
}
"""Of the paper's four types of heads."""
SHADES = (1.0, 0.75, 0.55, 0.4)
STAGE_COLOURS = ("#dfe9f5", "#f7ecd9", "#e1f0e6", "#f3e2ee", "#ececec", "#e6e4f5")
PANEL_HEIGHT = 250


@dataclass(frozen=True)
class Line:
    """One curve over training; ``error`` is a standard error, drawn as ±1.96 of it; ``hover`` stands in its box."""

    name: str
    steps: ArrayLike
    values: ArrayLike
    colour: str
    error: ArrayLike | None = None
    dash: str = "solid"
    opacity: float = 1.0
    hover: str = ""
    group: str = ""
    """What the legend calls it; lines of one group are shown and hidden together."""
    marks: Sequence[str] = ()
    """A status word a point; other than "ok" it has its own symbol."""


@dataclass(frozen=True)
class Panel:
    """Some curves with one vertical axis."""

    title: str
    lines: Sequence[Line]
    y_title: str
    zero: bool = False
    """Whether the axis shall include 0."""
    reach: tuple[float, float] | None = None
    """Ends of the axis, where it shall not hold everything."""


@dataclass(frozen=True)
class Stage:
    """A stretch of training, in steps; its end lies between ``low`` and ``high``."""

    name: str
    start: float
    end: float
    low: float
    high: float


@dataclass(frozen=True)
class Looks:
    """How heads are told apart: by group, such as type or cluster; a colour each, a shade for each head in it."""

    groups: dict[str, str]
    """head -> group."""
    colours: dict[str, str] = field(default_factory=dict)
    """group -> colour; of groups that are not named here, by number."""

    def colour(self, head: str) -> str:
        """The colour of a head's group."""
        named = list(dict.fromkeys(self.groups.values()))
        group = self.groups[head]
        return self.colours.get(group, theme.feature_colour(named.index(group)))

    def opacity(self, head: str) -> float:
        """The shade of a head among those of its group."""
        alike = [other for other, group in self.groups.items() if group == self.groups[head]]
        return SHADES[alike.index(head) % len(SHADES)]


def panels(shown: Sequence[Panel], *, columns: int, stages: Sequence[Stage] = (), legend_rows: int = 2) -> go.Figure:
    """Draw panels side by side over log training step, with the stages behind every one.

    Step 0 stands at half of the first step after it. Beyond a stage's end, a paler band says between which steps the
    boundary lies.
    """
    rows = math.ceil(len(shown) / columns)
    made = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[panel.title for panel in shown],
        horizontal_spacing=0.24 / columns if columns > 1 else 0.05,
        vertical_spacing=min(0.13, 0.4 / rows),
    )
    height = PANEL_HEIGHT * rows + 60 + 24 * legend_rows
    made.update_layout(template=theme.template(), height=height, uirevision="keep", **theme.legend_above(legend_rows))
    made.update_layout(margin={"t": 46 + 24 * legend_rows})
    first = _first_step([line for panel in shown for line in panel.lines])
    named: set[str] = set()
    traces: list[go.Scatter] = []
    places: list[tuple[int, int]] = []
    bands: list[dict[str, object]] = []
    for number, panel in enumerate(shown):
        row, column = number // columns + 1, number % columns + 1
        for line in panel.lines:
            own = _traces(line, first, line.group not in named)
            traces += own
            places += [(row, column)] * len(own)
            named.add(line.group)
        mode = "tozero" if panel.zero else "normal"
        made.update_yaxes(title_text=panel.y_title, rangemode=mode, range=panel.reach, row=row, col=column)
        bands += _bands(stages, first, number + 1)
    made.update_xaxes(type="log")
    made.update_xaxes(title_text="training step", row=rows)
    made.add_traces(traces, rows=[row for row, _ in places], cols=[column for _, column in places])
    words = [_stage_name(stage, first, number + 1) for number in range(columns) for stage in stages if stage.name]
    # all at once: plotly reads all shapes again with each one that is added
    made.update_layout(shapes=bands, annotations=[*made.layout.annotations, *words])
    return made


def head_lines(
    curves: xr.DataArray,
    looks: Looks,
    *,
    error: xr.DataArray | None = None,
    status: xr.DataArray | None = None,
    hover: dict[str, str] | None = None,
) -> list[Line]:
    """A line a head: curves (head, checkpoint) with the coordinate ``step``; error and status alike."""
    out = []
    for head in (str(name) for name in curves["head"].values):
        one = curves.sel(head=head)
        out.append(
            Line(
                head,
                one["step"].values,
                one.values,
                looks.colour(head),
                None if error is None else error.sel(head=head).values,
                opacity=looks.opacity(head),
                hover=(hover or {}).get(head, ""),
                group=looks.groups[head],
                marks=() if status is None else [str(word) for word in status.sel(head=head).values],
            )
        )
    return out


def _first_step(lines: Sequence[Line]) -> float:
    """Where step 0 stands on the logarithmic axis."""
    positive = [step for line in lines for step in np.asarray(line.steps, dtype=float) if step > 0]
    return min(positive, default=1.0) / 2


def _placed(steps: ArrayLike, first: float) -> NDArray[np.float64]:
    return np.maximum(np.asarray(steps, dtype=float), first)


def _traces(line: Line, first: float, in_legend: bool) -> list[go.Scatter]:
    x, values = _placed(line.steps, first), np.asarray(line.values, dtype=float)
    colour = theme.fade(line.colour, line.opacity)
    group = line.group or line.name
    out = []
    if line.error is not None:
        margin = 1.96 * np.asarray(line.error, dtype=float)
        out.append(theme.band(x, values - margin, values + margin, line.colour, legendgroup=group, opacity=0.5))
    symbols = [theme.STATUS_SYMBOLS.get(word, "circle-open") for word in line.marks] or "circle"
    steps = np.asarray(line.steps, dtype=float)
    errors = np.full(len(steps), np.nan) if line.error is None else np.asarray(line.error, dtype=float)
    words = [theme.status_name(word) for word in line.marks] or [""] * len(steps)
    out.append(
        go.Scatter(
            x=theme.compact(x),
            y=theme.compact(values),
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": line.dash},
            marker={"size": 5, "symbol": symbols, "color": colour},
            name=group,
            legendgroup=group,
            showlegend=in_legend,
            connectgaps=False,
            customdata=theme.cells(steps, errors, words),
            hovertemplate=f"<b>{line.name}</b> step %{{customdata[0]:,.0f}}<br>%{{y:.4g}} ± %{{customdata[1]:.2g}} "
            f"%{{customdata[2]}}{'<br>' + line.hover if line.hover else ''}<extra></extra>",
        )
    )
    return out


def _bands(stages: Sequence[Stage], first: float, axis: int) -> list[dict[str, object]]:
    """The stages behind one panel, and dotted lines between which each ends."""
    on = {
        "type": "rect",
        "xref": _axis("x", axis),
        "yref": f"{_axis('y', axis)} domain",
        "y0": 0,
        "y1": 1,
        "layer": "below",
    }
    out: list[dict[str, object]] = []
    for number, stage in enumerate(stages):
        low, high = (float(value) for value in _placed([stage.start, stage.end], first))
        colour = STAGE_COLOURS[number % len(STAGE_COLOURS)]
        out.append({**on, "x0": low, "x1": high, "fillcolor": colour, "opacity": 0.6, "line": {"width": 0}})
        if number + 1 < len(stages):
            line = {"color": theme.MUTED, "width": 0.7, "dash": "dot"}
            for end in (float(value) for value in _placed([stage.low, stage.high], first)):
                out.append({**on, "type": "line", "x0": end, "x1": end, "line": line})
    return out


def _axis(letter: str, number: int) -> str:
    return letter if number == 1 else f"{letter}{number}"


def _stage_name(stage: Stage, first: float, axis: int) -> dict[str, object]:
    """What stands along a stage in the first row."""
    low, high = (float(value) for value in _placed([stage.start, stage.end], first))
    return {
        "text": stage.name,
        "x": math.log10(math.sqrt(low * high)),
        "y": 0.0,
        "xref": _axis("x", axis),
        "yref": f"{_axis('y', axis)} domain",
        "yanchor": "bottom",
        "font": {"size": 9, "color": theme.MUTED},
        "textangle": -90,
        "showarrow": False,
    }
