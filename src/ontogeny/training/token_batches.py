"""Token blocks by index, in an order that the seed and the step decide, whatever was interrupted before."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator

SLAB = 1 << 20
"""Tokens looked at at once when all of them are gone through, which bounds the memory for memory-mapped blocks."""


class TokenBatches:
    """Batches of token blocks for training: every block once an epoch, in an order drawn anew for each epoch.

    Args:
        tokens: integers of shape (blocks, positions): a tensor, an array, a memory map, or what turns into an array.
        batch_size: blocks a batch.
        seed: of the order.

    Raises:
        OntogenyError: if tokens are not integers in two dimensions with at least two positions.
    """

    def __init__(self, tokens: Any, batch_size: int, seed: int) -> None:
        self.rows = tokens.detach().cpu().numpy() if isinstance(tokens, Tensor) else np.asarray(tokens)
        if self.rows.ndim != 2 or self.rows.dtype.kind not in "iu" or 0 in self.rows.shape or self.rows.shape[1] < 2:
            raise OntogenyError(
                "tokens must be integers of shape (blocks, positions) with at least one block of two positions; "
                f"got {self.rows.dtype} of shape {self.rows.shape}."
            )
        self.batch_size = batch_size
        self.seed = seed
        self._order: tuple[int, Tensor] | None = None

    def at(self, step: int) -> Tensor:
        """The batch of ``step``, int64 of shape (batch_size, positions), a function of seed and step alone."""
        first = step * self.batch_size
        blocks = len(self.rows)
        chosen = [int(self._epoch(place // blocks)[place % blocks]) for place in range(first, first + self.batch_size)]
        return torch.from_numpy(self.rows[chosen].astype(np.int64))

    def _epoch(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, torch.randperm(len(self.rows), generator=generator(self.seed, "batches", epoch))
        return self._order[1]

    def record(self) -> dict[str, Any]:
        """What the tokens are: blocks, positions, the highest, and a digest that does not depend on their type."""
        digest = hashlib.sha256(f"{self.rows.shape}".encode())
        highest, lowest = 0, 0
        rows_at_once = max(SLAB // self.rows.shape[1], 1)
        for start in range(0, len(self.rows), rows_at_once):
            slab = np.asarray(self.rows[start : start + rows_at_once]).astype("<i4")
            highest, lowest = max(highest, int(slab.max())), min(lowest, int(slab.min()))
            digest.update(slab.tobytes())
        if lowest < 0:
            raise OntogenyError(f"tokens must be 0 or above; got {lowest}.")
        blocks, positions = self.rows.shape
        return {"blocks": blocks, "positions": positions, "highest": highest, "digest": digest.hexdigest()[:16]}
