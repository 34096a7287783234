"""The registry of kernels: what the chain loop needs of each, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.sampling import sgld


@dataclass(frozen=True)
class Kernel:
    """A transition rule: ``init(params) -> state`` and ``step(state, drift, noise, *, step_size, axis) -> state``.

    ``state.params`` is the position. The rule never sees model, data or mask. ``noise`` are standard normals shaped as
    the position, handed in so that serial, batched, eager and compiled runs use the same random numbers.
    """

    name: str
    init: Callable[..., Any]
    step: Callable[..., Any]


KERNELS = {"sgld": Kernel("sgld", sgld.init, sgld.step)}


def get_kernel(name: str) -> Kernel:
    """The kernel of that name.

    Raises:
        OntogenyError: if there is none; the message lists those there are.
    """
    if not isinstance(name, str) or name not in KERNELS:
        raise OntogenyError(f"kernel must be one of {', '.join(sorted(KERNELS))}; got {name!r}.")
    return KERNELS[name]
