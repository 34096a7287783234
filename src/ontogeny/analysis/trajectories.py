"""What kind of trajectory each seed took: plateau then jump, early rise, stuck, non-monotonic."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.checks import Array, per_seed, seeds_of, series, variable
from ontogeny.core.errors import OntogenyError

CLASSES = ("plateau_then_jump", "early_rise", "stuck", "non_monotonic")


@dataclass(frozen=True)
class TrajectoryThresholds:
    """When a trajectory is of which kind. Ranks in 1..2; durations as fractions of the whole training, T steps.

    - plateau: the longest unbroken time, after the transient and before the jump, with |rank − `plateau_level`| ≤
      `plateau_band`, is at least `plateau_fraction`·T. 9/5 is the rank of an antipodal pair plus one single feature of
      equal norms; features that are kept weakly beside them lift it to about 1.87.
    - jump: the rank reaches `jump_level` and from then to the end stays above `jump_level` − `jump_slack`.
    - fall: after the transient the rank falls by more than `fall_tolerance` below a level that it had *held*, that is,
      stayed at or above for `hold_fraction`·T. The holding matters: every seed passes briefly through rank near 2 (two
      orthogonal features) before the plateau, and that is the transient's tail, not a reversal.
    """

    plateau_level: float = 1.8
    plateau_band: float = 0.1
    plateau_fraction: float = 0.07
    jump_level: float = 1.95
    jump_slack: float = 0.02
    fall_tolerance: float = 0.05
    hold_fraction: float = 0.05

    def __post_init__(self) -> None:
        """Refuse thresholds under which the classes overlap or are empty."""
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise OntogenyError(f"{name} of the thresholds must be positive and finite; got {value}.")
        if self.plateau_level + self.plateau_band >= self.jump_level:
            top = self.plateau_level + self.plateau_band
            raise OntogenyError(f"the plateau's band must end below jump_level; got {top:g} and {self.jump_level:g}.")
        if self.plateau_fraction >= 1 or self.hold_fraction >= 1:
            raise OntogenyError("plateau_fraction and hold_fraction must be below 1: they are fractions of training.")


def classify_trajectories(
    effective_rank: xr.DataArray, *, start: xr.DataArray | float, thresholds: TrajectoryThresholds | None = None
) -> xr.Dataset:
    """Give every seed exactly one of `CLASSES`.

    It is the first that holds:

    1. "non_monotonic": it falls (see `TrajectoryThresholds`), wherever it ends; a reversal is no clean jump, and a
       seed that held rank 2 and lost it was not stuck from the start;
    2. "stuck": it never reaches the jump level to stay;
    3. "plateau_then_jump": it does, after a plateau;
    4. "early_rise": it does, without one.

    effective_rank: (seed, time or checkpoint), rank, with the coordinate `step`. start: training step at which the
    initial transient ends, a number or (seed,), from `start_of_representation`; NaN (nothing is ever represented):
    "stuck". A rank that is not finite after `start` is an OntogenyError, since no class would be true.

    Returns a Dataset with dim `seed`: `kind` (word), `jump_step` (steps, NaN when it never stays), `plateau_steps`
    (longest time in the band before the jump, steps), `plateau_start` (where it begins) and `plateau_rank` (mean rank
    of that time), both NaN if none, `fall` (largest fall below a held level, rank), `final_rank` (mean rank of the last
    twentieth). The thresholds are in the attrs.
    """
    limits = thresholds or TrajectoryThresholds()
    rows = []
    for one, begin in zip(
        series(effective_rank, "effective_rank"), per_seed(start, effective_rank, "start"), strict=True
    ):
        length = float(one.steps[-1])
        late = one.steps >= (begin if math.isfinite(begin) else length)
        steps, rank = one.steps[late], one.values[late]
        if math.isfinite(begin) and (len(rank) == 0 or not np.isfinite(rank).all()):
            raise OntogenyError(
                f"effective_rank of seed {one.seed} must be finite from its start (step {begin:g}) on; "
                "leave the seed out and say so, or correct start."
            )
        jump = _reaches_to_stay(rank, limits.jump_level, limits.jump_level - limits.jump_slack)
        before = slice(None, jump)
        plateau, begins, level = _longest_stay(steps[before], rank[before], limits)
        fall = _fall_from_held(steps, rank, limits.hold_fraction * length)
        stuck = jump is None or not math.isfinite(begin)
        if fall > limits.fall_tolerance:
            kind = "non_monotonic"
        elif stuck:
            kind = "stuck"
        else:
            kind = "plateau_then_jump" if plateau >= limits.plateau_fraction * length else "early_rise"
        jump_step = math.nan if stuck or jump is None else float(steps[jump])
        final = float(rank[-max(1, len(rank) // 20) :].mean())
        rows.append((kind, jump_step, plateau, begins, level, fall, final))
    words = (
        ("kind", "kind of trajectory", ""),
        ("jump_step", "step at which the rank reaches the jump level to stay", "steps"),
        ("plateau_steps", "longest time on the plateau", "steps"),
        ("plateau_start", "first step of that time", "steps"),
        ("plateau_rank", "mean rank on the plateau", "rank"),
        ("fall", "largest fall below a level that was held", "rank"),
        ("final_rank", "mean rank of the last twentieth", "rank"),
    )
    columns = zip(words, zip(*rows, strict=True), strict=True)
    table = {name: variable(("seed",), list(column), long, unit) for (name, long, unit), column in columns}
    return xr.Dataset(table, coords={"seed": seeds_of(effective_rank)}, attrs=asdict(limits))


def rank_before_plateau(
    effective_rank: xr.DataArray,
    feature_norm: xr.DataArray,
    plateau_start: xr.DataArray,
    represented_above: float = 0.5,
) -> xr.DataArray:
    """Highest effective rank of each seed before its plateau, while two features or more are represented; (seed,).

    Two orthogonal features have rank 2, so a later jump to 2 can be a return. effective_rank: (seed, time),
    feature_norm: (seed, time, feature), with the coordinate `step`; plateau_start: (seed,), from
    `classify_trajectories`; a feature is represented from norm `represented_above` on. NaN without a plateau, or where
    fewer than two features were represented before it.
    """
    two = (feature_norm >= represented_above).sum("feature") >= 2
    highest = effective_rank.where(two & (effective_rank["step"] < plateau_start)).max("time")
    highest.attrs = {"long_name": "highest effective rank before the plateau", "units": "rank"}
    highest.attrs["represented_above"] = represented_above
    return highest


def _reaches_to_stay(values: Array, level: float, keep: float) -> int | None:
    """Index of the first value ≥ `level` after the last value < `keep` (hysteresis); None when there is none."""
    below = np.flatnonzero(values < keep)
    settled = int(below[-1]) + 1 if len(below) else 0
    above = np.flatnonzero(values[settled:] >= level)
    return settled + int(above[0]) if len(above) else None


def _longest_stay(steps: Array, rank: Array, limits: TrajectoryThresholds) -> tuple[float, float, float]:
    """Longest unbroken time in the plateau's band and its first step, in steps, and its mean rank; or (0, NaN, NaN)."""
    inside = np.abs(rank - limits.plateau_level) <= limits.plateau_band
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    runs: npt.NDArray[np.int64] = edges.reshape(-1, 2)
    if len(runs) == 0:
        return 0.0, math.nan, math.nan
    first, stop = max(runs.tolist(), key=lambda run: steps[run[1] - 1] - steps[run[0]])
    return float(steps[stop - 1] - steps[first]), float(steps[first]), float(rank[first:stop].mean())


def _fall_from_held(steps: Array, rank: Array, hold: float) -> float:
    """Largest fall below a held level: max_t {max_{s ≤ t} min(rank over the `hold` steps before s) − rank(t)}, ≥ 0."""
    opens = np.searchsorted(steps, steps - hold)
    whole = steps - hold >= steps[0]
    held = np.array(
        [rank[a : i + 1].min() if w else -np.inf for i, (a, w) in enumerate(zip(opens, whole, strict=True))]
    )
    return max(0.0, float((np.maximum.accumulate(held) - rank).max()))
