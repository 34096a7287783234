"""Where an indicator that drifts smoothly also jumps: change points of each seed's series, by PELT.

Indicators of training trend and jump. Piecewise-constant segments break all along a trend, and a trend that is free
of noise (a loss over all data, a norm) is broken by any piecewise model, since nothing but noise sets the scale of a
misfit. So there are two stages:

1. Proposals. Each segment is a straight line in the clock u = ½·log(1 + t)/log(1 + T) + ½·t/T, t the steps since the
   first point and T the last: half of it runs with log step, half with step, as checkpoints are usually set. With d
   columns, n points and errors σ, PELT (Killick, Fearnhead and Eckley, JASA 2012; the package ruptures) minimises
   Σ (residual/σ)² + penalty × changes, by default penalty = (2d + 2)·log n: BIC's log n for the two coefficients a
   column, for the place, and for σ, which is estimated. Breaks with at most `SPREAD` − 1 intervals between them are one
   change that several checkpoints resolve, less the intervals at its ends that hold less than `LEAST_PART` of it.
2. Judgement. Beside each proposal a line through at most `NEAR` points on either side gives the level just before and
   just after, both at the middle of the change: their difference is its size, and the trend cancels. It is kept if
   Σ (size/its error)² passes the χ²_d quantile at `SIGNIFICANCE` (with σ estimated d times that of F with d and n/2
   degrees of freedom, which is about what the estimate below is worth), if the size is at least `STANDS_OUT` times
   what the steeper of the two lines moves across the same interval (in root mean square over columns, in units of σ),
   and if the values at its two ends themselves differ by a quarter of the size or more: a trend's bend, which would be
   a change of slope only, is no change here.

σ is `se` where given, else, for each column, the 70 % quantile of |r|/√(1 + a² + b²) over the inner points, divided by
that of a standard normal (1.0364); r is what a point differs from the straight line between its neighbours (weights a
and b). A jump touches two of them, so that a few jumps hardly raise it (its error is a fifth below the median's), and
of a smooth noisy series it sees the noise. A given `se` is raised by the same estimate's ratio to it, taken of the
series in units of se, where that is above 1: weights move at random between checkpoints too, and such scatter is no
change, however exactly each checkpoint is measured.

Measured on series of 40 points: with `se`, a jump of 5σ is found within a checkpoint in 93-97 % of the series, flat or
with a gentle trend, and a smooth trend without a jump gives 0.00-0.05 changes a series; with σ estimated it is 87-95 %
and 0.01-0.09. A trend that falls by 8σ within three intervals is taken for a change in one series of six. A jump that
is less than twice what the trend moves within the same interval stays hidden, and a rise that takes more than `SPREAD`
intervals is a trend.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, along, seeds_of, steps_of, variable
from ontogeny.analysis.events import event_table
from ontogeny.core.errors import OntogenyError

SPREAD = 4
"""Most intervals that one change may extend over."""
NEAR = 10
"""Most points on either side whose line gives the level there."""
LEAST_PART = 0.15
"""Of a change: an interval at its end that holds less does not belong to it."""
LEAST_SEEN = 0.25
"""Part of a change's size by which the values at its ends must differ."""
SIGNIFICANCE = 2e-3
STANDS_OUT = 2.0
TRANSFORMS = (None, "log")
MIN_POINTS = 8


class Change(NamedTuple):
    """One change: between the points `before` and `after` (indices), `size` in the indicator's units, a column each."""

    before: int
    after: int
    size: Array


def change_points(
    indicator: xr.DataArray,
    se: xr.DataArray | None = None,
    *,
    penalty: float | None = None,
    min_points: int = 2,
    transform: str | None = None,
) -> xr.Dataset:
    """Find the jumps of an indicator in each seed by itself (the module's text says how, and what counts as one).

    Noise is taken as independent from point to point: an indicator that wanders (autocorrelation 0.7 between
    neighbouring points, a random walk) has about two changes a series of 40 that nothing jumped at.

    indicator: (seed, checkpoint or time), with the coordinate `step`; more dims, as `feature`, are columns whose jumps
    are sought together, so that one change is one event however many columns take part. se: its standard errors, same
    dims; without it, or where it is too small for the scatter seen, the noise is estimated from the series. A point
    where any column (or its se) is not finite is left out; a column that is constant or finite nowhere says nothing and
    is dropped; a seed with fewer than 8 points left has no changes. penalty: of one more change, in units of the
    noise's variance; None: (2d + 2)·log n.
    min_points: fewest points between two breaks, at least 2. transform: "log" looks at the logarithm of a positive
    indicator (a loss that falls over decades).

    Returns an event table (`ontogeny.analysis.events.event_table`) of kind "change": `seed`, `step`, the middle of
    `low` and `high`, the steps of the last point before and the first after; `size`, the change of level (in log units
    with transform="log"), with its sign for one column and as the Euclidean norm over several. A change cannot be
    placed better than between these two steps.

    Raises: OntogenyError for other dims, an se that does not match or is not positive, a penalty that is not positive,
    min_points below 2, an unknown transform, and values that are not positive with "log".
    """
    if penalty is not None and not (math.isfinite(penalty) and penalty > 0):
        raise OntogenyError(f"penalty must be positive and finite; got {penalty}: leave it out for (2d + 2)·log n.")
    if min_points < 2:
        raise OntogenyError(f"min_points must be at least 2, since a line takes two; got {min_points}.")
    if transform not in TRANSFORMS:
        raise OntogenyError(f"transform must be one of {TRANSFORMS}; got {transform!r}: apply any other beforehand.")
    dim, values = _columns(indicator, "indicator")
    errors = np.full_like(values, np.nan)
    if se is not None:
        if not isinstance(se, xr.DataArray) or set(se.dims) != set(indicator.dims) or se.sizes != indicator.sizes:
            came = dict(se.sizes) if isinstance(se, xr.DataArray) else type(se).__name__
            raise OntogenyError(
                f"se must be a DataArray with the dims and sizes of indicator, {dict(indicator.sizes)}; got {came}."
            )
        if "seed" in se.coords and not np.array_equal(se["seed"], indicator["seed"]):
            raise OntogenyError("se must hold the seeds of indicator in the same order: select both alike.")
        if "step" in se.coords and not np.array_equal(steps_of(se, "se"), steps_of(indicator, "indicator")):
            raise OntogenyError("se must be measured at the steps of indicator: select both alike.")
        if (se.values[np.isfinite(se.values)] <= 0).any():
            raise OntogenyError("se must be positive; got 0 or less: set it to NaN where there is no error to give.")
        errors = _columns(se.transpose(*indicator.dims).assign_coords(step=indicator["step"]), "se")[1]
    if transform == "log":
        if (values[np.isfinite(values)] <= 0).any():
            raise OntogenyError(
                "indicator must be positive for transform='log'; got values of 0 or less: leave it out."
            )
        values, errors = np.log(values), errors / values
    rows: list[tuple[int, float, float, float, float]] = []
    seeds, steps = seeds_of(indicator), steps_of(indicator, "indicator")
    order = np.argsort(seeds, kind="stable")
    for i in order:
        known = np.isfinite(steps[i])
        t, y = steps[i][known], values[i][known]
        error = errors[i][known] if se is not None else None
        t, y, error = _complete(t, y, error)
        for change in find_changes(t, y, error, penalty, min_points):
            low, high = float(t[change.before]), float(t[change.after])
            size = float(change.size[0]) if len(change.size) == 1 else float(np.sqrt((change.size**2).sum()))
            rows.append((int(seeds[i]), (low + high) / 2, size, low, high))
    table = event_table([r[0] for r in rows], [r[1] for r in rows], "change")
    units = "log" if transform == "log" else str(indicator.attrs.get("units", ""))
    table["size"] = variable(("event",), np.array([r[2] for r in rows]), "change of level", units)
    table["low"] = variable(("event",), np.array([r[3] for r in rows]), "last point before the change", "steps")
    table["high"] = variable(("event",), np.array([r[4] for r in rows]), "first point after the change", "steps")
    table.attrs |= {"along": dim, "min_points": min_points, "transform": str(transform)}
    table.attrs["penalty"] = "(2d + 2) log n" if penalty is None else penalty
    return table


def find_changes(
    steps: Array, values: Array, errors: Array | None, penalty: float | None = None, min_points: int = 2
) -> list[Change]:
    """Find the changes of one seed: steps (points,), values and errors (points, columns), all finite."""
    from scipy.stats import chi2, f

    n, columns = values.shape
    if n < max(MIN_POINTS, 2 * min_points) or columns == 0:
        return []
    clock = _clock(steps)
    reach = np.ptp(values, axis=0)
    if errors is None:
        sigma = np.broadcast_to(_roughness(clock, values, np.ones_like(values)), values.shape)
    else:
        sigma = errors * np.maximum(_roughness(clock, values, errors), 1.0)
    sigma = np.maximum(sigma, 1e-6 * np.where(reach > 0, reach, 1.0))  # a series without any noise still needs a scale
    charge = (2 * columns + 2) * math.log(n) if penalty is None else penalty
    least = columns * f.isf(SIGNIFICANCE, columns, n / 2) if errors is None else chi2.isf(SIGNIFICANCE, columns)
    groups: list[list[int]] = []
    for first in _breaks(clock, values, sigma, charge, min_points):
        if groups and first - groups[-1][0] < SPREAD:
            groups[-1].append(first)
        else:
            groups.append([first])
    edges = [0, *(group[-1] for group in groups)], [*(group[0] for group in groups), n]
    changes = []
    for k, group in enumerate(groups):
        start, stop = edges[0][k], edges[1][k + 1]
        whole = Sides.around(clock, values, sigma, group[0] - 1, group[-1], start, stop)
        toward = values[group[0] - 1 : group[-1] + 1] @ (whole.size / sigma[group[0]] ** 2)
        before, after = _trimmed(toward, group[0] - 1)
        sides = Sides.around(clock, values, sigma, before, after, start, stop)
        if sides.stand_out(sigma[before], least, values[after] - values[before]):
            changes.append(Change(before, after, sides.size))
    return changes


class Sides(NamedTuple):
    """Lines on both sides of a change; all (columns,).

    `size` is the difference of their values at its middle, `variance` that one's, `moved` what the steeper of them
    moves across it.
    """

    size: Array
    variance: Array
    moved: Array

    @classmethod
    def around(cls, clock: Array, values: Array, sigma: Array, before: int, after: int, start: int, stop: int) -> Sides:
        """Lay them through points from `start` to `before` and from `after` on to below `stop`, `NEAR` at most."""
        left, right = slice(max(start, before + 1 - NEAR), before + 1), slice(after, min(stop, after + NEAR))
        x = clock - (clock[before] + clock[after]) / 2
        low, slope_low, error_low = _line(x[left], values[left], sigma[left])
        high, slope_high, error_high = _line(x[right], values[right], sigma[right])
        moved = np.maximum(np.abs(slope_low), np.abs(slope_high)) * (clock[after] - clock[before])
        return cls(high - low, error_low + error_high, moved)

    def stand_out(self, sigma: Array, least: float, apart: Array) -> bool:
        """Tell whether neither noise (Σ (size/error)² below `least`) nor trend nor bend explains the change.

        apart: difference of the values themselves at its ends.
        """
        size, moved, seen = ((x / sigma**2).sum() for x in (self.size**2, self.moved**2, self.size * apart))
        beyond_noise = (self.size**2 / self.variance).sum() > least
        return bool(beyond_noise and size > STANDS_OUT**2 * moved and seen > LEAST_SEEN * size)


def _columns(array: xr.DataArray, name: str) -> tuple[str, Array]:
    """(dim along training, values (seed, points, columns)); every dim but seed and that one becomes columns."""
    extra = tuple(str(d) for d in getattr(array, "dims", ()) if d not in ("seed", "checkpoint", "time"))
    dim = along(array, name, extra=extra)
    values = np.asarray(array.transpose("seed", dim, *extra).values, dtype=np.float64)
    return dim, values.reshape(*values.shape[:2], -1)


def _complete(t: Array, y: Array, error: Array | None) -> tuple[Array, Array, Array | None]:
    """Drop the columns that say nothing, then the points at which one of the others, or its error, is missing."""
    some = [k for k in range(y.shape[1]) if np.isfinite(y[:, k]).any() and np.ptp(y[np.isfinite(y[:, k]), k]) > 0]
    y = y[:, some]
    whole = np.isfinite(y).all(1)
    if error is not None:
        error = error[:, some]
        whole &= np.isfinite(error).all(1)
        return t[whole], y[whole], error[whole]
    return t[whole], y[whole], None


def _clock(steps: Array) -> Array:
    t = steps - steps[0]
    return np.asarray(0.5 * np.log1p(t) / np.log1p(t[-1]) + 0.5 * t / t[-1])


def _roughness(clock: Array, values: Array, errors: Array) -> Array:
    """Robust noise of each column in units of its errors, (columns,), from each point and its neighbours' line."""
    a = ((clock[2:] - clock[1:-1]) / (clock[2:] - clock[:-2]))[:, None]
    off = values[1:-1] - a * values[:-2] - (1 - a) * values[2:]
    variance = errors[1:-1] ** 2 + a**2 * errors[:-2] ** 2 + (1 - a) ** 2 * errors[2:] ** 2
    return np.asarray(np.quantile(np.abs(off) / np.sqrt(variance), 0.7, axis=0) / 1.0364)


def _breaks(clock: Array, values: Array, sigma: Array, charge: float, min_points: int) -> list[int]:
    """First indices of the segments after the first, by PELT with a straight line a segment."""
    import ruptures

    search = ruptures.Pelt(custom_cost=_line_cost(clock, sigma, min_points), min_size=min_points, jump=1)
    return [int(k) for k in search.fit(values).predict(pen=charge)[:-1]]


def _line_cost(clock: Array, sigma: Array, min_points: int) -> Any:
    """Cost of a segment for ruptures: weighted residual sum of squares of its straight line, from running sums."""
    from ruptures.base import BaseCost

    class LineCost(BaseCost):  # type: ignore[misc]
        model = "line"
        min_size = min_points

        def fit(self, signal: Array) -> LineCost:
            self.signal = signal
            w, u = 1 / sigma**2, clock[:, None]
            y = signal - signal.mean(0)
            terms = np.stack([w, w * u, w * u**2, w * y, w * u * y, w * y**2])
            self.sums = np.concatenate([np.zeros_like(terms[:, :1]), terms.cumsum(1)], axis=1)
            return self

        def error(self, start: int, end: int) -> float:
            w, u, uu, y, uy, yy = self.sums[:, end] - self.sums[:, start]
            slope_part = (uy - u * y / w) ** 2 / np.maximum(uu - u**2 / w, 1e-300)
            return float(np.maximum(yy - y**2 / w - slope_part, 0.0).sum())

    return LineCost()


def _trimmed(level: Array, first: int) -> tuple[int, int]:
    """(before, after) of a change without the outer intervals that hold less than `LEAST_PART` of it.

    level: (points,), the values from the point `first` on, projected on the change.
    """
    moved = np.diff(level)
    a, b, least = 0, len(moved), LEAST_PART * float(moved.sum())
    while b - a > 1 and min(moved[a], moved[b - 1]) < least:
        if moved[a] < moved[b - 1]:
            a += 1
        else:
            b -= 1
    return first + a, first + b


def _line(x: Array, y: Array, sigma: Array) -> tuple[Array, Array, Array]:
    """Value at 0 of the least-squares line, its slope, and the variance of that value, all (columns,)."""
    centre = x.mean()
    off = (x - centre)[:, None]
    spread = float((off**2).sum())
    slope = (off * y).sum(0) / spread if len(x) > 1 else np.zeros(y.shape[1])
    weights = 1 / len(x) - (off * centre / spread if len(x) > 1 else 0.0)
    return y.mean(0) - slope * centre, slope, (weights**2 * sigma**2).sum(0) + 0.0 * y[0]
