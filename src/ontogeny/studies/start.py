"""What every study looks at before it does anything: how it was called, and whether sampling will be fast."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.version import __version__
from ontogeny.sampling.compiled import compiler_available


def check_call(preset: str, seeds: int | None, *, presets: Collection[str], fewest: int = 1, since: str = "") -> None:
    """Refuse a preset that is none of `presets`, and fewer seeds than `fewest`, with the reason `since` if given."""
    if preset not in presets:
        raise OntogenyError(f"preset must be one of {', '.join(presets)}; got {preset!r}.")
    if seeds is not None and (not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < fewest):
        reason = f", since {since}" if since else ""
        raise OntogenyError(f"seeds must be at least {fewest}{reason}; got {seeds!r}.")


def check_measured(folder: Path, measurements: xr.Dataset, names: Collection[str]) -> None:
    """Refuse results of a version that did not yet measure all of ``names``: their report cannot be made."""
    from ontogeny.store import read_identity

    missing = [name for name in names if name not in measurements]
    if missing:
        held = read_identity(folder)
        raise OntogenyError(
            f"{folder} was measured by a version that did not measure {', '.join(missing)}, which the report states: "
            f"`ontogeny run {held['study']} --preset {held['preset']} --out {folder}` measures it, and anew whatever "
            f"else is not of version {__version__}."
        )


def say_if_slow() -> None:
    """Tell on stderr that sampling takes long where nothing can be compiled."""
    if not compiler_available():
        print(
            "ontogeny: no C++ compiler with Python's headers was found; sampling takes twenty times longer.",
            file=sys.stderr,
        )
