"""Values of options of which there are only some; another one is a wrong call, and the message lists them."""

from __future__ import annotations

from collections.abc import Iterable

import typer


def one_of(value: str | None, known: Iterable[str], option: str) -> None:
    """Refuse a value that is none of these; None, an option left out, passes.

    Raises:
        typer.BadParameter: naming the option and what is possible.
    """
    known = list(known)
    if value is not None and value not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}; got {value!r}.", param_hint=option)


def check_executor(executor: str, address: str | None) -> None:
    """Refuse an unknown executor, and an address without Ray.

    Raises:
        typer.BadParameter: naming the option.
    """
    from ontogeny.execution.executors import EXECUTORS

    one_of(executor, EXECUTORS, "--executor")
    if address is not None and executor != "ray":
        raise typer.BadParameter("is that of a Ray cluster; give --executor ray with it.", param_hint="--address")
