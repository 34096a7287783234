"""``ontogeny run STUDY``: carry out a study, or go on with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ontogeny.cli.choices import check_executor


def run(
    study: Annotated[str, typer.Argument(help="A study; `ontogeny list` shows them.", show_default=False)],
    preset: Annotated[str, typer.Option(help="How much to measure; `ontogeny list` shows each one's cost.")] = "quick",
    seeds: Annotated[int | None, typer.Option(min=1, help="Training seeds; more later resume the folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; by default runs/STUDY-PRESET.")] = None,
    executor: Annotated[str, typer.Option(help="Where the work is done: local (this machine) or ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster to join; left out, one is started here.")
    ] = None,
) -> None:
    """Carry out a study: measurements, summary and report. Stopped and run again, it goes on where it was."""
    from ontogeny.studies.registry import STUDIES

    if study not in STUDIES:
        raise typer.BadParameter(f"study must be one of {', '.join(STUDIES)}; got {study!r}.")
    if preset not in STUDIES[study].presets:
        known = ", ".join(STUDIES[study].presets)
        raise typer.BadParameter(f"the presets of {study} are {known}; got {preset!r}.", param_hint="--preset")
    check_executor(executor, address)
    began = time.monotonic()
    page = STUDIES[study].run(preset, seeds=seeds, out=out, executor=executor, address=address)
    typer.echo(f"{study}, {preset}: done in {time.monotonic() - began:.0f} s")
    typer.echo(f"report        {page}")
    typer.echo(f"figures       {page.with_name('summary.json')}")
    typer.echo(f"measurements  {page.with_name('results.zarr')}")
