"""Stochastic-gradient Langevin dynamics (Welling and Teh 2011) in the step convention of the LLC literature."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ontogeny.core.trees import spread, tree_map
from ontogeny.core.types import Params


class SGLDState(NamedTuple):
    """Where the chains are."""

    params: Params


def init(params: Params) -> SGLDState:
    """Start the chains at ``params``."""
    return SGLDState(params)


def step(state: SGLDState, drift: Params, noise: Params, *, step_size: Tensor, axis: int) -> SGLDState:
    """w' = w + (ε/2)·drift + √ε·ξ with drift = ∇ log p(w) and ξ ~ N(0, I).

    ``step_size`` has shape (chains,). On a quadratic with κ = nβh + γ the stationary variance is
    (1/κ)/(1 - εκ/4): the bias is of first order in ε, and the chain is unstable from εκ = 4 on.
    BlackJAX and posteriors write the same kernel with ε and √(2ε).
    """

    def move(weight: Tensor, force: Tensor, xi: Tensor) -> Tensor:
        epsilon = spread(step_size.to(weight), weight, axis)
        return weight + 0.5 * epsilon * force + epsilon.sqrt() * xi

    return SGLDState(tree_map(move, state.params, drift, noise))
