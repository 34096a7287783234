"""When features come to be represented, and how that stands to the jump of the rank."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, along, per_seed, seeds_of, steps_of, variable
from ontogeny.core.errors import OntogenyError


def feature_emergence(
    feature_norm: xr.DataArray, *, represented_above: float = 0.5, crossing: float = 0.5, hysteresis: float = 0.1
) -> xr.Dataset:
    """Find the step at which each feature's norm crosses `crossing` of its final value to stay.

    feature_norm: (seed, time or checkpoint, feature), ‖W_i‖ (weight units), with the coordinate `step`. With f the
    mean of the last twentieth of a norm, the feature is represented when f ≥ `represented_above`, and has emerged at
    the first step at which the norm is ≥ crossing·f after the last step at which it was < (crossing − hysteresis)·f.
    NaN for a feature that is not represented; the step is resolved to the spacing of the points.

    Returns a Dataset: `emergence` (seed, feature), steps; `represented` (seed, feature), bool, at the end;
    `features_represented` (seed, time or checkpoint), the number with norm ≥ `represented_above` at each point, and
    `change` (same dims), how many more than at the point before (0 at the first); `first_emergence`, `last_emergence`
    (seed), steps, NaN when no feature is represented.
    """
    if not 0 < hysteresis < crossing < 1:
        raise OntogenyError(
            f"0 < hysteresis < crossing < 1 is needed; got hysteresis {hysteresis} and crossing {crossing}."
        )
    if represented_above <= 0:
        raise OntogenyError(f"represented_above must be a positive norm; got {represented_above}: 0.5 is the default.")
    dim = along(feature_norm, "feature_norm", extra=("feature",))
    steps = steps_of(feature_norm, "feature_norm")
    norms = feature_norm.transpose("seed", "feature", dim).values.astype(np.float64)
    known = np.isfinite(steps)
    if not np.isfinite(norms.swapaxes(1, 2)[known]).all():
        raise OntogenyError(
            "feature_norm must be finite at every step; got NaN or infinity: leave the diverged seeds out and say so."
        )
    when = np.array(
        [
            [_emerges(t[k], norm[k], represented_above, crossing, hysteresis) for norm in seed_norms]
            for t, k, seed_norms in zip(steps, known, norms, strict=True)
        ]
    )
    counts = (norms >= represented_above).sum(1)
    represented = np.isfinite(when)
    first = np.where(represented, when, np.inf).min(1)
    last = np.where(represented, when, -np.inf).max(1)
    some = represented.any(1)
    return xr.Dataset(
        {
            "emergence": variable(("seed", "feature"), when, "step at which the feature emerges", "steps"),
            "represented": variable(("seed", "feature"), represented, "the feature is represented at the end"),
            "features_represented": variable(("seed", dim), counts, "features represented", "features"),
            "change": variable(
                ("seed", dim),
                np.diff(counts, axis=1, prepend=counts[:, :1]),
                "change in features represented",
                "features",
            ),
            "first_emergence": variable(
                ("seed",), np.where(some, first, np.nan), "step at which the first feature emerges", "steps"
            ),
            "last_emergence": variable(
                ("seed",), np.where(some, last, np.nan), "step at which the last feature emerges", "steps"
            ),
        },
        coords={
            "seed": seeds_of(feature_norm),
            "step": feature_norm["step"],
            **({"feature": feature_norm["feature"]} if "feature" in feature_norm.coords else {}),
        },
        attrs={"represented_above": represented_above, "crossing": crossing, "hysteresis": hysteresis},
    )


def emergence_against_jump(
    emergence: xr.Dataset, inflection: xr.DataArray, *, margin: xr.DataArray | float
) -> xr.Dataset:
    """How feature emergence stands to the rank's jump.

    emergence: from `feature_emergence`. inflection: (seed,), steps, NaN for a seed without a jump. margin: steps
    before and after the inflection at which features are counted, a number or (seed,); three widths of the sigmoid
    cover 90 % of the jump.

    Returns a Dataset: `lag` (seed, feature), inflection − emergence, steps: positive when the feature came first, NaN
    without either; `count_before`, `count_after` (seed): features represented at the last point before inflection −
    margin and the first after inflection + margin, NaN when there is none; `count_change` (seed), their difference;
    `margin` (seed), steps, as given.
    """
    counts = emergence["features_represented"]
    dim = along(counts, "features_represented")
    at, around = per_seed(inflection, counts, "inflection"), per_seed(margin, counts, "margin")
    steps = steps_of(counts, "features_represented")
    rows = zip(steps, counts.transpose("seed", dim).values.astype(np.float64), at, around, strict=True)
    pairs = np.array([_before_and_after(t, n, centre, half) for t, n, centre, half in rows])
    return xr.Dataset(
        {
            "lag": variable(
                ("seed", "feature"), at[:, None] - emergence["emergence"].values, "inflection minus emergence", "steps"
            ),
            "margin": variable(("seed",), around, "half of the stretch that counts as the jump", "steps"),
            "count_before": variable(("seed",), pairs[:, 0], "features represented before the jump", "features"),
            "count_after": variable(("seed",), pairs[:, 1], "features represented after the jump", "features"),
            "count_change": variable(
                ("seed",), pairs[:, 1] - pairs[:, 0], "features gained across the jump", "features"
            ),
        },
        coords={name: emergence.coords[name] for name in ("seed", "feature") if name in emergence.coords},
    )


def _emerges(steps: Array, norm: Array, represented_above: float, crossing: float, hysteresis: float) -> float:
    final = float(norm[-max(1, len(norm) // 20) :].mean())
    if final < represented_above:
        return math.nan
    below = np.flatnonzero(norm < (crossing - hysteresis) * final)
    settled = int(below[-1]) + 1 if len(below) else 0
    above = np.flatnonzero(norm[settled:] >= crossing * final)
    return float(steps[settled + above[0]]) if len(above) else math.nan


def _before_and_after(steps: Array, counts: Array, centre: float, half: float) -> tuple[float, float]:
    before, after = np.flatnonzero(steps <= centre - half), np.flatnonzero(steps >= centre + half)
    return (float(counts[before[-1]]) if len(before) else math.nan, float(counts[after[0]]) if len(after) else math.nan)
