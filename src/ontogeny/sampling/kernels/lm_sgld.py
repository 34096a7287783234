"""Langevin dynamics with the noise of Leimkuhler and Matthews (2013), whose step bias is of second order in ε."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ontogeny.core.trees import spread, tree_map
from ontogeny.core.types import Params
from ontogeny.sampling.kernels.signal import Signal, compensated, langevin_gain


class LMState(NamedTuple):
    """Where the chains are, and the normals of the step before."""

    params: Params
    last_noise: Params


def init(params: Params, noise: Params, axis: int) -> LMState:
    """Start the chains at ``params``; ``noise`` stands for the step before the first."""
    return LMState(params, noise)


def step(
    state: LMState, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
) -> tuple[LMState, None]:
    """w' = w + (ε/2)·drift + √ε·(ξ_k + ξ_{k+1})/2: each normal is used twice, half in this step and half in the next.

    Stationary variance exactly 1/κ on quadratics (εκ < 4), at the cost of SGLD; bias O(ε²) elsewhere. It is BAOAB in
    the limit of large friction, and what is said there of the virial and of compensation holds here too.
    """
    noise = compensated(noise, signal.drift_noise, langevin_gain(step_size, friction), axis)

    def move(weight: Tensor, force: Tensor, last: Tensor, xi: Tensor) -> Tensor:
        epsilon = spread(step_size.to(weight), weight, axis)
        return weight + (0.5 * epsilon * force + 0.5 * epsilon.sqrt() * (last + xi))

    return LMState(tree_map(move, state.params, signal.drift, state.last_noise, noise), noise), None
