"""A sigmoid through each effective-rank trajectory: where the rank jumps, how sharply, and if it is to be believed."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, Series, along, per_seed, seeds_of, series, steps_of, variable
from ontogeny.core.errors import OntogenyError

T = TypeVar("T", float, Array, xr.DataArray)
MIN_POINTS = 8  # four parameters, and as many again to judge them


@dataclass(frozen=True)
class AcceptanceRule:
    """When a fitted sigmoid counts as a jump; every clause must hold, and `verdict` names the first that does not.

    With T = end − start the fitted stretch (steps), height = hi − lo (rank) and t0 the inflection:

    - "height": height ≥ `min_height`. The jump from an antipodal pair plus one feature to two pairs is 9/5 → 2, a
      height of 0.2, and half of it is asked; stuck seeds settle slowly by 0.07 at most (40 seeds seen, n = 6, S =
      0.7).
    - "r2": R² ≥ `min_r2` over the stretch.
    - "early": t0 − start ≥ `lead_widths`·width: the lower level was seen (at 2 widths the sigmoid stands at 12 % of
      its height), so the end of the initial transient is not taken for a jump.
    - "late": end − t0 ≥ `tail_widths`·width: the upper level was seen (at 3 widths, 95 %).
    - "final_level": the mean rank of the last twentieth of the stretch lies within `final_tolerance`·height of hi: it
    stayed there.
    - "wide": width ≤ `max_width`·T: a drift over the whole run is not a jump.
    - "uncertain": the standard error of t0 ≤ `max_se`·T.
    """

    min_height: float = 0.1
    min_r2: float = 0.9
    lead_widths: float = 2.0
    tail_widths: float = 3.0
    final_tolerance: float = 0.2
    max_width: float = 0.1
    max_se: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a clause that could never hold or never fail."""
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise OntogenyError(f"{name} of the acceptance rule must be positive and finite; got {value}.")
        if self.min_r2 >= 1:
            raise OntogenyError(f"min_r2 of the acceptance rule must be below 1; got {self.min_r2}.")


class SigmoidFit(NamedTuple):
    """One fit: levels in rank, times in steps; `final` is the mean of the last twentieth, `verdict` "" until judged."""

    lo: float
    hi: float
    inflection: float
    inflection_se: float
    width: float
    r2: float
    rmse: float
    final: float
    start: float
    end: float
    verdict: str


NOTHING = SigmoidFit(
    math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, "no_start"
)


def sigmoid(step: T, lo: T | float, hi: T | float, inflection: T | float, width: T | float) -> T:
    """r(t) = lo + (hi − lo)/(1 + exp(−(t − inflection)/width)); t, inflection and width in steps, without overflow.

    Arguments are numbers, numpy arrays or xarray.DataArrays, broadcast by their own rules.

    >>> float(sigmoid(300.0, 1.8, 2.0, 300.0, 50.0))
    1.9
    """
    shape: Any = 0.5 * (1 + np.tanh((step - inflection) / (2 * width)))
    result: T = lo + (hi - lo) * shape
    return result


def start_of_representation(feature_norm: xr.DataArray, fraction: float = 0.7) -> xr.DataArray:
    """First step at which ‖W‖² = Σ_i norm_i² exceeds `fraction` of its final value, one a seed, in training steps.

    feature_norm: (seed, time or checkpoint, feature), with the coordinate `step`. Before it the effective rank says
    little: of a tiny random W it is anything in 1..2, and in the superposition model two orthogonal features come
    first (rank near 2 again), then a third opposite one of them (rank 9/5). Three kept features are 3/4 of a final
    four and two are 1/2, hence 0.7: late enough that the first two are over, early enough that a jump to four is still
    to come. NaN where ‖W‖² ends at 0 or is not finite.
    """
    if not 0 < fraction < 1:
        raise OntogenyError(f"fraction must lie between 0 and 1; got {fraction}: 0.7 is the default.")
    dim = along(feature_norm, "feature_norm", extra=("feature",))
    steps = steps_of(feature_norm, "feature_norm")
    totals = (feature_norm.transpose("seed", dim, "feature").values.astype(np.float64) ** 2).sum(-1)
    starts = []
    for t, total in zip(steps, totals, strict=True):
        known = np.isfinite(t)
        t, total = t[known], total[known]
        represented = np.isfinite(total).all() and total[-1] > 0
        starts.append(t[np.argmax(total > fraction * total[-1])] if represented else np.nan)
    attrs = {"long_name": f"step at which ‖W‖² exceeds {fraction:g} of its final value", "units": "steps"}
    return xr.DataArray(starts, dims="seed", coords={"seed": seeds_of(feature_norm)}, name="start", attrs=attrs)


def start_of_rise(effective_rank: xr.DataArray, start: xr.DataArray | float, tolerance: float = 0.02) -> xr.DataArray:
    """First step from `start` on with the rank within `tolerance` of the lowest value still to come; steps, (seed,).

    A sharper end of the transient than `start_of_representation` alone: where the rank still falls to its plateau, the
    fit starts at the plateau. It looks at the rank it is used to fit, so it can only shorten the stretch, and never
    moves past the minimum.
    """
    starts = []
    rows = series(effective_rank, "effective_rank")
    for one, begin in zip(rows, per_seed(start, effective_rank, "start"), strict=True):
        late = one.steps >= begin
        rank = one.values[late]
        ok = len(rank) > 0 and bool(np.isfinite(rank).all())
        starts.append(one.steps[late][np.argmax(rank <= rank.min() + tolerance)] if ok else np.nan)
    attrs = {"long_name": "step from which the effective rank only rises from its lowest level", "units": "steps"}
    return xr.DataArray(starts, dims="seed", coords={"seed": seeds_of(effective_rank)}, name="start", attrs=attrs)


def fit_sigmoids(
    effective_rank: xr.DataArray, *, start: xr.DataArray | float, rule: AcceptanceRule | None = None
) -> xr.Dataset:
    """Fit `sigmoid` to each seed's effective rank from `start` on, and judge each fit by `rule`.

    effective_rank: (seed, time or checkpoint), rank, with the coordinate `step`. start: training step of the first
    point used, a number or (seed,), from `start_of_representation` or `start_of_rise`; NaN: nothing to fit.

    Minimised is Σ 2s²(√(1 + (e/s)²) − 1) over the residuals e (soft L1; s is three times their robust spread, so that
    only gross outliers are pulled in), with hi ≥ lo, t0 within the stretch, and width between a tenth of the smallest
    spacing and the stretch. The start is the best of a grid over (t0, width), where lo and hi are linear; so the
    result does not hang on a guess.

    Returns a Dataset with dim `seed`: `lo`, `hi` (rank), `inflection`, `inflection_se`, `width` (steps), `r2`, `rmse`
    (rank, both over all points of the stretch), `final` (mean rank of the last twentieth), `start`, `end` (steps),
    `accepted` (bool) and `verdict` ("accepted", the first clause of the rule that failed, or "no_start",
    "too_few_points", "not_finite", "flat", "not_converged"). `inflection_se` is the least-squares error times
    √((1+ρ)/(1−ρ)), ρ the residuals' lag-1 autocorrelation: a trajectory is not a sigmoid with independent errors, and
    without it the error is several times too small; it is at least spacing/√12, what a sampled jump can be placed to.
    The rule is in the attrs.
    """
    rule = rule or AcceptanceRule()
    rows = series(effective_rank, "effective_rank")
    begins = per_seed(start, effective_rank, "start")
    fits = [_fit(one, begin) for one, begin in zip(rows, begins, strict=True)]
    fits = [fit._replace(verdict=fit.verdict or judge(fit, rule)) for fit in fits]
    names = {
        "lo": ("level before the jump", "rank"),
        "hi": ("level after the jump", "rank"),
        "inflection": ("step of the inflection", "steps"),
        "inflection_se": ("standard error of the inflection", "steps"),
        "width": ("width of the sigmoid", "steps"),
        "r2": ("share of the variance explained", ""),
        "rmse": ("root mean squared residual", "rank"),
        "final": ("mean of the last twentieth", "rank"),
        "start": ("first step fitted", "steps"),
        "end": ("last step fitted", "steps"),
        "verdict": ("accepted, or why not", ""),
    }
    table = {name: variable(("seed",), [getattr(f, name) for f in fits], *words) for name, words in names.items()}
    table["accepted"] = variable(
        ("seed",), [f.verdict == "accepted" for f in fits], "the fit meets the acceptance rule"
    )
    return xr.Dataset(table, coords={"seed": seeds_of(effective_rank)}, attrs=asdict(rule))


def judge(fit: SigmoidFit, rule: AcceptanceRule) -> str:
    """Return "accepted", or the first clause of `rule` that `fit` does not meet."""
    height, stretch = fit.hi - fit.lo, fit.end - fit.start
    clauses = {
        "height": height >= rule.min_height,
        "r2": fit.r2 >= rule.min_r2,
        "early": fit.inflection - fit.start >= rule.lead_widths * fit.width,
        "late": fit.end - fit.inflection >= rule.tail_widths * fit.width,
        "final_level": abs(fit.final - fit.hi) <= rule.final_tolerance * height,
        "wide": fit.width <= rule.max_width * stretch,
        "uncertain": fit.inflection_se <= rule.max_se * stretch,
    }
    return next((name for name, holds in clauses.items() if not holds), "accepted")


def _fit(one: Series, start: float) -> SigmoidFit:
    """Fit one seed; a fit that cannot be made has NaN parameters and its verdict."""
    late = one.steps >= start if math.isfinite(start) else np.zeros(len(one.steps), dtype=bool)
    t, rank = one.steps[late], one.values[late]
    nothing = NOTHING._replace(start=start, end=float(t[-1]) if len(t) else math.nan)
    if not math.isfinite(start):
        return nothing
    if len(t) < MIN_POINTS:
        return nothing._replace(verdict="too_few_points")
    if not np.isfinite(rank).all():
        return nothing._replace(verdict="not_finite")
    final = float(rank[-max(1, len(rank) // 20) :].mean())
    if np.ptp(rank) < 1e-9:
        return nothing._replace(lo=final, hi=final, rmse=0.0, final=final, verdict="flat")
    span = t[-1] - t[0]
    x, spacing = (t - t[0]) / span, float(np.diff(t).min() / span)
    fitted = _least_squares(x, rank, spacing)
    if fitted is None:
        return nothing._replace(final=final, verdict="not_converged")
    (lo, height, t0, width), se = fitted
    residual = rank - sigmoid(x, lo, lo + height, t0, width)
    rho = (
        float(np.clip(np.corrcoef(residual[:-1], residual[1:])[0, 1], 0.0, 1 - 1 / len(x)))
        if residual.std() > 0
        else 0.0
    )
    se = max(se * math.sqrt((1 + rho) / (1 - rho)), spacing / math.sqrt(12))
    r2 = 1 - float((residual**2).sum() / ((rank - rank.mean()) ** 2).sum())
    rmse = float(np.sqrt((residual**2).mean()))
    start, end, inflection = float(t[0]), float(t[-1]), float(t[0] + span * t0)
    return SigmoidFit(lo, lo + height, inflection, span * se, span * width, r2, rmse, final, start, end, "")


def _least_squares(x: Array, rank: Array, spacing: float) -> tuple[tuple[float, float, float, float], float] | None:
    """(lo, height, t0, width) and the plain error of t0, time in units of the stretch; None without convergence."""
    from scipy.optimize import OptimizeWarning, curve_fit

    guess = _grid_start(x, rank, spacing)
    reach = float(np.ptp(rank))
    residual = rank - _curve(x, *guess)
    scale = max(3 * 1.4826 * float(np.median(np.abs(residual - np.median(residual)))), 1e-6)
    low = np.array([rank.min() - reach, 0.0, 0.0, spacing / 10])
    high = np.array([rank.max() + reach, 3 * reach, 1.0, 1.0])
    guess = np.clip(guess, low + 1e-12, high - 1e-12)
    try:
        with warnings.catch_warnings():
            # a singular covariance comes back as infinity, and the rule judges it as such
            warnings.simplefilter("ignore", OptimizeWarning)
            values, covariance = curve_fit(
                _curve, x, rank, guess, bounds=(low, high), jac=_jacobian, loss="soft_l1", f_scale=scale, max_nfev=2000
            )
    except RuntimeError:
        return None
    lo, height, t0, width = (float(v) for v in values)
    return (lo, height, t0, width), float(np.sqrt(covariance[2, 2]))


def _curve(x: Array, lo: float, height: float, t0: float, width: float) -> Array:
    return np.asarray(sigmoid(x, lo, lo + height, t0, width))


def _jacobian(x: Array, lo: float, height: float, t0: float, width: float) -> Array:
    shape = _curve(x, 0.0, 1.0, t0, width)
    slope = height * shape * (1 - shape) / width
    return np.stack([np.ones_like(x), shape, -slope, -slope * (x - t0) / width], axis=1)


def _grid_start(x: Array, rank: Array, spacing: float) -> Array:
    """Best rising (lo, height, t0, width) on a grid of 40 × 8: given t0 and width, the rest is a straight line."""
    t0, width = np.meshgrid(np.linspace(0.01, 0.99, 40), np.geomspace(max(spacing / 2, 1e-3), 0.3, 8), indexing="ij")
    shape = sigmoid(x[:, None], 0.0, 1.0, t0.ravel(), width.ravel())
    centred = shape - shape.mean(0)
    spread = np.maximum((centred**2).sum(0), 1e-12)
    height = np.maximum((rank - rank.mean()) @ centred / spread, 0.0)
    best = int(np.argmax(height**2 * spread))
    lo = rank.mean() - height[best] * shape[:, best].mean()
    return np.array([lo, height[best], t0.ravel()[best], width.ravel()[best]])
