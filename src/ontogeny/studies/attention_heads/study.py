"""The attention-heads study from end to end: train, try the heads, refine the LLC, report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.version import __version__
from ontogeny.execution.executors import executor as get_executor
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.store import Store, read_zarr, write_text, write_zarr
from ontogeny.studies.attention_heads.assemble import GROUPS, Measured, in_groups, joined
from ontogeny.studies.attention_heads.behaviour import trial_data
from ontogeny.studies.attention_heads.one_seed import Place, measure_seed
from ontogeny.studies.attention_heads.settings import ONE_LAYER, PRESETS, TEXT, ZERO_LAYER, AttentionHeadsSettings
from ontogeny.studies.attention_heads.text import TRAINING, StudyText, folder_of, prepare_text
from ontogeny.studies.attention_heads.training import models_of, references, train, training_chunks
from ontogeny.studies.start import check_call, check_measured

TAKEN = {
    TEXT: "held-out text of what is trained on",
    TRAINING: "the text that is trained on",
    ONE_LAYER: "the one-layer model in place of data",
    ZERO_LAYER: "the zero-layer model in place of data",
}
"""Names that no other data set may have."""


def run(
    preset: str = "quick",
    *,
    seeds: int | None = None,
    out: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    mixture: str | None = None,
    datasets: Mapping[str, str] | None = None,
) -> Path:
    """Carry out the study and return the path of its report; run again, it goes on where it was, seed by seed.

    Writes ``text/`` (tokenizer and rows), ``training/`` (checkpoints of every model), ``results.zarr`` (groups
    ``behaviour``, ``curvature``, ``heads``, ``whole``, ``contexts`` and ``training``), ``summary.json`` (every figure
    the report states) and ``report.html``. Everything is chunks for the executor, a model's training one of them. On
    several machines the folder must be one that all of them reach.

    Args:
        preset: "quick", "cpu" or "full".
        seeds: how many training seeds, from 0; more seeds later resume the same folder, and seeds that it holds are
            never dropped.
        out: the folder; by default runs/attention-heads-PRESET.
        progress: show progress bars on a terminal.
        workers: processes; by default one a core.
        executor: "local", this machine, or "ray"; the results are the same.
        address: of a Ray cluster to join; None: one is started on this machine.
        mixture: what is trained on in place of the preset's, as ``og.text.parse_mixture`` reads it.
        datasets: {name: URI} of further data sets that the whole model's λ̂ is measured on, such as
            {"stories": "file:stories.json"}; a name of the preset is replaced, and left out where the URI is "".

    Raises:
        OntogenyError: for an unknown preset, no seeds, text that is too short, or a folder that holds something else.
    """
    check_call(preset, seeds, presets=PRESETS)
    settings = on_text(PRESETS[preset], mixture, datasets or {})
    run_chunks = partial(get_executor(executor, address), progress=progress, workers=workers)  # refused before any work
    store = Store(out or Path("runs") / f"attention-heads-{preset}", settings.identity())
    text = prepare_text(settings, store.folder / "text", progress)
    place = Place(
        store,
        run_chunks,
        {"executor": executor, "address": address, "workers": workers, "progress": progress},
        "cuda" if torch.cuda.is_available() else "cpu",
    )
    asked = max(seeds or settings.seeds, _seeds_there(store))
    trial_data(settings, text.tokenizer, text.datasets)  # what cannot be made of this text is refused before training
    smaller = _train(settings, text, asked, place)
    found: list[Measured] = []
    for seed in range(asked):
        found.append(measure_seed(settings, text, smaller, seed, place))
        _write(store, settings, found)
    return report(store.folder)


def _train(settings: AttentionHeadsSettings, text: StudyText, seeds: int, place: Place) -> dict[str, AttentionOnly]:
    """Train every model beside the others, each in one worker; returns the references."""
    folder = (place.store.folder / "training").resolve()
    place.run_chunks(
        train,
        training_chunks(models_of(settings, folder, seeds), text.training),
        place.store,
        text="training the models",
        shared={"text": text.training, "device": place.device},
        gpus=torch.cuda.device_count() if place.device == "cuda" else 0,
    )
    return references(settings, text, folder, place.where["progress"])


def on_text(
    settings: AttentionHeadsSettings, mixture: str | None, datasets: Mapping[str, str]
) -> AttentionHeadsSettings:
    """The settings with other text.

    Raises:
        OntogenyError: for the name of a data set that the study has another use for.
    """
    for name, uri in datasets.items():
        if name in TAKEN:
            raise OntogenyError(
                f"datasets: {name!r} is what the study calls {TAKEN[name]}; give the data set at {uri} another name."
            )
    named = {name: uri for name, uri in {**settings.datasets, **datasets}.items() if uri}
    folders = [folder_of(name) for name in named]
    if twice := {one for one in folders if folders.count(one) > 1}:
        raise OntogenyError(
            f"datasets: {', '.join(name for name in named if folder_of(name) in twice)} would share a folder, since a "
            "space is written as _; give them names that differ by more."
        )
    return replace(settings, mixture=mixture or settings.mixture, datasets=named)


def _write(store: Store, settings: AttentionHeadsSettings, found: list[Measured]) -> None:
    """Put the seeds measured so far into results.zarr, unless it holds more."""
    if len(found) < _seeds_there(store):
        return
    attrs = {"settings": json.dumps(asdict(settings)), "ontogeny_version": __version__, "seeds": len(found)}
    groups: dict[str | None, xr.Dataset] = {None: xr.Dataset(attrs=attrs)}
    groups.update(in_groups(joined(found)))
    write_zarr(store.folder / "results.zarr", groups)


def _seeds_there(store: Store) -> int:
    results = store.folder / "results.zarr"
    return int(read_zarr(results).attrs["seeds"]) if results.exists() else 0


def report(folder: Path) -> Path:
    """Write summary.json and report.html from the measurements in ``folder``; returns the report's path.

    Raises:
        OntogenyError: if the folder holds no measurements, or those of a version that did not measure curvature.
    """
    from ontogeny.report.attention_heads import summarise, write_attention_heads_report

    results = folder / "results.zarr"
    settings: dict[str, Any] = json.loads(read_zarr(results).attrs["settings"])
    if "curvature" not in settings:
        check_measured(folder, xr.Dataset(), ["curvature"])
    measured = {name: read_zarr(results, name) for name in GROUPS}
    summary = summarise(measured, settings)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False))
    return write_attention_heads_report(folder / "report.html", measured, summary)
