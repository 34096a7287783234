"""Train many seeds of a small model in one batch: the seed is the last axis of every tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ontogeny.core.progress import report_progress
from ontogeny.core.types import Batch, Params, StackedLoss


def train_many_seeds(
    loss: StackedLoss,
    initial: Params,
    batch_at: Callable[[int], Batch],
    *,
    learning_rate: float,
    steps: int,
    keep: Sequence[int],
    compile: bool = False,
) -> Params:
    """Adam on every seed at once; returns the weights before the steps in ``keep``, with a leading axis of that length.

    Adam acts weight by weight and the losses of the seeds are added, so each seed's path is its own: the same as if
    it had been trained alone on its own data.

    Args:
        loss: its ``stacked`` form is used; ``batch_at(step)`` may have a trailing seed axis.
        initial: weights with the seed as last axis; left unchanged.
        batch_at: step -> batch.
        learning_rate: Adam's, weight per step.
        steps: optimiser steps.
        keep: increasing step numbers between 0 (the initial weights) and ``steps`` (the final ones).
        compile: hand loss and gradient to ``torch.compile``.
    """
    weights = {name: value.clone().requires_grad_() for name, value in initial.items()}
    optimiser = torch.optim.Adam(weights.values(), lr=learning_rate)

    def total(batch: Batch) -> torch.Tensor:
        return loss.stacked(weights, batch).mean(0).sum()

    objective = torch.compile(total, dynamic=False) if compile else total
    wanted, kept = set(keep), []
    for step in range(steps + 1):
        if step in wanted:
            kept.append({name: value.detach().clone() for name, value in weights.items()})
        if step % 100 == 0:
            report_progress(step / max(steps, 1))
        if step < steps:
            optimiser.zero_grad()
            objective(batch_at(step)).backward()
            optimiser.step()
    return {name: torch.stack([position[name] for position in kept]) for name in weights}
