"""torch's fused attention on a processor, for many chains at once and differentiated once.

Fused, no matrix of attention weights is written to memory, which for short texts and small heads is most of a step.
torch cannot batch these kernels over chains itself, nor differentiate them twice; here chains are more rows of the
batch, and whoever needs a second derivative takes the plain way (``core.differentiation``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class FusedAttention(TorchFunctionMode):
    """Inside, ``scaled_dot_product_attention`` runs on the fused kernel where its arguments allow."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.nn.functional.scaled_dot_product_attention:
            fused = _fused(*args, **kwargs)
            if fused is not None:
                return fused
        return function(*args, **kwargs)


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """softmax(scale·QKᵀ + mask)V for (batch, heads, positions, e); None where only the plain way will do."""
    if dropout_p > 0 or query.dim() != 4 or query.device.type != "cpu" or query.shape[-1] != value.shape[-1]:
        return None
    if query.dtype not in (torch.float32, torch.float64) or (attn_mask is not None and attn_mask.requires_grad):
        return None
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
    if attn_mask is not None:
        if attn_mask.dim() != 4 or attn_mask.shape[0] != 1:  # folded chains would not know their rows
            return None
        attn_mask = attn_mask.to(query.dtype)
    out, _ = _Attention.apply(query, key, value, attn_mask, is_causal, scale)
    return out


def _folded(tensor: Tensor, dim: int | None, count: int) -> Tensor:
    """The chain axis and the batch axis as one."""
    whole = tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return whole.flatten(0, 1)


class _Attention(torch.autograd.Function):
    """(Q, K, V, mask, causal, scale) -> (attended values, log-sum-exp of the scores)."""

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float | None
    ) -> tuple[Tensor, Tensor]:
        return _forward(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        query, key, value, mask, ctx.causal, ctx.scale = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(query, key, value, mask, *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        query, key, value, mask, out, lse = ctx.saved_tensors
        slopes = _Slopes.apply(grads[0], query, key, value, out, lse, mask, ctx.causal, ctx.scale)
        return *slopes, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        tensors = [_folded(part, dim, info.batch_size) for part, dim in zip(given[:3], in_dims[:3], strict=True)]
        out = _Attention.apply(*tensors, *given[3:])
        return tuple(part.unflatten(0, (info.batch_size, -1)) for part in out), (0, 0)


class _Slopes(torch.autograd.Function):
    """The backward pass of :class:`_Attention`, itself batched over chains but not differentiable."""

    @staticmethod
    def forward(
        upstream: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        lse: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float | None,
    ) -> tuple[Tensor, ...]:
        return _backward(upstream, query, key, value, out, lse, 0.0, causal, attn_mask=mask, scale=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        raise RuntimeError("fused attention was to be differentiated at most once")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        tensors = [_folded(part, dim, info.batch_size) for part, dim in zip(given[:6], in_dims[:6], strict=True)]
        out = _Slopes.apply(*tensors, *given[6:])
        return tuple(part.unflatten(0, (info.batch_size, -1)) for part in out), (0, 0, 0)
