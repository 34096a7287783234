"""The typer application that the verbs belong to."""

from __future__ import annotations

import typer

from ontogeny.cli.list import list_studies
from ontogeny.cli.measure import measure
from ontogeny.cli.report import report
from ontogeny.cli.run import run
from ontogeny.cli.validate import validate
from ontogeny.core.version import __version__

app = typer.Typer(
    name="ontogeny",
    help="Watch neural networks develop: learning coefficients with honest errors, and what could contradict them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"ontogeny {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options that stand before the verb."""


app.command("run")(run)
app.command("measure")(measure)
app.command("report")(report)
app.command("validate")(validate)
app.command("list")(list_studies)
