"""Processes of this machine."""

from __future__ import annotations

import os


def alive(pid: str) -> bool:
    """Whether a process of that number runs; what is no number is none."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
