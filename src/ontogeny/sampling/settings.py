"""What the caller asked for, checked at construction."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, fields
from numbers import Real

from ontogeny.core.devices import check_device
from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.precision import PRECISIONS
from ontogeny.sampling.kernels import get_kernel

COUNTS = ("batch_size", "chains", "draws", "burn_in", "max_draws")
NO_NUMBERS = ("kernel", "seed", "device", "precision")
MAY_BE_ZERO = ("localization", "burn_in")


@dataclass(frozen=True)
class Settings:
    """The numbers of one call; None: to be chosen by rule.

    Raises:
        OntogenyError: for a number that is none, out of range or not whole where it counts something, an unknown
            kernel or precision, or a device that is not there.
    """

    n_beta: float | None
    localization: float | None
    step_size: float | None
    batch_size: int | None
    chains: int | None
    draws: int | None
    burn_in: int | None
    target_se: float | None
    max_draws: int | None
    kernel: str | None
    seed: int
    device: str | None
    precision: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name not in NO_NUMBERS:
                object.__setattr__(self, field.name, _number(field.name, value))
        try:
            object.__setattr__(self, "seed", operator.index(self.seed))
        except TypeError:
            raise OntogenyError(f"seed must be a whole number, got {self.seed!r}.") from None
        if self.kernel is not None:
            get_kernel(self.kernel)
        if self.device is not None:
            check_device(self.device)
        if self.precision is not None and self.precision not in PRECISIONS:
            raise OntogenyError(
                f"precision must be {' or '.join(map(repr, PRECISIONS))}; got {self.precision!r}. Leave it out for "
                "float32, or float64 where the sampled weights are."
            )


def _number(name: str, value: object) -> float | int:
    whole = name in COUNTS
    kind = "whole number" if whole else "number"
    expected = f"zero or a positive {kind}" if name in MAY_BE_ZERO else f"a positive {kind}"
    way_out = "leave it out to have it chosen by rule"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise OntogenyError(f"{name} must be {expected}, got {value!r}; {way_out}.")
    number = float(value)
    in_range = number >= 0 if name in MAY_BE_ZERO else number > 0
    if not (math.isfinite(number) and in_range and (not whole or number.is_integer())):
        raise OntogenyError(f"{name} must be {expected}, got {value}; {way_out}.")
    return int(number) if whole else number
