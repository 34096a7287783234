"""Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996): SGLD's move, and a test that makes it exact."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.core.trees import chain_sum, spread, tree_map
from ontogeny.core.types import Params
from ontogeny.sampling.kernels.signal import Signal


class MALAState(NamedTuple):
    """The proposal (evaluated next), and where the chain stands: position, drift and energy there."""

    params: Params
    current: Params
    drift: Params
    energy: Tensor


def init(params: Params, noise: Params, axis: int) -> MALAState:
    """Start the chains at ``params``: the first evaluation is accepted as it is."""
    chains = next(iter(params.values())).shape[axis]
    energy = torch.full((chains,), torch.inf, dtype=torch.float64, device=next(iter(params.values())).device)
    return MALAState(params, params, tree_map(torch.zeros_like, params), energy)


def step(
    state: MALAState, signal: Signal, noise: Params, *, step_size: Tensor, friction: Tensor, axis: int
) -> tuple[MALAState, Tensor]:
    """Accept w' with min(1, p(w')q(w|w')/p(w)q(w'|w)), q(y|x) = N(x + (ε/2)·drift(x), ε); then propose from there.

    One gradient a step. Exact for every ε with full-batch gradients and energies; the drift may be capped, since the
    cap is a function of the position alone. Energies are compared in float64.
    """
    assert signal.chance is not None

    def distance_squared(to: Params, origin: Params, drift: Params) -> Tensor:
        gaps = {
            name: to[name] - origin[name] - 0.5 * spread(step_size.to(to[name]), to[name], axis) * drift[name]
            for name in to
        }
        return chain_sum(tree_map(torch.square, gaps), axis).double()

    there = distance_squared(state.params, state.current, state.drift)
    back = distance_squared(state.current, state.params, signal.drift)
    log_ratio = state.energy - signal.energy.double() + (there - back) / (2.0 * step_size.double())
    accepted = signal.chance[0].double().log() < log_ratio

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(spread(accepted, new, axis), new, old)

    current = tree_map(chosen, state.params, state.current)
    drift = tree_map(chosen, signal.drift, state.drift)
    energy = torch.where(accepted, signal.energy.double(), state.energy)

    def propose(weight: Tensor, force: Tensor, xi: Tensor) -> Tensor:
        epsilon = spread(step_size.to(weight), weight, axis)
        return weight + (0.5 * epsilon * force + epsilon.sqrt() * xi)

    return MALAState(tree_map(propose, current, drift, noise), current, drift, energy), accepted
