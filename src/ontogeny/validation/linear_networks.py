"""Deep linear networks: Aoyagi's learning coefficient, and those whose λ̂(nβ, γ) is an integral of few dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.validation.data_versions import linear_network
from ontogeny.validation.problem import Problem
from ontogeny.validation.quadrature import (
    Moments,
    average,
    gaussian_given,
    line,
    norm_product,
    panels,
    reach,
    residual_given,
)
from ontogeny.validation.singular_values import reduced_rank


def deep_linear_learning_coefficient(widths: Sequence[int], rank: int) -> tuple[float, int]:
    """λ and m of a linear network at its most singular point, every layer diag(I_r, 0) (Aoyagi 2024).

    With M_s = n_s - r sorted, take the smallest ℓ+1 of them such that ΣM ≥ ℓ·max and ΣM < ℓ·(the next); S = ΣM,
    M = ⌈S/ℓ⌉, a = S - (M-1)ℓ. Then λ = (r(n_0+n_L) - r²)/2 + a(ℓ-a)/(4ℓ) - (ℓ-1)S²/(4ℓ) + ½Σ_{i<j} M_i M_j and
    m = a(ℓ-a) + 1.

    Args:
        widths: n_0 … n_L, at least two of them.
        rank: r, the rank of the true product.

    Raises:
        OntogenyError: if there is no such network.
    """
    if len(widths) < 2 or not 0 <= rank <= min(widths):
        raise OntogenyError(
            f"rank must lie between 0 and the smallest of at least two widths; got rank {rank}, widths {list(widths)}."
        )
    M = sorted(n - rank for n in widths)
    for layers in range(1, len(M)):
        S, following = sum(M[: layers + 1]), M[layers + 1] if layers + 1 < len(M) else math.inf
        if layers * M[layers] <= S and layers * following > S:
            break
    a = S - (math.ceil(S / layers) - 1) * layers
    pairs = sum(x * y for x, y in combinations(M[: layers + 1], 2))
    singular = a * (layers - a) / (4 * layers) - (layers - 1) * S**2 / (4 * layers) + 0.5 * pairs
    return 0.5 * (rank * (widths[0] + widths[-1]) - rank**2) + singular, a * (layers - a) + 1


def two_layer_learning_coefficient(
    widths: tuple[int, int, int], rank_first: int, rank_second: int, rank: int
) -> tuple[float, int]:
    """λ and m of a two-layer linear network at any point of its fibre.

    With a, b, r the ranks of the first layer, the second, and their product:
    λ = [r(n_0+n_2) - r² + (n_0-r)(b-r) + (a-r)(n_2-b)]/2 + λ(widths n_0-a, n_1-a-b+r, n_2-b; rank 0).

    Raises:
        OntogenyError: if no two matrices have these shapes and ranks.
    """
    (n0, n1, n2), a, b, r = widths, rank_first, rank_second, rank
    rest = (n0 - a, n1 - a - b + r, n2 - b)
    if min(*rest, a - r, b - r, r) < 0 or max(a, b) > n1:
        raise OntogenyError(f"ranks {a} and {b} with a product of rank {r} do not occur with widths {list(widths)}.")
    regular = r * (n0 + n2) - r**2 + (n0 - r) * (b - r) + (a - r) * (n2 - b)
    singular, m = deep_linear_learning_coefficient(rest, 0)
    return 0.5 * regular + singular, m


def canonical_layers(widths: Sequence[int], rank: int) -> list[Tensor]:
    """The most singular point: every layer diag(I_r, 0), shapes (n_{s+1}, n_s), float64."""
    layers = [torch.zeros(after, before, dtype=torch.float64) for before, after in pairwise(widths)]
    for layer in layers:
        layer[:rank, :rank] = torch.eye(rank)
    return layers


def network_loss(widths: Sequence[int], rank: int) -> Any:
    """½‖W_L … W_1 - diag(I_r, 0)‖²_F as a function of flat weights (..., d), the first layer first, row by row."""
    sizes = [before * after for before, after in pairwise(widths)]
    shapes = [(after, before) for before, after in pairwise(widths)]
    truth = torch.eye(widths[-1], widths[0])[:, : widths[0]] * (torch.arange(widths[0]) < rank)

    def loss(w: Tensor) -> Tensor:
        product, *rest = (v.unflatten(-1, shape) for v, shape in zip(w.split(sizes, -1), shapes, strict=True))
        for layer in rest:
            product = layer @ product
        if rank:
            product = product - truth
        return 0.5 * product.square().flatten(-2).sum(-1)

    return loss


def at_zero(name: str, *widths: int) -> Problem:
    """½‖W_L … W_1‖² at 0: two layers of any widths, or more layers with a hidden width of one."""
    dim = sum(before * after for before, after in pairwise(widths))
    coefficient, multiplicity = deep_linear_learning_coefficient(widths, 0)
    if len(widths) == 3:
        moments = reduced_rank(*widths)
    else:  # on either side of the narrow layer every further one multiplies the norm by that of a Gaussian vector
        narrow = widths.index(1)
        moments = norm_product(0.5, *((n, 1) for n in (*widths[:narrow], *widths[narrow + 1 :])))
    layers = "W" + " W".join("₁₂₃₄₅₆"[i] for i in reversed(range(len(widths) - 1)))
    return Problem(
        name,
        f"½‖{layers}‖², widths {', '.join(map(str, widths))}, at 0",
        dim,
        "quadrature",
        coefficient,
        multiplicity,
        moments,
        lambda: (network_loss(widths, 0), torch.zeros(dim)),
        linear_network(canonical_layers(widths, 0)),
    )


def rank_one_truth(inputs: int, outputs: int) -> Problem:
    """½‖b aᵀ - e₁e₁ᵀ‖² at a = b = e₁. Given a, all of b is Gaussian; a enters through a₁ and the norm of the rest."""

    def moments(n_beta: float, localization: float) -> Moments:
        inner = 0.1 * (localization / (n_beta + localization)) ** 0.5
        first, d_first = line(0.0, inner, 1 + reach(localization), 60)
        rest, d_rest = panels(inner, reach(localization) + 2 * (inputs / localization) ** 0.5)
        a, rho = first[:, None], rest[None, :]
        square = a**2 + rho**2
        log_1, mean_1, variance_1 = gaussian_given(
            n_beta,
            localization,
            square[..., None, None],
            np.broadcast_to(a, square.shape)[..., None],
            np.full_like(square, 0.5),
            np.ones(1),
        )
        log_0, mean_0, variance_0 = residual_given(n_beta, localization, np.sqrt(square), np.zeros_like(square))
        log_prior = -0.5 * localization * ((a - 1) ** 2 + rho**2) + (inputs - 2) * np.log(rho)
        log_weight = np.log(d_first[:, None] * d_rest[None, :]) + log_prior + log_1 + (outputs - 1) * log_0
        return average(log_weight, mean_1 + (outputs - 1) * mean_0, variance_1 + (outputs - 1) * variance_0)

    widths = (inputs, 1, outputs)
    coefficient, multiplicity = deep_linear_learning_coefficient(widths, 1)
    layers = canonical_layers(widths, 1)
    return Problem(
        f"rank-one truth {inputs}-1-{outputs}",
        f"½‖W₂W₁ - diag(1, 0)‖², widths {inputs}, 1, {outputs}, at diag(1, 0)",
        inputs + outputs,
        "quadrature",
        coefficient,
        multiplicity,
        moments,
        lambda: (network_loss(widths, 1), torch.cat([w.flatten() for w in layers]).float()),
        linear_network(layers),
    )


def linear_network_problems() -> tuple[Problem, ...]:
    """Linear networks of two to four layers, 8 to 4000 weights."""
    return (
        at_zero("reduced rank 2-2-2", 2, 2, 2),
        at_zero("reduced rank 5-3-5", 5, 3, 5),
        at_zero("deep linear 4-1-4", 4, 1, 4),
        at_zero("reduced rank 10-6-8", 10, 6, 8),
        at_zero("reduced rank 100-20-100", 100, 20, 100),
        at_zero("deep linear 5-3-1-4", 5, 3, 1, 4),
        at_zero("deep linear 20-8-1-8-20", 20, 8, 1, 8, 20),
        rank_one_truth(5, 5),
    )
