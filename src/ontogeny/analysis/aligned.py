"""What an indicator does around an event, over seeds: event-aligned averages, and the rise at one event or another."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.checks import Array, errors_alike, per_seed, series, variable
from ontogeny.analysis.events import checked_events, steps_by_seed
from ontogeny.analysis.intervals import t_interval
from ontogeny.core.errors import OntogenyError

BASELINES = ("before", "event")
EXACT_UP_TO = 20
"""Seeds up to which all 2ⁿ flips of signs are taken."""
RANDOM_FLIPS = 100_000


def event_aligned(
    indicator: xr.DataArray,
    events: xr.Dataset,
    offsets: npt.ArrayLike,
    *,
    kind: str,
    baseline: str = "before",
) -> xr.Dataset:
    """Average an indicator around the events of one kind: mean over seeds at each offset, with a band.

    indicator: (seed, checkpoint or time), with the coordinate `step`; NaN points are bridged. events: an event table.
    offsets: steps from the event, increasing. For each event at e, x(e + offset) − baseline is taken, x interpolated
    linearly in step, NaN before the first and after the last finite point. baseline: "before", the mean of x over the
    negative offsets that lie within the measured stretch (a mean, so that the noise of one point does not move the
    whole curve); "event", x(e), which makes the band vanish at 0. The events of a seed are averaged first, so that a
    seed counts once; then the mean and the Student t interval over seeds, at each offset for itself (95 %, pointwise).

    Returns a Dataset with dims `offset` and `seed` (those with such an event): `mean`, `low`, `high` (offset), in the
    indicator's units; `seeds`, `events` (offset), numbers with a value there, which may differ between offsets;
    `by_seed` (seed, offset).

    Raises: OntogenyError for offsets that do not increase, an unknown baseline, "before" without negative offsets, or
    events of seeds that the indicator does not have.
    """
    shift = np.asarray(offsets, dtype=np.float64).ravel()
    if len(shift) == 0 or not np.isfinite(shift).all() or (np.diff(shift) <= 0).any():
        raise OntogenyError(f"offsets must be finite steps that increase; got {shift.tolist()[:6]}: sort them.")
    if baseline not in BASELINES:
        raise OntogenyError(f"baseline must be one of {BASELINES}; got {baseline!r}.")
    if baseline == "before" and not (shift < 0).any():
        raise OntogenyError("offsets must have negative ones for baseline='before'; add some, or take 'event'.")
    events = checked_events(events, "events")
    rows = series(indicator, "indicator")
    strange = sorted(set(events["seed"].values.tolist()) - {one.seed for one in rows})
    if strange:
        raise OntogenyError(f"indicator must have every seed of events; seeds {strange[:5]} are missing: select alike.")
    curves, numbers, seeds = [], [], []
    for one, at in zip(rows, steps_by_seed(events, [one.seed for one in rows], kind), strict=True):
        known = np.isfinite(one.values)
        if len(at) == 0 or known.sum() < 2:
            continue
        curve = _at(one.steps[known], one.values[known], at[:, None] + shift)
        if baseline == "event":
            zero = _at(one.steps[known], one.values[known], at)
        else:
            zero = _mean(curve[:, shift < 0], axis=1)
        curve = curve - zero[:, None]
        curves.append(_mean(curve, axis=0))
        numbers.append(np.isfinite(curve).sum(0))
        seeds.append(one.seed)
    by_seed = np.array(curves).reshape(len(seeds), len(shift))
    means = [t_interval(column) for column in by_seed.T]
    units = str(indicator.attrs.get("units", ""))
    count = np.array(numbers, dtype=np.int64).reshape(len(seeds), len(shift)).sum(0)
    return xr.Dataset(
        {
            "mean": variable(("offset",), [m.mean for m in means], "mean over seeds, from the baseline", units),
            "low": variable(("offset",), [m.low for m in means], "lower end of its interval", units),
            "high": variable(("offset",), [m.high for m in means], "upper end of its interval", units),
            "seeds": variable(("offset",), [m.n for m in means], "seeds measured there", "seeds"),
            "events": variable(("offset",), count, "events measured there", "events"),
            "by_seed": variable(("seed", "offset"), by_seed, "mean over a seed's events, from the baseline", units),
        },
        coords={
            "offset": variable(("offset",), shift, "steps from the event", "steps"),
            "seed": np.array(seeds, dtype=np.int64),
        },
        attrs={"kind": kind, "baseline": baseline},
    )


def paired_rise(
    indicator: xr.DataArray,
    at: xr.DataArray,
    against: xr.DataArray,
    *,
    margin: xr.DataArray | float,
    se: xr.DataArray | None = None,
) -> xr.Dataset:
    """Within seeds, how much more an indicator rises at one event than at another.

    indicator, se: (seed, checkpoint), with the coordinate `step`; at, against: (seed,), the steps of the two events,
    NaN where there is none; margin m: steps, a number or (seed,). The rise at c is x at the first checkpoint at or
    after c + m minus x at the last at or before c − m: whole measured values, since between checkpoints further apart
    than m a time average would see a part of a step only, and the smaller a part the further apart they are. The
    difference D is the rise at `at` minus that at `against`; a trend enters by what lies between the two checkpoints,
    which is more where they are further apart. A seed enters if all four values are there: where the checkpoint asked
    for is not finite, none beside it is taken.

    Returns a Dataset with dims `event` ("at", "against") and `seed` (all): `rise` (event, seed), `rise_mean`,
    `rise_low`, `rise_high` (event), over the seeds that enter; `difference`, `difference_sampler_se` (seed), NaN for
    those that do not; `mean_difference` with `se`, `low`, `high` (Student t over seeds), `seeds`; `p_value`, two-sided:
    the share of all 2ⁿ choices of signs of D whose |sum| is at least the observed one (up to 20 seeds, `p_exact`; above
    from 100 000 random choices), exact for D symmetric about 0, and never below 2/2ⁿ; `sampler_se`, the part of `se`
    that the indicator's errors account for, checkpoints independent, and `sampler_share` = (sampler_se/se)².

    Raises: OntogenyError for a negative margin, a negative se, or se with other seeds or steps than indicator.
    """
    rows = series(indicator, "indicator")
    first, second, apart = (
        per_seed(value, indicator, name) for value, name in ((at, "at"), (against, "against"), (margin, "margin"))
    )
    if not (np.isfinite(apart).all() and (apart >= 0).all()):
        raise OntogenyError(f"margin must be a number of steps, 0 or more; got {apart.tolist()[:5]}.")
    errors = [one.values * np.nan for one in rows] if se is None else [one.values for one in errors_alike(se, rows)]
    rise, spread = np.full((2, len(rows)), np.nan), np.full(len(rows), np.nan)
    for i, one in enumerate(rows):
        ends = [_around(one.steps, cut, float(apart[i])) for cut in (first[i], second[i])]
        if None in ends:
            continue
        weights = np.zeros((2, len(one.steps)))
        for row, (before, after) in zip(weights, [end for end in ends if end is not None], strict=True):
            row[before] -= 1.0
            row[after] += 1.0
        used = (weights != 0).any(0)
        rise[:, i] = weights[:, used] @ one.values[used]
        spread[i] = math.sqrt(float((((weights[0] - weights[1])[used] * errors[i][used]) ** 2).sum()))
    difference = rise[0] - rise[1]
    mean, each = t_interval(difference), [t_interval(r) for r in rise]
    entered = np.isfinite(difference)
    sampler = math.sqrt(float((spread[entered] ** 2).sum())) / mean.n if mean.n else math.nan
    p, exact = sign_flip_p(difference[entered])
    units = str(indicator.attrs.get("units", ""))
    table = {
        "rise": variable(("event", "seed"), rise, "value after minus value before", units),
        "rise_mean": variable(("event",), [m.mean for m in each], "mean rise over seeds", units),
        "rise_low": variable(("event",), [m.low for m in each], "lower end of its interval", units),
        "rise_high": variable(("event",), [m.high for m in each], "upper end of its interval", units),
        "difference": variable(("seed",), difference, "rise at the event minus rise at the other", units),
        "difference_sampler_se": variable(("seed",), spread, "its error from the indicator's errors", units),
        "mean_difference": variable((), mean.mean, "mean over seeds of the difference", units),
        "se": variable((), mean.se, "its standard error", units),
        "low": variable((), mean.low, "lower end of its interval", units),
        "high": variable((), mean.high, "upper end of its interval", units),
        "seeds": variable((), mean.n, "seeds that entered", "seeds"),
        "p_value": variable((), p, "sign-flip p-value, two-sided"),
        "p_exact": variable((), exact, "all choices of signs were taken"),
        "sampler_se": variable((), sampler, "part of the standard error from the indicator's errors", units),
        "sampler_share": variable(
            (), (sampler / mean.se) ** 2 if mean.n > 2 and mean.se > 0 else math.nan, "its share of the squared error"
        ),
    }
    return xr.Dataset(table, coords={"event": ["at", "against"], "seed": np.array([one.seed for one in rows])})


def _around(steps: Array, cut: float, margin: float) -> tuple[int, int] | None:
    """Places of the last step at or before cut − margin and the first at or after cut + margin; None without both."""
    before, after = np.flatnonzero(steps <= cut - margin), np.flatnonzero(steps >= cut + margin)
    return (int(before[-1]), int(after[0])) if len(before) and len(after) else None


def sign_flip_p(values: npt.ArrayLike, seed: int = 0) -> tuple[float, bool]:
    """(p, exact): share of the choices of signs with |Σ ±x| ≥ |Σ x|; exact up to 20 values, NaN for none.

    >>> sign_flip_p([1.0, 2.0, 3.0])
    (0.25, True)
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if len(x) == 0:
        return math.nan, True
    least = abs(x.sum()) - 1e-10 * np.abs(x).sum()  # rounding must not decide a tie
    if len(x) <= EXACT_UP_TO:
        sums = x[:1]  # the other half of the choices has the same sums with the sign turned
        for one in x[1:]:
            sums = np.concatenate([sums + one, sums - one])
        return float((np.abs(sums) >= least).mean()), True
    rng = np.random.default_rng(seed)
    at_least = sum(
        int((np.abs(rng.choice([-1.0, 1.0], size=(RANDOM_FLIPS // 100, len(x))) @ x) >= least).sum())
        for _ in range(100)
    )
    return (1 + at_least) / (1 + RANDOM_FLIPS), False


def _at(steps: Array, values: Array, where: Array) -> Array:
    """Interpolate linearly in step; NaN outside of the measured stretch."""
    return np.interp(where.ravel(), steps, values, left=np.nan, right=np.nan).reshape(where.shape)


def _mean(values: Array, axis: int) -> Array:
    """Mean of the finite values along `axis`, NaN where there is none."""
    known = np.isfinite(values)
    number = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
