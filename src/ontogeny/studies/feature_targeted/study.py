"""The feature-targeted study from end to end: train or read a model and an SAE, measure, state, report."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.core.version import __version__
from ontogeny.execution.chunks import Chunk
from ontogeny.execution.executors import executor as get_executor
from ontogeny.features.baselines import learned_steps
from ontogeny.store import Store, content_key, read_zarr, write_text, write_zarr
from ontogeny.studies.feature_targeted.materials import Materials
from ontogeny.studies.feature_targeted.measure import (
    Calibrating,
    Directions,
    Followed,
    baselines,
    calibrate,
    curvature,
    estimate,
    follow,
)
from ontogeny.studies.feature_targeted.settings import PRESETS
from ontogeny.studies.start import check_call

BASELINES, CURVATURE, DEVELOPMENT = "baselines", "curvature", "development"
SHOWN_TEXTS = 3
MEASURED_WITH = ("chains", "draws", "batch_size", "max_draws", "threshold", "seed", "layer", "hook")


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

    Writes ``results.zarr`` (groups "functional", "behavioral", "baselines", "curvature", of the first directions and by
    loss, and, where the model was trained here, "development"; dim feature with coordinate kind), ``summary.json``
    (every figure the report states) and ``report.html``; beside them the text, the model and the sparse autoencoder
    that were made.

    Args:
        preset: "quick", "pretrained" or "full".
        seeds: 1 or None: the directions are the replicates here.
        out: the folder; by default runs/feature-targeted-PRESET.
        progress: show progress bars on a terminal.
        workers: processes; by default one a core.
        executor: "local", this machine, or "ray"; the results are the same.
        address: of a Ray cluster to join; None: one is started on this machine.

    Raises:
        OntogenyError: for an unknown preset, more than one seed, a folder that holds something else, or a sparse
            autoencoder that explains less than 0.7 of the variance or has more than 30 % dead latents.
    """
    check_call(preset, seeds, presets=PRESETS)
    if seeds is not None and seeds != 1:
        raise OntogenyError(f"seeds must be 1: this study has one model, and its directions are many; got {seeds}.")
    settings = PRESETS[preset]
    run_chunks = partial(get_executor(executor, address), progress=progress, workers=workers)  # refused before any work
    store = Store(out or Path("runs") / f"feature-targeted-{preset}", settings.identity())
    materials = Materials(settings, store.folder.absolute())
    materials.make(progress)
    to_calibrate = {
        loss: _chunk("calibrate", materials, Calibrating(materials, loss), loss) for loss in settings.losses
    }
    run_chunks(calibrate, list(to_calibrate.values()), store, text="calibrating")
    found = {loss: str(store.load(chunk.key).attrs["calibration"]) for loss, chunk in to_calibrate.items()}
    groups = {loss: _directions(materials, loss, found[loss]) for loss in settings.losses}
    for loss, chunks in groups.items():
        run_chunks(estimate, chunks, store, text=f"{loss} LLCs")
    curved = {loss: _directions(materials, loss, found[loss], curved=True) for loss in settings.losses}
    for loss, chunks in curved.items():
        run_chunks(curvature, chunks, store, text=f"{loss} curvature")
    groups[BASELINES] = _directions(materials, BASELINES, "")
    run_chunks(baselines, groups[BASELINES], store, text="ablations")
    checkpoints = materials.checkpoints
    if checkpoints is not None and settings.developed and "functional" in found:
        groups[DEVELOPMENT] = [
            _chunk(
                "follow", materials, Followed(materials, step, found["functional"]), step, settings.developed,
                found["functional"],
            )
            for step in checkpoints.steps
        ]  # fmt: skip
        run_chunks(follow, groups[DEVELOPMENT], store, text="features over training")
    _write(store, materials, groups, curved, found)
    return report(store.folder)


def _chunk(work: str, materials: Materials, task: Any, *depends: Any) -> Chunk:
    settings = materials.settings
    measured = {name: getattr(settings, name) for name in MEASURED_WITH}
    key = content_key("feature-targeted", work, __version__, measured, materials.digests, list(depends))
    return Chunk(key, task, f"{work} {depends[0]}")


def _directions(materials: Materials, name: str, calibration: str, *, curved: bool = False) -> list[Chunk]:
    """All directions, or the first whose curvature is measured, ``settings.chunk`` at a time."""
    settings = materials.settings
    loss = "" if name == BASELINES else name
    depends: Any = list(settings.top) if name == BASELINES else []
    work, count = name, 2 * settings.features
    if curved:
        work, count = f"{name} curvature", min(2 * settings.curvature.directions, count)
        depends = asdict(settings.curvature)
    ends = [(first, min(first + settings.chunk, count)) for first in range(0, count, settings.chunk)]
    return [
        _chunk(work, materials, Directions(materials, *at, loss, calibration), *at, calibration, depends) for at in ends
    ]


def _write(
    store: Store,
    materials: Materials,
    groups: dict[str, list[Chunk]],
    curved: dict[str, list[Chunk]],
    calibrations: dict[str, str],
) -> None:
    """Put all that was measured into results.zarr."""
    settings = materials.settings
    kinds = materials.directions[1]
    attrs: dict[str, Any] = {
        "settings": json.dumps(asdict(settings)),
        "calibrations": json.dumps({loss: json.loads(text) for loss, text in calibrations.items()}),
        "quality": json.dumps(materials.quality),
        "losses": list(settings.losses),
        "ontogeny_version": __version__,
    }
    out: dict[str | None, xr.Dataset] = {None: xr.Dataset(attrs=attrs)}
    for name, chunks in groups.items():
        parts = [store.load(chunk.key) for chunk in chunks]
        if name == DEVELOPMENT:
            out[name] = _developed(parts)
            continue
        table = xr.concat(parts, "feature", combine_attrs="drop").assign_coords(kind=("feature", kinds))
        if name == BASELINES:
            which, where = (table[name].values[:, :SHOWN_TEXTS] for name in ("strongest", "strongest_position"))
            table["text"] = (("feature", "shown"), _texts(materials, which, where))
        out[name] = describe(table)
    predicted = [
        xr.concat([store.load(chunk.key) for chunk in chunks], "feature", combine_attrs="drop")
        for chunks in curved.values()
    ]
    table = xr.concat(predicted, pd.Index(list(curved), name="loss"), combine_attrs="drop")
    out[CURVATURE] = describe(table.assign_coords(kind=("feature", kinds[: table.sizes["feature"]])))
    write_zarr(store.folder / "results.zarr", out)


def _developed(parts: list[xr.Dataset]) -> xr.Dataset:
    table = xr.concat(parts, "checkpoint", combine_attrs="drop").transpose("feature", "checkpoint", ...)
    shared = table["r_squared"].transpose("sae_feature", "checkpoint")
    table["learned_step"] = ("sae_feature", learned_steps(shared.values, table["step"].values))
    return describe(table)


def _texts(materials: Materials, strongest: np.ndarray, positions: np.ndarray) -> list[list[str]]:
    """The sequences that activate each direction most, as text up to where they do."""
    decode, data = materials.decoder(), materials.data
    return [
        [decode(data[int(row), : int(place) + 1].tolist()) for row, place in zip(*each, strict=True)]
        for each in zip(strongest, positions, strict=True)
    ]


def report(folder: Path) -> Path:
    """Write summary.json and report.html from the measurements in ``folder``; returns the report's path.

    Raises:
        OntogenyError: if the folder holds no measurements.
    """
    from ontogeny.report.feature_targeted import summarise, write_feature_report

    results = folder / "results.zarr"
    about = read_zarr(results).attrs
    names = [*about["losses"], BASELINES]
    settings = json.loads(about["settings"])
    if "curvature" in settings:  # results of earlier versions lack it
        names.append(CURVATURE)
    if settings["trained"] is not None and settings["developed"] and "functional" in names:
        names.append(DEVELOPMENT)
    measured = {name: read_zarr(results, name) for name in names}
    summary = summarise(measured, settings, json.loads(about["calibrations"]), json.loads(about["quality"]))
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False))
    page = folder / "report.html"
    write_feature_report(page, measured, summary)
    return page
