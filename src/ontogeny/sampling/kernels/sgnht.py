"""Stochastic-gradient Nosé-Hoover thermostat (Ding et al. 2014), split as BADODAB (Leimkuhler and Shang 2016)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.core.trees import chain_sum, spread, tree_map
from ontogeny.core.types import Params
from ontogeny.sampling.kernels.signal import Signal


class SGNHTState(NamedTuple):
    """Positions, velocities, what the thermostat adds to the friction, and the number of sampled weights, by chain."""

    params: Params
    velocity: Params
    thermostat: Tensor
    dim: Tensor


def init(params: Params, noise: Params, axis: int) -> SGNHTState:
    """Start the chains at ``params`` with the velocities ``noise``; a weight whose noise is zero is not sampled."""
    dim = chain_sum(tree_map(lambda xi: (xi != 0).to(xi), noise), axis)
    return SGNHTState(params, noise, torch.zeros_like(dim), dim)


def step(
    state: SGNHTState, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
) -> tuple[SGNHTState, None]:
    """BAOAB whose friction f + ξ adapts until ‖v‖² is d: ξ ← ξ + (δ/2)(‖v‖² - d)/μ on both sides of O, δ = √ε.

    The injected noise stays that of f, so that minibatch noise of a size that is the same for every weight and
    everywhere is taken out by a larger ξ, without being known; noise that differs from weight to weight is not.
    Thermostat mass μ = 4d/f². Exact for constant noise up to O(ε); Langevin dynamics for ξ = 0.
    """
    delta = step_size.sqrt()
    mass = 4.0 * state.dim.clamp(min=1.0) / friction.to(state.dim).square()

    def along(values: Tensor, like: Tensor) -> Tensor:
        return spread(values.to(like), like, axis)

    def heated(velocity: Params) -> Tensor:
        surplus = chain_sum(tree_map(torch.square, velocity), axis) - state.dim
        return 0.5 * delta.to(surplus) * surplus / mass

    velocity = tree_map(lambda v, force: v + along(delta, v) * force, state.velocity, signal.drift)
    params = tree_map(lambda w, v: w + 0.5 * along(delta, w) * v, state.params, velocity)
    thermostat = state.thermostat + heated(velocity)
    rate = friction.to(thermostat) + thermostat
    exponent = -delta.to(rate) * rate
    # (1 - e^{-2ξδ})/(2ξ) has the limit δ at ξ = 0
    growth = torch.where(exponent.abs() < 1e-4, 1.0 + exponent, torch.expm1(2.0 * exponent) / (2.0 * exponent))
    injected = (2.0 * friction.to(rate) * delta.to(rate) * growth).sqrt()
    velocity = tree_map(lambda v, xi: along(exponent.exp(), v) * v + along(injected, v) * xi, velocity, noise)
    thermostat = thermostat + heated(velocity)
    params = tree_map(lambda w, v: w + 0.5 * along(delta, w) * v, params, velocity)
    return SGNHTState(params, velocity, thermostat, state.dim), None
