"""Exact draws for deep linear networks: each layer given the others is Gaussian, and gauge moves leave L as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.core.rng import generator


class ReferenceRun(NamedTuple):
    """λ̂ by Markov chains without discretisation error, averaged over independent chains."""

    llc: float
    se: float
    """Standard deviation of the chains' means over √chains."""
    r_hat: float
    """√(1 + variance between chains' means/variance within), near 1 when all have seen everything."""
    ess: float
    """Effective draws of all chains together: chains·variance within/variance between chains' means."""


def summarise(series: Tensor) -> ReferenceRun:
    """Reduce a series of shape (draws, chains)."""
    means = series.mean(0)
    ratio = float(means.var() / series.var(0).mean())
    se = float(means.std() / len(means) ** 0.5)
    return ReferenceRun(float(means.mean()), se, (1 + ratio) ** 0.5, len(means) / ratio)


def block_gibbs(
    layers: Sequence[Tensor],
    n_beta: float,
    localization: float,
    *,
    chains: int = 64,
    sweeps: int = 2000,
    burn_in: int = 500,
    seed: int = 0,
) -> ReferenceRun:
    """λ̂(nβ, γ) of ½‖W_L … W_1 - product of ``layers``‖²_F around ``layers``, float64.

    Layer s enters as P·W_s·Q; with PᵀP = U diag(p) Uᵀ and QQᵀ = V diag(q) Vᵀ the entries of UᵀW_sV are independent
    with precision nβ·p_i·q_j + γ. What is averaged is the mean of L given the other layers. Between sweeps
    W_s -> G W_s, W_{s+1} -> W_{s+1} G⁻¹ is proposed, which moves along the fibre.

    Args:
        layers: w*, shapes (n_{s+1}, n_s).
        n_beta: nβ.
        localization: γ.
        chains: independent chains, all started at w*.
        sweeps: kept sweeps of each.
        burn_in: sweeps before, in which the size of the gauge moves is set.
        seed: of the draws.
    """
    stream = generator(seed, "block gibbs")
    centre = [layer.double() for layer in layers]
    truth = _product(centre, 0, len(centre))
    weights = [layer.expand(chains, -1, -1).clone() for layer in centre]
    scales = torch.full((len(layers) - 1,), 0.1, dtype=torch.float64)
    series = []
    for sweep in range(burn_in + sweeps):
        mean = torch.zeros(chains, dtype=torch.float64)
        for s in range(len(weights)):
            mean = mean + _draw_layer(weights, s, centre[s], truth, n_beta, localization, stream)
        for s in range(len(weights) - 1):
            accepted = _gauge_move(weights, centre, s, float(scales[s]), localization, stream)
            if sweep < burn_in:
                scales[s] *= 1.05 if accepted > 0.4 else 1 / 1.05
        if sweep >= burn_in:
            series.append(n_beta * mean / len(weights))
    return summarise(torch.stack(series))


def _product(weights: Sequence[Tensor], start: int, stop: int) -> Tensor:
    """W_{stop-1} … W_start, the identity where there is none."""
    if start == stop:
        width = weights[start].shape[-1] if start < len(weights) else weights[-1].shape[-2]
        return torch.eye(width, dtype=torch.float64)
    out = weights[start]
    for weight in weights[start + 1 : stop]:
        out = weight @ out
    return out


def _draw_layer(
    weights: list[Tensor], s: int, centre: Tensor, truth: Tensor, n_beta: float, gamma: float, stream: torch.Generator
) -> Tensor:
    """Draw W_s given the rest; returns E[L | the rest], shape (chains,)."""
    P, Q = _product(weights, s + 1, len(weights)), _product(weights, 0, s)
    p, U = torch.linalg.eigh(P.mT @ P)
    q, V = torch.linalg.eigh(Q @ Q.mT)
    weight = (p.clamp(min=0)[..., :, None] * q.clamp(min=0)[..., None, :]).expand_as(weights[s])
    kappa = n_beta * weight + gamma
    pull = n_beta * (P.mT @ truth @ Q.mT) + gamma * centre
    mean = (U.mT @ pull @ V) / kappa
    noise = torch.randn(weights[s].shape, generator=stream, dtype=torch.float64)
    weights[s] = U @ (mean + noise / kappa.sqrt()) @ V.mT
    at_mean = P @ (U @ mean @ V.mT) @ Q - truth
    return 0.5 * at_mean.square().sum((-2, -1)) + 0.5 * (weight / kappa).sum((-2, -1))


def _gauge_move(
    weights: list[Tensor], centre: list[Tensor], s: int, scale: float, gamma: float, stream: torch.Generator
) -> float:
    """Metropolis step with G = exp(scale·X), X standard normal; returns the accepted share."""
    below, above = weights[s], weights[s + 1]
    chains, width, inputs = below.shape
    X = scale * torch.randn((chains, width, width), generator=stream, dtype=torch.float64)
    new_below, new_above = torch.linalg.matrix_exp(X) @ below, above @ torch.linalg.matrix_exp(-X)

    def far(first: Tensor, second: Tensor) -> Tensor:
        return (first - centre[s]).square().sum((-2, -1)) + (second - centre[s + 1]).square().sum((-2, -1))

    log_volume = X.diagonal(dim1=-2, dim2=-1).sum(-1) * (inputs - above.shape[-2])
    log_ratio = log_volume - 0.5 * gamma * (far(new_below, new_above) - far(below, above))
    accept = torch.rand(chains, generator=stream, dtype=torch.float64).log() < log_ratio
    weights[s] = torch.where(accept[:, None, None], new_below, below)
    weights[s + 1] = torch.where(accept[:, None, None], new_above, above)
    return float(accept.double().mean())
