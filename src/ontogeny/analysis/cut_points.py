"""Is the LLC at a jump above random cut points of the same trajectory? A permutation test, and its power.

A cut is a training step c. Two statistics are taken there, both linear in a seed's measured LLCs, so that errors go
through exactly:

- level: the LLC at c, interpolated linearly in step between the two checkpoints around c;
- rise: the mean LLC over (c, c + w] minus that over [c − w, c), both time averages of the interpolated LLC, w the
window.

Per seed, D = statistic at the inflection − its mean over the admissible cuts of the same trajectory (uniform in step,
so that checkpoints set densely around a jump do not draw the random cuts there). The test statistic is the mean of D
over seeds. In a permutation each seed's cut is replaced by a random admissible one, independently; p = (1 + #{permuted
≥ observed})/(1 + permutations), one-sided, uniform when the inflections fall at random.

Three variants, because any rising curve passes the plain test when jumps come late:

- plain: admissible are all cuts with a whole window on both sides.
- detrended: the same, after the isotonic (least-squares increasing) regression of the LLC on log step is taken out.
  Isotonic regression knows the order of the points only, so log step and step give the same trend. It absorbs a
  lasting rise at the jump as well: of a step up that stays there is left, in level and rise, only a remnant of the
  size of the noise (within a pooled block the residuals fall from start to end, so that rise can even be significant
  there, while its size says nothing); a bump, up and then down, stays visible. A detrended null result therefore
  speaks against "elevated at the jump", not against "steps up at the jump": for that, read rise in plain and
  same_third.
- same_third: admissible are cuts in the same third of training, [0, T/3), [T/3, 2T/3) or [2T/3, T], as the inflection.
  A trend within a third still counts where jumps come late within their thirds.

A claim needs every variant that its statistic is judged by (`JUDGED_BY`: level all three, rise plain and same_third),
which needs no correction, where to pick the best cell would. Two statistics are tested, each at α/2 (`alpha_each`), so
that a claim that is not true is made with probability α at most (Bonferroni).

What the test cannot see:

- Checkpoints may be denser around the inflection than elsewhere. A bump or dip narrower than the spacing elsewhere is
  missed there, or drawn wide, so that one at the inflection can stand out only because it is resolved.
- Checkpoints without a finite LLC are bridged by interpolation. Where they are missing because the LLC was low (the
  superposition study drops estimates below baseline before the test), this raises what stands for them. Among the
  random cuts it makes an elevation harder to find and a dip easier; near the inflection it makes an elevation easier
  to find and a dip, shown shallower than it is, harder.
- `sampler_se` takes the checkpoints' errors as independent. Where checkpoints and seeds share their minibatches, the
  part of the error common to all of them is in llc_se, but not in the spread over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.checks import Array, Series, per_seed, series, variable
from ontogeny.analysis.intervals import t_interval
from ontogeny.core.errors import OntogenyError

VARIANTS = ("plain", "detrended", "same_third")
STATISTICS = ("level", "rise")
JUDGED_BY = {"level": VARIANTS, "rise": ("plain", "same_third")}
"""The variants that must all hold for a claim; the detrended rise says nothing about a step that stays."""
MIN_SEEDS = 3  # below it the interval over seeds spans everything, and p is about single trajectories
MIN_CHECKPOINTS = 3  # within the admissible stretch


@dataclass(frozen=True)
class CutSettings:
    """Settings of the test. `window` is a fraction of a seed's training, `cuts` the number of admissible cuts tried.

    alpha: probability of a false claim, shared evenly by the statistics (`alpha_each`).
    """

    window: float = 0.05
    permutations: int = 9999
    cuts: int = 400
    alpha: float = 0.05
    power: float = 0.8

    @property
    def alpha_each(self) -> float:
        """Level at which each statistic is tested."""
        return self.alpha / len(STATISTICS)

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        if not 0 < self.window < 0.5:
            raise OntogenyError(
                f"window must be a fraction of training between 0 and 0.5; got {self.window}: 0.05 is the default."
            )
        if self.permutations < 19 or self.cuts < 10:
            raise OntogenyError(
                f"permutations must be at least 19 and cuts at least 10; got {self.permutations} and {self.cuts}."
            )
        if not (0 < self.alpha < 1 and 0 < self.power < 1):
            raise OntogenyError(f"alpha and power must lie between 0 and 1; got {self.alpha} and {self.power}.")


class SeedCuts(NamedTuple):
    """One seed in one cell: the statistic at the inflection and at the admissible cuts (cuts,), LLC less `offset`.

    `scale` is the largest LLC less `offset`, against which rounding is told; `sampler_se` the standard error that the
    checkpoints' own errors give to observed − mean of random.
    """

    observed: float
    random: Array
    sampler_se: float
    offset: float = 0.0
    scale: float = 0.0


def cut_point_test(
    llc: xr.DataArray,
    inflection: xr.DataArray,
    *,
    rng: np.random.Generator,
    llc_se: xr.DataArray | None = None,
    start: xr.DataArray | float = 0.0,
    settings: CutSettings | None = None,
) -> xr.Dataset:
    """Test whether the LLC at each seed's inflection is above random cuts of the same trajectory (module's text: how).

    llc, llc_se: (seed, checkpoint), with the coordinate `step` (seed, checkpoint) or (checkpoint,). A checkpoint whose
    LLC is not finite is bridged by interpolation and counted in `lost_checkpoints`. inflection: (seed,), steps, NaN
    for a seed that does not jump. start: no random cut before this step (number or (seed,)); with 0 the earliest
    training, where nothing is represented yet, is in the null. The result depends on the order of neither seeds nor
    dims: seeds are sorted by label before random numbers are drawn.

    Returns a Dataset with dims `variant` (plain, detrended, same_third), `statistic` (level, rise), `seed` (the
    jumping seeds only). By (variant, statistic): `seeds` (number that entered), `mean_difference` with `se`, `low`,
    `high` (Student t, 95 %, over seeds), LLC; `p_value` (one-sided, elevated), `p_two_sided` (twice the smaller side);
    `cohen_d` = mean D/sd D over seeds; `mean_z` with `mean_z_low`, `mean_z_high`, the mean over seeds of D in standard
    deviations of that seed's own cuts; `sampler_se`, the part of `se` that `llc_se` accounts for, checkpoints
    independent, and `sampler_share` = (sampler_se/se)² (above 1: seeds scatter less than the sampler's errors say);
    `detectable_difference` (LLC) and `detectable_z`, what the test at `alpha_each` would have found with the power
    asked for; `status` ("ok", "no_seeds", "too_few_seeds") and `reason`, a sentence. By (variant, statistic,
    permutation): `null`, the mean difference of every permutation. With fewer than 3 seeds p, null and the detectable
    effects are NaN. By (variant, statistic, seed): `difference` (D), `z`, `at_inflection`, `at_random_cuts`; NaN where
    the seed did not enter, because a window about its inflection or 3 checkpoints do not fit into the admissible
    stretch. By seed: `lost_checkpoints`, `inflection`.
    """
    settings = settings or CutSettings()
    rows = series(llc, "llc")
    at, begin = per_seed(inflection, llc, "inflection"), per_seed(start, llc, "start")
    errors = series(llc_se, "llc_se") if llc_se is not None else [s._replace(values=s.values * np.nan) for s in rows]
    if not _alike(errors, rows):
        raise OntogenyError("llc_se must have the same seeds, checkpoints and steps as llc; select both alike.")
    jumping = sorted((i for i in range(len(rows)) if math.isfinite(at[i])), key=lambda i: rows[i].seed)
    lost = [int((~np.isfinite(rows[i].values)).sum()) for i in jumping]
    cells = {
        (variant, statistic): [
            _seed_cuts(rows[i], errors[i].values, at[i], begin[i], variant, statistic, settings) for i in jumping
        ]
        for variant in VARIANTS
        for statistic in STATISTICS
    }
    draws = rng.integers(
        settings.cuts, size=(len(jumping), settings.permutations)
    )  # the same in all cells: they are compared
    table = _table({key: summarise(seeds, draws, settings) for key, seeds in cells.items()})
    null = [[permuted_means(cells[v, s], draws) for s in STATISTICS] for v in VARIANTS]
    table["null"] = variable(("variant", "statistic", "permutation"), null, "mean difference at permuted cuts", "LLC")
    table.update(_by_seed(cells, len(jumping)))
    table["lost_checkpoints"] = variable(("seed",), lost, "checkpoints without a finite LLC", "checkpoints")
    table["inflection"] = variable(("seed",), [at[i] for i in jumping], "step of the inflection", "steps")
    coords = {
        "variant": list(VARIANTS),
        "statistic": list(STATISTICS),
        "seed": np.array([rows[i].seed for i in jumping], dtype=int),
    }
    return xr.Dataset(table, coords=coords, attrs=asdict(settings) | {"alpha_each": settings.alpha_each})


def summarise(
    seeds: Sequence[SeedCuts | None], draws: npt.NDArray[np.int64], settings: CutSettings
) -> dict[str, float | int | str]:
    """One cell of the table; draws: (seed, permutation), indices of random cuts. Keys as in `cut_point_test`."""
    entered = [(s, d) for s, d in zip(seeds, draws, strict=True) if s is not None]
    differences = np.array([s.observed - s.random.mean() for s, _ in entered])
    spreads = np.array([_spread(s) for s, _ in entered])
    mean, z = t_interval(differences), t_interval(differences / spreads)
    cell: dict[str, float | int | str] = {
        "seeds": len(entered),
        "mean_difference": mean.mean,
        "se": mean.se,
        "low": mean.low,
        "high": mean.high,
        "cohen_d": mean.mean / mean.sd if mean.sd > 0 else math.nan,
        "mean_z": z.mean,
        "mean_z_low": z.low,
        "mean_z_high": z.high,
        "p_value": math.nan,
        "p_two_sided": math.nan,
        "detectable_difference": math.nan,
        "detectable_z": math.nan,
    }
    sampler = math.sqrt(sum(s.sampler_se**2 for s, _ in entered)) / len(entered) if entered else math.nan
    cell["sampler_se"] = sampler
    cell["sampler_share"] = (sampler / mean.se) ** 2 if mean.se > 0 else math.nan
    cell["status"], cell["reason"] = _status(len(entered), len(seeds))
    if cell["status"] == "ok":
        null = permuted_means(seeds, draws)
        observed = differences.mean()
        slack = 1e-10 * max(s.scale for s, _ in entered)  # rounding must not decide a tie
        above = (1 + int((null >= observed - slack).sum())) / (1 + len(null))
        below = (1 + int((null <= observed + slack).sum())) / (1 + len(null))
        cell["p_value"], cell["p_two_sided"] = above, min(1.0, 2 * min(above, below))
        cell["detectable_difference"] = detectable_effect(null, settings.alpha_each, settings.power)
        if np.isfinite(spreads).all():
            in_z = np.stack([((s.random - s.random.mean()) / _spread(s))[d] for s, d in entered]).mean(0)
            cell["detectable_z"] = detectable_effect(in_z, settings.alpha_each, settings.power)
    return cell


def permuted_means(seeds: Sequence[SeedCuts | None], draws: npt.NDArray[np.int64]) -> Array:
    """Mean over seeds of D in each permutation, (permutation,); NaN where fewer than 3 seeds entered."""
    entered = [(s.random - s.random.mean())[d] for s, d in zip(seeds, draws, strict=True) if s is not None]
    return np.stack(entered).mean(0) if len(entered) >= MIN_SEEDS else np.full(draws.shape[1], math.nan)


def detectable_effect(null: npt.ArrayLike, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest shift that the one-sided test at `alpha` finds with probability `power`: q(1 − α) − q(1 − power).

    null: (permutations,), the statistic under random cuts; q its quantiles. A shift moves the whole distribution and
    changes no spread; the null is for the number of seeds at hand, and the effect falls as 1/√seeds.
    """
    values = np.asarray(null, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise OntogenyError(f"null must hold at least one value, all finite; got {values.size} values.")
    return float(np.quantile(values, 1 - alpha) - np.quantile(values, 1 - power))


def level_weights(steps: Array, cuts: Array) -> Array:
    """Weights (cut, checkpoint) that give the LLC at each cut from the checkpoints', interpolated linearly in step."""
    left = np.clip(np.searchsorted(steps, cuts, side="right") - 1, 0, len(steps) - 2)
    share = (cuts - steps[left]) / (steps[left + 1] - steps[left])
    weights = np.zeros((len(cuts), len(steps)))
    weights[np.arange(len(cuts)), left] = 1 - share
    weights[np.arange(len(cuts)), left + 1] = share
    return weights


def rise_weights(steps: Array, cuts: Array, window: float) -> Array:
    """Weights (cut, checkpoint) of [∫_c^{c+w} − ∫_{c−w}^c] LLC dt/w for the LLC interpolated linearly; w in steps."""
    before, at, after = (_integral_weights(steps, cuts + shift) for shift in (-window, 0.0, window))
    return (after - 2 * at + before) / window


def isotonic_residual(values: Array) -> tuple[Array, Array]:
    """Residual (I − P)·values of the increasing least-squares fit, and P (points, points), the mean over its blocks.

    The blocks depend on the values, so that I − P carries errors to first order only: too large where neighbouring
    checkpoints differ by less than their errors, since a pair in the right order has no residual at all.
    """
    from scipy.optimize import isotonic_regression

    blocks = isotonic_regression(values, increasing=True).blocks
    pooled = np.zeros((len(values), len(values)))
    for first, stop in pairwise(blocks):
        pooled[first:stop, first:stop] = 1 / (stop - first)
    return values - pooled @ values, pooled


def _alike(first: list[Series], second: list[Series]) -> bool:
    """Tell whether both have the same seeds and steps."""
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(a.seed == b.seed and np.array_equal(a.steps, b.steps) for a, b in pairs)


def _seed_cuts(
    one: Series, errors: Array, at: float, begin: float, variant: str, statistic: str, settings: CutSettings
) -> SeedCuts | None:
    """Take the statistic of one seed at its inflection and at the admissible cuts; None if the former is not one."""
    known = np.isfinite(one.values)
    steps, values, errors = one.steps[known], one.values[known], errors[known]
    if len(steps) < MIN_CHECKPOINTS:
        return None
    length = float(one.steps[-1])
    window = settings.window * length
    low, high = max(float(steps[0]) + window, begin), float(steps[-1]) - window
    if variant == "same_third":
        third = min(int(3 * at / length), 2)
        low, high = max(low, third * length / 3), min(high, (third + 1) * length / 3)
    if not low <= at <= high or ((steps >= low) & (steps <= high)).sum() < MIN_CHECKPOINTS:
        return None
    middles = (np.arange(settings.cuts) + 0.5) / settings.cuts
    cuts = np.append(low + (high - low) * middles, at)
    weigh: Callable[[Array, Array], Array] = (
        level_weights if statistic == "level" else lambda s, c: rise_weights(s, c, window)
    )
    weights = weigh(steps, cuts)
    carried = weights[-1] - weights[:-1].mean(0)
    offset = float(values[0])  # without it, adding a constant to the LLC would move the result by rounding
    values = values - offset
    scale = float(np.abs(values).max())
    if variant == "detrended":
        values, pooled = isotonic_residual(values)
        carried = carried - carried @ pooled
    if variant == "detrended" or statistic == "rise":
        offset = 0.0
    result = weights @ values
    return SeedCuts(float(result[-1]), result[:-1], float(np.sqrt((carried**2 * errors**2).sum())), offset, scale)


def _integral_weights(steps: Array, upper: Array) -> Array:
    """Weights (upper, checkpoint) of ∫ from the first checkpoint to `upper` of the linearly interpolated values."""
    gap = np.diff(steps)
    done = np.clip(upper[:, None] - steps[:-1], 0.0, gap)  # how much of each interval lies below `upper`
    right = done**2 / (2 * gap)
    weights = np.zeros((len(upper), len(steps)))
    weights[:, :-1] += done - right
    weights[:, 1:] += right
    return weights


def _spread(one: SeedCuts) -> float:
    """Return the standard deviation over the cuts, NaN where it is rounding only: a z there would mean nothing."""
    sd = float(one.random.std())
    return sd if sd > 1e-10 * one.scale else math.nan


COLUMNS = {
    "seeds": ("jumping seeds that entered", "seeds"),
    "mean_difference": ("mean over seeds of inflection minus random cuts", "LLC"),
    "se": ("standard error of the mean difference", "LLC"),
    "low": ("lower end of its interval", "LLC"),
    "high": ("upper end of its interval", "LLC"),
    "cohen_d": ("mean difference over its spread between seeds", ""),
    "mean_z": ("mean difference in spreads of the seed's own cuts", ""),
    "mean_z_low": ("lower end of its interval", ""),
    "mean_z_high": ("upper end of its interval", ""),
    "p_value": ("permutation p-value, elevated", ""),
    "p_two_sided": ("permutation p-value, two-sided", ""),
    "sampler_se": ("part of the standard error from the sampler", "LLC"),
    "sampler_share": ("share of the squared standard error from the sampler", ""),
    "detectable_difference": ("smallest difference the test would find", "LLC"),
    "detectable_z": ("the same in spreads of the seeds' own cuts", ""),
    "status": ("ok, or why there is no p-value", ""),
    "reason": ("the status in a sentence", ""),
}


def _table(cells: dict[tuple[str, str], dict[str, float | int | str]]) -> dict[str, xr.Variable]:
    return {
        name: variable(("variant", "statistic"), [[cells[v, s][name] for s in STATISTICS] for v in VARIANTS], *words)
        for name, words in COLUMNS.items()
    }


def _by_seed(cells: dict[tuple[str, str], list[SeedCuts | None]], n: int) -> dict[str, xr.Variable]:
    """Per-seed columns; NaN where the seed did not enter."""
    values = np.full((4, len(VARIANTS), len(STATISTICS), n), np.nan)
    for (variant, statistic), seeds in cells.items():
        for i, s in enumerate(seeds):
            if s is not None:
                centre = s.random.mean()
                difference = s.observed - centre
                row = (difference, difference / _spread(s), s.observed + s.offset, centre + s.offset)
                values[:, VARIANTS.index(variant), STATISTICS.index(statistic), i] = row
    words = (
        ("difference", "statistic at the inflection minus its mean over random cuts", "LLC"),
        ("z", "difference in spreads of the seed's own cuts", ""),
        ("at_inflection", "statistic at the inflection", "LLC"),
        ("at_random_cuts", "mean statistic over random cuts", "LLC"),
    )
    dims = ("variant", "statistic", "seed")
    return {name: variable(dims, block, long, unit) for (name, long, unit), block in zip(words, values, strict=True)}


def _status(entered: int, jumping: int) -> tuple[str, str]:
    out = (
        f" ({jumping - entered} more could not enter: fewer than {MIN_CHECKPOINTS} checkpoints or no window fit there)"
        if jumping > entered
        else ""
    )
    if entered == 0:
        return "no_seeds", f"No seed with a jump entered the test{out}, so that there is nothing to compare."
    if entered < MIN_SEEDS:
        seeds = "1 seed" if entered == 1 else f"{entered} seeds"
        need = f"a p-value needs at least {MIN_SEEDS}"
        return "too_few_seeds", f"Only {seeds} with a jump entered the test{out}; {need}."
    return "ok", f"{entered} seeds with a jump entered the test{out}."
