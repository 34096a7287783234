"""Ctrl-C and SIGTERM: the first ends the command in order, and those that follow do not disturb that."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 3.0
"""Seconds in which a further signal is passed over."""


def end_in_order() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, once in ``PATIENCE`` seconds; one that is ignored stays so.

    A later signal raises again, since an exception can be lost on its way: Python only prints one from a destructor.
    """
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread say
        return
    last = float("-inf")

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PATIENCE:
            last = now
            raise KeyboardInterrupt

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)


def pass_over() -> None:
    """Ignore both signals from now on: the command is as good as ended."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
