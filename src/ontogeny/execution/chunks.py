"""What every executor speaks of: chunks of work, the shelf their results go to, and the large things they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import xarray as xr

from ontogeny.core.errors import OntogenyError, class_and_first_line

Work = Callable[..., xr.Dataset]
"""``work(payload)``, or ``work(payload, shared)`` where large things are shared; a function of a module's top level."""


class Chunk(NamedTuple):
    """A set of tasks, fixed by the study alone: ``work(payload)`` is its result, ``key`` names it by content."""

    key: str
    payload: Any
    label: str = ""
    """What an error calls it; empty: errors are passed on as they are."""
    part: Any = None
    """Which of the parts it reads, where there are any."""


class Shelf(Protocol):
    """Where results are kept; :class:`ontogeny.store.Store` is one."""

    def has(self, key: str) -> bool:
        """Whether that chunk was committed."""
        ...

    def save(self, key: str, chunk: xr.Dataset) -> None:
        """Commit a chunk."""
        ...


class LargeInputs:
    """What chunks read beside their payload, sent to each worker once.

    Args:
        shared: read by all chunks, by name; None: ``work`` is called with the payload alone.
        parts: ``parts(chunk.part)`` is what only the chunks of that part read, as a checkpoint's weights; ``work``
            finds it as ``shared["part"]``. The last one is kept, so chunks of one part should follow one another.
    """

    def __init__(self, shared: Mapping[str, Any] | None, parts: Callable[[Any], Any] | None = None) -> None:
        self.shared, self.parts = shared, parts
        self._held: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"shared": self.shared, "parts": self.parts, "_held": None}

    def compute(self, work: Work, chunk: Chunk) -> xr.Dataset:
        """The chunk's result; where the chunk has a label, an error is one sentence that begins with it."""
        try:
            if self.shared is None:
                return work(chunk.payload)
            if self.parts is None:
                return work(chunk.payload, self.shared)
            return work(chunk.payload, {**self.shared, "part": self._part(chunk.part)})
        except Exception as error:
            if not chunk.label:
                raise
            said = str(error) if isinstance(error, OntogenyError) else class_and_first_line(error)
            raise OntogenyError(f"{chunk.label}: {said}") from error

    def _part(self, name: Any) -> Any:
        if self._held is None or self._held[0] != name:
            assert self.parts is not None
            self._held = None  # the last one goes before the next one comes
            self._held = (name, self.parts(name))
        return self._held[1]


def check_workers(workers: Any) -> None:
    """Refuse what is no number of processes.

    Raises:
        OntogenyError: naming what came.
    """
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise OntogenyError(
            f"workers must be a whole number of at least 1; got {workers!r}. Leave it out for one a core or GPU."
        )
