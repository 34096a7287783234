"""Random numbers of the chains, drawn in fixed blocks from streams with names.

The noise of a chain depends on (seed, its label, the step), its minibatches on (seed, the step) alone: neither on how
many chains step together, nor on the order of work, nor on where a run was interrupted. Noise is drawn on the device
that samples, by that device's generator: a GPU's numbers are not a processor's, nor always another GPU model's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from ontogeny.core.rng import begin, generator


def block_length(dim: int, device: str = "cpu") -> int:
    """Steps drawn at once: fixed by the number of weights and the kind of device alone.

    At most 256 steps, and about 32 k normals a chain, on a GPU 262 k, where every chain's draw is a launch of its own.
    """
    return max(1, min(256, (2**15 if device == "cpu" else 2**18) // dim))


class NoiseStream:
    """Standard normals for many chains, step after step, and ``extra`` uniform numbers in (0, 1) beside them.

    ``at(step)`` gives the normals, of shape ``(weights, chains)`` for chain axis -1 and ``(chains, weights)`` for axis
    0, and the uniform numbers, of shape ``(extra, chains)``, or None. Chains of one label have the same numbers, which
    are drawn and held once.
    """

    def __init__(
        self,
        seed: int,
        labels: Sequence[Hashable],
        dim: int,
        axis: int,
        dtype: torch.dtype,
        device: torch.device,
        extra: int = 0,
    ) -> None:
        self._seed, self._labels, self._dim, self._axis, self._extra = (
            seed,
            list(dict.fromkeys(labels)),
            dim,
            axis,
            extra,
        )
        place = {label: number for number, label in enumerate(self._labels)}
        repeated = len(self._labels) < len(labels)
        self._place = torch.tensor([place[label] for label in labels], device=device) if repeated else None
        self._dtype, self._device = dtype, device
        self._length = block_length(dim, device.type)
        self._stream = torch.Generator(device)
        self._number, self._block, self._coins = -1, torch.empty(0), torch.empty(0)

    def at(self, step: int) -> tuple[Tensor, Tensor | None]:
        """The normals and the uniform numbers of this step, for all chains."""
        number, offset = divmod(step, self._length)
        if number != self._number:
            self._number, self._block, self._coins = number, self._draw(number), self._toss(number)
        normals, coins = self._block[offset], self._coins[offset] if self._extra else None
        if self._place is None:
            return normals, coins
        return normals.index_select(self._axis, self._place), None if coins is None else coins[:, self._place]

    def _draw(self, number: int) -> Tensor:
        count = self._length * self._dim
        rows = torch.empty(len(self._labels), count, dtype=self._dtype, device=self._device)
        for row, label in zip(rows, self._labels, strict=True):
            torch.randn(count, out=row, generator=begin(self._stream, self._seed, "noise", label, number))
        rows = rows.reshape(len(self._labels), self._length, self._dim)
        order = (1, 2, 0) if self._axis == -1 else (1, 0, 2)
        return rows.permute(order).contiguous()

    def _toss(self, number: int) -> Tensor:
        shape = (self._length, self._extra)
        columns = [
            torch.rand(shape, generator=generator(self._seed, "coins", label, number), dtype=torch.float64)
            for label in (self._labels if self._extra else ())
        ]
        return torch.stack(columns, -1).to(self._device) if columns else torch.empty(0)


class MinibatchStream:
    """Indices of the minibatch of each step, drawn independently with replacement and shared by all chains.

    Independent draws, because cycling through an epoch in a fixed order correlates the batch with the state. A batch
    of all n examples is the full batch, each example once.
    """

    def __init__(self, seed: int, examples: int, batch_size: int, length: int = 256) -> None:
        self._seed, self._examples, self._batch_size, self._length = seed, examples, batch_size, length
        self._number, self._block = -1, torch.empty(0)

    def at(self, step: int) -> Tensor | None:
        """Indices of shape ``(batch,)``; None stands for the whole data set."""
        if self._batch_size >= self._examples:
            return None
        number, offset = divmod(step, self._length)
        if number != self._number:
            stream = generator(self._seed, "minibatch", number)
            shape = (self._length, self._batch_size)
            self._number, self._block = number, torch.randint(self._examples, shape, generator=stream)
        return self._block[offset]


def minibatch_pair(seed: int, examples: int, batch_size: int, number: int) -> tuple[Tensor, Tensor]:
    """Indices of two independent minibatches, for what needs a variance over minibatches."""
    stream = generator(seed, "gradient noise", number)
    first, second = (torch.randint(examples, (batch_size,), generator=stream) for _ in range(2))
    return first, second
