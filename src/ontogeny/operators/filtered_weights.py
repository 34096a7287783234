"""What is left of the weights when their parts along flat directions are dropped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ontogeny.operators.lanczos import lanczos
from ontogeny.operators.linear_operator import Operator


def threshold_of_loss(
    operator: Operator, weights: Tensor, loss_at: Callable[[Tensor], float], allowed: float, steps: int
) -> tuple[float, float]:
    """How far up w* can lose its parts along the eigenvectors, from the lowest on, for a rise in loss ``allowed``.

    "Dropped" is w* projected on the eigenvectors with h above the threshold, and its loss is evaluated, not expanded:
    w*, flat in ``weights``, is written in the Krylov basis that it starts, in which dropping is a change of few
    coordinates. Thresholds lie half-way between neighbouring Ritz values that w* has a part in; the last before the
    first that costs more is taken, and a higher one that costs less again is not looked for.

    Returns:
        The threshold (loss/weight²; below the spectrum where not even the lowest part can go) and the rise in loss.
    """
    run = lanczos(operator, weights.reshape(1, -1), steps, keep=True)
    assert run.basis is not None
    steps = int(run.complete()[0])
    values, vectors = run.eigen(steps)
    nodes = values[0]
    parts = torch.from_numpy(vectors[0][0]) * float(np.sqrt(run.squared_norms[0]))  # of w* along each Ritz vector
    ritz = torch.from_numpy(vectors[0].T).to(run.basis) @ run.basis[0, :steps]
    base, dropped = loss_at(weights), torch.zeros_like(weights.reshape(-1))
    found, rise = float(nodes[0]) - 1e-12 * abs(float(nodes[0])), 0.0
    for number in range(len(nodes) - 1):
        dropped = dropped + parts[number].to(ritz) * ritz[number]
        now = loss_at(weights - dropped.reshape(weights.shape)) - base
        if not now <= allowed:
            break
        found, rise = float(nodes[number] + nodes[number + 1]) / 2, now
    return found, rise
