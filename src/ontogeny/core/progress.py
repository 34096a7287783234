"""A progress bar with time left on a terminal, silence elsewhere, and how work far below says how far it is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("ontogeny")
_listeners: list[Callable[[float], None]] = []


def report_progress(share: float) -> None:
    """Say that this share, 0 to 1, of the piece of work under way is done; nobody need be listening."""
    for listener in _listeners:
        listener(share)


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Hand what is reported inside to ``listener``."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def progress_bar(text: str, total: int | None, show: bool) -> Iterator[Callable[[float], None]]:
    """Yields ``done(so_far)``; shows text, bar, share, time spent and time left on stderr if it is a terminal.

    The text is logged too (logger "ontogeny", level INFO), so that it can be had where there is no terminal.
    """
    _log.info(text)
    if not (show and sys.stderr.isatty()):
        yield lambda so_far: None
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
