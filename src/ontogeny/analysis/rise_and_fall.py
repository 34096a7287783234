"""When a curve over training peaks, falls and arrives: one number a seed, so that seeds give the uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ontogeny.analysis.checks import Array, along, steps_of
from ontogeny.core.errors import OntogenyError

LAST = 3
"""The level at the end is the mean of so many last points."""
CLEARLY = 3.0
"""Standard errors that a fall must be, since the highest of many noisy points is too high by one or two."""
LEAST = 0.05
"""And the share of the peak that it must be, since errors of estimates say nothing of how a curve wanders."""


def peak_and_fall(curve: xr.DataArray, se: xr.DataArray | None = None) -> xr.Dataset:
    """The highest point of each seed's curve, and how far and when the curve has come down from it in the end.

    ``end`` is the mean of the last three points that are not NaN; ``fall`` = peak - end, with the error √(se² at the
    peak + Σ se²/9 of the last three), errors of different points taken as independent. The peak is the highest of all
    points, so of noisy ones it lies some errors too high. ``fell``, 1 or 0, asks that it lies before the last three,
    and for a fall of three errors and of 5 % of the peak. ``fall_step`` is where the curve has then first come halfway
    from the peak to the end, linear in log(1 + step) between points; ``trough`` is the lowest point after the peak.

    Args:
        curve: dims seed and checkpoint with coordinate ``step``; NaN where there is no usable value.
        se: its standard errors; None: no error.

    Returns:
        With dim ``seed``: ``peak``, ``peak_step``, ``end``, ``fall``, ``fall_se``, ``fell``, ``fall_step``, ``trough``
        and ``trough_step``, the last three NaN where nothing fell. A seed of fewer than five values is NaN throughout.
    """
    names = ("peak", "peak_step", "end", "fall", "fall_se", "fell", "fall_step", "trough", "trough_step")
    return _by_seed(_fall_of, names, curve, se)


def _by_seed(
    told: Callable[[Array, Array, Array], dict[str, float]],
    names: tuple[str, ...],
    curve: xr.DataArray,
    se: xr.DataArray | None,
) -> xr.Dataset:
    """What is told of each seed's steps, values and errors where there is a value; NaN where nothing is."""
    dim = along(curve, "curve")
    values = curve.transpose("seed", dim).values.astype(np.float64)
    errors = np.zeros_like(values) if se is None else se.transpose("seed", dim).values.astype(np.float64)
    rows = []
    for row in zip(steps_of(curve, "curve"), values, errors, strict=True):
        good = np.isfinite(row[1])
        rows.append(told(row[0][good], row[1][good], row[2][good]))
    return xr.Dataset(
        {name: ("seed", [row.get(name, math.nan) for row in rows]) for name in names},
        coords={"seed": curve["seed"].values},
    )


def _fall_of(steps: Array, values: Array, errors: Array) -> dict[str, float]:
    if len(values) < LAST + 2:
        return {}
    top = int(values.argmax())
    peak, end = float(values[top]), float(values[-LAST:].mean())
    end_se = float(np.sqrt((errors[-LAST:] ** 2).sum()) / LAST)
    fall, fall_se = peak - end, math.hypot(float(errors[top]), end_se)
    found = {"peak": peak, "peak_step": float(steps[top]), "end": end, "fall": fall, "fall_se": fall_se}
    fell = top < len(values) - LAST and fall > CLEARLY * fall_se and fall >= LEAST * abs(peak)
    if not fell:
        return found | {"fell": 0.0}
    low = top + int(values[top:].argmin())
    return found | {
        "fell": 1.0,
        "fall_step": first_below(steps[top:], values[top:], peak - fall / 2),
        "trough": float(values[low]),
        "trough_step": float(steps[low]),
    }


def first_hill(curve: xr.DataArray, se: xr.DataArray | None = None) -> xr.Dataset:
    """The first peak of each seed's curve that is followed by a fall, and the lowest point before it rises again.

    A fall, and the rise after it, are of more than three errors of the difference and of 5 % of the peak. What comes
    later may be higher by far: :func:`peak_and_fall` asks for the highest point.

    Args:
        curve: dims seed and checkpoint with coordinate ``step``; NaN where there is no usable value.
        se: its standard errors; None: no error.

    Returns:
        With dim ``seed``: ``peak``, ``peak_step``, ``trough`` and ``trough_step``, NaN where nothing falls.
    """
    return _by_seed(_hill_of, ("peak", "peak_step", "trough", "trough_step"), curve, se)


def _hill_of(steps: Array, values: Array, errors: Array) -> dict[str, float]:
    top = low = 0
    for place in range(len(values)):
        least = max(CLEARLY * math.hypot(errors[top], errors[place]), LEAST * abs(values[top]))
        if low == top:  # still climbing
            top = low = place if values[place] >= values[top] else top
            low = place if values[top] - values[place] > least else low
        elif values[place] < values[low]:
            low = place
        elif values[place] - values[low] > least:
            break
    if low == top:
        return {}
    names = ("peak", "peak_step", "trough", "trough_step")
    return dict(zip(names, map(float, (values[top], steps[top], values[low], steps[low])), strict=True))


def first_below(steps: Array, values: Array, level: float) -> float:
    """Where a curve first comes down to ``level``, linear in log(1 + step) between points; NaN if it never does."""
    below = np.flatnonzero(values <= level)
    if not below.size:
        return math.nan
    after = int(below[0])
    if after == 0:
        return float(steps[0])
    share = (values[after - 1] - level) / (values[after - 1] - values[after])
    place = np.log1p(steps[after - 1]) + share * (np.log1p(steps[after]) - np.log1p(steps[after - 1]))
    return float(np.expm1(place))


def since(steps: Array, true: NDArray[np.bool_]) -> float:
    """The first step from which something is true to the end; NaN where it is not at the end."""
    wrong = np.flatnonzero(~true)
    place = int(wrong[-1]) + 1 if wrong.size else 0
    return float(steps[place]) if place < len(steps) else math.nan


def arrival(curve: xr.DataArray, share: float) -> xr.DataArray:
    """The first step from which each seed's curve stays at or above ``share`` of its value at the end; dim ``seed``.

    The end is the mean of the last three points that are not NaN; NaN where that is not positive.

    Raises:
        OntogenyError: if ``share`` is not between 0 and 1.
    """
    if not 0 < share <= 1:
        raise OntogenyError(f"share must be above 0 and at most 1; got {share!r}.")
    dim = along(curve, "curve")
    found = []
    for steps, row in zip(
        steps_of(curve, "curve"), curve.transpose("seed", dim).values.astype(np.float64), strict=True
    ):
        good = np.isfinite(row)
        steps, row = steps[good], row[good]
        if not row.size or (end := row[-LAST:].mean()) <= 0:
            found.append(math.nan)
            continue
        found.append(since(steps, ~(row < share * end)))
    return xr.DataArray(found, dims="seed", coords={"seed": curve["seed"].values})
