"""Thousands of independent chains of a kernel in one tensor, and the laws that linear kernels have on paper.

Means are taken over the draws of each chain first; the spread between chains is then their standard error, and no
autocorrelation has to be estimated.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import solve_discrete_lyapunov

from ontogeny.core.rng import generator
from ontogeny.sampling.chains import cap_drift
from ontogeny.sampling.kernels import KERNELS
from ontogeny.sampling.kernels.signal import Signal

DOUBLE = torch.float64
SIGMAS = 4.5  # two-sided, one false alarm in 150,000; these files make some 400 comparisons

THINNING = 3  # steps a draw that is kept; looking costs as much as stepping


class Means(NamedTuple):
    """Time averages of each chain, the share of capped steps and the last state."""

    position: torch.Tensor
    """(chains, d)"""
    product: torch.Tensor
    """w wᵀ, (chains, d, d)"""
    observed: torch.Tensor
    """(chains, ...), of the function given"""
    capped: float
    state: Any


def same_for_all(value, chains):
    return torch.full((chains,), value, dtype=DOUBLE)


def run(
    name: str,
    force: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    *,
    step_size: float,
    friction: float = 1.0,
    burn_in: int,
    steps: int,
    energy: Callable[[torch.Tensor], torch.Tensor] | None = None,
    noise: Callable[[torch.Generator, int], tuple[torch.Tensor, torch.Tensor | None]] | None = None,
    observe: Callable[[torch.Tensor], torch.Tensor] | None = None,
    prepare: Callable[[Any], Any] = lambda state: state,
) -> Means:
    """Chains of the kernel at ``start`` (chains, d) with ∇ log p = ``force``, capped as the loop does it.

    ``noise(stream, chains)`` is a minibatch's: what it adds to the drift, and the kernel's ``drift_noise``. A draw is
    counted before its update; where the kernel rejects, the draw before it counts again.
    """
    kernel, stream, (chains, dim) = KERNELS[name], generator(0, "kernel", name, step_size), start.shape

    def normals():
        return {"w": torch.randn(chains, dim, generator=stream, dtype=DOUBLE)}

    state = prepare(kernel.init({"w": start.clone()}, normals(), 0))
    epsilon, rate = same_for_all(step_size, chains), same_for_all(friction, chains)
    draw, capped, kept = start, 0.0, 0
    position, product = torch.zeros(chains, dim, dtype=DOUBLE), torch.zeros(chains, dim, dim, dtype=DOUBLE)
    observed = torch.zeros((), dtype=DOUBLE)
    for number in range(burn_in + steps):
        here = state.params["w"]
        drift, drift_noise = {"w": force(here)}, None
        if noise is not None:
            error, half_difference = noise(stream, chains)
            drift["w"] = drift["w"] + error
            drift_noise = None if half_difference is None else {"w": half_difference}
        drift, who = cap_drift(drift, epsilon, dim, 0)
        capped += float(who.double().mean()) / (burn_in + steps)
        coins = torch.rand(kernel.coins, chains, generator=stream, dtype=DOUBLE) if kernel.coins else None
        height = energy(here) if kernel.coins else torch.zeros(chains, dtype=DOUBLE)
        state, accepted = kernel.step(
            state,
            Signal(drift, height, coins, drift_noise),
            normals(),
            step_size=epsilon,
            friction=rate,
            axis=0,
        )
        draw = here if accepted is None else torch.where(accepted[:, None], here, draw)
        if number >= burn_in and number % THINNING == 0:
            kept += 1
            position += draw
            product += draw[:, :, None] * draw[:, None, :]
            observed = observed + (observe(draw) if observe else 0.0)
    return Means(position / kept, product / kept, observed / kept, capped, state)


def agree(found, exact, *, bound=0.0, precision, scale=None):
    """The chains' mean is ``exact`` within 4.5 standard errors plus ``bound``, and those errors are small enough.

    ``bound`` and ``precision`` are relative to ``scale`` (by default to ``exact``); a test whose standard error is not
    below ``precision`` could not fail.
    """
    exact = torch.as_tensor(np.asarray(exact), dtype=DOUBLE)
    scale = exact.abs() if scale is None else torch.as_tensor(scale, dtype=DOUBLE)
    error = found.std(0) / math.sqrt(len(found))
    relative, spread = (found.mean(0) - exact) / scale, error / scale
    told = f"relative deviation {relative.tolist()}, standard error {spread.tolist()}, bound {bound}"
    assert (spread < precision).all(), told
    assert (relative.abs() <= SIGMAS * spread + bound).all(), told


def linear_kernel(name, precision, step_size, friction=1.0):
    """Of a kernel on U = ½wᵀKw: x' = A x + B_e·(error of the drift) + B_ξ·(injected normals), x = w or (w, v).

    Also its gain. Written from the update rules in the kernels' papers; for LM v is the last normal.
    """
    K, eye = np.asarray(precision, dtype=float), np.eye(len(precision))
    zero, delta = np.zeros_like(eye), math.sqrt(step_size)
    if name == "sgld":
        return eye - step_size / 2 * K, step_size / 2 * eye, delta * eye, delta / 2
    decay = 0.0 if name == "lm_sgld" else math.exp(-friction * delta)
    injected = math.sqrt(1 - decay**2)
    # after the kick v = v - δKw + δe: w' = w + (δ/2)(1 + α)v + (δ/2)√(1 - α²)ξ, v' = αv + √(1 - α²)ξ
    reach, half = delta / 2 * (1 + decay), delta / 2
    A = np.block([[eye - delta * reach * K, reach * eye], [-decay * delta * K, decay * eye]])
    B_e = np.vstack([delta * reach * eye, decay * delta * eye + zero])
    B_xi = np.vstack([half * injected * eye, injected * eye])
    return A, B_e, B_xi, half * (1 + decay) / injected


def stationary_covariance(name, precision, step_size, friction=1.0, *, noise=None, compensated=False):
    """Covariance of w in the stationary law with drift errors of covariance ``noise`` (d, d), or that function of it.

    Compensation lowers the covariance of the injected normals by gain²·noise.
    """
    A, B_e, B_xi, gain = linear_kernel(name, precision, step_size, friction)
    dim = len(precision)

    def solve(C):
        normals = np.eye(dim) - (gain**2 * C if compensated else 0.0)
        return solve_discrete_lyapunov(A, B_e @ C @ B_e.T + B_xi @ normals @ B_xi.T)[:dim, :dim]

    if not callable(noise):
        return solve(np.zeros((dim, dim)) if noise is None else np.asarray(noise, dtype=float))
    found, before = solve(np.zeros((dim, dim))), np.inf
    while np.abs(found - before).max() > 1e-12 * np.abs(found).max():
        found, before = solve(noise(found)), found
    return found
