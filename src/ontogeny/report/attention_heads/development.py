"""Stages of training, by the λ̂ of the whole model and by what forms in the heads meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ontogeny.analysis import find_stages
from ontogeny.estimators.status import usable

BEHAVIOURS = ("bigrams", "n-grams", "previous-token heads", "induction heads")


def behaviours(behaviour: xr.Dataset, training: xr.Dataset, dataset: str) -> dict[str, xr.DataArray]:
    """What stages are named by, each (seed, checkpoint).

    bigrams: how far the loss has come from its first value to the bigram model's, (L_0 - L)/(L_0 - L_2), from 0 to 1;
    n-grams: how far from there to its lowest, (L_2 - L)/(L_2 - min L); heads: the largest score of any head.
    """
    loss = behaviour["loss"]
    bigram = training["baseline_loss"].isel(seed=0, missing_dims="ignore").sel(dataset=dataset, order=2)
    first, lowest = loss.isel(checkpoint=0), loss.min("checkpoint")
    beyond = (bigram - lowest).where(bigram > lowest)  # a model that never gets there has no such stage
    out = {
        "bigrams": ((first - loss) / (first - bigram)).clip(0, 1),
        "n-grams": ((bigram - loss) / beyond).clip(0, 1).fillna(0.0),
        "previous-token heads": behaviour["previous_token"].max("head"),
        "induction heads": behaviour["prefix_matching"].max("head"),
    }
    return {name: score.assign_coords(step=behaviour["step"]) for name, score in out.items()}


def stages_of(
    whole: xr.Dataset, behaviour: xr.Dataset, training: xr.Dataset, dataset: str
) -> dict[int, list[dict[str, Any]]]:
    """The stages of each seed, from λ̂ of the whole model on one data set where it is usable; none with few points."""
    one = whole.sel(dataset=dataset)
    llc = one["llc"].where(usable(one)).transpose("seed", "checkpoint")
    found = find_stages(llc, one["llc_se"].transpose("seed", "checkpoint"), behaviours(behaviour, training, dataset))
    out: dict[int, list[dict[str, Any]]] = {int(seed): [] for seed in llc["seed"].values}
    for place in range(found.sizes["stage"]):
        row = found.isel(stage=place)
        out[int(row["seed"])].append(
            {
                name: str(row[name].item()) if row[name].dtype.kind in "OU" else float(row[name])
                for name in (
                    "start", "end", "end_low", "end_high", "boundary", "change", "change_se", "direction", "name",
                    "name_share",
                )
            }
        )  # fmt: skip
    return out


def reached(score: xr.DataArray, level: float) -> float:
    """The first step at which a score (checkpoint) passes a level and stays above it; NaN where it does not."""
    good = np.asarray(score.values >= level)
    below = np.flatnonzero(~good)
    first = 0 if not below.size else int(below[-1]) + 1
    return float(score["step"].values[first]) if first < len(good) else float("nan")
