"""The LLCs of a training seed, with curvature beside them: which, in which chunks, how, and put together again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import xarray as xr

from ontogeny.core.progress import report_progress
from ontogeny.core.version import __version__
from ontogeny.estimators.llc import ESSENTIALS, llc_from_draws
from ontogeny.execution.chunks import Chunk
from ontogeny.sampling.around_centers import ChainsAround, by_center, stacked_centers
from ontogeny.sampling.estimate import estimate_llc
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.sampling.problem import build
from ontogeny.store import content_key
from ontogeny.studies.sorting.curvature import Curved, curvature_chunk, measure_curvature
from ontogeny.studies.sorting.settings import FROZEN, NEIGHBOURS, SortingSettings, Variant
from ontogeny.studies.sorting.train import data_of, loaded, steps_of

AT_ONCE = 4
"""Estimates of a whole model that are made in one program."""
KEPT = (
    *ESSENTIALS,
    "temperature_slope",
    "temperature_slope_se",
    "d_log_llc_d_log_localization",
    "d_log_llc_d_log_localization_se",
)
"""Of an estimate."""
WHOLE = "all"
CURVATURE_EXAMPLES = 128
"""Lists that h_max is of; of two batches of 16 it came out half as large again."""


class Around(NamedTuple):
    """Some estimates of the whole model: around the flat ``weights`` of each row, (row, weight), at a setting each."""

    settings: SortingSettings
    variant: Variant
    at: tuple[str, ...]
    """Of ``NEIGHBOURS``."""
    weights: np.ndarray


class Heads(NamedTuple):
    """Every head of one checkpoint; ``weights`` flat, in the order of the model's state dict."""

    settings: SortingSettings
    variant: Variant
    weights: np.ndarray


def several_places(settings: SortingSettings, variant: Variant) -> list[int]:
    """Places of the checkpoints that also have λ̂ at other (nβ, γ) and of every head: evenly spaced, and the last."""
    last = len(steps_of(settings, variant)) - 1
    return sorted({int(place) for place in np.linspace(0, last, settings.several + 1)[1:].round()})


READ = (
    "examples",
    "kernel",
    "n_beta",
    "localization",
    "chains",
    "draws",
    "step_size",
    "burn_in",
    "batch_size",
    "seed",
)
"""Settings that an estimate hangs on, given the weights."""


class Planned(NamedTuple):
    """A chunk, and where its estimates belong: (checkpoint, setting, component) each."""

    chunk: Chunk
    places: list[tuple[int, str, str]]


def plan(settings: SortingSettings, variant: Variant, seed: int, weights: np.ndarray) -> list[Planned]:
    """All chunks of one seed; ``weights`` (checkpoint, weight)."""
    depends = {name: getattr(settings, name) for name in READ}
    steps, several = steps_of(settings, variant), several_places(settings, variant)
    whole = [(place, FROZEN) for place in range(len(steps))]
    whole += [(place, name) for place in several for name in NEIGHBOURS if name != FROZEN]
    planned = []
    for first in range(0, len(whole), AT_ONCE):
        group = whole[first : first + AT_ONCE]
        task = Around(settings, variant, tuple(name for _, name in group), weights[[place for place, _ in group]])
        key = content_key("sorting, whole", __version__, depends, asdict(variant), task.at, task.weights)
        said = f"LLC of {variant.name}, seed {seed}, steps {', '.join(str(steps[place]) for place, _ in group)}"
        planned.append(Planned(Chunk(key, task, said), [(place, name, WHOLE) for place, name in group]))
    for place in several:
        key = content_key("sorting, heads", __version__, depends, asdict(variant), weights[place])
        said = f"LLC of the heads of {variant.name}, seed {seed}, step {steps[place]}"
        chunk = Chunk(key, Heads(settings, variant, weights[place]), said)
        planned.append(Planned(chunk, [(place, FROZEN, head) for head in heads_of(variant)]))
    for place, step in enumerate(steps):
        said = f"curvature of {variant.name}, seed {seed}, step {step}"
        planned.append(Planned(curvature_chunk(settings, variant, weights[place], said), [(place, FROZEN, WHOLE)]))
    return planned


def side_by_side(
    settings: SortingSettings, variant: Variant, planned: list[Planned], load: Callable[[str], xr.Dataset]
) -> xr.Dataset:
    """All estimates of one seed, dims checkpoint, setting and component; NaN and "" where none was made."""
    components, names = [WHOLE, *heads_of(variant)], list(NEIGHBOURS)
    shape = (len(steps_of(settings, variant)), len(names), len(components))
    out: dict[str, np.ndarray] = {}
    for chunk, places in planned:
        found = load(chunk.key)
        where = tuple(zip(*((a, names.index(b), components.index(c)) for a, b, c in places), strict=True))
        for name, values in found.data_vars.items():
            if name not in out:
                nothing = "" if values.dtype.kind in "OUT" else np.nan
                out[str(name)] = np.full(shape, nothing, dtype=object if nothing == "" else float)
            out[str(name)][where] = values.values
    dims = ("checkpoint", "setting", "component")
    cells = {name: (dims, values.astype(str) if values.dtype == object else values) for name, values in out.items()}
    return xr.Dataset(cells, coords={"component": components, "setting": names})


def measure(task: Around | Heads | Curved) -> xr.Dataset:
    """The estimates of a chunk, along ``row`` or ``component``."""
    if isinstance(task, Curved):
        return measure_curvature(task)
    return measure_whole(task) if isinstance(task, Around) else measure_heads(task)


def heads_of(variant: Variant) -> list[str]:
    """The names of its heads."""
    return [f"0:{head}" for head in range(variant.heads)]


def measure_whole(task: Around) -> xr.Dataset:
    """λ̂ of the whole model around every row, all chains in one program; dim ``row``."""
    settings, variant, rows = task.settings, task.variant, len(task.at)
    data = data_of(settings, variant)
    problem = build(loaded(variant, task.weights[0]), data, variant.loss, None, settings.n_beta, None)
    centers = [dict(loaded(variant, weights).named_parameters()) for weights in task.weights]
    factors = [NEIGHBOURS[name] for name in task.at]
    posterior = LocalPosterior(
        problem.loss,
        stacked_centers([{name: one[name].detach() for name in problem.center} for one in centers]),
        by_center([settings.n_beta * of_n_beta for of_n_beta, _ in factors]),
        by_center([settings.localization * of_localization for _, of_localization in factors]),
    )
    around = ChainsAround(
        posterior,
        problem.examples,
        settings.calibration,
        labels=[WHOLE] * rows,
        seed=settings.seed,
        mode="vmap",
        control=True,
    )
    around.take(settings.draws, report_progress)
    h_max = around.steepest([data[:CURVATURE_EXAMPLES]])
    return llc_from_draws(around.draws(h_max)).rename(center="row")[list(KEPT)]


def measure_heads(task: Heads) -> xr.Dataset:
    """λ̂ of every head at the frozen setting; dim ``component``."""
    settings, variant = task.settings, task.variant
    return estimate_llc(
        loaded(variant, task.weights),
        data_of(settings, variant),
        variant.loss,
        {head: head for head in heads_of(variant)},
        n_beta=settings.n_beta,
        localization=settings.localization,
        **settings.sampler,
        seed=settings.seed,
        progress=False,
    )[list(KEPT)]
