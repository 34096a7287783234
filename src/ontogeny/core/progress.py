"""A progress bar with time left on a terminal, a line a minute elsewhere, and how work far below says how far it is."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("ontogeny")
_listeners: list[tuple[Callable[[float], None], int]] = []
"""Who listens, and how many pieces were open when they began."""
_pieces: list[tuple[float, float]] = []
"""Open pieces, the outermost first: where each begins, and its share, of the one around it."""
EVERY = 60.0
"""Seconds between two lines."""


def report_progress(share: float) -> None:
    """Say that this share, 0 to 1, of the piece of work under way is done; nobody need be listening."""
    for listener, depth in _listeners:
        of_whole = share
        for begin, part in reversed(_pieces[depth:]):
            of_whole = begin + part * of_whole
        listener(of_whole)


@contextmanager
def piece(number: int, count: int) -> Iterator[None]:
    """Inside, what is reported is of the piece of that number, from 0, of so many equal ones.

    >>> heard = []
    >>> with listening(heard.append), piece(1, 4):
    ...     report_progress(0.5)
    >>> heard
    [0.375]
    """
    _pieces.append((number / count, 1.0 / count))
    try:
        yield
    finally:
        _pieces.pop()


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Hand what is reported inside to ``listener``."""
    entry = (listener, len(_pieces))
    _listeners.append(entry)
    try:
        yield
    finally:
        _listeners.remove(entry)


class _Lines:
    """A line on stderr once a minute."""

    def __init__(self, text: str, total: int | None) -> None:
        self._text, self._total = text, total
        self._begun = self._said = time.monotonic()

    def done(self, so_far: float) -> None:
        """Say how far it is, if the last line is a minute old."""
        now = time.monotonic()
        if now - self._said < EVERY:
            return
        self._said = now
        share = f" {so_far / self._total:.0%}" if self._total else ""
        print(f"{self._text}:{share} after {(now - self._begun) / 60:.0f} min", file=sys.stderr, flush=True)


@contextmanager
def progress_bar(text: str, total: int | None, show: bool) -> Iterator[Callable[[float], None]]:
    """Yields ``done(so_far)``; shows text, bar, share, time spent and time left on stderr if it is a terminal.

    Elsewhere, as in a file, work of more than a minute has a line for each on stderr. The text is logged too (logger
    "ontogeny", level INFO).
    """
    _log.info(text)
    if not show:
        yield lambda so_far: None
        return
    if not sys.stderr.isatty():
        yield _Lines(text, total).done
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(text, total=total)
        yield lambda so_far: progress.update(task, completed=so_far)
