"""Checkpoints of one training run, step -> weights: from a folder, hub revisions or memory; read when asked for."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ontogeny.core.errors import OntogenyError, first_line
from ontogeny.inputs.load_weights import load_into as load_into
from ontogeny.inputs.weight_files import is_weights, read_json, read_weights, weights_digest, without_repeats

MANIFEST = "manifest.json"
FORMAT = 1
"""Of the manifest: raised when the meaning of its entries changes."""
SPACINGS: dict[str, Callable[[float], float]] = {"log": math.log1p, "cube root": math.cbrt}
"""Functions of the step in which a number of checkpoints is evenly spaced."""


@dataclass(frozen=True)
class InFile:
    """Weights in a file or a folder."""

    path: Path

    def read(self) -> dict[str, Tensor]:
        """The state dict."""
        return read_weights(self.path)


@dataclass(frozen=True)
class OnHub:
    """Weights in one revision of a Hugging Face repository, downloaded when they are read."""

    repository: str
    revision: str

    def read(self) -> dict[str, Tensor]:
        """The state dict."""
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise OntogenyError('Checkpoints.from_hub needs the extra: pip install "ontogeny[hub]".') from error
        wanted = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
        try:
            folder = Path(snapshot_download(self.repository, revision=self.revision, allow_patterns=wanted))
        except Exception as error:
            raise OntogenyError(
                f"revision {self.revision!r} of {self.repository!r} could not be downloaded: {first_line(error)}."
            ) from error
        if not is_weights(folder):
            raise OntogenyError(
                f"revision {self.revision!r} of {self.repository!r} holds no model.safetensors; download and convert "
                "it, and use Checkpoints.from_folder."
            )
        return read_weights(folder)


@dataclass(frozen=True)
class InMemory:
    """Weights that the caller handed over."""

    tensors: dict[str, Tensor]

    def read(self) -> dict[str, Tensor]:
        """The state dict; the tensors are not copied."""
        return dict(self.tensors)


@dataclass(frozen=True)
class Entry:
    """One checkpoint: where its weights are, and what its manifest says about it."""

    step: int
    source: InFile | OnHub | InMemory
    tokens: int | None = None
    loss: float | None = None
    digest: str | None = None


class Checkpoints:
    """An ordered run of training steps with their weights. Can be pickled; weights are read anew by whoever asks.

    Made by ``from_folder``, ``from_hub`` or ``from_iterable``.

    Args:
        entries: in any order.
        config: the model's configuration, where it is known.

    Raises:
        OntogenyError: if there is none, or a step occurs twice.
    """

    def __init__(self, entries: Iterable[Entry], config: dict[str, Any] | None = None) -> None:
        ordered = sorted(entries, key=lambda entry: entry.step)
        if not ordered:
            raise OntogenyError("checkpoints: there are none; expected at least one step with its weights.")
        for one, other in itertools.pairwise(ordered):
            if one.step == other.step:
                raise OntogenyError(
                    f"checkpoints: step {one.step} occurs twice{_where(one, other)}; keep one of the two."
                )
        self.config = config
        self._entries = {entry.step: entry for entry in ordered}

    @classmethod
    def from_folder(cls, path: str | Path) -> Checkpoints:
        """A folder that training wrote, with its manifest; or one whose files or folders end in the step's number.

        For instance step_000100.safetensors, step100.pt, or checkpoint-100 with model.safetensors (or shards) inside.
        Files that no manifest names are left out where there is a manifest. ``config`` is that of the manifest, else
        of config.json beside the checkpoints or in the last of them.
        """
        folder = Path(path).absolute()
        if not folder.is_dir():
            raise OntogenyError(f"path must be a folder of checkpoints; {folder} is none.")
        if (folder / MANIFEST).exists():
            manifest = read_manifest(folder)
            return cls((_from_manifest(folder, entry) for entry in manifest["checkpoints"]), manifest["config"])
        found = [Entry(step, InFile(item)) for item in folder.iterdir() if (step := numbered(item)) is not None]
        if not found:
            raise OntogenyError(
                f"{folder} holds no checkpoints; expected manifest.json, or files or folders of weights whose names "
                "end in the step, as step_000100.safetensors or checkpoint-100/model.safetensors."
            )
        last = max(found, key=lambda entry: entry.step).source
        configs = [folder / "config.json", last.path / "config.json" if isinstance(last, InFile) else folder]
        return cls(found, next((read_json(config) for config in configs if config.is_file()), None))

    @classmethod
    def from_hub(cls, repository: str, revisions: Mapping[int, str]) -> Checkpoints:
        """Revisions of a Hugging Face repository by step, as {1000: "step1000", 2000: "step2000"}; safetensors only."""
        return cls(Entry(_step(step), OnHub(repository, revision)) for step, revision in revisions.items())

    @classmethod
    def from_iterable(cls, checkpoints: Iterable[tuple[int, Mapping[str, Tensor]]]) -> Checkpoints:
        """Pairs of step and state dict, held in memory (copied to the processor, tied weights once)."""
        entries = []
        for pair in checkpoints:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise OntogenyError(
                    "checkpoints must be pairs of step and state dict, as [(0, model.state_dict())]; got "
                    f"{type(pair).__name__} for a pair. Of a dict give its items()."
                )
            step, weights = pair
            if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
                raise OntogenyError(
                    f"checkpoints: step {step} must come with a state dict, tensors by name; got "
                    f"{type(weights).__name__}. Give model.state_dict()."
                )
            entries.append(Entry(_step(step), InMemory(without_repeats(weights))))
        return cls(entries)

    @property
    def steps(self) -> tuple[int, ...]:
        """Every step, increasing."""
        return tuple(self._entries)

    @property
    def in_memory(self) -> bool:
        """Whether weights of some are held by this object, and pickled with it."""
        return any(isinstance(entry.source, InMemory) for entry in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Checkpoints({len(self)} steps, {self.steps[0]} to {self.steps[-1]})"

    def weights(self, step: int) -> dict[str, Tensor]:
        """The state dict at ``step``, on the processor, read now and not kept.

        Raises:
            OntogenyError: if there is no such step, or if the weights are not those the manifest speaks of.
        """
        entry = self._entry(step)
        weights = entry.source.read()
        if entry.digest is not None:
            _check_digest(entry, weights)
        return weights

    def digest(self, step: int, verify: bool = False) -> str:
        """SHA-256 over names, dtypes, shapes and bytes (16 hexadecimal digits): the manifest's, else from the weights.

        It is worked out once; ``verify`` reads the weights in any case and compares.

        Raises:
            OntogenyError: as ``weights`` does.
        """
        entry = self._entry(step)
        if entry.digest is not None and not verify:
            return entry.digest
        found = _check_digest(entry, entry.source.read())
        self._entries[entry.step] = replace(entry, digest=found)
        return found

    def tokens(self, step: int) -> int | None:
        """Training tokens seen before ``step``, where a manifest says."""
        return self._entry(step).tokens

    def loss(self, step: int) -> float | None:
        """Training loss at ``step``, nats a token, where a manifest says (``train_language_model`` says which)."""
        return self._entry(step).loss

    def select(self, steps: int | Iterable[int], spacing: str = "log") -> Checkpoints:
        """Fewer of them: the steps named, or so many, as evenly spaced as there are any.

        A number includes the first and the last (1: the last alone); one above what there is gives all.

        Args:
            steps: the steps themselves, or how many.
            spacing: of a number, even in log(step + 1) ("log"), or in the cube root of the step ("cube root"), which
                leaves more for late in training: 8 of 1000 steps are 0, 3, 23, 79, 187, 364, 630 and 1000.
        """
        if spacing not in SPACINGS:
            raise OntogenyError(f"spacing must be one of {', '.join(map(repr, SPACINGS))}; got {spacing!r}.")
        if isinstance(steps, int) and not isinstance(steps, bool):
            if steps < 1:
                raise OntogenyError(f"steps must be at least one checkpoint, or the steps themselves; got {steps}.")
            chosen: Iterable[int] = _evenly(self.steps, steps, SPACINGS[spacing])
        elif isinstance(steps, Iterable):
            chosen = list(dict.fromkeys(steps))
        else:
            raise OntogenyError(f"steps must be how many checkpoints, or a list of steps; got {steps!r}.")
        return Checkpoints([self._entry(step) for step in chosen], self.config)

    def _entry(self, step: int) -> Entry:
        if step not in self._entries:
            nearest = sorted(sorted(self.steps, key=lambda held: abs(held - step))[:3])
            raise OntogenyError(
                f"step {step} is no checkpoint; the nearest of the {len(self)} there are: "
                f"{', '.join(map(str, nearest))}."
            )
        return self._entries[step]


def _check_digest(entry: Entry, weights: Mapping[str, Tensor]) -> str:
    found = weights_digest(weights)
    if entry.digest not in (None, found):
        raise OntogenyError(
            f"checkpoints: the weights of step {entry.step}{_where(entry)} have digest {found}, and {entry.digest} was "
            "recorded; the file was changed or damaged, so train again or remove its entry."
        )
    return found


def _evenly(steps: tuple[int, ...], count: int, place: Callable[[float], float]) -> list[int]:
    if count >= len(steps):
        return list(steps)
    if count == 1:
        return [steps[-1]]
    places = [place(step) for step in steps]
    chosen = [0]
    for number in range(1, count - 1):
        aim = places[0] + (places[-1] - places[0]) * number / (count - 1)
        free = range(chosen[-1] + 1, len(steps) - (count - 1 - number))  # leaves one for each that is to come
        chosen.append(min(free, key=lambda index: abs(places[index] - aim)))
    return [steps[index] for index in [*chosen, len(steps) - 1]]


def numbered(item: Path) -> int | None:
    """The step at the end of the name of a file or folder of weights; a shard's number is none, nor is a process's."""
    stem = item.name if item.is_dir() else item.stem
    number = re.search(r"(\d+)$", stem)
    other = re.search(r"\d+-of-\d+$|^rng_state_\d+$|^\.", stem)  # transformers keeps the random state of each process
    return int(number[1]) if number and not other and is_weights(item) else None


def _step(step: Any) -> int:
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise OntogenyError(f"checkpoints: a step must be a whole number of at least 0; got {step!r}.")
    return step


def _where(*entries: Entry) -> str:
    paths = [entry.source.path.name for entry in entries if isinstance(entry.source, InFile)]
    return f" ({' and '.join(paths)})" if paths else ""


def read_manifest(folder: Path) -> dict[str, Any]:
    """What training wrote about a folder: format, config, settings, checkpoints.

    Raises:
        OntogenyError: if the file is another program's, or of a later version.
    """
    manifest = read_json(folder / MANIFEST)
    if not {"format", "config", "settings", "checkpoints"} <= manifest.keys():
        raise OntogenyError(f"{folder / MANIFEST} was not written by training here; name another folder.")
    if manifest["format"] != FORMAT:
        raise OntogenyError(
            f"{folder / MANIFEST} has format {manifest['format']!r}, and this version reads {FORMAT}; use the version "
            "that wrote it."
        )
    return manifest


def _from_manifest(folder: Path, entry: Mapping[str, Any]) -> Entry:
    source = InFile(folder / Path(entry["file"]).name)
    return Entry(_step(entry["step"]), source, entry["tokens"], entry["loss"], entry["digest"])
