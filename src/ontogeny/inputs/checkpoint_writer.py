"""Writing checkpoints: one safetensors file a step, and a manifest that names it once it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.core.version import __version__
from ontogeny.inputs.checkpoints import FORMAT, MANIFEST, Checkpoints, read_manifest
from ontogeny.inputs.weight_files import weights_digest, without_repeats, write_json, write_weights


class CheckpointWriter:
    """Puts checkpoints of one run into a folder that ``Checkpoints.from_folder`` reads.

    A file is written under a temporary name, renamed, and then named in manifest.json, itself replaced as a whole. So
    a process can be killed at any moment: a file without an entry is written again, and an entry always has its file.
    Two writers at once in one folder would lose each other's entries: see ``only_writer``.

    Args:
        folder: made if it does not exist.
        config: the model's configuration (JSON-able), or None.
        settings: whatever else makes this run the one it is (JSON-able).

    Raises:
        OntogenyError: if the folder holds another run, or files that no training wrote.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> None:
        self.folder = training_folder(folder)
        self._manifest = {
            "format": FORMAT,
            "version": __version__,
            "config": _plain(config),
            "settings": _plain(settings),
            "checkpoints": [],
        }
        if (self.folder / MANIFEST).exists():
            held = read_manifest(self.folder)
            differing = _differences(held, self._manifest)
            if differing:
                raise OntogenyError(
                    f"folder: {self.folder} holds another run, which differs in {'; '.join(differing)}; name another "
                    "folder, or remove that one."
                )
            self._manifest = held
        else:
            self._commit()

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that are written."""
        return tuple(sorted(entry["step"] for entry in self._manifest["checkpoints"]))

    def write(self, step: int, weights: Mapping[str, Tensor], tokens: int | None, loss: float | None) -> str:
        """Commit one checkpoint and return its digest; the same weights again change nothing.

        Args:
            step: optimiser steps done.
            weights: a state dict; a tied weight is written once, under the first of its names.
            tokens: training tokens seen before this step.
            loss: training loss there, nats a token.
        """
        copies = without_repeats(weights)
        name, digest = f"step_{step:08d}.safetensors", weights_digest(copies)
        entry = {"step": step, "tokens": tokens, "loss": loss, "file": name, "digest": digest}
        others = [held for held in self._manifest["checkpoints"] if held["step"] != step]
        if len(others) < len(self._manifest["checkpoints"]):
            if entry in self._manifest["checkpoints"] and (self.folder / name).exists():
                return digest
            self._manifest["checkpoints"] = others
            self._commit()  # else the entry would for a moment speak of a file that is no longer this one
        write_weights(self.folder / name, copies)
        self._manifest["checkpoints"] = sorted([*others, entry], key=lambda held: held["step"])
        self._commit()
        return digest

    def checkpoints(self) -> Checkpoints:
        """What is written so far."""
        return Checkpoints.from_folder(self.folder)

    def _commit(self) -> None:
        write_json(self.folder / MANIFEST, self._manifest)


def training_folder(path: str | Path) -> Path:
    """The absolute path of a folder that checkpoints can go to, made if it does not exist.

    Raises:
        OntogenyError: if it is a file, or holds files that no training wrote.
    """
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        raise OntogenyError(f"folder must be a folder; {folder} is a file. Name another one.")
    folder.mkdir(parents=True, exist_ok=True)
    if any(not item.name.startswith(".") for item in folder.iterdir()) and not (folder / MANIFEST).exists():
        raise OntogenyError(f"folder: {folder} holds files that no training wrote; name an empty or a new one.")
    return folder


def _plain(value: Any) -> Any:
    """As it will be read back from JSON, so that two runs can be compared; what JSON has no word for becomes text."""
    return json.loads(json.dumps(value, default=str))


def _differences(held: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    out = []
    for part in ("config", "settings"):
        old, new = _flat(held[part], part), _flat(now[part], part)
        out += [
            f"{name} ({old.get(name, 'none')} there, {new.get(name, 'none')} here)"
            for name in dict.fromkeys([*old, *new])
            if old.get(name) != new.get(name)
        ]
    return out[:3]


def _flat(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: part for inner, held in value.items() for key, part in _flat(held, f"{name}.{inner}").items()}
