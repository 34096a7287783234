"""The types that every layer speaks: parameters by name, batches, losses."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

Params: TypeAlias = dict[str, Tensor]
"""Parameters by name. With a chain axis, axis 0 or the last, when many positions are held at once."""

Batch: TypeAlias = Any
"""Whatever the loss reads: a tensor, or a tuple, list or dict of tensors, one row per example; None without data."""


@runtime_checkable
class Loss(Protocol):
    """A loss as a pure function of the sampled weights: ``loss(params, batch) -> (batch,)``, one value per example."""

    def __call__(self, params: Params, batch: Batch) -> Tensor:
        """Return one loss per example, shape ``(batch,)``."""
        ...

    def __hash__(self) -> int:
        """Compiled programs are kept by loss."""
        ...


@runtime_checkable
class StackedLoss(Loss, Protocol):
    """A loss that can also be evaluated at many positions in one broadcasting expression.

    ``stacked(params, batch) -> (batch, chains)`` takes parameters whose LAST axis is the chain. With the chains
    innermost in memory, a compiler turns the whole step into a few vectorised loops; for a model of a dozen weights
    that is several times faster than batched matrix products of tiny matrices. Both forms must agree (a test's job).
    """

    def stacked(self, params: Params, batch: Batch) -> Tensor:
        """Return one loss per example and chain, shape ``(batch, chains)``."""
        ...


@runtime_checkable
class LossByChain(Loss, Protocol):
    """A loss with values of its own for each chain, as the direction of a feature, that are not sampled.

    ``of_chains(chains)`` gives them by name, with a leading axis of so many chains; each chain finds its own among the
    weights that the loss is called with, under names that no weight has. So chains of several losses step as one.
    """

    def of_chains(self, chains: int) -> Params:
        """Values by name, each of shape ``(chains, ...)``."""
        ...
