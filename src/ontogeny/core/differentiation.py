"""Whether what is computed will be differentiated at most once, so that a loss may take a shorter way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_once: ContextVar[bool] = ContextVar("differentiated at most once", default=False)


@contextmanager
def at_most_once() -> Iterator[None]:
    """Inside, no derivative of a derivative is taken, as it is for a Hessian."""
    token = _once.set(True)
    try:
        yield
    finally:
        _once.reset(token)


def differentiated_at_most_once() -> bool:
    """Whether the caller said so."""
    return _once.get()
