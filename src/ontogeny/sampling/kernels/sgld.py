"""Stochastic-gradient Langevin dynamics (Welling and Teh 2011) in the step convention of the LLC literature."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ontogeny.core.trees import spread, tree_map
from ontogeny.core.types import Params
from ontogeny.sampling.kernels.signal import Signal, compensated, langevin_gain


class SGLDState(NamedTuple):
    """Where the chains are."""

    params: Params


def init(params: Params, noise: Params, axis: int) -> SGLDState:
    """Start the chains at ``params``; ``noise`` is not needed."""
    return SGLDState(params)


def step(
    state: SGLDState, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
) -> tuple[SGLDState, None]:
    """w' = w + (ε/2)·drift + √ε·ξ with drift = ∇ log p(w) and ξ ~ N(0, I), less what minibatches bring.

    ``step_size`` has shape (chains,). On a quadratic with κ = nβh + γ the stationary variance is
    (1/κ)/(1 - εκ/4): the bias is of first order in ε, and the chain is unstable from εκ = 4 on. A minibatch error of
    the drift moves the weights by ε/2 times itself, √ε/2 times in units of the injected noise.
    BlackJAX and posteriors write the same kernel with ε and √(2ε).
    """
    noise = compensated(noise, signal.drift_noise, langevin_gain(step_size, friction), axis)

    def move(weight: Tensor, force: Tensor, xi: Tensor) -> Tensor:
        epsilon = spread(step_size.to(weight), weight, axis)
        return weight + (0.5 * epsilon * force + epsilon.sqrt() * xi)

    return SGLDState(tree_map(move, state.params, signal.drift, noise)), None
