"""``ontogeny run STUDY``: carry out a study, or go on with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

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
    mixture: Annotated[
        str | None, typer.Option(help="Text to train on, as 0.8*dir:notes + 0.2*installed:code (attention-heads).")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=URI, a further data set, or one of the preset replaced; again for more.", metavar="NAME=URI"
        ),
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
    text = _text(study, STUDIES[study].takes_text, mixture, dataset or [])
    began = time.monotonic()
    page = STUDIES[study].run(preset, seeds=seeds, out=out, executor=executor, address=address, **text)
    typer.echo(f"{study}, {preset}: done in {time.monotonic() - began:.0f} s")
    typer.echo(f"report        {page}")
    typer.echo(f"figures       {page.with_name('summary.json')}")
    typer.echo(f"measurements  {page.with_name('results.zarr')}")


def _text(study: str, taken: bool, mixture: str | None, datasets: list[str]) -> dict[str, Any]:
    """What the call says of text, as arguments of the study; nothing where it says nothing."""
    if not mixture and not datasets:
        return {}
    if not taken:
        raise typer.BadParameter(f"{study} is not about text; leave --mixture and --dataset out.")
    wrong = next((one for one in datasets if not one.partition("=")[0] or "=" not in one), None)
    if wrong is not None:
        raise typer.BadParameter(
            f"a data set must be NAME=URI, as stories=file:stories.json; got {wrong!r}.", param_hint="--dataset"
        )
    named = {name: uri for name, _, uri in (one.partition("=") for one in datasets)}
    return {"mixture": mixture, "datasets": named}
