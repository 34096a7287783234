"""How far an indicator moves over training, in three definitions, and how that differs between regimes.

With x_1 … x_n the finite values of one seed in the order of training and s_i their standard errors, 0 when not given:

- net_change: |mean(x_{n−2}, x_{n−1}, x_n) − mean(x_1, x_2, x_3)|; `signed` is the same without the bars.
- range: max_i x_i − min_i x_i, less its noise floor.
- total_variation: Σ_{i<n} |x_{i+1} − x_i|, less its noise floor.

A noise floor is what the definition is on average when nothing changes and x_i = constant + s_i·ξ_i with independent
ξ_i ~ N(0, 1):

- net_change: √(2/π)·√(Σ s_i² over the six points)/3; told in `noise_floor`, but not taken off: `signed` has no such
  bias.
- range: ∫ (1 − Π_i Φ(u/s_i) − Π_i Φ(−u/s_i)) du over all u, the mean of the highest less the lowest of n independent
  normal values.
- total_variation: √(2/π)·Σ √(s_i² + s_{i+1}²).

Where signal and noise mix, range and total variation lie on average between the signal's own and the signal's own plus
the floor (convexity; triangle inequality). So what is left after the floor is taken off never overstates the drift on
average, and understates it by at most the floor. Errors that checkpoints have in common (the same minibatches) move the
differences less than independent ones: then the floor is too high and the drift understated, within the same bound.
Total variation grows with the number of checkpoints wherever the indicator goes up and down between them: compare it
between groups with the same checkpoints only (`points` tells how many each seed has).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, Series, errors_alike, series, variable
from ontogeny.analysis.intervals import LEVEL, bootstrap_t_interval, difference_interval, ratio_interval
from ontogeny.core.errors import OntogenyError

DEFINITIONS = ("net_change", "range", "total_variation")
SCALES = ("raw", "relative")
ENDS = 3  # values averaged at each end for the net change
FLOOR_TAKEN_OFF = (False, True, True)


def drift(indicator: xr.DataArray, se: xr.DataArray | None = None, unit_of: xr.DataArray | None = None) -> xr.Dataset:
    """Drift of an indicator within each seed, in the three definitions of the module's text, with means over seeds.

    indicator, se: (seed, checkpoint or time), with the coordinate `step`; se is the values' own standard error, from
    which the noise floors are made, and without it they are 0. Values that are not finite, or whose se is not, are left
    out; seeds with fewer than six that stay have NaN. unit_of: the indicator whose size relative drift is measured in,
    same seeds; by default the indicator itself (give another where the indicator is near zero for most of training).

    Returns a Dataset with dims `definition`, `seed`: `drift`, `noise_floor`, in the indicator's unit;
    `relative_drift`, drift over `size`; `size` (seed), the median of |unit_of| over the seed's finite values; `signed`
    (seed), the net change with its sign; `points` (seed), the values that entered. By definition `mean`, `se`, `low`,
    `high`, `seeds` of drift over the seeds with a finite one (bootstrap-t, 95 %), and `relative_mean`, `relative_se`,
    `relative_low`, `relative_high`, `relative_seeds` of relative drift. `floor_taken_off` (definition) says where
    drift is without its floor. A drift without its floor may be negative: then the seed moved less than noise does on
    average.

    Raises:
        OntogenyError: for wrong dims, a negative se, or se and unit_of of other seeds or steps.

    >>> steps = np.arange(10.0)
    >>> rising = xr.DataArray([steps, 2 * steps], dims=("seed", "checkpoint"), coords={"step": ("checkpoint", steps)})
    >>> drift(rising).drift.sel(definition="range").values.tolist()
    [9.0, 18.0]
    """
    rows = series(indicator, "indicator")
    errors = errors_alike(se, rows)
    sizes = rows if unit_of is None else _same_seeds(unit_of, "unit_of", rows)
    cells = [_of_seed(one.values, error.values) for one, error in zip(rows, errors, strict=True)]
    raw, floors = (np.array([cell[k] for cell in cells]).T for k in (0, 1))
    size = np.array([_size(one.values) for one in sizes])
    relative = np.divide(raw, size, out=np.full_like(raw, np.nan), where=size > 0)
    unit, of = indicator.attrs.get("units", ""), indicator.attrs.get("long_name", indicator.name or "indicator")
    both = ("definition", "seed")
    return xr.Dataset(
        {
            "drift": variable(both, raw, f"drift of {of}", unit),
            "relative_drift": variable(both, relative, f"drift of {of} over its size"),
            "noise_floor": variable(both, floors, "drift of noise alone, on average", unit),
            "floor_taken_off": variable(("definition",), FLOOR_TAKEN_OFF, "drift is less its noise floor"),
            "signed": variable(("seed",), [cell[2] for cell in cells], "net change with its sign", unit),
            "size": variable(("seed",), size, "median of the absolute values over training", unit),
            "points": variable(("seed",), [cell[3] for cell in cells], "values that entered", "checkpoints"),
            **_over_seeds(raw, "", f"mean drift of {of} over seeds", unit),
            **_over_seeds(relative, "relative_", f"mean relative drift of {of} over seeds", ""),
        },
        coords={"definition": list(DEFINITIONS), "seed": np.array([one.seed for one in rows])},
        attrs={"level": LEVEL, "interval": "bootstrap-t over seeds", "se_given": se is not None},
    )


def compare_drifts(groups: Mapping[Any, xr.Dataset], reference: Any) -> xr.Dataset:
    """Mean drift of each group against the reference group's: the ratio, by Fieller's theorem, and Welch's difference.

    groups: tables from `drift` by name (a sparsity, a setting); reference: one of the names. The groups' seeds are
    taken as independent; where the same seed of two groups shares its initial weights, and their drifts go up and down
    together, the intervals are too long.

    Returns a Dataset with dims `group`, `definition`, `scale` ("raw", in the indicator's unit; "relative", in units of
    its size): `ratio` = mean/mean of the reference, with `ratio_low`, `ratio_high` and `ratio_bounded` (False: the
    reference's drift is not told from zero, so that the ratio has no bounds); `difference` = mean − mean of the
    reference, with `difference_se`, `difference_low`, `difference_high`; `seeds`, with a finite drift. All at 95 %,
    each interval by itself. The reference's own row is 1 and 0, with no width.

    Raises:
        OntogenyError: without groups, or for a reference or a table that is not there.
    """
    if reference not in groups:
        raise OntogenyError(f"reference must be one of the groups; got {reference!r}, and the groups {list(groups)}.")
    for name, table in groups.items():
        if not isinstance(table, xr.Dataset) or not {"drift", "relative_drift"} <= set(table):
            raise OntogenyError(f"groups must hold tables from drift(...); group {name!r} is {type(table).__name__}.")
    cells = [
        [[_against(values, base, name == reference) for values, base in _paired(table, groups[reference], definition)]
         for definition in DEFINITIONS]
        for name, table in groups.items()
    ]  # fmt: skip
    unit = groups[reference]["drift"].attrs.get("units", "")
    names = {
        "ratio": "mean drift over the reference's",
        "ratio_low": "lower end of its interval",
        "ratio_high": "upper end of its interval",
        "ratio_bounded": "the ratio's interval has ends",
        "difference": "mean drift minus the reference's",
        "difference_se": "its standard error",
        "difference_low": "lower end of its interval",
        "difference_high": "upper end of its interval",
        "seeds": "seeds with a finite drift",
    }
    units = {name: f"{unit} (raw)" for name in names if name.startswith("difference") and unit} | {"seeds": "seeds"}
    columns = {
        name: np.array([[[cell[k] for cell in row] for row in group] for group in cells])
        for k, name in enumerate(names)
    }
    return xr.Dataset(
        {
            n: variable(("group", "definition", "scale"), columns[n], text, units.get(n, ""))
            for n, text in names.items()
        },
        coords={"group": list(groups), "definition": list(DEFINITIONS), "scale": list(SCALES)},
        attrs={"reference": reference, "level": LEVEL, "interval": "Fieller (ratio) and Welch (difference) over seeds"},
    )


def range_of_noise(se: Array) -> float:
    """Mean of max − min of independent N(0, s_i²), i = 1 … n: ∫ (1 − Π Φ(u/s_i) − Π Φ(−u/s_i)) du; se: (n,).

    >>> round(range_of_noise(np.ones(2)), 4)  # 2/√π
    1.1284
    """
    from scipy.special import ndtr

    s = np.asarray(se, dtype=np.float64)
    if len(s) < 2 or s.max() == 0:
        return 0.0
    # the integrand is even, and changes on the scale of s: the grid is fine near 0, where the smallest errors matter
    u = s.max() * 9 * np.linspace(0, 1, 1201) ** 2
    scaled = np.divide(u[:, None], s, out=np.full((len(u), len(s)), np.inf), where=s > 0)
    scaled[0] = 0
    integrand = 1 - ndtr(scaled).prod(1) - ndtr(-scaled).prod(1)
    return 2 * float(np.trapezoid(integrand, u))


def _of_seed(values: Array, errors: Array) -> tuple[list[float], list[float], float, int]:
    """(drift by definition, noise floor by definition, signed net change, points) of one seed."""
    known = np.isfinite(values) & np.isfinite(errors)
    x, s, n = values[known], errors[known], int(known.sum())
    if n < 2 * ENDS:
        return [math.nan] * 3, [math.nan] * 3, math.nan, n
    signed = float(x[-ENDS:].mean() - x[:ENDS].mean())
    of_means = math.sqrt(float((s[:ENDS] ** 2).sum() + (s[-ENDS:] ** 2).sum())) / ENDS
    mean_abs = math.sqrt(2 / math.pi)  # E|ξ|
    floors = [mean_abs * of_means, range_of_noise(s), mean_abs * float(np.hypot(s[1:], s[:-1]).sum())]
    seen = [abs(signed), float(np.ptp(x)), float(np.abs(np.diff(x)).sum())]
    left = [a - b if off else a for a, b, off in zip(seen, floors, FLOOR_TAKEN_OFF, strict=True)]
    return left, floors, signed, n


def _size(values: Array) -> float:
    known = np.abs(values[np.isfinite(values)])
    return float(np.median(known)) if len(known) else math.nan


def _over_seeds(values: Array, prefix: str, text: str, unit: str) -> dict[str, xr.Variable]:
    """Mean, its error and interval by definition, from values (definition, seed)."""
    means = [bootstrap_t_interval(row) for row in values]
    columns: dict[str, tuple[Callable[[Any], float], str, str]] = {
        "mean": (lambda m: m.mean, text, unit),
        "se": (lambda m: m.se, "its standard error", unit),
        "low": (lambda m: m.low, "lower end of its interval", unit),
        "high": (lambda m: m.high, "upper end of its interval", unit),
        "seeds": (lambda m: m.n, "seeds with a finite drift", "seeds"),
    }
    return {
        prefix + name: variable(("definition",), [take(m) for m in means], long_name, units)
        for name, (take, long_name, units) in columns.items()
    }


def _paired(table: xr.Dataset, base: xr.Dataset, definition: str) -> list[tuple[Array, Array]]:
    """(values of the group, values of the reference) in raw and in relative units."""
    names = ("drift", "relative_drift")
    return [(table[n].sel(definition=definition).values, base[n].sel(definition=definition).values) for n in names]


def _against(values: Array, base: Array, same: bool) -> tuple[float, ...]:
    n = int(np.isfinite(values).sum())
    if same:
        return (1.0, 1.0, 1.0, True, 0.0, 0.0, 0.0, 0.0, n)
    ratio, difference = ratio_interval(values, base), difference_interval(values, base)
    return (*ratio, *difference[:4], n)


def _same_seeds(array: xr.DataArray, name: str, like: list[Series]) -> list[Series]:
    own = {one.seed: one for one in series(array, name)}
    if set(own) != {one.seed for one in like}:
        raise OntogenyError(f"{name} must hold the same seeds as indicator; got {sorted(own)}: select both alike.")
    return [own[one.seed] for one in like]
