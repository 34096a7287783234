"""The sparsity sweep from end to end: train, measure at six settings of (nβ, γ), analyse, report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from ontogeny.core.schema import describe
from ontogeny.core.version import __version__
from ontogeny.execution.executors import executor as get_executor
from ontogeny.inputs.superposition import SuperpositionLoss, importances
from ontogeny.operators.hessian import dense_hessian
from ontogeny.sampling.compiled import compiler_available
from ontogeny.store import Store, read_zarr, write_text, write_zarr
from ontogeny.studies.sparsity_sweep.settings import (
    CANONICAL,
    EQUAL_CURVATURE,
    FROZEN,
    NEIGHBOURS,
    PRESETS,
    SPARSITIES,
    SweepSettings,
)
from ontogeny.studies.start import check_call, check_measured, say_if_slow
from ontogeny.studies.superposition import curvature, measure
from ontogeny.studies.superposition.checkpoints import assemble, chunks
from ontogeny.studies.superposition.sensitivity import KEPT
from ontogeny.studies.superposition.settings import DEFAULT_SEEDS, SEEDS_A_GROUP
from ontogeny.studies.superposition.study import seeds_there, to_measure, to_train, trained

FEWEST_SEEDS = 3
"""Below it neither a variance between seeds nor its interval can be told."""


def run(
    preset: str = "quick",
    *,
    seeds: int | None = None,
    out: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
) -> Path:
    """Carry out the study and return the path of its report; run again, it goes on where it was.

    Writes ``results.zarr`` (every indicator with dims sparsity, seed, checkpoint; the group ``neighbours`` with λ̂ at
    every setting of (nβ, γ), dim ``setting``; the group ``trajectory`` with the weights every few training steps),
    ``summary.json`` (every figure the report states) and ``report.html``.

    Args:
        preset: "quick".
        seeds: how many training seeds at each sparsity, from 0; 20 by default. More seeds later resume the same
            folder, and seeds that it holds are never dropped.
        out: the folder; by default runs/sparsity-sweep-PRESET.
        progress: show progress bars on a terminal.
        workers: processes; by default one a core.
        executor: "local", this machine, or "ray"; the results are the same.
        address: of a Ray cluster to join; None: one is started on this machine.

    Raises:
        OntogenyError: for an unknown preset, fewer than 3 seeds, or a folder that holds something else.
    """
    check_call(preset, seeds, presets=PRESETS, fewest=FEWEST_SEEDS, since="every interval is over seeds")
    run_chunks = partial(get_executor(executor, address), progress=progress, workers=workers)
    say_if_slow()
    settings = PRESETS[preset]
    store = Store(out or Path("runs") / f"sparsity-sweep-{preset}", settings.identity())
    trajectory = _train(settings, max(seeds or DEFAULT_SEEDS, seeds_there(store)), store, run_chunks)
    every = settings_by_name(settings, store)
    measurements, neighbours = _measure(every, trajectory, store, run_chunks)
    write_zarr(store.folder / "results.zarr", {None: measurements, "neighbours": neighbours, "trajectory": trajectory})
    return report(store.folder)


def _train(settings: SweepSettings, seeds: int, store: Store, run_chunks: Callable[..., None]) -> xr.Dataset:
    groups = [group for sparsity in SPARSITIES for group in to_train(settings.at(sparsity), seeds)]
    run_chunks(measure.train, groups, store, text="training")
    each = [trained(settings.at(sparsity), seeds, store) for sparsity in SPARSITIES]
    out = xr.concat(each, "sparsity", combine_attrs="override")
    return out.assign_coords(sparsity=("sparsity", list(SPARSITIES), {"long_name": "sparsity S", "units": "1"}))


def settings_by_name(settings: SweepSettings, store: Store) -> dict[str, dict[float, SweepSettings]]:
    """Setting -> sparsity -> what is sampled; the first is the frozen one.

    At "equal_curvature" nβ is multiplied by h(0.7)/h(S), with h the median over the first twenty seeds of the largest
    Hessian eigenvalue at the end of training, so that nβ·h/γ is alike at all sparsities. The first seeds are trained in
    any case: asking for more changes nothing.
    """
    out = {FROZEN: {sparsity: settings.at(sparsity) for sparsity in SPARSITIES}}
    for name, factors in NEIGHBOURS.items():
        out[name] = {sparsity: settings.scaled(*factors).at(sparsity) for sparsity in SPARSITIES}
    final = {sparsity: _final_curvature(settings.at(sparsity), store) for sparsity in SPARSITIES}
    out[EQUAL_CURVATURE] = {
        sparsity: settings.scaled(float(f"{final[CANONICAL] / h:.3g}"), 1.0).at(sparsity)
        for sparsity, h in final.items()
    }
    return out


def _final_curvature(settings: SweepSettings, store: Store) -> float:
    first = trained(settings, SEEDS_A_GROUP, store).isel(time=-1)
    loss = SuperpositionLoss(importances(settings.n_features, settings.importance_decay).float())
    examples = measure.dataset(settings)[: curvature.EXAMPLES]
    where = {name: torch.from_numpy(first[name].transpose("seed", ...).values) for name in ("weight", "bias")}
    return float(torch.linalg.eigvalsh(dense_hessian(loss, where, examples))[:, -1].median())


def _measure(
    every: dict[str, dict[float, SweepSettings]],
    trajectory: xr.Dataset,
    store: Store,
    run_chunks: Callable[..., None],
) -> tuple[xr.Dataset, xr.Dataset]:
    """All checkpoints at all settings, in one pool of workers; checkpoints are the same for all seeds."""
    no_jump = xr.full_like(trajectory["seed"], math.nan, dtype=np.float64)
    work = {
        (name, sparsity): [to_measure(chunk) for chunk in chunks(one, trajectory.sel(sparsity=sparsity), no_jump)]
        for name, settings in every.items()
        for sparsity, one in settings.items()
    }
    todo = [chunk for part in work.values() for chunk in part]
    run_chunks(measure.measure, todo, store, text="measuring")
    found = {key: assemble([store.load(chunk.key) for chunk in part]) for key, part in work.items()}
    steps = next(iter(found.values()))["step"].isel(seed=0).values

    def side_by_side(name: str, variables: list[str]) -> xr.Dataset:
        each = [found[name, sparsity][variables].drop_vars("step") for sparsity in every[name]]
        return xr.concat(each, "sparsity", combine_attrs="override").assign_coords(
            sparsity=list(every[name]), step=("checkpoint", steps)
        )

    names = [str(name) for name in found[FROZEN, CANONICAL].data_vars]
    measurements = side_by_side(FROZEN, names)
    frozen = every[FROZEN][CANONICAL]
    attrs = {key: value for key, value in asdict(frozen).items() if key != "sparsity"}
    measurements.attrs = {**attrs, "ontogeny_version": __version__, "seeds": trajectory.sizes["seed"]}
    measurements.attrs |= {
        "hessian_examples": min(curvature.EXAMPLES, frozen.dataset_size),
        "compiled": int(compiler_available()),
        "calibration": json.dumps(frozen.calibration.to_dict()),
    }
    neighbours = xr.concat([side_by_side(name, list(KEPT)) for name in every], "setting", combine_attrs="drop")
    neighbours = neighbours.assign_coords(setting=np.array(list(every), dtype=object))
    for name in ("n_beta", "localization", "step_size"):
        values = [[getattr(one, name) for one in settings.values()] for settings in every.values()]
        neighbours[name] = (("setting", "sparsity"), values)
    return describe(measurements), describe(neighbours)


def report(folder: Path) -> Path:
    """Write summary.json and report.html from the measurements in ``folder``; returns the report's path.

    Raises:
        OntogenyError: if the folder holds no measurements, or those of a version that measured less.
    """
    from ontogeny.report.sparsity_sweep import summarise, write_sparsity_sweep_report
    from ontogeny.studies.sparsity_sweep.statements import find

    results = folder / "results.zarr"
    measurements, neighbours, trajectory = (
        read_zarr(results),
        read_zarr(results, "neighbours"),
        read_zarr(results, "trajectory"),
    )
    check_measured(folder, measurements, curvature.MEASURED)
    found = find(measurements, neighbours, trajectory)
    summary = summarise(measurements, neighbours, found)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False))
    page = folder / "report.html"
    write_sparsity_sweep_report(page, measurements, neighbours, trajectory, summary, found=found)
    return page
