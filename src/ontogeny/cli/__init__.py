"""The command line, one file a verb. ``main`` turns errors into one sentence and an exit status."""

from __future__ import annotations

import sys

from ontogeny.cli import interruption
from ontogeny.core.errors import OntogenyError


def main() -> None:
    """Entry point: status 0 when all was done, 1 with one sentence on stderr when not, 2 for a wrong call."""
    interruption.end_in_order()
    try:
        from ontogeny.cli.app import app

        app()
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        _interrupted()
    except OntogenyError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'no file named'}.")


def _interrupted() -> None:
    interruption.pass_over()
    # a Ctrl-C that fell into an exec, as of dataclasses on import, leaves a mark that lets Python end by the signal
    # instead of the status; the next exec of a string takes it away
    exec("pass")
    _fail("interrupted; the same command goes on where it was.")


def _fail(sentence: str) -> None:
    print(f"ontogeny: {sentence}", file=sys.stderr)
    sys.exit(1)


INTERRUPTED = 130
"""The status with which typer turns Ctrl-C into an exit."""
