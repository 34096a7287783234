"""SGLD with a diagonal preconditioner from the gradients of the warm-up (Li et al. 2016), frozen before the draws."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.core.trees import chain_sum, spread, tree_map
from ontogeny.core.types import Params
from ontogeny.sampling.kernels.signal import Signal, compensated, langevin_gain

DECAY = 0.99
"""α of the running mean of squared gradients."""

DAMPING = 0.1
"""Added to the root mean squares, as a share of their own mean: no weight moves more than some 10 times as far."""


class RMSpropState(NamedTuple):
    """Positions, the running mean of squared loss gradients, the steps it has seen, and the preconditioner P."""

    params: Params
    second_moment: Params
    seen: int
    metric: Params


def init(params: Params, noise: Params, axis: int) -> RMSpropState:
    """Start the chains at ``params`` with P = 1."""
    return RMSpropState(params, tree_map(torch.zeros_like, params), 0, tree_map(torch.ones_like, params))


def adapt(state: RMSpropState, gradient: Params, axis: int) -> RMSpropState:
    """Take one more loss gradient into P = (1 + δ)/(√v̂/s + δ), v̂ bias-corrected, s the root of its mean over weights.

    ``gradient`` is that of the loss alone: γ(w - w*) in it would tie P to the position. A running mean that goes on
    during the draws needs a correction term Γ = ∇·P, and without it the stationary law is wrong; so P is frozen when
    warm-up ends. Scaled by s, P is 1 where all weights are alike, and ε keeps SGLD's meaning.
    """
    moment = tree_map(lambda v, g: DECAY * v + (1.0 - DECAY) * g * g, state.second_moment, gradient)
    seen = state.seen + 1
    corrected = tree_map(lambda v: v / (1.0 - DECAY**seen), moment)
    weights = chain_sum(tree_map(torch.ones_like, corrected), axis)
    scale = (chain_sum(corrected, axis) / weights).sqrt()

    def precondition(v: Tensor) -> Tensor:
        size = spread(scale.to(v), v, axis)
        return torch.where(size > 0, (1.0 + DAMPING) / (v.sqrt() / size + DAMPING), torch.ones_like(v))

    return RMSpropState(state.params, moment, seen, tree_map(precondition, corrected))


def step(
    state: RMSpropState, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
) -> tuple[RMSpropState, None]:
    """w' = w + (ε/2)·P·drift + √(εP)·ξ: SGLD in the weights w/√P, exact for a frozen P up to SGLD's own step bias."""
    drift_noise = signal.drift_noise
    if drift_noise is not None:
        drift_noise = tree_map(lambda d, p: p.sqrt() * d, drift_noise, state.metric)
    noise = compensated(noise, drift_noise, langevin_gain(step_size, friction), axis)

    def move(weight: Tensor, force: Tensor, xi: Tensor, metric: Tensor) -> Tensor:
        epsilon = spread(step_size.to(weight), weight, axis) * metric
        return weight + (0.5 * epsilon * force + epsilon.sqrt() * xi)

    return state._replace(params=tree_map(move, state.params, signal.drift, noise, state.metric)), None
