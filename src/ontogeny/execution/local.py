"""Run chunks on this machine: a process per core, one thread each, every chunk committed as it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import progress_bar


class Chunk(NamedTuple):
    """A set of tasks, fixed by the study alone: ``work(payload)`` is its result, ``key`` names it by content."""

    key: str
    payload: Any


class Shelf(Protocol):
    """Where results are kept; :class:`ontogeny.store.Store` is one."""

    def has(self, key: str) -> bool:
        """Whether that chunk was committed."""
        ...

    def save(self, key: str, chunk: xr.Dataset) -> None:
        """Commit a chunk."""
        ...


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread() -> None:
    """Make tensor operations single-threaded: threads beside busy processes slow tiny operations tens of times."""
    import torch

    torch.set_num_threads(1)


def _worker() -> None:
    """Start a worker: one thread, and Ctrl-C left to the parent, which ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()


@contextmanager
def _one_thread_here() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _commit(work: Callable[[Any], xr.Dataset], chunk: Chunk, shelf: Shelf) -> None:
    shelf.save(chunk.key, work(chunk.payload))


def run_chunks(
    work: Callable[[Any], xr.Dataset],
    chunks: Sequence[Chunk],
    shelf: Shelf,
    *,
    text: str,
    progress: bool = True,
    workers: int | None = None,
) -> None:
    """Compute every chunk that ``shelf`` does not hold yet; killing this at any time loses the chunks under way only.

    Args:
        work: a function of a module's top level (worker processes import it by name).
        chunks: what to do; results do not depend on their order or on the number of workers.
        shelf: where results go, from within the worker, as soon as a chunk is done.
        text: what the progress bar says.
        progress: show the bar (on a terminal).
        workers: processes; by rule one a core, none beyond the chunks left.
    """
    left = [chunk for chunk in chunks if not shelf.has(chunk.key)]
    workers = min(workers or cores(), len(left))
    with progress_bar(text, len(chunks), progress) as tick:
        tick(len(chunks) - len(left))
        if workers <= 1:
            with _one_thread_here():
                for done, chunk in enumerate(left, start=len(chunks) - len(left) + 1):
                    _commit(work, chunk, shelf)
                    tick(done)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_worker) as pool:
            waiting = {pool.submit(_commit, work, chunk, shelf) for chunk in left}
            try:
                while waiting:
                    done_now, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done_now:
                        future.result()
                    tick(len(chunks) - len(waiting))
            except BaseException as error:
                processes = list((pool._processes or {}).values())  # shutdown forgets them
                pool.shutdown(wait=False, cancel_futures=True)
                for process in processes:
                    process.terminate()
                if isinstance(error, BrokenProcessPool):
                    raise OntogenyError(
                        "a worker process died, perhaps for want of memory; run again, it goes on where it was."
                    ) from error
                raise
