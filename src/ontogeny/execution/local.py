"""Run chunks on this machine: a process per core, one thread each, every chunk committed as it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import listening, progress_bar


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


def _worker(done: Any) -> None:
    """Start a worker: one thread, a place to count what is done, Ctrl-C left to the parent, no life without it."""
    global _count
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    one_thread()
    _count = done


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns however the parent ended, killed too
        os._exit(1)


@contextmanager
def _without_control_c() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, and never reaches processes started inside, not while they import."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_here() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(before)


_count: Any = None
"""In a worker: chunks done by all workers, parts of chunks included, shared with the parent."""


def _commit(work: Callable[[Any], xr.Dataset], chunk: Chunk, shelf: Shelf) -> None:
    shelf.save(chunk.key, work(chunk.payload))


def _commit_and_count(work: Callable[[Any], xr.Dataset], chunk: Chunk, shelf: Shelf) -> None:
    counted = 0.0

    def count(share: float) -> None:
        nonlocal counted
        with _count.get_lock():
            _count.value += share - counted
        counted = share

    with listening(count):
        _commit(work, chunk, shelf)
    count(1.0)


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
    before = len(chunks) - len(left)
    with progress_bar(text, len(chunks), progress) as tick:
        tick(before)
        if workers <= 1:
            with _one_thread_here():
                for done, chunk in enumerate(left, start=before):
                    with listening(lambda share, done=done: tick(done + share)):  # type: ignore[misc]
                        _commit(work, chunk, shelf)
                    tick(done + 1)
            return
        context = multiprocessing.get_context("spawn")
        done_by_all = context.Value("d", 0.0)
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_worker, initargs=(done_by_all,)) as pool:
            try:
                with _without_control_c():
                    waiting = {pool.submit(_commit_and_count, work, chunk, shelf) for chunk in left}
                while waiting:
                    done_now, waiting = wait(waiting, timeout=0.25, return_when=FIRST_COMPLETED)
                    for future in done_now:
                        future.result()
                    tick(before + done_by_all.value)
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
