"""The superposition study from end to end: train, find the jumps, measure the LLC, test, report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import xarray as xr

from ontogeny.analysis.sigmoid import start_of_representation
from ontogeny.core.schema import describe
from ontogeny.core.version import __version__
from ontogeny.execution.executors import executor as get_executor
from ontogeny.execution.local import Chunk
from ontogeny.sampling.around_centers import NOISE_PAIRS
from ontogeny.sampling.compiled import compiler_available
from ontogeny.store import Store, content_key, read_zarr, write_text, write_zarr
from ontogeny.studies.start import check_call, check_measured, say_if_slow
from ontogeny.studies.superposition import curvature, measure, sensitivity
from ontogeny.studies.superposition.checkpoints import assemble, chunks
from ontogeny.studies.superposition.settings import DEFAULT_SEEDS, PRESETS, SEEDS_A_GROUP, SuperpositionSettings
from ontogeny.studies.superposition.statements import find, fit_jumps, textbook_seeds

CONSTANTS = {
    "version": __version__,
    "seeds a group": SEEDS_A_GROUP,
    "data block": measure.DATA_BLOCK,
    "loss examples": measure.LOSS_EXAMPLES,
    "curvature examples": curvature.EXAMPLES,
    "noise pairs": NOISE_PAIRS,
    "indicators": 2,
}
"""What stored chunks depend on besides the settings."""
INDICATORS = 3
"""Raised with what is measured at a checkpoint, so that training stays what it is."""


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

    Writes ``results.zarr`` (measurements with dims seed and checkpoint; the group ``trajectory`` with the weights
    every few training steps; the group ``sensitivity`` with λ̂ at half and twice nβ and γ for some checkpoints),
    ``summary.json`` (every figure the report states) and ``report.html``. ``attrs["calibration"]`` of the measurements
    is the calibration all of them share: ``og.Calibration.from_dict(json.loads(...))`` reads it.

    Args:
        preset: "quick" or "full".
        seeds: how many training seeds, from 0; 20 by default. More seeds later resume the same folder, and seeds that
            it holds are never dropped.
        out: the folder; by default runs/superposition-PRESET.
        progress: show progress bars on a terminal.
        workers: processes; by default one a core.
        executor: "local", this machine, or "ray"; the results are the same.
        address: of a Ray cluster to join; None: one is started on this machine.

    Raises:
        OntogenyError: for an unknown preset, no seeds, or a folder that holds something else.
    """
    check_call(preset, seeds, presets=PRESETS)
    run_chunks = partial(get_executor(executor, address), progress=progress, workers=workers)
    say_if_slow()
    settings = PRESETS[preset]
    store = Store(out or Path("runs") / f"superposition-{preset}", settings.identity())
    count = max(seeds or DEFAULT_SEEDS, seeds_there(store))
    run_chunks(measure.train, to_train(settings, count), store, text="training")
    trajectory = trained(settings, count, store)
    fits = fit_jumps(trajectory)
    measurements, neighbours = _measure(settings, trajectory, fits, store, run_chunks)
    write_zarr(store.folder / "results.zarr", {None: measurements, "trajectory": trajectory, "sensitivity": neighbours})
    return report(store.folder)


def seeds_there(store: Store) -> int:
    """How many seeds the results in the folder hold."""
    results = store.folder / "results.zarr"
    return int(read_zarr(results).sizes["seed"]) if results.exists() else 0


def to_train(settings: SuperpositionSettings, seeds: int) -> list[Chunk]:
    """The groups of seeds that hold the first ``seeds``, under their content keys."""
    return [
        Chunk(content_key("train", asdict(settings), first, CONSTANTS), measure.SeedGroup(settings, first))
        for first in range(0, seeds, SEEDS_A_GROUP)
    ]


def trained(settings: SuperpositionSettings, seeds: int, store: Store) -> xr.Dataset:
    """Weights and what follows from them every few steps, dims ``seed`` and ``time``, from chunks that are there."""
    trajectory = xr.concat([store.load(group.key) for group in to_train(settings, seeds)], "seed")
    trajectory = describe(trajectory.isel(seed=slice(0, seeds)))
    examples = min(measure.LOSS_EXAMPLES, settings.dataset_size)
    trajectory["loss"].attrs |= {"long_name": f"mean loss on the first {examples} examples", "examples": examples}
    return trajectory


def _measure(
    settings: SuperpositionSettings,
    trajectory: xr.Dataset,
    fits: xr.Dataset,
    store: Store,
    run_chunks: Callable[..., None],
) -> tuple[xr.Dataset, xr.Dataset]:
    """Every checkpoint at the frozen setting, and some at its neighbours: chunks of one kind, one pool of workers."""
    inflection = fits["inflection"].where(fits["accepted"])
    again = sensitivity.chosen(
        settings, inflection, start_of_representation(trajectory["feature_norm"]), textbook_seeds(trajectory, fits)
    )
    frozen = [to_measure(chunk) for chunk in chunks(settings, trajectory, inflection)]
    beside = [(name, to_measure(chunk)) for name, chunk in sensitivity.chunks(settings, trajectory, again)]
    work = [*frozen, *(chunk for _, chunk in beside)]
    run_chunks(measure.measure, work, store, text="measuring")
    measurements = assemble([store.load(chunk.key) for chunk in frozen])
    measurements.attrs = {**asdict(settings), "ontogeny_version": __version__, "seeds": trajectory.sizes["seed"]}
    measurements.attrs |= {
        "hessian_examples": min(curvature.EXAMPLES, settings.dataset_size),
        "compiled": int(compiler_available()),
        "calibration": json.dumps(settings.calibration.to_dict()),
        "calibration_provenance": json.dumps(settings.provenance(), ensure_ascii=False),
    }
    neighbours = sensitivity.together(settings, measurements, [(name, store.load(one.key)) for name, one in beside])
    return describe(measurements), neighbours


def to_measure(chunk: measure.CheckpointChunk) -> Chunk:
    """The chunk under its content key."""
    key = content_key(
        "measure",
        asdict(chunk.settings),
        chunk.seed,
        chunk.checkpoint,
        chunk.step,
        chunk.weight,
        chunk.bias,
        CONSTANTS,
        INDICATORS,
    )
    return Chunk(key, chunk)


def report(folder: Path) -> Path:
    """Write summary.json and report.html from the measurements in ``folder``; returns the report's path.

    Raises:
        OntogenyError: if the folder holds no measurements, or those of a version that measured less.
    """
    from ontogeny.report.superposition import summarise, write_superposition_report

    results = folder / "results.zarr"
    measurements, trajectory = read_zarr(results), read_zarr(results, "trajectory")
    check_measured(folder, measurements, curvature.MEASURED)
    neighbours = read_zarr(results, "sensitivity") if (results / "sensitivity").exists() else None
    found = find(measurements, trajectory, fit_jumps(trajectory))._asdict()
    association, relation, before = (found.pop(name) for name in ("association", "relation", "before_plateau"))
    summary = summarise(measurements, relation=relation, before_plateau=before, sensitivity=neighbours, **found)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False))
    page = folder / "report.html"
    write_superposition_report(
        page, measurements, trajectory, summary, association=association, sensitivity=neighbours, **found
    )
    return page
