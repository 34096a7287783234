"""What all figures share: colours that colour-blind readers can tell apart, layout, bands that stop where data stop."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from ontogeny.core.errors import OntogenyError

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, MUTED, GRID = "#1f2430", "#5b6270", "#e6e8ec"

# Okabe & Ito (2008), without its yellow, which is unreadable on white; black comes last.
FEATURE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a8447f", "#b87900", "#2e93c9", "#000000", "#7a7f87")
DASHES = ("longdashdot", "solid", "dash", "dot", "dashdot", "12px,3px,2px,3px,2px,3px")

CLASS_COLOURS = {
    "plateau_then_jump": "#0072b2",
    "early_rise": "#b87900",
    "stuck": "#7a7f87",
    "non_monotonic": "#a8447f",
}
CLASS_NAMES = {
    "plateau_then_jump": "plateau, then jump",
    "early_rise": "early rise",
    "stuck": "stuck",
    "non_monotonic": "non-monotonic",
}
SHORT_CLASS_NAMES = CLASS_NAMES | {"plateau_then_jump": "plateau → jump"}
STATUS_SYMBOLS = {
    "ok": "circle",
    "target_not_met": "circle-open",
    "not_mixed": "x-thin-open",
    "drifting": "triangle-up-open",
    "step_bias": "square-open",
    "minibatch_noise": "diamond-open",
    "rounding": "star-triangle-down-open",
    "diverged": "x",
}
RANK_RANGE = (0.97, 2.06)
FEATURE_SYMBOLS = ("circle-open", "square-open", "diamond-open", "triangle-up-open", "cross-thin-open", "x-thin-open")


def feature_colour(index: int) -> str:
    """Return the colour of feature `index`, the same in every figure; repeats after eight."""
    return FEATURE_COLOURS[index % len(FEATURE_COLOURS)]


def feature_symbol(index: int) -> str:
    """Return a hollow symbol for feature `index`, so that features that coincide stay apart; repeats after six."""
    return FEATURE_SYMBOLS[index % len(FEATURE_SYMBOLS)]


def class_colour(name: str) -> str:
    """Return the colour of a trajectory class; grey for a name not known here."""
    return CLASS_COLOURS.get(name, "#7a7f87")


def class_name(name: str) -> str:
    """Return a trajectory class in plain words; an unknown name with its underscores replaced."""
    return CLASS_NAMES.get(name, name.replace("_", " "))


def status_name(word: str) -> str:
    """Return a status or regime word as readers see it: underscores become spaces."""
    return word.replace("_", " ")


def fade(colour: str, alpha: float) -> str:
    """`colour` ("#rrggbb") with opacity `alpha` in 0..1, as "rgba(r,g,b,a)".

    >>> fade("#0072b2", 0.5)
    'rgba(0,114,178,0.5)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def template() -> go.layout.Template:
    """Make the look of every figure: white ground, light grid, readable type, hover box in plain colours."""
    axis = {
        "gridcolor": GRID,
        "linecolor": "#9aa1ad",
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#9aa1ad",
        "zeroline": False,
        "title": {"standoff": 8, "font": {"size": 13}},
        "tickfont": {"size": 12},
        "automargin": True,
    }
    layout = {
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "colorway": list(FEATURE_COLOURS),
        "margin": {"l": 64, "r": 24, "t": 30, "b": 54},
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": "#9aa1ad",
            "font": {"family": FONT, "size": 12.5, "color": INK},
        },
        "legend": {"font": {"size": 12}, "tracegroupgap": 2, "itemsizing": "constant"},
        "xaxis": axis,
        "yaxis": axis,
        "hovermode": "closest",
        "annotationdefaults": {"font": {"size": 12, "color": INK}, "showarrow": False},
    }
    return go.layout.Template(layout=layout)


def figure(height: int, **layout: object) -> go.Figure:
    """Make an empty figure in the common look, `height` pixels high, its width that of the page."""
    made = go.Figure()
    made.update_layout(template=template(), height=height, uirevision="keep", **layout)
    return made


def legend_above(rows: int = 1) -> dict[str, object]:
    """Layout entries that put a horizontal legend above the plot, with room for `rows` lines of it."""
    return {
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "top", "yref": "container"},
        "margin": {"l": 64, "r": 24, "t": 16 + 24 * rows, "b": 54},
    }


def round_ticks(low: float, high: float, at_most: int = 4) -> list[float]:
    """Choose round ticks from `low` on that stop short of `high`, so that the labels of neighbouring panels keep apart.

    >>> round_ticks(0, 1500)
    [0.0, 500.0, 1000.0]
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / at_most))
    gap = next(m * power for m in (1, 2, 5, 10, 20) if span / (m * power) <= at_most)
    ticks = math.ceil(low / gap) * gap + gap * np.arange(at_most + 1)
    return [float(t) for t in ticks if t <= high - 0.08 * span]


def log_ticks(values: ArrayLike) -> list[float]:
    """Choose round ticks within the range of the positive `values`, for a logarithmic axis.

    1, 2 and 5 times every power of ten, more multiples where that leaves fewer than three, and even steps within less
    than that.

    >>> log_ticks([0.12, 0.37]), log_ticks([1.21, 1.29])
    ([0.12, 0.15, 0.2, 0.25, 0.3], [1.22, 1.24, 1.26, 1.28])
    """
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array) & (array > 0)]
    if not array.size:
        return []
    low, high = float(array.min()), float(array.max())
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        ticks = [float(f"{m}e{k}") for k in powers for m in multiples]
        inside = [t for t in ticks if low / 1.05 <= t <= high * 1.05]
        if len(inside) >= 3:
            return inside
    return [float(f"{t:.6g}") for t in round_ticks(low, high, 5)]


def thin(count: int, at_most: int) -> NDArray[np.intp]:
    """Choose indices of at most `at_most` of `count` points, evenly spread, first and last included."""
    if at_most < 2:
        raise OntogenyError(f"at_most must be 2 or more to keep the first and the last point; got {at_most}.")
    if count <= at_most:
        return np.arange(count)
    return np.unique(np.round(np.linspace(0, count - 1, at_most)).astype(np.intp))


def runs(good: ArrayLike) -> list[slice]:
    """Find the slices of consecutive true entries of the 1-d array `good`.

    >>> runs([True, True, False, True])
    [slice(0, 2, None), slice(3, 4, None)]
    """
    padded = np.concatenate([[False], np.asarray(good, dtype=bool), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def band(x: ArrayLike, low: ArrayLike, high: ArrayLike, colour: str, **trace: object) -> go.Scatter:
    """Shade a band between `low` and `high` over `x` (1-d, same length), broken wherever a bound is not finite.

    One closed polygon a run of finite points, so nothing is drawn across a missing value.
    """
    x, low, high = (np.asarray(v, dtype=float) for v in (x, low, high))
    xs: list[float] = []
    ys: list[float] = []
    for part in runs(np.isfinite(low) & np.isfinite(high)):
        if xs:
            xs.append(np.nan)
            ys.append(np.nan)
        xs += [*x[part], *x[part][::-1], x[part][0]]
        ys += [*high[part], *low[part][::-1], high[part][0]]
    settings: dict[str, object] = {"hoverinfo": "skip", "showlegend": False, "opacity": 1}
    return go.Scatter(
        x=compact(xs),
        y=compact(ys),
        mode="lines",
        fill="toself",
        fillcolor=fade(colour, 0.18),
        line={"width": 0, "color": colour},
        **(settings | trace),
    )


def empty(sentence: str) -> go.Figure:
    """Make a low figure that only says why there is nothing to show."""
    made = figure(150, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    made.add_annotation(text=sentence, xref="paper", yref="paper", x=0.5, y=0.5, font={"size": 15, "color": MUTED})
    return made


def compact(values: ArrayLike) -> NDArray[np.float32]:
    """`values` as float32, so that the page stays small: seven digits are more than a screen shows."""
    return np.asarray(values, dtype=np.float32)


def whole(steps: ArrayLike) -> NDArray[np.int64] | NDArray[np.float32]:
    """Make training steps integers, which plotly stores in two bytes each; NaN, a seed with fewer points, stays."""
    array = np.asarray(steps, dtype=float)
    return np.round(array).astype(np.int64) if np.isfinite(array).all() else compact(array)


def cells(*columns: Sequence[object] | NDArray[np.generic]) -> list[list[object]]:
    """Put columns side by side as rows for a hover template's customdata: plain values, floats to five digits."""
    plain = [np.asarray(c).tolist() if isinstance(c, np.ndarray) else list(c) for c in columns]
    return [[float(f"{v:.5g}") if isinstance(v, float) else v for v in row] for row in zip(*plain, strict=True)]


def points_a_curve(seeds: int, at_most: int) -> int:
    """Thin curves that are drawn for every seed more where there are many seeds, so that the page stays small."""
    return at_most if seeds <= 40 else max(60, at_most // 2)
