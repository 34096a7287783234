"""Is w* a minimum? A short descent from it, and how far the loss falls in units that λ̂ is measured in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ontogeny.core.trees import tree_map
from ontogeny.core.types import Batch, Loss, Params

STEPS = 20


def descent(
    loss: Loss,
    center: Params,
    batches: Sequence[Batch],
    *,
    n_beta: float,
    h_max: float,
    all_examples: bool,
) -> tuple[float, int]:
    """nβ·(L(w*) - L(w')), w' after 20 steps of gradient descent by 1/h_max, and the gradients of ``batches`` it took.

    A λ̂ around a w* that is no minimum is low by about so much. Where ``batches`` do not hold all examples, half of them
    are descended on and the others tell the loss: on the examples descended on it falls at a minimum too. NaN where
    there are not two batches then, where h_max is not positive, or where the loss is not finite.
    """
    if not (h_max > 0 and math.isfinite(h_max)) or (len(batches) < 2 and not all_examples):
        return math.nan, 0
    half = len(batches) // 2
    taught, told = (batches, batches) if all_examples else (batches[:half], batches[half:])
    where = {name: value.detach().clone() for name, value in center.items()}
    for _ in range(STEPS):
        slope = _mean_gradient(loss, where, taught)
        where = tree_map(lambda w, g: w - g / h_max, where, slope)
    fall = n_beta * (_mean_loss(loss, center, told) - _mean_loss(loss, where, told))
    return (fall if math.isfinite(fall) else math.nan), STEPS * len(taught)


def _mean_loss(loss: Loss, params: Params, batches: Sequence[Batch]) -> float:
    with torch.no_grad():
        return sum(float(loss(params, batch).double().mean()) for batch in batches) / len(batches)


def _mean_gradient(loss: Loss, params: Params, batches: Sequence[Batch]) -> Params:
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    with torch.enable_grad():
        mean = torch.stack([loss(leaves, batch).mean() for batch in batches]).mean()
        found = torch.autograd.grad(mean, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))
