"""Underdamped Langevin dynamics with the BAOAB splitting (Leimkuhler and Matthews 2013), unit mass."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ontogeny.core.trees import spread, tree_map
from ontogeny.core.types import Params
from ontogeny.sampling.kernels.signal import Signal, compensated


class BAOABState(NamedTuple):
    """Positions, and velocities of the middle of the step, before the second half kick."""

    params: Params
    velocity: Params


def init(params: Params, noise: Params, axis: int) -> BAOABState:
    """Start the chains at ``params`` with the velocities ``noise``, their stationary law."""
    return BAOABState(params, noise)


def gain(step_size: Tensor, friction: Tensor) -> Tensor:
    """How far an error of the drift displaces the weights in the long run, in units of the injected noise."""
    # (1 + α)/√(1 - α²) is 1/√tanh(friction·δ/2), without the cancellation at small steps
    return 0.5 * step_size.sqrt() / (0.5 * friction * step_size.sqrt()).tanh().sqrt()


def step(
    state: BAOABState, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
) -> tuple[BAOABState, None]:
    """v ← v + δ·drift; w ← w + (δ/2)v; v ← αv + √(1 - α²)·ξ; w' ← w + (δ/2)v, with δ = √ε and α = exp(-friction·δ).

    One gradient a step: the second half kick of a step and the first of the next fall on one position and are one.
    Exact stationary positions on quadratics for εκ < 4, whatever the friction. Elsewhere the bias is of second order in
    δ, so of first order in ε, and of second order in ε where friction·δ is large (on w⁴ at εκ = 0.25: E[w²] 0.7 % low).
    The virial E[(w - w*)·∇U] need not show that bias: on w⁴ and w₁²w₂² it was d at every ε tried, on a cosine well it
    was not. Friction is in 1/time, time in units of weight·√(nβ·loss); large friction is
    Leimkuhler-Matthews SGLD.

    A minibatch error of the drift kicks v by δ times itself and displaces the weights, in the long run, as injected
    noise of δ(1 + α)/(2√(1 - α²)) times its size would: that is what is compensated. Noise worth s injected units makes
    the variance of a quadratic (1/κ)(1 + s/(1 - εκ/4)), compensated (1/κ)(1 + s·(εκ/4)/(1 - εκ/4)), at any friction.
    """
    delta = step_size.sqrt()
    alpha = (-friction * delta).exp()
    injected = (-(-2.0 * friction * delta).expm1()).sqrt()
    noise = compensated(noise, signal.drift_noise, gain(step_size, friction), axis)

    def along(values: Tensor, like: Tensor) -> Tensor:
        return spread(values.to(like), like, axis)

    kicked = tree_map(lambda v, force: v + along(delta, v) * force, state.velocity, signal.drift)
    halfway = tree_map(lambda w, v: w + 0.5 * along(delta, w) * v, state.params, kicked)
    velocity = tree_map(lambda v, xi: along(alpha, v) * v + along(injected, v) * xi, kicked, noise)
    params = tree_map(lambda w, v: w + 0.5 * along(delta, w) * v, halfway, velocity)
    return BAOABState(params, velocity), None
