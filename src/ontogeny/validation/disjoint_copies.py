"""Sums of small problems over disjoint weights, from a hundred weights to a million: λ̂ and its variance add exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.rng import generator
from ontogeny.validation.problem import Problem
from ontogeny.validation.quadrature import Array, Moments, disjoint, quadratic
from ontogeny.validation.regular_problems import rotation


def disjoint_copies(
    name: str, formula: str, parts: Sequence[tuple[int, Problem]], curvature: Array, mix: str = ""
) -> Problem:
    """Σ over copies of L_part(its own weights) + ½ Σ h_i w_i², λ and m - 1 adding.

    Args:
        name: of the sum.
        formula: of the sum.
        parts: (copies, problem) in the order of the weights.
        curvature: h of the last weights.
        mix: "", "permuted" or "rotated": how the weights are mixed about w*. The localisation does not see it.
    """
    dim = sum(copies * part.dim for copies, part in parts) + len(curvature)

    def moments(n_beta: float, localization: float) -> Moments:
        pieces = [(copies, part.moments(n_beta, localization)) for copies, part in parts]
        return disjoint(*pieces, (1, quadratic(curvature)(n_beta, localization)))

    def build() -> tuple[Any, Tensor]:
        losses = [part.build() for _, part in parts]
        plain = _sum([(copies, loss) for (copies, _), (loss, _) in zip(parts, losses, strict=True)], parts, curvature)
        centres = [centre.repeat(copies) for (copies, _), (_, centre) in zip(parts, losses, strict=True)]
        w_star = torch.cat([*centres, torch.zeros(len(curvature))])
        return _mixed(plain, w_star, mix, name), w_star

    multiplicity = 1 + sum(copies * ((part.multiplicity or 1) - 1) for copies, part in parts)
    known = [copies * part.learning_coefficient for copies, part in parts if part.learning_coefficient is not None]
    coefficient = sum(known) + int((curvature > 0).sum()) / 2
    return Problem(name, formula, dim, "copies", coefficient, multiplicity, moments, build)


def _sum(
    losses: Sequence[tuple[int, Callable[[Tensor], Tensor]]], parts: Sequence[tuple[int, Problem]], curvature: Array
) -> Callable[[Tensor], Tensor]:
    half = torch.as_tensor(0.5 * curvature).float()
    sizes = [*(copies * part.dim for copies, part in parts), len(curvature)]
    shapes = [(copies, part.dim) for copies, part in parts]

    def loss(w: Tensor) -> Tensor:
        *blocks, well = w.split(sizes, -1)
        total = (half * well * well).sum(-1)
        for (_, one), block, shape in zip(losses, blocks, shapes, strict=True):
            total = total + one(block.unflatten(-1, shape)).sum(-1)
        return total

    return loss


def _mixed(loss: Callable[[Tensor], Tensor], w_star: Tensor, mix: str, label: str) -> Callable[[Tensor], Tensor]:
    if mix == "rotated":
        Q = rotation(len(w_star), label).float()
        return lambda w: loss(w_star + (w - w_star) @ Q.to(w.dtype))
    if mix == "permuted":
        order = torch.randperm(len(w_star), generator=generator(0, "permutation", label))
        return lambda w: loss(w_star + (w - w_star)[..., order])
    return loss


def copied_problems(small: dict[str, Problem]) -> tuple[Problem, ...]:
    """Sums over disjoint weights of the problems in ``small``, by name; 100 to 1,000,000 weights."""
    wide = np.logspace(-3, 2, 400)
    return (
        disjoint_copies(
            "rotated crossings",
            "10 nodes, 10 sums, 5 chains and 50 quadratic weights, rotated",
            [(10, small["node"]), (10, small["sum"]), (5, small["chain"])],
            np.logspace(-1, 1, 50),
            "rotated",
        ),
        disjoint_copies(
            "rotated networks",
            "4 reduced ranks 5-3-5, 10 pairs of tanh units, 5 softmax and 25 flat weights, rotated",
            [(4, small["reduced rank 5-3-5"]), (10, small["two tanh units"]), (5, small["softmax 3"])],
            np.zeros(25),
            "rotated",
        ),
        disjoint_copies(
            "permuted networks",
            "20 reduced ranks 5-3-5 and 400 quadratic weights, h = logspace(-3, 2), permuted",
            [(20, small["reduced rank 5-3-5"])],
            wide,
            "permuted",
        ),
        disjoint_copies(
            "10,000 weights",
            "1000 reduced ranks 2-2-2 and 2000 quadratic weights, h = logspace(-2, 2)",
            [(1000, small["reduced rank 2-2-2"])],
            np.logspace(-2, 2, 2000),
        ),
        disjoint_copies(
            "100,000 weights",
            "10,000 one-dimensional quartics, 5000 deep linear 4-1-4, 10,000 three lines and 20,000 quadratic weights",
            [(10_000, small["quartic"]), (5000, small["deep linear 4-1-4"]), (10_000, small["three lines"])],
            np.logspace(-2, 1, 20_000),
        ),
        disjoint_copies(
            "1,000,000 weights",
            "50,000 reduced ranks 2-2-2, 100,000 nodes and 400,000 quadratic weights, h = logspace(-2, 2)",
            [(50_000, small["reduced rank 2-2-2"]), (100_000, small["node"])],
            np.logspace(-2, 2, 400_000),
        ),
    )
