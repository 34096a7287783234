"""Where to compute, from the word in a call."""

from __future__ import annotations

import torch

from ontogeny.core.errors import OntogenyError


def check_device(device: object) -> None:
    """Refuse a device that is not there.

    Raises:
        OntogenyError: naming the argument and what came.

    >>> check_device("cpu")
    """
    try:
        torch.empty(1, device=device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError, AssertionError):
        raise OntogenyError(
            f"device must be one that this machine and this torch have, as 'cpu'; got {device!r}. "
            "Leave it out to compute where the model is."
        ) from None
