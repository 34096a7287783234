"""One attention head computed apart from the others of its layer, which are then the same for all chains.

What a layer of heads adds to the residual stream is a sum over heads. Where one head alone is sampled,

    attention(x; w) = attention(x; w*) + head(x; w) - head(x; w*),

and only the middle term differs from chain to chain: of h heads a chain computes one, forward and backward. It is the
same number to rounding. Known for AttentionOnly, whose heads are rows of its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ontogeny.inputs.attention_only import Attention, AttentionOnly
from ontogeny.inputs.slices import Block, Slice

BY_HEAD = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")


class OneHead:
    """The sampled head of one layer of ``model``, which must be a copy: its attention is replaced while active."""

    def __init__(self, model: nn.Module, layer: int, head: int) -> None:
        self._layer = f"blocks.{layer}.attn"
        self._attention: Any = model.get_submodule(self._layer)
        self._head = head
        self._there, self._at_center = _Head(self._attention, head), _Head(self._attention, head)

    def names(self, weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """The head's own weights for ``functional_call``: the sampled ``weights``, by parameter name."""
        return {
            f"{prefix}{name.replace(self._layer, f'{self._layer}.there')}": value for name, value in weights.items()
        }

    def at_center(self, whole: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """The head's weights at w*, out of the whole tensors ``whole``; the output bias is not of a head."""
        layer, row = f"{prefix}{self._layer}", slice(self._head, self._head + 1)
        nothing = torch.zeros_like(whole[f"{layer}.b_O"])
        weights = {f"{layer}.at_center.{name}": whole[f"{layer}.{name}"][row] for name in BY_HEAD}
        return weights | {f"{layer}.there.b_O": nothing, f"{layer}.at_center.b_O": nothing}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the layer computes its sampled head apart."""
        attention = self._attention
        attention._modules |= {"there": self._there, "at_center": self._at_center}
        attention.__dict__["forward"] = self._forward
        try:
            yield
        finally:
            del attention.__dict__["forward"], attention._modules["there"], attention._modules["at_center"]

    def _forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        whole = Attention.forward(self._attention, x, positions)
        return whole + (self._there(x, positions) - self._at_center(x, positions))


class _Head(Attention):
    """An attention layer of one head, its weights to be put in by ``functional_call``."""

    def __init__(self, whole: Any, head: int) -> None:
        nn.Module.__init__(self)
        for name in BY_HEAD:
            setattr(self, name, nn.Parameter(getattr(whole, name)[head : head + 1].detach()))
        self.register_buffer("b_O", torch.zeros_like(whole.b_O))
        self.add_hooks()


def one_head(model: nn.Module, slices: Mapping[str, Slice]) -> tuple[int, int] | None:
    """(layer, head) if exactly one head's weights of an AttentionOnly are selected, and no hook reads its layer."""
    if type(model) is not AttentionOnly or not slices:
        return None
    layer = next(iter(slices)).split(".")[1]
    if set(slices) != {f"blocks.{layer}.attn.{name}" for name in BY_HEAD}:
        return None
    heads = {part.ranges[0] if isinstance(part, Block) else None for part in slices.values()}
    if len(heads) != 1 or None in heads or any(_narrow(part, model, name) for name, part in slices.items()):
        return None
    attention: Any = model.blocks[int(layer)].attn
    if any(module._forward_hooks or module._forward_pre_hooks for module in attention.modules()):
        return None
    (first, last), = heads  # type: ignore[misc]  # fmt: skip
    return (int(layer), first) if last == first + 1 else None


def _narrow(part: Slice, model: nn.Module, name: str) -> bool:
    """Whether less than all of a head is selected along another axis."""
    shape = model.get_parameter(name).shape
    return isinstance(part, Block) and part.ranges[1:] != tuple((0, length) for length in shape[1:])
