"""Hamiltonian Monte Carlo (Duane et al. 1987) with leapfrog trajectories of random length, one gradient a step."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.core.trees import chain_sum, spread, tree_map
from ontogeny.core.types import Params
from ontogeny.sampling.kernels.signal import Signal


class HMCState(NamedTuple):
    """A point of a trajectory, and where the trajectory began; the last four by chain, shape ``(chains,)``."""

    params: Params
    velocity: Params
    current: Params
    drift: Params
    energy: Tensor
    kinetic: Tensor
    taken: Tensor
    length: Tensor


def init(params: Params, noise: Params, axis: int) -> HMCState:
    """Start the chains at ``params``: the first evaluation is accepted as it is, and a trajectory begins."""
    first = next(iter(params.values()))
    zero = torch.zeros(first.shape[axis], dtype=torch.float64, device=first.device)
    still = tree_map(torch.zeros_like, params)
    return HMCState(params, still, params, still, zero + torch.inf, zero, zero, zero)


def step(
    state: HMCState, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
) -> tuple[HMCState, Tensor]:
    """One leapfrog step of length √ε; at a trajectory's end the Metropolis test, then new velocities ``noise``.

    A chain accepts only at the end of a trajectory; in between its last draw stands. The number of leapfrog steps is
    uniform within a third of π/(2·friction·√ε), so that no direction's period is met every time; friction has the
    meaning it has for BAOAB, one over the time for which velocities are remembered. Exact for every ε with full-batch
    gradients and energies.
    """
    assert signal.chance is not None
    delta = step_size.sqrt()

    def along(values: Tensor, like: Tensor) -> Tensor:
        return spread(values.to(like), like, axis)

    def kinetic(velocity: Params) -> Tensor:
        return 0.5 * chain_sum(tree_map(torch.square, velocity), axis).double()

    def kick(velocity: Params, drift: Params) -> Params:
        return tree_map(lambda v, force: v + 0.5 * along(delta, v) * force, velocity, drift)

    arrived = kick(state.velocity, signal.drift)
    ends = state.taken >= state.length
    log_ratio = state.energy + state.kinetic - signal.energy.double() - kinetic(arrived)
    accepted = ends & (signal.chance[0].double().log() < log_ratio)

    def chosen(which: Tensor, first: Params, second: Params) -> Params:
        return tree_map(lambda a, b: torch.where(spread(which, a, axis), a, b), first, second)

    current, drift = chosen(accepted, state.params, state.current), chosen(accepted, signal.drift, state.drift)
    energy = torch.where(accepted, signal.energy.double(), state.energy)
    mean = math.pi / 2.0 / (friction * delta).double()
    length = torch.where(ends, (mean * (2.0 + 2.0 * signal.chance[1].double()) / 3.0).ceil(), state.length)
    position = chosen(ends, current, state.params)
    velocity = chosen(ends, kick(noise, drift), kick(arrived, signal.drift))
    return HMCState(
        params=tree_map(lambda w, v: w + along(delta, w) * v, position, velocity),
        velocity=velocity,
        current=current,
        drift=drift,
        energy=energy,
        kinetic=torch.where(ends, kinetic(noise), state.kinetic),
        taken=torch.where(ends, torch.ones_like(state.taken), state.taken + 1.0),
        length=length,
    ), accepted
