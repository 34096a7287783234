"""Train one small model on batches that are made as they are needed, and keep its weights at some steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ontogeny.core.progress import report_progress
from ontogeny.core.types import Batch

REPORT_EVERY = 50


def train_on_generated_data(
    model: nn.Module,
    loss_fn: Callable[[nn.Module, Batch], Tensor],
    batch_at: Callable[[int], Batch],
    *,
    learning_rate: float,
    weight_decay: float,
    steps: int,
    keep: Sequence[int],
) -> list[dict[str, Tensor]]:
    """Adam on L + (decay/2)·‖w‖²; returns copies of the weights before the steps in ``keep``. The model ends trained.

    The decay is part of the gradient that Adam's moments (β = 0.9, 0.999) are of, so weights that the loss has stopped
    moving shrink at about the learning rate, however small the decay; decoupled decay (AdamW) is not that.

    Args:
        model: trained in place.
        loss_fn: ``loss_fn(model, batch)``, of any shape; its mean is minimised.
        batch_at: step -> batch.
        learning_rate: η, weight per step.
        weight_decay: of all weights, biases and norms too, loss/weight².
        steps: optimiser steps.
        keep: increasing step numbers between 0 (the initial weights) and ``steps`` (the final ones).
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    wanted, kept = set(keep), []
    for step in range(steps + 1):
        if step in wanted:
            kept.append({name: value.detach().clone() for name, value in model.state_dict().items()})
        if step % REPORT_EVERY == 0:
            report_progress(step / max(steps, 1))
        if step < steps:
            optimiser.zero_grad()
            loss_fn(model, batch_at(step)).mean().backward()
            optimiser.step()
    return kept
