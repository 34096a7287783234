"""Every number that the sorting report states, computed once, by name: what summary.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis import t_interval
from ontogeny.analysis.rise_and_fall import arrival, peak_and_fall
from ontogeny.estimators.status import usable
from ontogeny.metrics.vocabulary import anti_states, crystallization, opposition, owners, regions
from ontogeny.report.health import count_health
from ontogeny.report.words import plain

ACCURATE = 0.99
"""Of its accuracy at the end: from where on a model counts as having learned."""
CRYSTALLIZED = 0.95
WHOLE, FROZEN = "all", "frozen"


def summarise(measured: Mapping[str, xr.Dataset], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was found of every variant, and how well λ̂ was measured.

    measured: variant -> its group of results.zarr; settings: those of the study. Steps are training steps; a finding is
    {"n", "mean", "interval", "values"} over seeds, None where no seed has it.
    """
    variants = {one["name"]: one for one in settings["variants"]}
    estimates = [made_estimates(one) for one in measured.values()]
    return plain(
        {
            "preset": settings["preset"],
            "settings": {name: value for name, value in settings.items() if name != "variants"},
            "variants": {name: variants[name] for name in measured},
            "seeds": max(one.sizes["seed"] for one in measured.values()),
            "health": count_health(_in_a_row(estimates)),
            "findings": {name: findings(one) for name, one in measured.items()},
            "accurate": ACCURATE,
            "crystallized": CRYSTALLIZED,
        }
    )


def whole(one: xr.Dataset, setting: str = FROZEN) -> xr.Dataset:
    """λ̂ of the whole model at one setting of nβ, with everything that is not an estimate."""
    return one.sel(setting=setting, component=WHOLE)


def made_estimates(one: xr.Dataset) -> xr.Dataset:
    """The estimates of a variant that were made, one after the other; heads have none at most checkpoints."""
    names = ["llc", "llc_se", "status", "regime", "chains_lost", "r_hat", "ess", "localisation_ratio"]
    rows = one[names].stack(estimate=("seed", "checkpoint", "setting", "component"), create_index=False)
    made = (rows["status"] != "").values
    return rows.isel(estimate=np.flatnonzero(made)).drop_vars(
        [name for name in rows.coords if name in ("seed", "checkpoint", "setting", "component", "step")]
    )


def _in_a_row(parts: list[xr.Dataset]) -> xr.Dataset:
    return xr.concat(parts, "estimate", combine_attrs="drop")


def findings(one: xr.Dataset) -> dict[str, Any]:
    """What the curves and circuits of a variant say, seed by seed."""
    frozen = whole(one)
    llc = frozen["llc"].where(usable(frozen))
    fall = peak_and_fall(llc, frozen["llc_se"])
    overlap = peak_and_fall(one["head_overlap"])
    rank = peak_and_fall(one["rank_sum"])
    last = one.isel(checkpoint=-1)
    neighbours = {
        str(name): peak_and_fall(at["llc"].where(usable(at)), at["llc_se"])["fell"]
        for name in one["setting"].values
        for at in [whole(one, str(name))]
    }
    accuracy = one["list_accuracy"]
    return {
        "seeds": one.sizes["seed"],
        "last_step": float(one["step"].max()),
        "usable": int(usable(frozen).sum()),
        "checkpoints": frozen["llc"].size,
        "accuracy_end": over_seeds(last["list_accuracy"]),
        "token_accuracy_end": over_seeds(last["token_accuracy"]),
        "accuracy_step": over_seeds(arrival(one["token_accuracy"], ACCURATE)),
        "accuracy_at_peak": over_seeds(_at(accuracy, fall["peak_step"])),
        "llc_peak": over_seeds(fall["peak"]),
        "llc_peak_step": over_seeds(fall["peak_step"]),
        "llc_end": over_seeds(fall["end"]),
        "llc_fall": over_seeds(fall["fall"]),
        "llc_fall_se": over_seeds(fall["fall_se"]),
        "llc_fell": {"n": int(fall["fell"].size), "count": int(fall["fell"].sum())},
        "llc_fall_step": over_seeds(fall["fall_step"]),
        "llc_fell_at": {name: int(fell.sum()) for name, fell in neighbours.items()},
        "overlap_peak": over_seeds(overlap["peak"]),
        "overlap_peak_step": over_seeds(overlap["peak_step"]),
        "overlap_end": over_seeds(overlap["end"]),
        "overlap_fall_step": over_seeds(overlap["fall_step"]),
        "rank_start": over_seeds(one["rank_sum"].isel(checkpoint=0)),
        "rank_peak": over_seeds(rank["peak"]),
        "rank_end": over_seeds(rank["end"]),
        "rank_fall_step": over_seeds(rank["fall_step"]),
        "participation_end": over_seeds(last["participation_sum"]),
        "symmetry_end": over_seeds(last["translational_symmetry"]),
        "symmetry_peak": over_seeds(one["translational_symmetry"].max("checkpoint")),
        "opposition_end": over_seeds(opposition(last["ov"]).min("head")),
        "anti_states_end": over_seeds(anti_states(last["ov"])),
        **_of_vocabulary(one),
        "heads": _of_heads(one),
    }


def _of_vocabulary(one: xr.Dataset) -> dict[str, Any]:
    """Regions of the vocabulary, where outputs are tokens; triangles are over the regions at the end."""
    names = ("regions_end", "crystallization_end", "crystallization_step")
    if one.sizes["source"] != one.sizes["output"]:
        return dict.fromkeys(names)
    last = one["ov"].isel(checkpoint=-1)
    owned = owners(last)
    crystals = xr.concat(
        [crystallization(one["qk"].sel(seed=seed), owned.sel(seed=seed)) for seed in one["seed"].values], "seed"
    ).assign_coords(step=one["step"], seed=one["seed"])
    found = (regions(last).sum("head"), crystals.isel(checkpoint=-1), arrival(crystals, CRYSTALLIZED))
    return {name: over_seeds(values) for name, values in zip(names, found, strict=True)}


def _of_heads(one: xr.Dataset) -> list[dict[str, Any]]:
    """λ̂ of every head at the last checkpoint that has one, seed 0."""
    at = one.sel(setting=FROZEN).isel(seed=0)
    out = []
    for head in one["head"].values:
        of_head = at.sel(component=head)
        made = np.flatnonzero((of_head["status"] != "").values)
        if made.size:
            last = of_head.isel(checkpoint=int(made[-1]))
            out.append(
                {
                    "head": str(head),
                    "step": float(last["step"]),
                    "llc": float(last["llc"]),
                    "llc_se": float(last["llc_se"]),
                    "status": str(last["status"].item()),
                    "regime": str(last["regime"].item()),
                }
            )
    return out


def _at(curve: xr.DataArray, steps: xr.DataArray) -> xr.DataArray:
    """The curve's value at a step of each seed; NaN where there is none."""
    return curve.where(curve["step"] == steps).max("checkpoint")


def over_seeds(values: xr.DataArray) -> dict[str, Any] | None:
    """n, mean and Student t interval over the seeds that have a value; None where none has."""
    array: npt.NDArray[np.float64] = np.asarray(values, dtype=float).ravel()
    found = t_interval(array)
    if not found.n:
        return None
    return {"n": found.n, "mean": found.mean, "interval": [found.low, found.high], "values": array.tolist()}
