"""Where an (r)LLC curve turns and where it stays: peaks, troughs and plateaus along training, placed with uncertainty.

These are the boundaries of developmental stages in Hoogland et al. (arXiv:2402.02364) and Wang et al.
(arXiv:2410.02984). σ is the curve's standard error, R its range, and u = log(1 + step), scaled to run from 0 at the
first to 1 at the last point. How w* wanders between checkpoints is in no standard error; that is why a share of R is
asked for too.

- A turn is an extreme point from which the curve moves away, on both sides, by more than ``clearly`` errors of the
  difference and by more than ``least``·R. Peaks and troughs alternate; the ends of the curve are none.
- It lies between ``low`` and ``high``: the points next to those, on both sides, that are within two errors of the
  difference of the extreme value. So with noise a broad peak is known to lie somewhere on its top.
- A plateau is a longest run of points whose line, fitted with weights 1/σ², is surely flat: |slope| and two of its
  errors are together at most ``flat``·R per unit of clock; the points are within three errors and ``least``·R of their
  mean; and it lasts for ``lasting`` of the clock and three points at least. With large errors nothing is surely flat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, errors_alike, series, variable
from ontogeny.analysis.events import event_table
from ontogeny.core.errors import OntogenyError

MIN_POINTS = 5
"""Of a seed's curve; with fewer nothing is found."""
NEAR = 2.0
"""Errors of the difference within which a point may be the extreme one."""
OFF_THE_LEVEL = 3.0
"""Errors by which a point of a plateau may miss its level."""


@dataclass(frozen=True)
class TurnRules:
    """What counts as a turn and as a plateau; the module's text has the meaning of each number.

    Raises:
        OntogenyError: if a number is not positive, or a share is above 1.
    """

    clearly: float = 3.0
    least: float = 0.05
    flat: float = 0.25
    lasting: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), math.inf if field.name == "clearly" else 1.0
            if not 0 < value <= most:
                limit = "" if most == math.inf else " and at most 1"
                raise OntogenyError(f"{field.name} must be above 0{limit}; got {value!r}.")


RULES = TurnRules()


class Turn(NamedTuple):
    """A turn or a plateau of one seed's curve, by the indices of its points.

    ``place`` is the extreme point, of a plateau the one in its middle; ``first`` and ``last`` bound where it lies.
    """

    kind: str
    place: int
    first: int
    last: int
    change: float
    change_se: float


class Curve(NamedTuple):
    """One seed's curve where it is finite: steps, values and errors σ, (points,)."""

    seed: int
    steps: Array
    values: Array
    errors: Array

    @property
    def range(self) -> float:
        """R, highest less lowest."""
        return float(self.values.max() - self.values.min())


def turning_points(curve: xr.DataArray, se: xr.DataArray | None = None, rules: TurnRules = RULES) -> xr.Dataset:
    """The peaks, troughs and plateaus of each seed's curve.

    Args:
        curve: dims (seed, checkpoint) with the coordinate ``step``; NaN where there is no usable value.
        se: its standard errors; None: no error, so that shares of the range alone decide.
        rules: what counts.

    Returns:
        An event table (``ontogeny.analysis.events.event_table``) of kinds "peak", "trough" and "plateau", with ``low``
        and ``high``, the steps between which it lies (of a plateau, from which to which it lasts); ``value`` and
        ``value_se`` there; ``change`` and ``change_se``: of a turn, how far the curve comes from the turn before (or
        its first point), of a plateau, how far its line moves along it. A seed of fewer than five points has none.

    Raises:
        OntogenyError: for other dims, or errors that do not match or are negative.
    """
    rows: list[tuple[Curve, Turn]] = []
    for one in curves_of(curve, se):
        rows += [(one, turn) for turn in sorted([*turns(one, rules), *plateaus(one, rules)], key=lambda t: t.place)]
    table = event_table(
        [one.seed for one, _ in rows],
        [float(one.steps[turn.place]) for one, turn in rows],
        [turn.kind for _, turn in rows],
    )
    columns = {
        "low": ([one.steps[turn.first] for one, turn in rows], "step from which it may lie", "steps"),
        "high": ([one.steps[turn.last] for one, turn in rows], "step up to which it may lie", "steps"),
        "value": ([one.values[turn.place] for one, turn in rows], "value there", ""),
        "value_se": ([one.errors[turn.place] for one, turn in rows], "standard error of that", ""),
        "change": ([turn.change for _, turn in rows], "change up to it, of a plateau along it", ""),
        "change_se": ([turn.change_se for _, turn in rows], "standard error of that", ""),
    }
    order = np.lexsort(([one.steps[turn.place] for one, turn in rows], [one.seed for one, _ in rows]))
    for name, (values, words, units) in columns.items():
        table[name] = variable(("event",), np.asarray(values, dtype=np.float64)[order], words, units)
    return table


def curves_of(curve: xr.DataArray, se: xr.DataArray | None) -> list[Curve]:
    """Each seed's curve where value and error are finite; without the seeds of fewer than five points.

    Raises:
        OntogenyError: as :func:`turning_points`.
    """
    own = series(curve, "curve")
    found = []
    for one, errors in zip(own, errors_alike(se, own, "curve"), strict=True):
        good = np.isfinite(one.values) & np.isfinite(errors.values)
        if good.sum() >= MIN_POINTS:
            found.append(Curve(one.seed, one.steps[good], one.values[good], errors.values[good]))
    return found


def turns(curve: Curve, rules: TurnRules) -> list[Turn]:
    """The peaks and troughs of one curve, in order."""
    _, _, values, errors = curve
    least = rules.least * curve.range
    extremes: list[tuple[str, int]] = []
    high = low = 0
    direction = 0  # not known yet; then 1 while it climbs, -1 while it falls
    for place in range(1, len(values)):
        high, low = (place if values[place] > values[high] else high), (place if values[place] < values[low] else low)
        if direction >= 0 and _apart(values, errors, high, place, rules.clearly) > least and place > high:
            if direction > 0 or high > 0:
                extremes.append(("peak", high))
            direction, low, high = -1, place, place
        elif direction <= 0 and _apart(values, errors, low, place, rules.clearly) > least and place > low:
            if direction < 0 or low > 0:
                extremes.append(("trough", low))
            direction, low, high = 1, place, place
    return [
        _turn(curve, extremes, number) for number in range(len(extremes)) if _is_turn(curve, extremes, number, rules)
    ]


def _apart(values: Array, errors: Array, one: int, other: int, clearly: float) -> float:
    """|difference| where it is more than so many errors, else 0."""
    difference = abs(float(values[one] - values[other]))
    return difference if difference > clearly * math.hypot(errors[one], errors[other]) else 0.0


def _is_turn(curve: Curve, extremes: list[tuple[str, int]], number: int, rules: TurnRules) -> bool:
    """The first extreme has only the curve's beginning before it, which may be no clear move away."""
    if number:
        return True
    kind, place = extremes[0]
    before = curve.values[: place + 1]
    start = int(before.argmin() if kind == "peak" else before.argmax())
    return _apart(curve.values, curve.errors, start, place, rules.clearly) > rules.least * curve.range


def _turn(curve: Curve, extremes: list[tuple[str, int]], number: int) -> Turn:
    kind, place = extremes[number]
    _, _, values, errors = curve
    start = extremes[number - 1][1] if number else 0
    stop = extremes[number + 1][1] if number + 1 < len(extremes) else len(values) - 1
    near = np.abs(values - values[place]) <= NEAR * np.hypot(errors, errors[place])
    inside = np.flatnonzero(near[start : stop + 1]) + start
    first, last = max(int(inside[0]) - 1, 0), min(int(inside[-1]) + 1, len(values) - 1)
    change = float(values[place] - values[start])
    return Turn(kind, place, first, last, change, math.hypot(errors[place], errors[start]))


def plateaus(curve: Curve, rules: TurnRules) -> list[Turn]:
    """The longest runs that are surely flat, none sharing a point with another, in order."""
    clock, points = np.log1p(curve.steps), len(curve.steps)
    clock = (clock - clock[0]) / (clock[-1] - clock[0])
    runs = [
        (clock[j] - clock[i], i, j)
        for i in range(points)
        for j in range(i + 2, points)
        if clock[j] - clock[i] >= rules.lasting
    ]
    found: list[Turn] = []
    for _, i, j in sorted(runs, reverse=True):
        if any(i <= one.last and one.first <= j for one in found):
            continue
        slope, slope_se, misses = _line(clock[i : j + 1], curve.values[i : j + 1], curve.errors[i : j + 1])
        flat = abs(slope) + 2 * slope_se <= rules.flat * curve.range
        if flat and (misses <= OFF_THE_LEVEL * curve.errors[i : j + 1] + rules.least * curve.range).all():
            middle = int(np.abs(clock - (clock[i] + clock[j]) / 2)[i : j + 1].argmin()) + i
            found.append(Turn("plateau", middle, i, j, slope * (clock[j] - clock[i]), slope_se * (clock[j] - clock[i])))
    return sorted(found, key=lambda one: one.place)


def _line(clock: Array, values: Array, errors: Array) -> tuple[float, float, Array]:
    """Slope of the weighted line, its standard error, and how far each point is from the mean; errors 0 weigh alike."""
    weights = 1 / errors**2 if (errors > 0).all() else np.ones_like(errors)
    middle, level = np.average(clock, weights=weights), np.average(values, weights=weights)
    spread = float((weights * (clock - middle) ** 2).sum())
    slope = float((weights * (clock - middle) * (values - level)).sum() / spread)
    error = spread**-0.5 if (errors > 0).all() else 0.0
    return slope, error, np.abs(values - level)
