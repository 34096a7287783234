"""Where chunks are computed, by name; a new place is one entry in ``EXECUTORS``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.execution.local import run_chunks
from ontogeny.execution.ray import run_chunks_on_ray

EXECUTORS: dict[str, Callable[..., None]] = {"local": run_chunks, "ray": run_chunks_on_ray}


def executor(name: str, address: str | None = None) -> Callable[..., None]:
    """The function that runs chunks there, called as :func:`ontogeny.execution.local.run_chunks` is.

    Args:
        name: "local", this machine's cores or GPUs, or "ray".
        address: of a Ray cluster; None: one is started on this machine.

    Raises:
        OntogenyError: for another name, or an address without Ray.
    """
    if not isinstance(name, str) or name not in EXECUTORS:
        raise OntogenyError(f"executor must be one of {', '.join(EXECUTORS)}; got {name!r}.")
    given: dict[str, Any] = {}
    if address is not None:
        if name != "ray":
            raise OntogenyError(
                f"address = {address!r} is that of a Ray cluster, and executor is {name!r}; give executor='ray', or "
                "leave address out."
            )
        given["address"] = address
    return partial(EXECUTORS[name], **given)
