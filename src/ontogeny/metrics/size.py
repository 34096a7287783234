"""How large a model and an example are, as rules for batches and costs need it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def number_of_weights(model: nn.Module) -> int:
    """All parameters of the model, tied ones once."""
    return sum(value.numel() for value in model.parameters())


def token_positions(batch: Any) -> int:
    """Tokens of an example: the second axis of whole numbers; 1 of anything else."""
    if isinstance(batch, Tensor):
        return int(batch.shape[1]) if batch.dim() > 1 and not batch.is_floating_point() else 1
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple | list) else ()
    return max((token_positions(part) for part in parts), default=1)
