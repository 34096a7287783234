"""The sorting study from end to end: train, follow LLC and circuits, state what was found, report."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from ontogeny.core.schema import describe
from ontogeny.core.version import __version__
from ontogeny.execution.chunks import Chunk
from ontogeny.execution.executors import executor as get_executor
from ontogeny.metrics.circuits import full_circuits
from ontogeny.metrics.structure import matrix_rank, mean_overlap, mean_symmetry, participation_ratio, summed
from ontogeny.store import Store, content_key, read_zarr, write_text, write_zarr
from ontogeny.studies.sorting import curvature
from ontogeny.studies.sorting.estimates import measure, plan, side_by_side
from ontogeny.studies.sorting.settings import PRESETS, SortingSettings, Variant
from ontogeny.studies.sorting.train import Training, loaded, train
from ontogeny.studies.start import check_call, check_measured


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
    """Carry out the study and return the path of its report; run again, it goes on where it was, seed by seed.

    Writes ``results.zarr`` (a group a variant, with dims seed, checkpoint and, of circuits, head: loss, accuracy,
    λ̂ of the whole model and of heads, curvature, circuits and the measures of their order), ``summary.json`` (every
    figure the report states), ``report.html`` and the frames of the circuits as ``circuits-VARIANT.gif``.

    Args:
        preset: "quick", "variants" or "full".
        seeds: how many training seeds of every variant, from 0; more seeds later resume the same folder, and seeds that
            it holds are never dropped.
        out: the folder; by default runs/sorting-PRESET.
        progress: show progress bars on a terminal.
        workers: processes; by default one a core.
        executor: "local", this machine, or "ray"; the results are the same.
        address: of a Ray cluster to join; None: one is started on this machine.

    Raises:
        OntogenyError: for an unknown preset, no seeds, or a folder that holds something else.
    """
    check_call(preset, seeds, presets=PRESETS)
    run_chunks = partial(get_executor(executor, address), progress=progress, workers=workers)
    settings = PRESETS[preset]
    store = Store(out or Path("runs") / f"sorting-{preset}", settings.identity())
    asked = max(seeds or settings.seeds, _seeds_there(store))
    most = max(settings.seeds_of(one, asked) for one in settings.variants)
    assembled: dict[str, list[xr.Dataset]] = {one.name: [] for one in settings.variants}
    for seed in range(most):  # a seed of every variant before the next: what there is can be reported at any time
        wanted = [one for one in settings.variants if seed < settings.seeds_of(one, asked)]
        run_chunks(train, [training_chunk(settings, one, seed) for one in wanted], store, text=f"training {seed}")
        trained = {one.name: store.load(training_chunk(settings, one, seed).key) for one in wanted}
        todo = {one.name: plan(settings, one, seed, trained[one.name]["weights"].values) for one in wanted}
        chunks = [chunk for each in todo.values() for chunk, _ in each]
        run_chunks(measure, chunks, store, text=f"measuring {seed}")
        for one in wanted:
            estimates = side_by_side(settings, one, todo[one.name], store.load)
            assembled[one.name].append(_assembled(one, seed, trained[one.name], estimates))
        _write(store, settings, assembled, seeds=min(asked, seed + 1))
    return report(store.folder)


def _write(store: Store, settings: SortingSettings, assembled: dict[str, list[xr.Dataset]], seeds: int) -> None:
    """Put the seeds measured so far into results.zarr, unless it holds more of any variant."""
    if any(_held(store, name) > len(each) for name, each in assembled.items()):
        return
    told = asdict(settings) | {"curvature_samples": curvature.SAMPLES, "curvature_probes": curvature.PROBES}
    attrs = {"settings": json.dumps(told), "ontogeny_version": __version__, "seeds": seeds}
    groups: dict[str | None, xr.Dataset] = {None: xr.Dataset(attrs=attrs)}
    for name, each in assembled.items():
        groups[group_of(name)] = describe(xr.concat(each, "seed", combine_attrs="drop"))
    write_zarr(store.folder / "results.zarr", groups)


def group_of(variant: str) -> str:
    """The Zarr group of a variant of that name."""
    return variant.replace(" ", "_")


def _seeds_there(store: Store) -> int:
    results = store.folder / "results.zarr"
    return int(read_zarr(results).attrs["seeds"]) if results.exists() else 0


def _held(store: Store, variant: str) -> int:
    """Seeds of a variant that results.zarr holds; its numbers, circuits among them, are not read for that."""
    results = store.folder / "results.zarr"
    if not results.exists():
        return 0
    with xr.open_zarr(results, group=group_of(variant)) as stored:
        return int(stored.sizes["seed"])


TRAINING = ("early", "linear", "train_batch", "learning_rate", "examples", "fresh", "seed")
"""Settings that training hangs on, so that other estimates of the same checkpoints train nothing anew."""


def training_chunk(settings: SortingSettings, variant: Variant, seed: int) -> Chunk:
    """What trains a seed of a variant, under the key that its checkpoints are kept by."""
    depends = {name: getattr(settings, name) for name in TRAINING}
    key = content_key("sorting, train", __version__, depends, asdict(variant), seed)
    return Chunk(key, Training(settings, variant, seed), f"training {variant.name}, seed {seed}")


def _assembled(variant: Variant, seed: int, trained: xr.Dataset, estimates: xr.Dataset) -> xr.Dataset:
    """Everything measured of one seed, dims ``checkpoint``, ``setting``, ``component`` and those of circuits."""
    out = trained.drop_vars("weights").merge(estimates)
    shown = circuits(variant, trained["weights"].values)
    out["total_weight_norm"] = ("checkpoint", np.linalg.norm(trained["weights"].values, axis=1))
    out["translational_symmetry"] = mean_symmetry(shown)
    out["head_overlap"] = mean_overlap(shown)
    out["rank_sum"] = summed(matrix_rank, shown)
    out["participation_sum"] = summed(participation_ratio, shown)
    out["qk"], out["ov"] = shown["qk"].astype(np.float32), shown["ov"].astype(np.float32)
    return out.expand_dims(seed=[seed])


def circuits(variant: Variant, weights: np.ndarray) -> xr.Dataset:
    """The circuits of all heads at all checkpoints; flat weights (checkpoint, weight)."""
    each = []
    for row in weights:
        with torch.no_grad():
            each.append(full_circuits(loaded(variant, row), tokens=variant.tokens))
    return xr.concat(each, "checkpoint")


def report(folder: Path) -> Path:
    """Write summary.json, report.html and the GIFs from the measurements in ``folder``; returns the report's path.

    Raises:
        OntogenyError: if the folder holds no measurements, or those of a version that measured less.
    """
    from ontogeny.plots.circuit_frames import write_gif
    from ontogeny.report.sorting import summarise, whole, write_sorting_report

    results = folder / "results.zarr"
    settings = json.loads(read_zarr(results).attrs["settings"])
    measured = {one["name"]: read_zarr(results, group_of(one["name"])) for one in settings["variants"]}
    for one in measured.values():
        check_measured(folder, one, curvature.MEASURED)
    for name, one in measured.items():
        write_gif(folder / f"circuits-{name.replace(' ', '-')}.gif", whole(one).isel(seed=0))
    summary = summarise(measured, settings)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False))
    page = folder / "report.html"
    write_sorting_report(page, measured, summary)
    return page
