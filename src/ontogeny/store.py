"""Results on disk: one Zarr per chunk of work under its content key, and the study's own files, written atomically."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.temporary_files import is_left, original_of, temporary_beside

FORMAT = 1
"""Part of every key: raised when the meaning of stored chunks changes."""
MARKER, LOCALIZATION = "study.json", "localization.json"
"""What a study's folder holds before its first result: what it is, and at which (nβ, γ) it measures."""
_LEFT_OUT = object()


def content_key(*parts: Any) -> str:
    """A name made of everything a result depends on: settings (JSON-able) and arrays; 16 hexadecimal digits."""
    digest = hashlib.sha256(f"format {FORMAT}".encode())
    for part in parts:
        digest.update(b"\0")
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()[:16]


class Store:
    """The folder of one study. A chunk is there whole or not at all; nothing of another study is ever overwritten.

    Several processes, on several machines too, may work in one folder: at worst a chunk is computed twice.

    Args:
        folder: made if it does not exist.
        identity: what the study is (name, preset, settings); the folder remembers it.

    Raises:
        OntogenyError: if the folder holds another study, or files that no study wrote, or cannot be made.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        if not check_folder(folder, identity):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OntogenyError(
                    f"out must be a folder that can be made; got {folder} ({error.strerror}). Give another place."
                ) from error
            (folder / LOCALIZATION).unlink(missing_ok=True)  # of a study that ended before its first result
            write_text(folder / MARKER, json.dumps(identity, indent=2, sort_keys=True))
        _tidy(folder)

    def _path(self, key: str) -> Path:
        return self.folder / "chunks" / f"{key}.zarr"

    def has(self, key: str) -> bool:
        """Whether the chunk was committed."""
        return self._path(key).exists()

    def save(self, key: str, chunk: xr.Dataset) -> None:
        """Commit a chunk: written under a temporary name, then renamed."""
        write_zarr(self._path(key), {None: chunk})

    def load(self, key: str) -> xr.Dataset:
        """Read a committed chunk into memory."""
        return read_zarr(self._path(key))


def check_folder(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the folder holds this study; False: it is new, empty, or of a study that ended before its first result.

    Raises:
        OntogenyError: if it holds another study, or files that no study wrote.
    """
    if folder.exists() and not folder.is_dir():
        raise OntogenyError(f"out must be a folder; {folder} is a file. Name another one.")
    inside = [path.name for path in folder.iterdir()] if folder.exists() else []
    if MARKER not in inside:
        if inside:
            raise OntogenyError(f"out: {folder} holds files that no study wrote; name an empty or a new folder.")
        return False
    held, asked = read_identity(folder), json.loads(json.dumps(identity))
    if held == asked:
        return True
    if set(inside) <= {MARKER, LOCALIZATION}:
        return False
    there, here = _told_apart(held, asked)
    raise OntogenyError(
        f"out: {folder} holds another study ({there}), and this one is {here}; name another folder, or remove that one."
    )


def read_identity(folder: Path) -> dict[str, Any]:
    """What a study's folder says it holds.

    Raises:
        OntogenyError: if it says nothing, or nothing that a study wrote.
    """
    marker = folder / MARKER
    if not marker.exists():
        raise OntogenyError(
            f"{folder} holds no study; expected a folder that `ontogeny run` or "
            "`ontogeny measure` wrote, with study.json."
        )
    try:
        held = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        held = None
    if not isinstance(held, dict) or "study" not in held:
        raise OntogenyError(
            f"{marker} was written neither by `ontogeny run` nor by `ontogeny measure`; name another folder, or remove "
            "that one."
        )
    return held


def write_zarr(path: Path, groups: Mapping[str | None, xr.Dataset]) -> None:
    """Write a root Dataset (key None) and named groups as one Zarr, then put it in place of whatever was there."""
    temporary = temporary_beside(path)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        for mode, (group, dataset) in zip(["w", *"a" * (len(groups) - 1)], groups.items(), strict=True):
            dataset = _words_as_objects(dataset.drop_encoding())
            with warnings.catch_warnings():
                # readers expect consolidated metadata; the format does not specify it yet, and zarr warns of that
                warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
                dataset.to_zarr(temporary, group=group, mode=mode, consolidated=True)
        _put(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, path: Path) -> None:
    old = temporary.with_suffix(".old")
    with suppress(FileNotFoundError):  # nothing there, or another process is replacing it
        path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        if not path.exists():  # or else another process was faster, and what it put there is as good
            raise
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def read_zarr(path: Path, group: str | None = None) -> xr.Dataset:
    """Read one group of a Zarr into memory.

    Raises:
        OntogenyError: if there is none.
    """
    if not path.exists():
        raise OntogenyError(f"{path} does not exist; run the study first.")
    with xr.open_zarr(path, group=group) as stored:
        loaded = stored.load().drop_encoding()  # else a word longer than those stored before would be cut off
    return _words_as_objects(loaded)


def _words_as_objects(dataset: xr.Dataset) -> xr.Dataset:
    """Words of any length: those of a fixed one would be cut off, and Zarr has no specification of them."""
    values = {name: part.astype(object) for name, part in dataset.data_vars.items() if part.dtype.kind in "UT"}
    names = {name: part.astype(object) for name, part in dataset.coords.items() if part.dtype.kind in "UT"}
    return dataset.assign(values).assign_coords(names)


def _tidy(folder: Path) -> None:
    """Put back what a killed process had set aside, and drop what it had half written.

    What a living process has under way is left alone, and so is what another machine wrote.
    """
    places = (folder, folder / "chunks")
    for left in [one for place in places for kind in (".*.old", ".*.tmp") for one in place.glob(kind)]:
        if not is_left(left):
            continue
        if left.suffix == ".old" and not original_of(left).exists():
            left.rename(original_of(left))
        elif left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    temporary = temporary_beside(path)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _told_apart(held: dict[str, Any], asked: dict[str, Any]) -> tuple[str, str]:
    """Two studies by name and preset, or, where these are the same, by the first thing in which they differ."""
    if _what(held) != _what(asked):
        return _what(held), _what(asked)
    one: Any = held
    other: Any = asked
    path = ""
    while isinstance(one, dict) and isinstance(other, dict):
        name = next(name for name in sorted({*one, *other}) if one.get(name, _LEFT_OUT) != other.get(name, _LEFT_OUT))
        one, other, path = one.get(name, _LEFT_OUT), other.get(name, _LEFT_OUT), f"{path}.{name}" if path else name
    there = f"without {path}" if one is _LEFT_OUT else f"with {path} = {one}"
    return f"{_what(held)} {there}", "one without" if other is _LEFT_OUT else f"one with {other}"


def _what(identity: Mapping[str, Any]) -> str:
    return ", ".join(str(identity[key]) for key in ("study", "preset") if key in identity) or "an unknown one"
