"""One self-contained HTML page: text, tables and figures, with plotly.js embedded once and nothing fetched."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from ontogeny.core.errors import OntogenyError
from ontogeny.plots.geometry import Animation
from ontogeny.store import write_text

Cell = str | int | float
LARGEST, GAP = 32_767, -32_768


@dataclass(frozen=True)
class Table:
    """A table of plain cells; `text_columns` (by index) are set flush left, the others right, as numbers are."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text_columns: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        """Refuse a ragged table."""
        for row in self.rows:
            if len(row) != len(self.headers):
                raise OntogenyError(
                    f"rows must have one cell a header, {len(self.headers)}; got a row of {len(row)}: {list(row)}."
                )


@dataclass(frozen=True)
class Section:
    """One exhibit and the text before it; an empty title continues the section above it.

    text: paragraphs of plain text; figure: a figure, an animation, or {option: figure} for a selector labelled `choice`
    that begins with `start`; table: instead of the figure, with the caption, or after it, with `table_caption`. The
    page numbers the captions; alt says in a sentence what the figure shows, to someone who cannot see it.
    """

    title: str
    text: Sequence[str] = ()
    figure: go.Figure | Animation | Mapping[str, go.Figure] | None = None
    table: Table | None = None
    caption: str = ""
    alt: str = ""
    table_caption: str = ""
    choice: str = "seed"
    start: str = ""

    def __post_init__(self) -> None:
        """Refuse a figure without caption or alternative text, and a table without a caption."""
        if self.figure is not None and not (self.caption and self.alt):
            raise OntogenyError(
                f"section {self.title!r} has a figure, so it needs a caption and an alt text; give both."
            )
        if self.table is not None and not (self.table_caption or (self.caption and self.figure is None)):
            raise OntogenyError(f"section {self.title!r} has a table without a caption; give table_caption.")
        if isinstance(self.figure, Mapping) and not self.figure:
            raise OntogenyError(f"section {self.title!r} has an empty mapping of figures; give one figure an option.")


@dataclass(frozen=True)
class _Exhibit:
    """What the page's template needs of a section, its JSON already safe inside a script element."""

    section: Section
    anchor: str
    opens: bool
    figure_number: int | None
    table_number: int | None
    kind: str = ""
    height: int = 0
    data: str = ""
    options: Sequence[str] = field(default_factory=tuple)
    start: int = 0
    frames: Sequence[str] = field(default_factory=tuple)
    frame: int = 0
    note: str = ""


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    abstract: str,
    conclusions: Sequence[str],
    settings: Mapping[str, Cell],
    health: Mapping[str, str],
    sections: Sequence[Section],
    footer: str = "",
) -> Path:
    """Write the page to `path` (replaced in one move, so that a reader never meets half of it) and return the path.

    conclusions: paragraphs, already made from the summary; settings: name -> value, one table; health: what is asked ->
    a sentence; sections: in the order they are read. Figures and tables are numbered here. All text is escaped.
    """
    target = Path(path)
    html = render(
        title=title,
        abstract=abstract,
        conclusions=conclusions,
        settings=settings,
        health=health,
        sections=sections,
        footer=footer,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, html)
    return target


def render(
    *,
    title: str,
    abstract: str,
    conclusions: Sequence[str],
    settings: Mapping[str, Cell],
    health: Mapping[str, str],
    sections: Sequence[Section],
    footer: str = "",
) -> str:
    """Return the page as a string; the arguments are those of `write_report`."""
    from jinja2 import Environment, StrictUndefined

    if sections and not sections[0].title:
        raise OntogenyError(
            "sections must begin with one that has a title: an empty title continues the section above it."
        )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = show
    here = resources.files(__package__)
    return environment.from_string((here / "page.html").read_text(encoding="utf-8")).render(
        title=title,
        abstract=abstract,
        conclusions=conclusions,
        settings=settings,
        health=health,
        exhibits=_exhibits(sections),
        footer=footer,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def show(value: Cell) -> str:
    """A cell as text: four significant digits for a fraction, thousands separated from 10,000 on, an em dash for NaN.

    >>> show(0.123456), show(12345), show(2000), show(float("nan"))
    ('0.1235', '12,345', '2000', '—')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if value != value:
        return "—"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.4g}"


def _exhibits(sections: Sequence[Section]) -> list[_Exhibit]:
    """Number figures and tables (Tables 1 and 2 are the settings and the health) and turn figures into JSON."""
    made: list[_Exhibit] = []
    figures, tables, anchors = 0, 2, 0
    for section in sections:
        anchors += bool(section.title)
        figures += section.figure is not None
        tables += section.table is not None
        made.append(
            _Exhibit(
                section,
                anchor=f"section-{anchors}",
                opens=bool(section.title),
                figure_number=figures if section.figure is not None else None,
                table_number=tables if section.table is not None else None,
                **_payload(section),
            )
        )
    return made


def _payload(section: Section) -> dict[str, Any]:
    shown = section.figure
    if shown is None:
        return {}
    if isinstance(shown, Animation):
        scale = max(float(np.nanmax(np.abs(values))) for values in (shown.x, shown.y)) / LARGEST
        moving = {
            "figure": _plain(shown.figure),
            "x": _base64(shown.x, scale),
            "y": _base64(shown.y, scale),
            "scale": scale,
            "points": int(shown.x.shape[-1]),
            "slices": shown.slices,
            "frames": shown.frames,
        }
        said = sorted({note for notes in shown.notes for note in notes})
        place = {note: k for k, note in enumerate(said)}
        moving |= {"notes": said, "noted": [[place[note] for note in notes] for notes in shown.notes]}
        options = shown.options if len(shown.options) > 1 else ()
        return {
            "kind": "animation",
            "height": int(shown.figure.layout.height),
            "data": _json(moving),
            "options": options,
            "frames": shown.frames,
            "start": shown.first_option,
            "frame": shown.first_frame,
            "note": shown.notes[shown.first_option][shown.first_frame] if shown.notes else "",
        }
    if isinstance(shown, Mapping):
        options = list(shown)
        height = int(max(f.layout.height for f in shown.values()))
        start = options.index(section.start) if section.start in options else 0
        views = _views(list(shown.values()))
        return {
            "kind": "views",
            "height": height,
            "data": views,
            "options": options if len(options) > 1 else (),
            "start": start,
        }
    return {"kind": "views", "height": int(shown.layout.height), "data": _views([shown])}


def _views(figures: Sequence[go.Figure]) -> str:
    """Put figures that share a template side by side, the template once."""
    views = [_plain(f) for f in figures]
    templates = [view["layout"].pop("template", None) for view in views]
    return _json({"views": views, "template": templates[0]})


def _plain(figure: go.Figure) -> dict[str, Any]:
    made = figure.to_dict()
    frames = {"frames": made["frames"]} if made.get("frames") else {}
    return {"data": made["data"], "layout": made["layout"]} | frames


def _json(value: object) -> str:
    """JSON that cannot end the script element it stands in; arrays are {"dtype", "bdata"} already, NaN becomes null."""
    text = json.dumps(value, cls=PlotlyJSONEncoder)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _base64(values: NDArray[np.float32], scale: float) -> str:
    """Store `values` in units of `scale` as little-endian int16, finer than a pixel; GAP stands for NaN."""
    whole = np.where(np.isfinite(values), np.round(np.nan_to_num(values) / scale), GAP)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode("ascii")
