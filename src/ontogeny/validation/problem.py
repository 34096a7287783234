"""A problem whose λ̂(nβ, γ) is known: a loss of the weights alone, and the exact moments of its local posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from ontogeny.core.errors import OntogenyError
from ontogeny.validation.quadrature import Exact, Moments

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ontogeny.inputs.losses import LossFunction, Potential

    Loss = Callable[[Tensor], Tensor]
    """Weights of shape (..., d) -> losses of shape (...)."""
    DataVersion = Callable[[int, int, float], tuple[nn.Module, tuple[Tensor, ...], LossFunction]]
    """(examples, seed, label noise) -> model at w*, data, loss_fn."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss L around w* with λ̂(nβ, γ) = nβ·(E_π[L] - L(w*)) known exactly.

    Args:
        name: unique, e.g. "reduced rank 5-3-5".
        description: the formula.
        dim: d, the number of weights.
        kind: "closed form", "quadrature" (both to a relative 1e-6 or better), or "copies": disjoint parts of the
            first two kinds, whose moments add exactly.
        learning_coefficient: λ at w*, or None where it is not known.
        multiplicity: m, or None.
        moments: (nβ, γ) -> mean and variance of nβ·(L - L(w*)).
        build: makes the loss, a function of weights of shape (..., d), and w*, of shape (d,), float32.
        data_version: makes a model, data and a loss function whose mean is L up to a constant; None if there is none.
    """

    name: str
    description: str
    dim: int
    kind: str
    learning_coefficient: float | None
    multiplicity: int | None
    moments: Exact = field(repr=False)
    build: Callable[[], tuple[Any, Tensor]] = field(repr=False)
    data_version: DataVersion | None = field(default=None, repr=False)

    @cached_property
    def potential(self) -> Potential:
        """The loss around w*, for ``og.estimate_llc``; built at first use and kept."""
        from ontogeny.inputs.losses import Potential

        return Potential(*self.build())

    def exact(self, n_beta: float, localization: float) -> float:
        """λ̂(nβ, γ), γ in 1/weight².

        Raises:
            OntogenyError: if nβ or γ is not positive.
        """
        return _moments(self, float(n_beta), float(localization)).mean

    def exact_variance(self, n_beta: float, localization: float) -> float:
        """Var_π[nβ·L]; λ̂ minus it is dλ̂/d log nβ."""
        return _moments(self, float(n_beta), float(localization)).variance


@lru_cache(maxsize=4096)
def _moments(problem: Problem, n_beta: float, localization: float) -> Moments:
    for name, value in (("n_beta", n_beta), ("localization", localization)):
        if not 0 < value < float("inf"):
            raise OntogenyError(f"{name} must be positive and finite for an exact value; got {value}.")
    return problem.moments(n_beta, localization)


class HasData(Protocol):
    """A problem, exact or with a reference, that may have a version with data."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def data_version(self) -> DataVersion | None:
        """Makes the model, data and loss function."""
        ...


def with_data(
    problem: HasData, examples: int, seed: int = 0, label_noise: float = 0.0
) -> tuple[nn.Module, tuple[Tensor, ...], LossFunction]:
    """The problem as a model at w*, data and a per-example loss, ready for ``og.estimate_llc``.

    The mean loss over exactly these examples equals L plus a constant, so λ̂(nβ, γ) of the problem stays exact;
    a minibatch sees only part of it. Everything is float64: ``.float()`` makes it single, to rounding.

    Args:
        problem: one whose ``data_version`` is not None.
        examples: n.
        seed: of the random inputs and residuals.
        label_noise: standard deviation of the residuals at w*, exactly orthogonal to what the model can fit there;
            classifications have their noise in their labels and ignore it.

    Raises:
        OntogenyError: if the problem has no data version, or cannot have one with so many examples.
    """
    if problem.data_version is None:
        raise OntogenyError(
            f"problem: {problem.name!r} is a loss of its weights alone and has no version with data; choose one of "
            "those whose data_version is not None."
        )
    return problem.data_version(examples, seed, label_noise)
