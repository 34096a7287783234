"""Does the answer hang on (nβ, γ)? Short extra chains at half and twice of each, on a part of the checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import xarray as xr

from ontogeny.core.schema import VARIABLES
from ontogeny.estimators.llc import ESSENTIALS
from ontogeny.studies.superposition.checkpoints import assemble, checkpoint_steps, cut
from ontogeny.studies.superposition.measure import CheckpointChunk
from ontogeny.studies.superposition.settings import SuperpositionSettings

FROZEN = "frozen"
NEIGHBOURS = {
    "half_n_beta": (0.5, 1.0),
    "twice_n_beta": (2.0, 1.0),
    "half_localization": (1.0, 0.5),
    "twice_localization": (1.0, 2.0),
}
"""Factors of (nβ, γ)."""
SEEDS, CHECKPOINTS, NEAR_JUMP = 4, 20, 12
"""So many seeds, textbook ones first, and checkpoints of each, of which so many near the jump."""
MOST_CHAINS = 4
BURN_IN, DRAWS = 4.0, 16.0
"""In relaxation times 1/(εγ); the cost of all four is then a fifth of the quick preset's chain-steps."""
KEPT = (
    *ESSENTIALS,
    "hessian_rank",
    "second_order_llc",
    "second_order_llc_se",
    "second_order_llc_curvature",
    "second_order_llc_gradient",
    "second_order_llc_status",
)
"""What is kept of an estimate at each setting."""


def neighbour(settings: SuperpositionSettings, name: str) -> SuperpositionSettings:
    """The settings at a neighbour: ε(nβ·h_max + γ) as it was, burn-in and draws in its own relaxation times."""
    times_n_beta, times_gamma = NEIGHBOURS[name]
    n_beta, gamma = settings.n_beta * times_n_beta, settings.localization * times_gamma
    steepest = settings.n_beta * settings.h_max + settings.localization
    made = replace(
        settings,
        n_beta=n_beta,
        localization=gamma,
        step_size=settings.step_size * steepest / (n_beta * settings.h_max + gamma),
        chains=min(settings.chains, MOST_CHAINS),
    )
    return replace(made, burn_in=round(BURN_IN * made.relaxation), draws=round(DRAWS * made.relaxation))


def chosen(
    settings: SuperpositionSettings, inflection: xr.DataArray, start: xr.DataArray, textbook: xr.DataArray
) -> list[tuple[int, int, int]]:
    """(place of the seed, number of the checkpoint, step) of the part that is measured again, from weights alone.

    inflection: of accepted fits, NaN for others; start: where the network begins to represent something; textbook: the
    seeds that enter the tests; all (seed,). The first four textbook seeds, and others where there are fewer. Of each
    twenty checkpoints from ``start`` on: up to twelve evenly among those within 10 % of training of its inflection,
    the rest evenly among the others; earlier ones only where there are too few.
    """
    from ontogeny.report.superposition.levels import FAR

    places = [*np.flatnonzero(textbook.values), *np.flatnonzero(~textbook.values)][:SEEDS]
    tasks = []
    for place in sorted(int(p) for p in places):
        steps = np.array(checkpoint_steps(settings, float(inflection.values[place])))
        first = float(start.values[place])
        after = np.flatnonzero(steps >= (first if math.isfinite(first) else 0.0))
        wanted = min(CHECKPOINTS, len(steps))
        if len(after) < wanted:
            after = np.arange(len(steps) - wanted, len(steps))
        since = np.abs(steps[after] - inflection.values[place])
        close = since <= FAR * settings.train_steps  # none without an inflection
        near = after[close][_evenly(int(close.sum()), min(NEAR_JUMP, wanted))]
        others = after[~close]
        if len(others) < wanted - len(near):
            others = np.setdiff1d(after, near)
        numbers = np.union1d(near, others[_evenly(len(others), wanted - len(near))])
        tasks += [(place, int(number), int(steps[number])) for number in numbers]
    return tasks


def _evenly(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.round(np.linspace(0, count - 1, min(count, wanted))).astype(int))


def chunks(
    settings: SuperpositionSettings, trajectory: xr.Dataset, tasks: list[tuple[int, int, int]]
) -> Iterator[tuple[str, CheckpointChunk]]:
    """Every (neighbour, chunk)."""
    for name in NEIGHBOURS:
        for chunk in cut(neighbour(settings, name), trajectory, tasks):
            yield name, chunk


def together(
    settings: SuperpositionSettings, measurements: xr.Dataset, parts: list[tuple[str, xr.Dataset]]
) -> xr.Dataset:
    """The neighbours beside the frozen setting, dims ``setting``, ``seed``, ``checkpoint``; results.zarr's group.

    ``llc_sensitivity`` ± ``llc_sensitivity_se`` with status, regime and health, ``step`` and ``number`` (the
    checkpoint's number among all); by setting ``n_beta``, ``localization``, ``step_size``, ``burn_in``, ``draws``.
    "frozen" repeats the study's own estimates at the same checkpoints.
    """
    anew = {name: _compact([part for other, part in parts if other == name]) for name in NEIGHBOURS}
    first = next(iter(anew.values()))
    number = xr.DataArray(first["number"].values, dims=("seed", "checkpoint"))
    own = measurements[list(KEPT)].sel(seed=first["seed"]).drop_vars(["step", "checkpoint"]).isel(checkpoint=number)
    own = own.assign_coords(checkpoint=first["checkpoint"], step=first["step"])
    every = {FROZEN: settings} | {name: neighbour(settings, name) for name in NEIGHBOURS}
    out = xr.concat([own, *(one.drop_vars("number") for one in anew.values())], "setting")
    out = out.assign_coords(setting=np.array(list(every), dtype=object)).assign(number=first["number"])
    for name in ("n_beta", "localization", "step_size", "burn_in", "draws", "chains"):
        out[name] = ("setting", [getattr(one, name) for one in every.values()])
    out = out.rename(llc="llc_sensitivity", llc_se="llc_sensitivity_se")
    _name(out)
    out.attrs = {
        "relaxation_times": json.dumps({"burn_in": BURN_IN, "draws": DRAWS}),
        "step_rule": "ε(nβ·h_max + γ) as at the frozen setting",
        "steepest_times_step": settings.step_size * (settings.n_beta * settings.h_max + settings.localization),
        **{f"study_{name}": value for name, value in asdict(settings).items()},
    }
    return out


def _compact(parts: list[xr.Dataset]) -> xr.Dataset:
    """One neighbour's chunks with the seeds' own checkpoints side by side; ``number`` says which they are."""
    tasks = xr.concat([part[list(KEPT)] for part in parts], "task", combine_attrs="override")
    number = tasks["checkpoint"].values
    counts: dict[int, dict[int, int]] = {}
    for seed, own in zip(tasks["seed"].values.tolist(), number.tolist(), strict=True):
        places = counts.setdefault(seed, {})
        places.setdefault(own, len(places))
    place = [counts[seed][own] for seed, own in zip(tasks["seed"].values.tolist(), number.tolist(), strict=True)]
    tasks = tasks.assign(number=("task", number)).assign_coords(checkpoint=("task", place))
    return assemble([tasks])


def _name(out: xr.Dataset) -> None:
    names = {
        "llc_sensitivity": ("local learning coefficient λ̂ at the setting", "1"),
        "llc_sensitivity_se": ("standard error of that", "1"),
        "number": ("number of the checkpoint among all of its seed", "checkpoints"),
        "burn_in": ("steps dropped at the start of a chain", "steps"),
        "draws": ("draws a chain", "draws"),
        "chains": ("chains", "chains"),
    }
    for name in (*out.data_vars, "step"):
        out[name].attrs["long_name"], out[name].attrs["units"] = names.get(str(name)) or VARIABLES[str(name)]
