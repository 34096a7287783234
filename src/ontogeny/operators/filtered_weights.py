"""What is left of the weights when their parts along flat directions are dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ontogeny.operators.lanczos import Floats, lanczos
from ontogeny.operators.linear_operator import Operator


@dataclass(frozen=True)
class Directions:
    """w* as a sum of parts along approximate eigenvectors, lowest first."""

    values: Floats
    """Ritz values, or eigenvalues, shape ``(m,)``."""
    vectors: Tensor
    """Of length 1, shape ``(m, d)``."""
    parts: Tensor
    """Of w* along each, shape ``(m,)``."""


def ritz_directions(operator: Operator, weights: Tensor, steps: Sequence[int]) -> list[Directions]:
    """From the Krylov basis that w* starts, after so many steps each."""
    run = lanczos(operator, weights.reshape(1, -1), max(steps), keep=True)
    assert run.basis is not None
    found = []
    for wanted in steps:
        count = int(run.complete(min(wanted, run.diagonal.shape[1]))[0])
        values, vectors = run.eigen(count)
        parts = torch.from_numpy(vectors[0][0]) * float(np.sqrt(run.squared_norms[0]))
        found.append(Directions(values[0], torch.from_numpy(vectors[0].T).to(run.basis) @ run.basis[0, :count], parts))
    return found


def eigen_directions(values: Floats, vectors: Floats, weights: Tensor) -> Directions:
    """From all eigenvalues and the eigenvectors as columns."""
    rows = torch.from_numpy(np.ascontiguousarray(vectors.T)).to(weights.device)
    return Directions(values, rows, rows @ weights.reshape(-1).double())


def threshold_of_loss(
    along: Directions, weights: Tensor, loss_at: Callable[[Tensor], float], allowed: float
) -> tuple[float, float]:
    """How far up w* can lose its parts along the eigenvectors, from the lowest on, for a rise in loss ``allowed``.

    "Dropped" is w*, flat in ``weights``, without those parts, and its loss is evaluated, not expanded. Thresholds lie
    half-way between neighbouring values that w* has a part in; the last before the first that costs more is taken, and
    a higher one that costs less again is not looked for.

    Returns:
        The threshold (loss/weight²; below the spectrum where not even the lowest part can go) and the rise in loss.
    """
    nodes = along.values
    base, dropped = loss_at(weights), torch.zeros_like(weights.reshape(-1))
    found, rise = float(nodes[0]) - 1e-12 * abs(float(nodes[0])), 0.0
    for number in range(len(nodes) - 1):
        dropped = dropped + along.parts[number].to(dropped) * along.vectors[number].to(dropped)
        now = loss_at(weights - dropped.reshape(weights.shape)) - base
        if not now <= allowed:
            break
        found, rise = float(nodes[number] + nodes[number + 1]) / 2, now
    return found, rise
