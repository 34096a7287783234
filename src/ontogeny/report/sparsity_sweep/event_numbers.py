"""Numbers of the summary that are about events: how many there are, when, and which indicator finds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.intervals import t_interval
from ontogeny.analysis.proportions import clopper_pearson
from ontogeny.report.sparsity_sweep.verdicts import ALPHA
from ontogeny.report.words import estimate_of, spread_of

EMERGENCE, JUMP = "emergence", "rank_jump"


def what_happened(events: xr.Dataset, measurements: xr.Dataset) -> dict[str, Any]:
    """Count events by sparsity and kind: `events`, `seeds` with at least one, and their `step` (spread over events)."""
    kinds = sorted({str(k) for k in events["kind"].values})
    made: dict[str, Any] = {}
    for sparsity in measurements["sparsity"].values:
        here = events["sparsity"].values == sparsity
        made[f"{float(sparsity):g}"] = {kind: _count(events, here & _is(events, kind)) for kind in kinds}
    return made


def timing(events: xr.Dataset, sparsity: float, measurements: xr.Dataset) -> dict[str, Any]:
    """When features emerge and when the rank jumps, at one sparsity, within seeds.

    `emergence`: the median step of a seed's emergences, mean over seeds with its t interval; `emergence_steps`: spread
    over all of them; `jump`: spread over seeds with a jump (their first); of the `both` seeds that have both,
    `jump_after`: how many jump after their median emergence, `jump_after_share` with its exact binomial interval, and
    `lag`: jump minus median emergence, spread over seeds.
    """
    here = events["sparsity"].values == sparsity
    steps, seeds = events["step"].values.astype(float), events["seed"].values
    emerge = {s: steps[here & _is(events, EMERGENCE) & (seeds == s)] for s in measurements["seed"].values.tolist()}
    jump = {s: steps[here & _is(events, JUMP) & (seeds == s)] for s in emerge}
    medians = {s: float(np.median(v)) for s, v in emerge.items() if v.size}
    first = {s: float(v.min()) for s, v in jump.items() if v.size}
    lags = [first[s] - medians[s] for s in first if s in medians]
    after = sum(lag > 0 for lag in lags)
    mean = t_interval(list(medians.values()))
    return {
        "emergence": {"mean": mean.mean, "interval": [mean.low, mean.high], "seeds": mean.n},
        "emergence_steps": spread_of(np.concatenate([*emerge.values()]) if emerge else []),
        "jump": spread_of(list(first.values())),
        "both": len(lags),
        "jump_after": after,
        "jump_after_share": after / len(lags) if lags else None,
        "jump_after_share_interval": list(clopper_pearson(after, len(lags))) if lags else [None, None],
        "lag": spread_of(lags),
    }


def detections(table: xr.Dataset) -> dict[str, Any]:
    """Indicator -> kind -> how its change points find events of that kind, beside chance; a kind that never occurs not.

    `finds`: its recall has, against random points, a p of at most `alpha_each` of `detection_test`.
    """
    bar = detection_test(table)["alpha_each"]
    made: dict[str, Any] = {}
    for indicator in table["indicator"].values:
        made[str(indicator)] = {}
        for kind in table["kind"].values:
            cell = table.sel(indicator=indicator, kind=kind)
            if int(cell["events"]):
                p = float(cell["p_value"])
                made[str(indicator)][str(kind)] = {
                    "events": int(cell["events"]),
                    **{name: estimate_of(cell, name) for name in ("recall", "precision", "lag")},
                    **{name: float(cell[name]) for name in ("recall_null", "precision_null")},
                    "p_value": p,
                    "finds": bool(p <= bar),
                }
    return made


def detection_test(table: xr.Dataset) -> dict[str, Any]:
    """The tests against chance: `draws` of random points, `alpha` shared by `cells`, indicators × kinds that occur."""
    cells = int((table["events"] > 0).sum())
    draws = table.attrs.get("draws")
    return {
        "alpha": ALPHA,
        "cells": cells,
        "alpha_each": ALPHA / max(cells, 1),
        "draws": None if draws is None else int(draws),
    }


def tracked(found: dict[str, Any]) -> dict[str, list[str]]:
    """Kind -> the indicators that find it better than chance; found: from `detections`."""
    kinds = dict.fromkeys(kind for cells in found.values() for kind in cells)
    return {kind: [i for i, cells in found.items() if kind in cells and cells[kind]["finds"]] for kind in kinds}


def _is(events: xr.Dataset, kind: str) -> npt.NDArray[np.bool_]:
    return np.asarray(events["kind"].values.astype(str) == kind)


def _count(events: xr.Dataset, which: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "events": int(which.sum()),
        "seeds": len(set(events["seed"].values[which].tolist())),
        "step": spread_of(events["step"].values[which]),
    }
