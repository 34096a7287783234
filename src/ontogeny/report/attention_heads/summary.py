"""Every number that the attention-heads report states, computed once, by name: what summary.json holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.report.attention_heads.curvature import against, at_the_end, orders
from ontogeny.report.attention_heads.development import reached, stages_of
from ontogeny.report.attention_heads.effects import as_dict
from ontogeny.report.attention_heads.grouping import clusters_of
from ontogeny.report.attention_heads.statements import CODE, STATEMENTS, TEXT, run_of
from ontogeny.report.health import count_health
from ontogeny.report.words import plain

FORMED = 0.3
"""Score from which on a head counts as formed; that of `head_types`."""
HEALTH = ("llc", "llc_se", "status", "regime", "chains_lost", "r_hat", "ess", "localisation_ratio")


def summarise(measured: Mapping[str, xr.Dataset], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, by seed and by setting of the sampler.

    measured: the groups of results.zarr; settings: those of the study. Steps are training steps, losses nats a token.
    """
    behaviour, contexts = measured["behaviour"], measured["contexts"]
    samplers = [str(name) for name in measured["heads"]["setting"].values]
    types = contexts["type"].sel(when="last")
    both = [name for name in (TEXT, CODE) if name in measured["heads"]["dataset"]]
    stages, clusters, claims = {}, {}, {}
    for name in samplers:
        stages[name] = stages_of(measured["whole"].sel(setting=name), behaviour, measured["training"], TEXT)
        clusters[name] = clusters_of(measured["heads"].sel(setting=name), types, both)
        runs = [
            run_of(measured, name, int(seed), stages[name][int(seed)], clusters[name])
            for seed in behaviour["seed"].values
        ]
        claims[name] = {
            key: as_dict([says_run(run) for run in runs], says, of) for key, (says, says_run, of) in STATEMENTS.items()
        }
    return plain(
        {
            "preset": settings["preset"],
            "settings": dict(settings),
            "seeds": behaviour.sizes["seed"],
            "steps": [int(step) for step in behaviour["step"].values],
            "tokens": float(measured["training"]["tokens"].max()),
            "health": count_health(_estimates(measured)),
            "health_by_setting": {name: count_health(_estimates(measured, name)) for name in samplers},
            "localisation": {name: _localisation(measured, name) for name in samplers},
            "losses": _losses(measured),
            "types": [_types(contexts.sel(seed=seed), behaviour.sel(seed=seed)) for seed in behaviour["seed"].values],
            "formed": [_formed(behaviour.sel(seed=seed)) for seed in behaviour["seed"].values],
            "circuit": [
                {name: str(behaviour[name].sel(seed=seed).item()) for name in ("receiver", "senders", "pair")}
                for seed in behaviour["seed"].values
            ],
            "migrations": [
                {
                    "found": int(contexts["migrated"].sel(seed=seed)),
                    "shown": json.loads(str(contexts["migrations"].sel(seed=seed).item())),
                }
                for seed in contexts["seed"].values
            ],
            "stages": {name: {str(seed): rows for seed, rows in found.items()} for name, found in stages.items()},
            "clusters": clusters,
            "second_order": {name: against(measured, name) for name in samplers},
            "curvature": {name: at_the_end(measured, name) for name in samplers},
            "orders": {name: orders(measured, name) for name in samplers},
            "claims": claims,
        }
    )


def _estimates(measured: Mapping[str, xr.Dataset], setting: str | None = None) -> xr.Dataset:
    """All estimates that were made, in a row."""
    rows = []
    for group in ("heads", "whole"):
        one = measured[group][list(HEALTH)]
        one = one if setting is None else one.sel(setting=[setting])
        dims = [str(dim) for dim in one["llc"].dims]
        flat = one.drop_vars([str(name) for name in one.coords]).stack(estimate=dims, create_index=False)
        rows.append(flat.isel(estimate=np.flatnonzero((flat["status"] != "").values)))
    return xr.concat(rows, "estimate", combine_attrs="drop")


def _localisation(measured: Mapping[str, xr.Dataset], setting: str) -> dict[str, float]:
    one = measured["heads"].sel(setting=setting)
    return {name: float(one[name].max()) for name in ("n_beta", "localization")}


def _losses(measured: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """The loss at the last checkpoint, by data set and seed, and that of n-gram models."""
    whole = measured["whole"].isel(setting=0, checkpoint=-1)
    training = measured["training"].isel(seed=0)
    return {
        str(name): {
            "by_seed": whole["loss"].sel(dataset=name).values.tolist(),
            "se": whole["loss_se"].sel(dataset=name).values.tolist(),
            "ngrams": {
                str(order): float(training["baseline_loss"].sel(dataset=name, order=order))
                for order in training["order"].values
            }
            if name in training["dataset"]
            else {},
        }
        for name in whole["dataset"].values
    }


def _types(contexts: xr.Dataset, behaviour: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Of each head: its type, its pattern, its scores with their errors, and how many multigrams; at the end."""
    last, scores = contexts.sel(when="last"), behaviour.isel(checkpoint=-1)
    out = {}
    for head in (str(name) for name in last["head"].values):
        one = last.sel(head=head)
        out[head] = {
            "type": str(one["type"].item()),
            "pattern": str(one["pattern_of_head"].item()),
            "early_type": str(contexts["type"].sel(when="early", head=head).item()),
            "multigrams": int(one["multigrams"]),
            "shares": {str(kind): float(one["share"].sel(pattern=kind)) for kind in one["pattern"].values},
            **{
                name: [float(scores[name].sel(head=head)), float(scores[f"{name}_se"].sel(head=head))]
                for name in ("previous_token", "current_token", "prefix_matching")
            },
        }
    return out


def _formed(behaviour: xr.Dataset) -> dict[str, float]:
    """From which step on some head's score stays above ``FORMED``; None where none does."""
    return {
        name: reached(behaviour[name].max("head"), FORMED)
        for name in ("previous_token", "current_token", "prefix_matching")
    }
