"""Every number that the superposition report states, computed once, by name: what summary.json holds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.cut_points import JUDGED_BY
from ontogeny.analysis.intervals import LEVEL
from ontogeny.analysis.second_order import against_second_order
from ontogeny.report.health import count_health
from ontogeny.report.superposition.levels import llc_across_jump
from ontogeny.report.superposition.sensitivity import calibration
from ontogeny.report.superposition.sensitivity import sensitivity as at_neighbours
from ontogeny.report.superposition.verdicts import verdicts
from ontogeny.report.words import classes_of, plain, spread_of

TEXTBOOK = "plateau_then_jump"
CELL = (
    "mean_difference",
    "se",
    "cohen_d",
    "p_value",
    "p_two_sided",
    "detectable_difference",
    "sampler_share",
)


def summarise(
    measurements: xr.Dataset,
    *,
    fits: xr.Dataset,
    kinds: xr.Dataset,
    emergence: xr.Dataset,
    relation: xr.Dataset,
    tests: xr.Dataset,
    fractions: xr.Dataset,
    before_plateau: xr.DataArray | None = None,
    sensitivity: xr.Dataset | None = None,
) -> dict[str, Any]:
    """Return the summary: plain numbers, words and [low, high] intervals; a number that does not exist is None.

    measurements: the study's measurements. The rest is what `ontogeny.analysis` returns: `fit_sigmoids`,
    `classify_trajectories`, `feature_emergence`, `emergence_against_jump`, `cut_point_test`, `class_fractions`. The
    jumping seeds are those that `tests` was given an inflection for. before_plateau: (seed,), from
    `rank_before_plateau`; sensitivity: the study's group of that name.
    """
    summary: dict[str, Any] = plain(
        {
            "seeds": int(measurements.sizes["seed"]),
            "sparsity": measurements.attrs.get("sparsity"),
            "features": measurements.attrs.get("n_features", measurements.sizes["feature"]),
            "train_steps": measurements.attrs.get("train_steps"),
            "n_beta": measurements.attrs.get("n_beta"),
            "localization": measurements.attrs.get("localization"),
            "dataset_size": measurements.attrs.get("dataset_size"),
            "classes": classes_of(fractions),
            "class_interval_level": float(fractions.attrs["level"]),
            "interval_level": LEVEL,
            "fits": _fits(fits, kinds),
            "plateau_rank": spread_of(kinds["plateau_rank"].values),
            "jump": _jump(fits, kinds, tests, before_plateau),
            "emergence": _emergence(emergence, relation, fits, tests["seed"].values),
            "llc_across_jump": llc_across_jump(measurements, tests["inflection"]),
            "tests": {
                str(v): {str(s): _cell(tests.sel(variant=v, statistic=s)) for s in tests["statistic"].values}
                for v in tests["variant"].values
            },
            "test_settings": {
                **{k: tests.attrs[k] for k in ("window", "permutations", "alpha", "alpha_each", "power")},
                "statistics": len(JUDGED_BY),
            },
            "checkpoints_lost_in_test": int(tests["lost_checkpoints"].sum()),
            "final": _final(measurements),
            "second_order": against_second_order(measurements),
            "health": count_health(measurements),
            "calibration": calibration(measurements),
            "sensitivity": at_neighbours(sensitivity, tests["inflection"]),
        }
    )
    summary["verdicts"] = verdicts(summary["tests"], summary["test_settings"]["alpha_each"])
    return summary


def _fits(fits: xr.Dataset, kinds: xr.Dataset) -> dict[str, Any]:
    """Count the fits accepted, in all and by class of the trajectory, and those rejected by the clause they failed."""
    classes = Counter(str(k) for k in kinds["kind"].sel(seed=fits["seed"]).values[fits["accepted"].values])
    rejected = Counter(str(v) for v in fits["verdict"].values if str(v) != "accepted")
    return {
        "accepted": int(fits["accepted"].sum()),
        "accepted_by_class": dict(sorted(classes.items(), key=lambda item: (item[0] != TEXTBOOK, item[0]))),
        "rejected": dict(sorted(rejected.items())),
    }


def _jump(
    fits: xr.Dataset, kinds: xr.Dataset, tests: xr.Dataset, before_plateau: xr.DataArray | None
) -> dict[str, Any]:
    """The jumps' steps and levels; and of the ranks that seeds had before their plateau, those at the jump level."""
    jumping = fits.sel(seed=tests["seed"])
    level = float(kinds.attrs["jump_level"])
    earlier = np.empty(0) if before_plateau is None else before_plateau.sel(seed=tests["seed"]).values
    return {
        "seeds": int(tests.sizes["seed"]),
        "step": spread_of(tests["inflection"].values),
        "rank_before": spread_of(jumping["lo"].values),
        "rank_after": spread_of(jumping["hi"].values),
        "width": spread_of(jumping["width"].values),
        "jump_level": level,
        "reached_before": int((earlier >= level).sum()),
        "rank_reached_before": spread_of(earlier[earlier >= level]),
    }


def _emergence(
    emergence: xr.Dataset, relation: xr.Dataset, fits: xr.Dataset, jumping: npt.NDArray[Any]
) -> dict[str, Any]:
    """When features emerge; with the jump is within the relation's `margin` of the inflection."""
    lag = relation["lag"].sel(seed=jumping).transpose("seed", "feature").values
    margin, width = (table.sel(seed=jumping).values for table in (relation["margin"], fits["width"]))
    half = np.broadcast_to(margin[:, None], lag.shape)
    known = np.isfinite(lag)
    since, half = lag[known], half[known]
    return {
        "step": spread_of(emergence["emergence"].sel(seed=jumping).values),
        "step_all_seeds": spread_of(emergence["emergence"].values),
        "lag": spread_of(lag),
        "features": int(known.sum()),
        "features_before_jump": int((since > half).sum()),
        "features_at_jump": int((np.abs(since) <= half).sum()),
        "features_after_jump": int((since < -half).sum()),
        "jump_half_width": float(np.median(margin / width)) if margin.size else None,
        "features_gained_across_jump": spread_of(relation["count_change"].sel(seed=jumping).values),
    }


def _cell(cell: xr.Dataset) -> dict[str, Any]:
    return {
        "seeds": int(cell["seeds"]),
        **{k: float(cell[k]) for k in CELL},
        "interval": [float(cell["low"]), float(cell["high"])],
        "status": str(cell["status"].item()),
        "reason": str(cell["reason"].item()),
    }


def _final(measurements: xr.Dataset) -> dict[str, Any]:
    """The last checkpoint of each seed: how many features are represented, effective rank, LLC, curvature."""
    last = measurements.isel(checkpoint=measurements["step"].notnull().sum("checkpoint") - 1)
    counts = Counter(int(k) for k in last["features_represented"].values)
    return {
        "features_represented": {str(k): counts[k] for k in sorted(counts)},
        "effective_rank": spread_of(last["effective_rank"].values),
        "llc": spread_of(last["llc"].values),
        "hessian_trace": spread_of(last["hessian_trace"].values),
        "hessian_rank": spread_of(last["hessian_rank"].values),
    }
