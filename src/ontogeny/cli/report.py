"""``ontogeny report DIR``: make the report of a finished study again from its measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ontogeny.core.errors import OntogenyError


def report(folder: Annotated[Path, typer.Argument(help="A folder that `ontogeny run` wrote.")]) -> None:
    """Write summary.json and report.html of a study again from its measurements."""
    from ontogeny.store import read_identity
    from ontogeny.studies.registry import STUDIES

    name = read_identity(folder)["study"]
    if name == "measure":
        raise OntogenyError(
            f"{folder} was written by `ontogeny measure`, whose measurements are in {folder / 'results.zarr'}; "
            "`ontogeny report` makes the reports of what `ontogeny run` wrote."
        )
    if name not in STUDIES:
        raise OntogenyError(f"{folder} holds the study {name!r}, which this version does not know.")
    typer.echo(f"report        {STUDIES[name].report(folder)}")
