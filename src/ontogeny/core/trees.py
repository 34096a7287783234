"""Arithmetic on parameters (dicts of tensors) with and without a chain axis."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ontogeny.core.types import Params


def tree_map(function: Callable[..., Tensor], first: Params, *rest: Params) -> Params:
    """Apply ``function`` name by name: ``{k: function(first[k], *(r[k] for r in rest))}``."""
    return {name: function(value, *(other[name] for other in rest)) for name, value in first.items()}


def size(params: Params) -> int:
    """Number of scalar weights."""
    return sum(value.numel() for value in params.values())


def spread(values: Tensor, like: Tensor, axis: int) -> Tensor:
    """Shape per-chain scalars ``(chains,)`` so that they broadcast against ``like``, whose chain axis is 0 or -1."""
    return values if axis == -1 else values.reshape(-1, *[1] * (like.dim() - 1))


def chain_sum(params: Params, axis: int) -> Tensor:
    """Sum over every weight of each chain, shape ``(chains,)``."""
    chains = next(iter(params.values())).shape[axis]
    shape = (-1, chains) if axis == -1 else (chains, -1)
    return torch.stack([value.reshape(shape).sum(0 if axis == -1 else 1) for value in params.values()]).sum(0)


def repeat_chains(params: Params, repeats: int, axis: int) -> Params:
    """``repeats`` copies of each position along the chain axis, next to one another."""
    return {name: value.repeat_interleave(repeats, axis) for name, value in params.items()}


def unflatten(flat: Tensor, like: Params, axis: int) -> Params:
    """Cut ``(weights, chains)`` (axis -1) or ``(chains, weights)`` (axis 0) into named tensors shaped as ``like``."""
    out, start = {}, 0
    for name, value in like.items():
        chains = value.shape[axis]
        count = value.numel() // chains
        piece = flat[start : start + count] if axis == -1 else flat[:, start : start + count]
        out[name] = piece.reshape(value.shape)
        start += count
    return out
