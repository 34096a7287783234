"""Run chunks on this machine: a process per core or GPU, one thread each, every chunk committed as it ends."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import listening, progress_bar
from ontogeny.execution.chunks import Chunk, LargeInputs, Shelf, Work, check_workers

__all__ = ["Chunk", "Shelf", "cores", "one_thread", "run_chunks", "sendable"]

RESTARTS = 1
"""How often workers are started anew after one of them was killed."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread() -> None:
    """Make tensor operations single-threaded, and those of NumPy and SciPy.

    Threads beside busy processes slow tiny operations tens of times, and sums over several differ in their last bits.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def _worker(done: Any, started: Any, gpus: int, sent: bytes) -> None:
    """Start a worker: one thread, a place to count what is done, Ctrl-C left to the parent, no life without it."""
    global _count, _inputs, _failure
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    one_thread()
    _count = done
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if gpus:
        import torch

        torch.cuda.set_device(number % gpus)
    try:
        _inputs = pickle.loads(sent)
    except Exception as error:  # raised here it would only break the pool
        _failure = f"{type(error).__name__}: {error}"


def sendable(shared: Any) -> bytes:
    """What goes to the workers, as bytes.

    Raises:
        OntogenyError: if something in it cannot be sent, as a function that was defined within another.
    """
    try:
        return pickle.dumps(shared, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise OntogenyError(
            f"worker processes cannot be given model, data, loss_fn and components: {type(error).__name__}: {error}; "
            "define functions and classes at the top level of a module, not as a lambda or within a function."
        ) from error


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
def _as_in_a_worker() -> Iterator[None]:
    """Inside, threads and torch's default dtype are those of a fresh worker process."""
    import torch
    from threadpoolctl import threadpool_limits

    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with threadpool_limits(1):
        try:
            torch.set_num_threads(1)
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)


_count: Any = None
"""In a worker: chunks done by all workers, parts of chunks included, shared with the parent."""
_inputs: LargeInputs | None = None
"""In a worker: what its chunks read beside their payloads."""
_failure = ""
"""In a worker: why it could not read them."""


def _commit(work: Work, chunk: Chunk, shelf: Shelf, inputs: LargeInputs) -> None:
    shelf.save(chunk.key, inputs.compute(work, chunk))


def _commit_and_count(work: Work, chunk: Chunk, shelf: Shelf) -> None:
    counted = 0.0
    if _inputs is None:
        raise OntogenyError(
            f"a worker process cannot read what it was sent: {_failure}. Define functions and classes in a module that "
            "it can import (a .py file, not a notebook), or give workers=1."
        )

    def count(share: float) -> None:
        nonlocal counted
        with _count.get_lock():
            _count.value += share - counted
        counted = share

    with listening(count):
        _commit(work, chunk, shelf, _inputs)
    count(1.0)


def run_chunks(
    work: Work,
    chunks: Sequence[Chunk],
    shelf: Shelf,
    *,
    text: str,
    progress: bool = True,
    workers: int | None = None,
    shared: Mapping[str, Any] | None = None,
    parts: Callable[[Any], Any] | None = None,
    gpus: int = 0,
) -> None:
    """Compute every chunk that ``shelf`` does not hold yet; killing this at any time loses the chunks under way only.

    Where a worker is killed, all are started anew, once, for the chunks that are left.

    Args:
        work: a function of a module's top level (worker processes import it by name): ``work(payload)``, or
            ``work(payload, shared)`` where ``shared`` is given.
        chunks: what to do; results do not depend on their order or on the number of workers.
        shelf: where results go, from within the worker, as soon as a chunk is done.
        text: what the progress bar says.
        progress: show the bar (on a terminal).
        workers: processes; by rule one a core, or a GPU, none beyond the chunks left.
        shared: large things that all chunks read, by name; each worker is sent them once.
        parts: large things that some chunks read, each worker fetching its own; see :class:`LargeInputs`.
        gpus: how many GPUs the work uses, dealt out to the workers in turn: in each, "cuda" is its own.

    Raises:
        OntogenyError: if a worker dies again, none can start, or what it is to read cannot be sent; else what a chunk
            raises.
    """
    check_workers(workers)
    left = [chunk for chunk in chunks if not shelf.has(chunk.key)]
    workers = min(workers or gpus or cores(), len(left))
    inputs = LargeInputs(shared, parts)
    before = len(chunks) - len(left)
    with progress_bar(text, len(chunks), progress) as tick:
        tick(before)
        if workers <= 1:
            with _as_in_a_worker():
                for done, chunk in enumerate(left, start=before):
                    with listening(lambda share, done=done: tick(done + share)):  # type: ignore[misc]
                        _commit(work, chunk, shelf, inputs)
                    tick(done + 1)
            return
        sent = sendable(inputs)
        for restart in range(RESTARTS + 1):
            try:
                before = len(chunks) - len(left)
                _in_processes(work, left, shelf, workers, gpus, sent, partial(_tick_from, tick, before))
                return
            except BrokenProcessPool as error:
                if restart == RESTARTS:
                    raise OntogenyError(
                        "worker processes died twice, perhaps for want of memory; run again, with fewer workers; "
                        "it goes on where it was."
                    ) from error
                left = [chunk for chunk in left if not shelf.has(chunk.key)]


def _tick_from(tick: Callable[[float], None], before: int, done: float) -> None:
    tick(before + done)


def _in_processes(
    work: Work, left: Sequence[Chunk], shelf: Shelf, workers: int, gpus: int, sent: bytes, tick: Callable[[float], None]
) -> None:
    """Compute chunks in so many processes; ``tick`` is told how many are done, parts of chunks included."""
    context = multiprocessing.get_context("spawn")
    done_by_all, started = context.Value("d", 0.0), context.Value("i", 0)
    given = (done_by_all, started, gpus, sent)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_worker, initargs=given) as pool:
        try:
            with _without_control_c():
                waiting = {pool.submit(_commit_and_count, work, chunk, shelf) for chunk in left}
            while waiting:
                done_now, waiting = wait(waiting, timeout=0.25, return_when=FIRST_COMPLETED)
                for future in done_now:
                    future.result()
                tick(done_by_all.value)
        except BaseException as error:
            processes = list((pool._processes or {}).values())  # shutdown forgets them
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            if isinstance(error, BrokenProcessPool) and not started.value:
                raise OntogenyError(
                    "worker processes could not start; each first runs the calling script, so put the call under "
                    "`if __name__ == '__main__':`, or give workers=1."
                ) from error
            raise
