"""Cross-entropy of x·W + b against next tokens, with its gradient in x, in pieces that stay in a processor's cache.

Of a small transformer the unembedding is most of a step, and of that half is moving logits to and from memory. Here no
matrix of all logits exists: for some rows at a time they are computed, turned into losses and, while they are at hand,
into the gradient in x. That is what chains need whose unembedding is not sampled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ontogeny.inputs.precision import at_least_float32, in_full, is_lowered

LOGITS_AT_ONCE = 2**19
"""Numbers a piece, about two megabytes."""
LOGITS_AT_ONCE_ON_GPU = 2**27
"""There a piece need not stay in a cache, and launching many small ones takes longer; not measured."""


def next_token_losses(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """-log softmax(hidden·weight + bias)[target] in nats, shapes (rows, d), (d, V), (V,), (rows,) -> (rows,).

    Can be differentiated once, with respect to all three, and batched by ``torch.func.vmap``.
    """
    if is_lowered(hidden.device):  # rounded logits would be most of the noise of L(w) - L(w*)
        with in_full(hidden.device):
            wide = None if bias is None else at_least_float32(bias)
            return next_token_losses(at_least_float32(hidden), at_least_float32(weight), wide, targets)
    if bias is None:
        bias = weight.new_zeros(weight.shape[1])
    if not torch.is_grad_enabled():  # no use for the gradient that comes with the losses
        return torch.nn.functional.cross_entropy(torch.addmm(bias, hidden, weight), targets, reduction="none")
    losses, _ = _CrossEntropy.apply(hidden, weight, bias, targets)
    return losses


class _CrossEntropy(torch.autograd.Function):
    """(hidden, weight, bias, targets) -> (losses, ∂loss/∂hidden); the second is kept for the backward pass."""

    @staticmethod
    def forward(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        losses, slope = hidden.new_empty(len(hidden)), torch.empty_like(hidden)
        for rows in _pieces(len(hidden), weight.shape[1], hidden.device):
            logits, target = torch.addmm(bias, hidden[rows], weight), targets[rows, None]
            wanted = logits.gather(1, target)
            top = logits.amax(1, keepdim=True)
            logits.sub_(top).exp_()
            total = logits.sum(1, keepdim=True)
            losses[rows] = (total.log() + top - wanted)[:, 0]
            logits.div_(total).scatter_add_(1, target, -torch.ones_like(wanted))
            torch.mm(logits, weight.T, out=slope[rows])
        return losses, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        hidden, weight, bias, targets = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(hidden, weight, bias, targets, output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        hidden, weight, bias, targets, slope = ctx.saved_tensors
        upstream = grads[0][:, None]
        of_weight = of_bias = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            excess = torch.softmax(hidden @ weight + bias, 1) - torch.nn.functional.one_hot(targets, weight.shape[1])
            of_weight, of_bias = hidden.T @ (upstream * excess), (upstream * excess).sum(0)
        return upstream * slope, of_weight, of_bias, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """Chains are more rows where they share the unembedding; where they do not, one after the other."""
        count = info.batch_size

        def at(value: Tensor, dim: int | None, chain: int) -> Tensor:
            return value if dim is None else value.select(dim, chain)

        if in_dims[1] is None and in_dims[2] is None:
            rows = hidden.movedim(in_dims[0], 0) if in_dims[0] is not None else hidden.expand(count, *hidden.shape)
            wanted = targets.movedim(in_dims[3], 0) if in_dims[3] is not None else targets.expand(count, -1)
            losses, slope = _CrossEntropy.apply(rows.flatten(0, 1), weight, bias, wanted.flatten())
            return (losses.reshape(count, -1), slope.reshape(rows.shape)), (0, 0)
        values = (hidden, weight, bias, targets)
        each = [
            _CrossEntropy.apply(*(at(value, dim, chain) for value, dim in zip(values, in_dims, strict=True)))
            for chain in range(count)
        ]
        losses, slope = (torch.stack(parts) for parts in zip(*each, strict=True))
        return (losses, slope), (0, 0)


def _pieces(rows: int, vocabulary: int, device: torch.device) -> list[slice]:
    size = max((LOGITS_AT_ONCE if device.type == "cpu" else LOGITS_AT_ONCE_ON_GPU) // vocabulary, 1)
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]
