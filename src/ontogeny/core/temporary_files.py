"""Names for what is being written: told apart by machine, process and call, and renamed once it is whole."""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from pathlib import Path

from ontogeny.core.processes import alive


def temporary_beside(path: Path) -> Path:
    """A name in the folder of ``path`` that no other writer on any machine uses; to be renamed to ``path``."""
    return path.with_name(f"{_prefix(path)}{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def remove_left(path: Path) -> None:
    """Remove the folders ``temporary_beside(path)`` of processes of this machine that are no more.

    Those of other machines that share the disk stay: their processes cannot be seen from here.
    """
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        if left.name.startswith(_prefix(path)) and left.suffix == ".tmp" and is_left(left):
            shutil.rmtree(left, ignore_errors=True)


def is_left(temporary: Path) -> bool:
    """Whether a name that ``temporary_beside`` gave is of a process of this machine that is no more."""
    before, _, after = temporary.name.rpartition(f".{platform.node()}.")
    return bool(before) and not alive(after.split(".")[0])


def original_of(temporary: Path) -> Path:
    """The path that ``temporary_beside`` was given, on this machine."""
    return temporary.with_name(temporary.name.rpartition(f".{platform.node()}.")[0][1:])


def _prefix(path: Path) -> str:
    return f".{path.name}.{platform.node()}."
