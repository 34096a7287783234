"""The precision of a forward pass: which weights are kept in bfloat16, and what is computed in float32 all the same.

Sampled weights, their noise and their updates are float32 in every case: a step of a chain is far below what bfloat16,
with its 8 significant bits, could hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

PRECISIONS = ("float32", "bfloat16")


def forward_dtype(precision: str | None) -> torch.dtype | None:
    """The dtype of matrix products where it is not that of the sampled weights; None: it is."""
    return torch.bfloat16 if precision == "bfloat16" else None


def sampled_dtype(precision: str | None, double: bool) -> torch.dtype:
    """float32; float64 where weights are ``double`` and no precision was asked for."""
    return torch.float64 if double and precision is None else torch.float32


def frozen_in_forward_dtype(model: nn.Module) -> set[str]:
    """The parameters that can be kept in the forward pass's dtype if they are not sampled: matrices, by name.

    Vectors are small, and as norms and biases they meet what is in float32. Tables that are looked up are left out, so
    that the residual stream they begin is float32, and so are recurrent layers, which take weights of one dtype only.
    """
    others = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag | nn.RNNBase | nn.RNNCellBase) or _looks_up(module)
        for parameter in module.parameters(recurse=False)
    }
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.is_floating_point() and parameter.dim() > 1 and id(parameter) not in others
    }


def _looks_up(module: nn.Module) -> bool:
    """Embeddings that are no ``nn.Embedding``, as those of AttentionOnly and of TransformerLens."""
    name = type(module).__name__
    return name.endswith("Embed") and not name.startswith("Un")


@contextmanager
def forward_in(dtype: torch.dtype | None, device: torch.device) -> Iterator[None]:
    """Inside, matrix products are computed in ``dtype``; None: in the dtype of their arguments."""
    if dtype is None:
        yield
        return
    # casts are not kept: what is cast differs from chain to chain, and from step to step
    with torch.autocast(device.type, dtype=dtype, cache_enabled=False), _AttentionIn(dtype, device):
        yield


class _AttentionIn(TorchFunctionMode):
    """Casts before ``scaled_dot_product_attention``, as autocast does, which fails inside ``torch.func.grad``."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self._dtype, self._device = dtype, device

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not torch.nn.functional.scaled_dot_product_attention or not is_lowered(self._device):
            return function(*args, **kwargs)
        inputs = ("query", "key", "value")
        named = kwargs | {name: kwargs[name].to(self._dtype) for name in inputs[len(args) :]}
        with in_full(self._device):
            return function(*(part.to(self._dtype) for part in args[:3]), *args[3:], **named)


def is_lowered(device: torch.device) -> bool:
    """Whether matrix products are computed in less than the dtype of their arguments here."""
    return torch.is_autocast_enabled(device.type)


@contextmanager
def in_full(device: torch.device) -> Iterator[None]:
    """Inside, matrix products are computed in the dtype of their arguments after all."""
    with torch.autocast(device.type, enabled=False):
        yield


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor, widened where it has fewer bits."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
