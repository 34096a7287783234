"""Paths as a person writes them."""

from __future__ import annotations

from pathlib import Path


def expanded(place: str) -> Path:
    """The path with ~ and ~USER put in; that of an unknown user as it is written, and so of nothing that exists."""
    try:
        return Path(place).expanduser()
    except RuntimeError:
        return Path(place)
