"""Every number that the sorting report states, computed once, by name: what summary.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis import t_interval
from ontogeny.analysis.proportions import clopper_pearson
from ontogeny.analysis.rise_and_fall import LAST, arrival, first_hill, peak_and_fall, since
from ontogeny.analysis.second_order import against_second_order
from ontogeny.estimators.status import usable
from ontogeny.metrics.vocabulary import (
    OPPOSED,
    anti_states,
    crystallization,
    crystallization_by_chance,
    opposition,
    owners,
    regions,
)
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
            "second_order": {name: against_second_order(whole(one)) for name, one in measured.items()},
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
    """What the curves and circuits of a variant say, seed by seed. ``…_end`` is the mean of the last three values."""
    frozen = whole(one)
    llc = frozen["llc"].where(usable(frozen))
    curves = {
        "llc": peak_and_fall(llc, frozen["llc_se"]),
        "overlap": peak_and_fall(one["head_overlap"]),
        "rank": peak_and_fall(one["rank_sum"]),
        "symmetry": peak_and_fall(one["translational_symmetry"]),
    }
    hill = first_hill(llc, frozen["llc_se"])
    told = {f"first_{what}": over_seeds(values) for what, values in hill.items()} | {
        f"{name}_{what}": share_of_seeds(values) if what == "fell" else over_seeds(values)
        for name, curve in curves.items()
        for what, values in curve.items()
        if what != "fall_se" or name == "llc"
    }
    peak_step, accuracy = curves["llc"]["peak_step"], one["list_accuracy"]
    return {
        "seeds": one.sizes["seed"],
        "last_step": float(one["step"].max()),
        "usable": int(usable(frozen).sum()),
        "checkpoints": frozen["llc"].size,
        **told,
        "llc_start": over_seeds(llc.isel(checkpoint=0)),
        "rank_start": over_seeds(one["rank_sum"].isel(checkpoint=0)),
        "accuracy_end": over_seeds(at_the_end(accuracy)),
        "token_accuracy_end": over_seeds(at_the_end(one["token_accuracy"])),
        "accuracy_step": over_seeds(arrival(one["token_accuracy"], ACCURATE)),
        "accuracy_at_peak": over_seeds(_at(accuracy, peak_step)),
        "accuracy_at_rank_fall": over_seeds(_interpolated(accuracy, curves["rank"]["fall_step"])),
        "norm_peak": over_seeds(one["total_weight_norm"].max("checkpoint")),
        "norm_end": over_seeds(at_the_end(one["total_weight_norm"])),
        "symmetry_step": over_seeds(arrival(one["translational_symmetry"], 0.5)),
        **_of_curvature(frozen),
        "participation_end": over_seeds(at_the_end(one["participation_sum"])),
        "localised_step": over_seeds(_for_good((frozen["regime"] == "localised").assign_coords(step=one["step"]))),
        "neighbours": _neighbours(one),
        **_of_vocabulary(one, peak_step),
        "heads": _of_heads(one),
    }


def _of_curvature(frozen: xr.Dataset) -> dict[str, Any]:
    """Where the Hessian's trace is highest, how it and the rank end, and what second order explains of λ̂."""
    each = [against_second_order(frozen.sel(seed=[seed])) for seed in frozen["seed"].values]
    trace = frozen["hessian_trace"]
    peak = trace.max("checkpoint")
    return {
        "hessian_trace_peak": over_seeds(peak),
        "hessian_trace_peak_step": over_seeds(frozen["step"].where(trace == peak).max("checkpoint")),
        "hessian_trace_end": over_seeds(at_the_end(trace)),
        "hessian_rank_peak": over_seeds(frozen["hessian_rank"].max("checkpoint")),
        "hessian_rank_end": over_seeds(at_the_end(frozen["hessian_rank"])),
        "second_order_share": over_seeds(xr.DataArray([one["share"]["mean"] for one in each], dims="seed")),
    }


def at_the_end(curve: xr.DataArray) -> xr.DataArray:
    """The mean of the last three values."""
    return curve.isel(checkpoint=slice(-LAST, None)).mean("checkpoint")


def _neighbours(one: xr.Dataset) -> list[dict[str, Any]]:
    """λ̂ of the whole model of seed 0 at every (nβ, γ), at the checkpoints that have it."""
    at = one.sel(component=WHOLE).isel(seed=0)
    made = np.flatnonzero((at["status"] != "").all("setting").values)
    return [
        {
            "step": float(at["step"][place]),
            "at": {
                str(name): {
                    "llc": float(at["llc"].sel(setting=name)[place]),
                    "llc_se": float(at["llc_se"].sel(setting=name)[place]),
                    "status": str(at["status"].sel(setting=name)[place].item()),
                }
                for name in one["setting"].values
            },
        }
        for place in made
    ]


def _of_vocabulary(one: xr.Dataset, peak_step: xr.DataArray) -> dict[str, Any]:
    """Vocabulary regions and anti-states, where outputs are tokens; triangles are over the regions at the end."""
    names = (
        "regions_start", "regions_end", "regions_by_head", "opposition_end", "anti_states_end", "anti_state_step",
        "crystallization_by_chance", "crystallization_start", "crystallization_end", "crystallization_step",
    )  # fmt: skip
    if one.sizes["source"] != one.sizes["output"]:
        return dict.fromkeys(names)
    last = one["ov"].isel(checkpoint=-1)
    owned = owners(last)
    crystals = xr.concat(
        [crystallization(one["qk"].sel(seed=seed), owned.sel(seed=seed)) for seed in one["seed"].values], "seed"
    ).assign_coords(step=one["step"], seed=one["seed"])
    counted = regions(one["ov"]).assign_coords(step=one["step"])
    against = opposition(one["ov"]).assign_coords(step=one["step"])
    lowest = against.min("head")
    by_head = {
        str(head): {
            "peak": over_seeds(_at(counted.sel(head=head), peak_step)),
            "end": over_seeds(counted.sel(head=head).isel(checkpoint=-1)),
            "opposition_end": over_seeds(against.sel(head=head).isel(checkpoint=-1)),
        }
        for head in one["head"].values
    }
    found = (
        over_seeds(counted.isel(checkpoint=0).sum("head")),
        over_seeds(counted.isel(checkpoint=-1).sum("head")),
        by_head,
        over_seeds(lowest.isel(checkpoint=-1)),
        over_seeds(anti_states(last)),
        over_seeds(_for_good(lowest <= OPPOSED)),
        over_seeds(xr.DataArray([crystallization_by_chance(owned.sel(seed=seed)) for seed in one["seed"].values])),
        over_seeds(crystals.isel(checkpoint=0)),
        over_seeds(at_the_end(crystals)),
        over_seeds(arrival(crystals, CRYSTALLIZED)),
    )
    return dict(zip(names, found, strict=True))


def _for_good(true: xr.DataArray) -> xr.DataArray:
    """The first step from which something is true to the end, of each seed."""
    rows = true.transpose("seed", "checkpoint").values
    return xr.DataArray([since(true["step"].values, row) for row in rows], dims="seed")


def _interpolated(curve: xr.DataArray, steps: xr.DataArray) -> xr.DataArray:
    """The curve's value at a step of each seed, linear in log(1 + step) between checkpoints."""
    at = np.log1p(curve["step"].values.astype(float))
    rows = curve.transpose("seed", "checkpoint").values
    return xr.DataArray(
        [np.interp(np.log1p(step), at, row) for step, row in zip(steps.values, rows, strict=True)], dims="seed"
    )


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


def share_of_seeds(values: xr.DataArray) -> dict[str, Any] | None:
    """The same of what is 1 in some seeds and 0 in others: ``count`` of them, and the exact interval of their share."""
    found = over_seeds(values)
    if found is None:
        return None
    count = int(np.nansum(values))
    return found | {"count": count, "interval": list(clopper_pearson(count, found["n"]))}
