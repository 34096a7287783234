"""The superposition study from end to end: train, find the jumps, measure the LLC, test, report."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.core.version import __version__
from ontogeny.execution.local import Chunk, run_chunks
from ontogeny.sampling.compiled import compiler_available
from ontogeny.store import Store, content_key, read_zarr, write_text, write_zarr
from ontogeny.studies.superposition import measure
from ontogeny.studies.superposition.checkpoints import assemble, chunks
from ontogeny.studies.superposition.settings import DEFAULT_SEEDS, PRESETS, SEEDS_A_GROUP, SuperpositionSettings
from ontogeny.studies.superposition.statements import find, fit_jumps

CONSTANTS = {
    "version": __version__,
    "seeds a group": SEEDS_A_GROUP,
    "data block": measure.DATA_BLOCK,
    "loss examples": measure.LOSS_EXAMPLES,
    "curvature examples": measure.CURVATURE_EXAMPLES,
    "noise pairs": measure.NOISE_PAIRS,
}
"""What stored chunks depend on besides the settings."""


def run(
    preset: str = "quick",
    *,
    seeds: int | None = None,
    out: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> Path:
    """Carry out the study and return the path of its report; run again, it goes on where it was.

    Writes ``results.zarr`` (measurements with dims seed and checkpoint; the group ``trajectory`` with the weights
    every few training steps), ``summary.json`` (every figure the report states) and ``report.html``.

    Args:
        preset: "quick" or "full".
        seeds: how many training seeds, from 0; 20 by default. More seeds later resume the same folder, and seeds that
            it holds are never dropped.
        out: the folder; by default runs/superposition-PRESET.
        progress: show progress bars on a terminal.
        workers: processes; by default one a core.

    Raises:
        OntogenyError: for an unknown preset, no seeds, or a folder that holds something else.
    """
    if preset not in PRESETS:
        raise OntogenyError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    if seeds is not None and (not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1):
        raise OntogenyError(f"seeds must be at least 1; got {seeds!r}.")
    settings = PRESETS[preset]
    if not compiler_available():
        print(
            "ontogeny: no C++ compiler with Python's headers was found; sampling takes twenty times longer.",
            file=sys.stderr,
        )
    store = Store(out or Path("runs") / f"superposition-{preset}", settings.identity())
    trajectory = _train(settings, max(seeds or DEFAULT_SEEDS, _seeds_there(store)), store, progress, workers)
    fits = fit_jumps(trajectory)
    measurements = _measure(settings, trajectory, fits, store, progress, workers)
    write_zarr(store.folder / "results.zarr", {None: measurements, "trajectory": trajectory})
    return report(store.folder)


def _seeds_there(store: Store) -> int:
    results = store.folder / "results.zarr"
    return int(read_zarr(results).sizes["seed"]) if results.exists() else 0


def _train(
    settings: SuperpositionSettings, seeds: int, store: Store, progress: bool, workers: int | None
) -> xr.Dataset:
    groups = [
        Chunk(content_key("train", asdict(settings), first, CONSTANTS), measure.SeedGroup(settings, first))
        for first in range(0, seeds, SEEDS_A_GROUP)
    ]
    run_chunks(measure.train, groups, store, text="training", progress=progress, workers=workers)
    trajectory = xr.concat([store.load(group.key) for group in groups], "seed")
    trajectory = describe(trajectory.isel(seed=slice(0, seeds)))
    examples = min(measure.LOSS_EXAMPLES, settings.dataset_size)
    trajectory["loss"].attrs |= {"long_name": f"mean loss on the first {examples} examples", "examples": examples}
    return trajectory


def _measure(
    settings: SuperpositionSettings,
    trajectory: xr.Dataset,
    fits: xr.Dataset,
    store: Store,
    progress: bool,
    workers: int | None,
) -> xr.Dataset:
    inflection = fits["inflection"].where(fits["accepted"])
    work = [
        Chunk(
            content_key(
                "measure",
                asdict(settings),
                chunk.seed,
                chunk.checkpoint,
                chunk.step,
                chunk.weight,
                chunk.bias,
                CONSTANTS,
            ),
            chunk,
        )
        for chunk in chunks(settings, trajectory, inflection)
    ]
    run_chunks(measure.measure, work, store, text="measuring", progress=progress, workers=workers)
    measurements = assemble([store.load(chunk.key) for chunk in work])
    measurements.attrs = {**asdict(settings), "ontogeny_version": __version__, "seeds": trajectory.sizes["seed"]}
    measurements.attrs["compiled"] = int(compiler_available())
    return describe(measurements)


def report(folder: Path) -> Path:
    """Write summary.json and report.html from the measurements in ``folder``; returns the report's path.

    Raises:
        OntogenyError: if the folder holds no measurements.
    """
    from ontogeny.report.superposition import summarise, write_superposition_report

    results = folder / "results.zarr"
    measurements, trajectory = read_zarr(results), read_zarr(results, "trajectory")
    found = find(measurements, trajectory, fit_jumps(trajectory))._asdict()
    association, relation = found.pop("association"), found.pop("relation")
    summary = summarise(measurements, relation=relation, **found)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False))
    page = folder / "report.html"
    write_superposition_report(page, measurements, trajectory, summary, association=association, **found)
    return page
