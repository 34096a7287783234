"""Several processes that write in one place: temporary names of their own, and one training a folder."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ontogeny.core.errors import OntogenyError
from ontogeny.core.processes import alive

LOCK = ".lock"
"""Lies in a folder that training writes; the operating system frees the lock when its process ends, however it ends."""


def temporary_beside(path: Path) -> Path:
    """A name in the folder of ``path`` that no other writer on any machine uses; to be renamed to ``path``."""
    return path.with_name(f"{_prefix(path)}{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def remove_left(path: Path) -> None:
    """Remove the folders ``temporary_beside(path)`` of processes of this machine that are no more.

    Those of other machines that share the disk stay: their processes cannot be seen from here.
    """
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        if left.name.startswith(_prefix(path)) and left.suffix == ".tmp":
            process = left.name.removeprefix(_prefix(path)).split(".")[0]
            if not alive(process):
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` alone, and remove the temporary files of writers that were killed there.

    Where the disk or the system (Windows) knows no locks, nothing is held or removed; files are whole there too.

    Raises:
        OntogenyError: if another process, or another thread of this one, holds it.
    """
    with (folder / LOCK).open("w") as lock:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OntogenyError(
                    f"folder: another training is writing in {folder}; wait until it ends, or name another folder."
                ) from None
            except OSError:  # a shared disk mounted without locks
                pass
            else:
                for left in folder.glob(".*.tmp"):
                    left.unlink()
        yield


def _prefix(path: Path) -> str:
    return f".{path.name}.{platform.node()}."
