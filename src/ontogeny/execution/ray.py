"""Run chunks on a Ray cluster: large things put once in its object store, results committed by the caller alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ontogeny.core.errors import OntogenyError, class_and_first_line, first_line
from ontogeny.core.progress import progress_bar
from ontogeny.execution.chunks import Chunk, LargeInputs, Shelf, Work, check_workers
from ontogeny.execution.local import cores, one_thread

RETRIES = 3
"""How often a chunk is tried again whose worker died."""
AHEAD = 2
"""Chunks handed out for each that can run, so that no worker waits for the next."""


def run_chunks_on_ray(
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
    address: str | None = None,
) -> None:
    """Compute every chunk that ``shelf`` does not hold yet, as :func:`ontogeny.execution.local.run_chunks` does.

    The results are the same, bit for bit on the same kind of machine: the same chunks, one thread each. A worker that
    dies is replaced and its chunk tried again. Only this process reads checkpoints and writes results, so the
    workers' machines need none of the folders, but the same packages and the caller's modules.

    Args:
        work: as for ``run_chunks``.
        chunks: as for ``run_chunks``; handed out in this order.
        shelf: where results go, from within this process.
        text: what the progress bar says.
        progress: show the bar (on a terminal).
        workers: the most chunks at a time; by rule as many as the cluster has cores, or GPUs.
        shared: large things that all chunks read, put once in the object store; every worker reads them once.
        parts: large things that some chunks read, put once and dropped when the last of those is done.
        gpus: 0, or each chunk takes a GPU.
        address: of a cluster to join; None: the one this process has joined already, or else one is started on this
            machine and ended with the last chunk.

    Raises:
        OntogenyError: if Ray is not installed, the cluster cannot be joined or started or has no GPU where one is
            needed, what workers are to read cannot be sent or read there, or a chunk fails.
    """
    check_workers(workers)
    left = [chunk for chunk in chunks if not shelf.has(chunk.key)]
    if not left:
        return
    ray = _import_ray()
    before = len(chunks) - len(left)
    with _cluster(ray, address, min(workers or cores(), len(left)), gpus) as resources:
        if gpus and not resources.get("GPU"):
            raise OntogenyError(
                "device = 'cuda' takes a GPU of the Ray cluster for each worker, and it has none; give device='cpu'."
            )
        slots = workers or max(int(resources.get("GPU" if gpus else "CPU", 1)), 1)
        task = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=RETRIES)(_compute)
        common = _put(ray, (work, shared))
        held = _Parts(ray, parts, left)
        waiting = iter(left)
        running: dict[Any, Chunk] = {}
        with progress_bar(text, len(chunks), progress) as tick:
            tick(before)
            try:
                while True:
                    while len(running) < (slots if workers else AHEAD * slots) and (chunk := next(waiting, None)):
                        running[task.remote(chunk, [common], held.of(chunk))] = chunk
                    if not running:
                        return
                    finished, _ = ray.wait(list(running), num_returns=1)
                    chunk = running.pop(finished[0])
                    shelf.save(chunk.key, _result(ray, finished[0], chunk))
                    held.done(chunk)
                    before += 1
                    tick(before)
            except BaseException:
                for reference in running:
                    ray.cancel(reference, force=True)
                raise


def _put(ray: Any, value: Any) -> Any:
    try:
        return ray.put(value)
    except ray.exceptions.RayError as error:
        raise OntogenyError(
            f"Ray's object store does not take what workers are to read: {class_and_first_line(error)}; run again with "
            "more room in it."
        ) from error
    except Exception as error:
        raise OntogenyError(
            "workers of Ray cannot be given model, data, loss_fn and components: "
            f"{class_and_first_line(error.__cause__ or error)}; leave locks, files and connections out of them."
        ) from error


class _Parts:
    """The parts that chunks under way read, in the object store."""

    def __init__(self, ray: Any, parts: Callable[[Any], Any] | None, chunks: Sequence[Chunk]) -> None:
        self._ray, self._parts = ray, parts
        self._left = Counter(chunk.part for chunk in chunks)
        self._references: dict[Any, Any] = {}

    def of(self, chunk: Chunk) -> list[Any] | None:
        if self._parts is None:
            return None
        if chunk.part not in self._references:
            self._references[chunk.part] = _put(self._ray, self._parts(chunk.part))
        return [self._references[chunk.part]]

    def done(self, chunk: Chunk) -> None:
        self._left[chunk.part] -= 1
        if not self._left[chunk.part]:
            self._references.pop(chunk.part, None)  # the object store drops what nobody refers to


_common: tuple[str, Any] = ("", None)
_part: tuple[str, Any] = ("", None)
"""In a worker: what it read last from the object store, and under which reference."""


def _compute(chunk: Chunk, common: list[Any], part: list[Any] | None) -> Any:
    """A chunk's result, in a worker; references come in lists, since Ray would fetch bare ones for every chunk."""
    global _common, _part
    import ray

    one_thread()
    if _common[0] != common[0].hex():
        _common = common[0].hex(), _read(ray, common[0])
    work, shared = _common[1]
    if part is None:
        return LargeInputs(shared).compute(work, chunk)
    if _part[0] != part[0].hex():
        _part = "", None
        _part = part[0].hex(), _read(ray, part[0])
    return LargeInputs(shared, lambda _: _part[1]).compute(work, chunk)


def _read(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except Exception as error:
        raise OntogenyError(
            f"a worker of Ray cannot read what it was sent: {class_and_first_line(error)}. Define functions and "
            "classes in a module that the cluster's machines can import."
        ) from error


def _result(ray: Any, reference: Any, chunk: Chunk) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, OntogenyError):
            raise error.cause from error
        if not chunk.label:
            raise
        raise OntogenyError(f"{chunk.label}: {class_and_first_line(error.cause)}") from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        raise OntogenyError(
            f"{chunk.label or 'a chunk'}: its worker died {RETRIES + 1} times, perhaps for want of memory; run again, "
            "it goes on where it was."
        ) from error
    except ray.exceptions.RayError as error:
        raise OntogenyError(
            f"{chunk.label or 'a chunk'}: Ray lost it, {class_and_first_line(error)}; run again, it goes on where it "
            "was."
        ) from error


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise OntogenyError('executor="ray" needs the extra: pip install "ontogeny[ray]".') from error
    return ray


@contextmanager
def _cluster(ray: Any, address: str | None, slots: int, gpus: int) -> Iterator[dict[str, float]]:
    """Yields the cluster's resources; on leaving, what was started or joined here is ended or left."""
    if ray.is_initialized():
        if address is not None:
            raise OntogenyError(
                f"address: this process has joined a Ray cluster already, so {address!r} cannot be joined; leave "
                "address out, or call ray.shutdown() first."
            )
        yield ray.cluster_resources()
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    with _left_as_they_were():
        try:
            if address is None:
                # the workers' modules are looked for where this process finds its own
                os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
                ray.init("local", num_cpus=slots, num_gpus=gpus or None, include_dashboard=False, **quiet)
            else:
                ray.init(address, **quiet)
        except Exception as error:
            ray.shutdown()  # of what did start
            what = (
                "executor: no Ray cluster could be started on this machine"
                if address is None
                else (f"address: no Ray cluster could be joined at {address!r}")
            )
            raise OntogenyError(f"{what}: {first_line(error)}.") from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


@contextmanager
def _left_as_they_were() -> Iterator[None]:
    """Put back the search path for modules and the handler of SIGTERM, which Ray replaces."""
    path = os.environ.get("PYTHONPATH")
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if path is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = path
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
