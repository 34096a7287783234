"""What a kernel is told at every step, and what all kernels share: noise left out where minibatches bring their own."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ontogeny.core.trees import chain_sum, spread, tree_map
from ontogeny.core.types import Params


class Move(Protocol):
    """The type of every kernel's ``step``: pure, all chains at once."""

    def __call__(
        self, state: Any, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
    ) -> tuple[Any, Tensor | None]:
        """Return the next state, and which chains accepted what was evaluated; None: all, without a test."""
        ...


class Signal(NamedTuple):
    """What is known at the evaluated position ``state.params``, with the chain axis where the position has it."""

    drift: Params
    """∇ log p(w), capped; per weight."""
    energy: Tensor
    """-log p(w) up to a constant of each chain, shape ``(chains,)``; what Metropolis tests compare."""
    chance: Tensor | None = None
    """Uniform numbers in (0, 1) for the kernels that toss coins, shape ``(Kernel.coins, chains)``."""
    drift_noise: Params | None = None
    """One draw of the drift's minibatch error, independent of the error itself, of the same covariance: half the
    difference of the drifts of the two halves of the minibatch. None: full batch, or not to be compensated."""


def compensated(noise: Params, drift_noise: Params | None, gain: Tensor, axis: int) -> Params:
    """Standard normals with the covariance I - E[uuᵀ], u = gain·drift_noise, in place of I.

    The minibatch error of the drift moves the weights as noise of covariance E[uuᵀ] would (in units of the injected
    noise). ξ' = ξ - (1 - √(1 - ‖u‖²))·û(û·ξ) has the covariance I - uuᵀ for a given u, so that on average over
    minibatches both together have covariance I, off the diagonal too and wherever the chain is. Where ‖u‖ ≥ 1 the noise
    along u is left out altogether; the chain loop keeps the rest of u for the next step.
    """
    if drift_noise is None:
        return noise
    length_squared = gain.square() * chain_sum(tree_map(torch.square, drift_noise), axis)
    along = gain * chain_sum(tree_map(torch.mul, drift_noise, noise), axis)
    tiny = torch.finfo(length_squared.dtype).tiny
    removed = (1.0 - (1.0 - length_squared.clamp(max=1.0)).sqrt()) / length_squared.clamp(min=tiny) * along * gain
    return {name: xi - spread(removed.to(xi), xi, axis) * drift_noise[name] for name, xi in noise.items()}


def langevin_gain(step_size: Tensor, friction: Tensor) -> Tensor:
    """√ε/2: an error of the drift moves the weights by ε/2 times itself, and injected noise by √ε."""
    return 0.5 * step_size.sqrt()
