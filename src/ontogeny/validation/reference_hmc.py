"""Metropolis-adjusted Hamiltonian Monte Carlo in float64: a slow reference whose stationary law is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.core.rng import generator
from ontogeny.validation.block_gibbs import ReferenceRun, summarise


class HMCRun(NamedTuple):
    """A reference run and its health."""

    run: ReferenceRun
    acceptance: float
    step: float


def reference_hmc(
    loss: Callable[[Tensor], Tensor],
    w_star: Tensor,
    n_beta: float,
    localization: float,
    *,
    chains: int = 64,
    draws: int = 2000,
    burn_in: int = 500,
    length: float = 1.5,
    most_steps: int = 60,
    seed: int = 0,
) -> HMCRun:
    """λ̂(nβ, γ) of ``loss`` around ``w_star``.

    The leapfrog step is tuned in burn-in to an acceptance near 0.9, then frozen; each trajectory's number of steps is
    uniform up to ``length``/(√γ·step), at most ``most_steps``, so that the flat directions are crossed and no
    period resonates.

    Args:
        loss: weights of shape (chains, d) -> losses of shape (chains,).
        w_star: shape (d,).
        n_beta: nβ.
        localization: γ.
        chains: independent chains, all started at w*.
        draws: kept trajectories of each.
        burn_in: trajectories before.
        length: of the longest trajectory, in 1/√γ.
        most_steps: of a trajectory.
        seed: of the draws.
    """
    stream = generator(seed, "reference hmc")
    centre = w_star.double()
    w = centre.expand(chains, -1).clone()
    baseline = float(loss(centre[None])[0])
    energy, force, excess = _energy(loss, w, centre, n_beta, localization)
    step, taken, series = 0.3 / (n_beta + localization) ** 0.5, [], []
    for trajectory in range(burn_in + draws):
        most = max(1, min(most_steps, int(length / (localization**0.5 * step))))
        count = int(torch.randint(1, most + 1, (1,), generator=stream))
        momentum = torch.randn(w.shape, generator=stream, dtype=torch.float64)
        new, kinetic = w, momentum.square().sum(-1) / 2
        momentum = momentum + 0.5 * step * force
        for inner in range(count):
            new = new + step * momentum
            new_energy, new_force, new_excess = _energy(loss, new, centre, n_beta, localization)
            momentum = momentum + (step if inner < count - 1 else 0.5 * step) * new_force
        log_ratio = energy + kinetic - new_energy - momentum.square().sum(-1) / 2
        accept = torch.rand(chains, generator=stream, dtype=torch.float64).log() < log_ratio
        w, force = torch.where(accept[:, None], new, w), torch.where(accept[:, None], new_force, force)
        energy, excess = torch.where(accept, new_energy, energy), torch.where(accept, new_excess, excess)
        share = float(log_ratio.clamp(max=0).exp().nan_to_num(0.0).mean())
        if trajectory < burn_in:
            step *= 1.03 if share > 0.9 else 1 / 1.06
        else:
            taken.append(share)
            series.append(excess - n_beta * baseline)
    return HMCRun(summarise(torch.stack(series)), sum(taken) / len(taken), step)


def _energy(
    loss: Callable[[Tensor], Tensor], w: Tensor, centre: Tensor, n_beta: float, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """U, -∇U and nβL at each chain's position."""
    leaf = w.detach().requires_grad_()
    scaled = n_beta * loss(leaf)
    (gradient,) = torch.autograd.grad(scaled.sum(), leaf)
    away = w - centre
    excess = scaled.detach()
    return excess + 0.5 * gamma * away.square().sum(-1), -gradient - gamma * away, excess
