"""One training a folder, and what killed ones left there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ontogeny.core.errors import OntogenyError

LOCK = ".lock"
"""Lies in a folder that training writes; the operating system frees the lock when its process ends, however it ends."""


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
