"""The command line, one file a verb. ``main`` turns errors into one sentence and an exit status."""

from __future__ import annotations

import sys

from ontogeny.core.errors import OntogenyError


def main() -> None:
    """Entry point: status 0 when all was done, 1 with one sentence on stderr when not, 2 for a wrong call."""
    from ontogeny.cli.app import app

    try:
        app()
    except OntogenyError as error:
        print(f"ontogeny: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("ontogeny: interrupted; the same command goes on where it was.", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"ontogeny: {error.strerror or error}: {error.filename or 'no file named'}.", file=sys.stderr)
        sys.exit(1)
