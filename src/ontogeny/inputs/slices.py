"""The sampled part of a parameter as a tensor of its own, and the parameter with another value of that part put in.

Chains hold, move and draw noise for the selected weights alone: a head's slice of a fused matrix is a tensor of the
slice's size, and scattered weights are a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor


@dataclass(frozen=True)
class Whole:
    """The whole tensor is sampled."""

    def take(self, tensor: Tensor) -> Tensor:
        """The sampled part."""
        return tensor

    def put(self, tensor: Tensor, part: Tensor) -> Tensor:
        """The tensor with ``part`` in its place; the tensor given is left as it is."""
        return part


@dataclass(frozen=True)
class Block:
    """A rectangular block, one range an axis, as one head's rows of a projection."""

    ranges: tuple[tuple[int, int], ...]

    def take(self, tensor: Tensor) -> Tensor:
        """The sampled part, with as many axes as the tensor."""
        return tensor[tuple(slice(*range_) for range_ in self.ranges)]

    def put(self, tensor: Tensor, part: Tensor) -> Tensor:
        """The tensor with ``part`` in its place; the tensor given is left as it is."""
        return self._put(tensor, part, 0)

    def _put(self, tensor: Tensor, part: Tensor, axis: int) -> Tensor:
        whole = [a for a in range(axis, tensor.dim()) if self.ranges[a] != (0, tensor.shape[a])]
        if not whole:
            return part
        here = whole[0]
        first, last = self.ranges[here]
        inside = self._put(tensor.narrow(here, first, last - first), part, here + 1)
        return torch.slice_scatter(tensor, inside, here, first, last)


@dataclass(frozen=True, eq=False)
class Grid:
    """Some rows and some columns, as a head's three column ranges of a fused projection: indices for every axis."""

    index: tuple[Tensor, ...]

    def _broadcast(self) -> tuple[Tensor, ...]:
        axes = len(self.index)
        return tuple(one.reshape([-1 if a == b else 1 for b in range(axes)]) for a, one in enumerate(self.index))

    def take(self, tensor: Tensor) -> Tensor:
        """The sampled part, with as many axes as the tensor."""
        return tensor[self._broadcast()]

    def put(self, tensor: Tensor, part: Tensor) -> Tensor:
        """The tensor with ``part`` in its place; the tensor given is left as it is."""
        return torch.index_put(tensor, self._broadcast(), part)


@dataclass(frozen=True, eq=False)
class Scattered:
    """Any other set of weights: their positions in the flattened tensor; the part is a vector."""

    index: Tensor

    def take(self, tensor: Tensor) -> Tensor:
        """The sampled part, a vector."""
        return tensor.reshape(-1)[self.index]

    def put(self, tensor: Tensor, part: Tensor) -> Tensor:
        """The tensor with ``part`` in its place; the tensor given is left as it is."""
        return torch.index_put(tensor.reshape(-1), (self.index,), part).reshape(tensor.shape)


Slice = Whole | Block | Grid | Scattered


def slice_of(mask: Tensor | None, device: torch.device | None = None) -> Slice:
    """The simplest form that holds exactly the weights where ``mask`` is true; None: all of them.

    >>> mask = torch.zeros(4, 6, dtype=torch.bool)
    >>> mask[1:3] = True
    >>> slice_of(mask)
    Block(ranges=((1, 3), (0, 6)))
    """
    if mask is None or bool(mask.all()):
        return Whole()
    axes = range(mask.dim())
    index = [_along(mask, axis).nonzero()[:, 0].to(device) for axis in axes]
    if reduce(lambda count, one: count * len(one), index, 1) != int(mask.sum()):
        return Scattered(mask.reshape(-1).nonzero()[:, 0].to(device))
    if all(int(one[-1] - one[0]) + 1 == len(one) for one in index):
        return Block(tuple((int(one[0]), int(one[-1]) + 1) for one in index))
    return Grid(tuple(index))


def _along(mask: Tensor, axis: int) -> Tensor:
    """Which indices of an axis hold any selected weight."""
    others = [other for other in range(mask.dim()) if other != axis]
    return mask.any(dim=others) if others else mask
