"""Named weights as rows of one matrix, and cotangents of a computation taken back to its inputs, many at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.types import Params

AT_ONCE = 32
"""So many cotangents are taken back together at most: each has intermediates of its own, and more gain nothing."""
WORK = 5e8
"""Weights × tokens × cotangents, from which on a way back together is slower than one after the other."""


def flatten(params: Params) -> np.ndarray:
    """All weights as one float64 vector."""
    return np.concatenate([value.detach().double().cpu().numpy().ravel() for value in params.values()])


def unflatten_like(vector: np.ndarray, like: Params) -> Params:
    """Cut a vector into tensors of the shapes, dtypes and devices of ``like``."""
    pieces = np.split(vector, np.cumsum([value.numel() for value in like.values()])[:-1])
    return {
        name: torch.from_numpy(piece.reshape(value.shape)).to(value)
        for (name, value), piece in zip(like.items(), pieces, strict=True)
    }


def rows_of(tensors: Sequence[Tensor], dtype: torch.dtype = torch.float64) -> Tensor:
    """Tensors with a leading axis of k as rows, shape ``(k, d)``."""
    return torch.cat([value.detach().flatten(1).to(dtype) for value in tensors], 1)


def cut(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Rows ``(k, d)`` as tensors ``(k, *shape)`` of the shapes and dtypes of ``like``."""
    pieces = rows.split([value.numel() for value in like], 1)
    return [piece.reshape(-1, *value.shape).to(value) for piece, value in zip(pieces, like, strict=True)]


def leaves_of(params: Params) -> Params:
    """The same weights as leaves of a new computation."""
    return {name: value.detach().clone().requires_grad_() for name, value in params.items()}


def at_once(weights: int, tokens: int) -> int:
    """How many cotangents to take back together through so many weights and tokens (examples × positions).

    Seen on one thread with transformers of 480 to 100,000 weights: six times faster together where a product is little
    work, up to twice slower where it is much.

    >>> at_once(1_000, 100), at_once(100_000, 1280), at_once(3_000_000, 1280)
    (32, 3, 1)
    """
    return int(min(max(WORK / (weights * tokens), 1), AT_ONCE))


class PullBack:
    """c ↦ Σ_o cᵀ·∂o/∂i for the outputs o of a computation and its inputs i, several c at once.

    The computation that leads to the outputs is done once, whatever the number of cotangents: what is batched is the
    way back alone, by vmap, and one after the other where an operation on it cannot be batched. Both ways give the
    same numbers to rounding.
    """

    def __init__(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor], together: int = AT_ONCE) -> None:
        self._which = [number for number, value in enumerate(outputs) if value.requires_grad]
        self._outputs, self._inputs = [outputs[number] for number in self._which], list(inputs)
        self._together, self._batched = together, together > 1

    def __call__(self, cotangents: Sequence[Tensor]) -> list[Tensor]:
        """Tensors ``(k, *output.shape)``, one an output -> ``(k, *input.shape)``, one an input."""
        count = cotangents[0].shape[0]
        if not self._outputs:  # nothing depends on the inputs, as the gradient of a loss that is linear in them
            return [value.new_zeros((count, *value.shape)) for value in self._inputs]
        chosen = [cotangents[number] for number in self._which]
        parts = [self._some(part) for part in zip(*(c.split(self._together) for c in chosen), strict=True)]
        return [torch.cat(values) for values in zip(*parts, strict=True)]

    def _some(self, cotangents: Sequence[Tensor]) -> list[Tensor]:
        if self._batched and len(cotangents[0]) > 1:
            try:
                with warnings.catch_warnings():
                    # torch says so where it batches an operation by looping over it
                    warnings.filterwarnings("error", message="There is a performance drop")
                    return list(self._back(cotangents, together=True))
            except Exception:  # whatever a stranger's operation raises inside vmap, it means the same: one by one
                self._batched = False
        rows = [self._back([c[row] for c in cotangents], together=False) for row in range(len(cotangents[0]))]
        return [torch.stack(values) for values in zip(*rows, strict=True)]

    def _back(self, cotangents: Sequence[Tensor], together: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            self._outputs,
            self._inputs,
            list(cotangents),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
            is_grads_batched=together,
        )


def push_forward(output: Tensor, inputs: Sequence[Tensor], together: int = AT_ONCE) -> PullBack:
    """v ↦ J·v, J = ∂output/∂inputs: Jᵀc is linear in c, so its own pull-back to c is J."""
    dummy = torch.zeros_like(output, requires_grad=True)
    image = torch.autograd.grad(
        output, list(inputs), dummy, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return PullBack(image, [dummy], together)
