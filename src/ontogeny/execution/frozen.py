"""The (nβ, γ) of a study, kept in its folder: whatever is added later is measured at the same."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from ontogeny.core.errors import OntogenyError
from ontogeny.sampling.settings import Settings
from ontogeny.store import LOCALIZATION, write_text

SAME = 1e-6
"""Relative difference of two numbers that are the same, one of them typed."""


@dataclass(frozen=True)
class Frozen:
    """nβ and γ, and where γ comes from, in words."""

    n_beta: float
    localization: float
    source: str


def read_frozen(folder: Path, asked: Settings) -> Frozen | None:
    """What a folder's study is measured at; None: nothing yet.

    Raises:
        OntogenyError: if something else was asked for, or the file is damaged.
    """
    file = folder / LOCALIZATION
    if not file.exists():
        return None
    try:
        held = Frozen(**json.loads(file.read_text(encoding="utf-8")))
        if not (math.isfinite(held.n_beta) and math.isfinite(held.localization)):  # TypeError: they are no numbers
            raise ValueError(held)
    except (ValueError, TypeError) as error:
        raise OntogenyError(f"out: {file} cannot be read; name another folder, or remove that one.") from error
    for name in ("n_beta", "localization"):
        there, here = getattr(held, name), getattr(asked, name)
        if here is not None and not math.isclose(there, here, rel_tol=SAME):
            raise OntogenyError(
                f"out: {folder} holds a study with {name} = {there:g}, and this one is one with {here:g}; leave {name} "
                "out to add to that one, or name another folder."
            )
    return held


def write_frozen(folder: Path, frozen: Frozen) -> None:
    """Keep it, for every later call."""
    write_text(folder / LOCALIZATION, json.dumps(asdict(frozen), indent=2))
