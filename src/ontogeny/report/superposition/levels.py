"""The LLC on the plateau, at the jump and after it: three numbers a jumping seed, and their mean over seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.analysis import t_interval
from ontogeny.estimators.status import usable

NEAR, FAR = 0.03, 0.1
"""Before and after are the checkpoints this far from the inflection, as fractions of training."""


def windows(measurements: xr.Dataset) -> list[tuple[float, float]]:
    """Return both windows in steps since the inflection: before, after."""
    length = float(np.nanmax(measurements["step"].values))
    return [(-FAR * length, -NEAR * length), (NEAR * length, FAR * length)]


def llc_across_jump(measurements: xr.Dataset, inflection: xr.DataArray) -> dict[str, Any]:
    """Mean λ̂ before, at and after the inflection, each with its 95 % t interval over the jumping seeds.

    Per seed: before and after are means over the usable estimates (`ontogeny.estimators.status.usable`) in the windows
    of `windows`, at is interpolated linearly in step between the usable checkpoints around the inflection. Only seeds
    that have all three enter, so that the difference of two means is the mean of the differences. inflection: (seed,),
    steps, NaN for a seed that does not jump. Returns {near, far, n, left_out, before, at, after, at_minus_before,
    after_minus_before, gap}: n seeds entered, left_out could not; a level as {mean, interval}; gap: median number of
    steps between the two checkpoints that at is interpolated between, None without seeds.
    """
    before, after = windows(measurements)
    rows, gaps = [], []
    for seed in (int(s) for s in inflection.dropna("seed")["seed"].values):
        one = measurements.sel(seed=seed)
        good = usable(one).values
        since = one["step"].values.astype(float)[good] - float(inflection.sel(seed=seed))
        llc = one["llc"].values.astype(float)[good]
        within = since.size and since[0] <= 0 <= since[-1]
        at = float(np.interp(0.0, since, llc)) if within else math.nan
        rows.append([_mean(llc, since, *before), at, _mean(llc, since, *after)])
        gaps.append(float(since[since >= 0].min() - since[since <= 0].max()) if within else math.nan)
    table = np.array(rows, dtype=float).reshape(-1, 3)
    whole = np.isfinite(table).all(1)
    first, middle, last = table[whole].T
    levels = {"before": first, "at": middle, "after": last}
    levels |= {"at_minus_before": middle - first, "after_minus_before": last - first}
    counts = {"n": len(first), "left_out": len(table) - len(first)}
    gap = float(np.median(np.array(gaps)[whole])) if len(first) else None
    return {"near": NEAR, "far": FAR, "gap": gap} | counts | {name: _level(values) for name, values in levels.items()}


def _mean(llc: np.ndarray, since: np.ndarray, low: float, high: float) -> float:
    inside = (since >= low) & (since <= high)
    return float(llc[inside].mean()) if inside.any() else math.nan


def _level(values: np.ndarray) -> dict[str, Any]:
    interval = t_interval(values)
    return {"mean": interval.mean, "interval": [interval.low, interval.high]}
