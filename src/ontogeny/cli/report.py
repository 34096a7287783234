"""``ontogeny report DIR``: make the report of a finished study again from its measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ontogeny.core.errors import OntogenyError


def report(folder: Annotated[Path, typer.Argument(help="A folder that `ontogeny run` wrote.")]) -> None:
    """Write summary.json and report.html of a study again from its measurements."""
    from ontogeny.studies.registry import STUDIES

    marker = folder / "study.json"
    if not marker.exists():
        raise OntogenyError(f"{folder} holds no study; expected a folder that `ontogeny run` wrote, with study.json.")
    name = json.loads(marker.read_text(encoding="utf-8")).get("study")
    if name not in STUDIES:
        raise OntogenyError(f"{folder} holds the study {name!r}, which this version does not know.")
    typer.echo(f"report        {STUDIES[name].report(folder)}")
