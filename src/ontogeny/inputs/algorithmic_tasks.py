"""Data made by an algorithm that a transformer is to learn: sorted lists, and signs of cumulative sums."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.language_losses import logits_of, tokens_of

SWAP_PROBABILITY = 0.4


@dataclass(frozen=True)
class SortedLists:
    """Rows: a list of distinct numbers, the separator, the list sorted; tokens (rows, 2·length + 1).

    Lists are uniform over sets of ``length`` of the numbers 0 … numbers - 1 and over their orders; a number is its own
    token, and the separator is the token ``numbers``. With ``swaps``, the sorted list is disturbed: from left to right
    neighbours change places with probability 0.4/(n_{i+1} - n_i), n the list as it is at that moment.

    Source: the October challenge of C. McDougall's monthly algorithmic problems in mechanistic interpretability (2023),
    and, for the swaps, footnote 9 of "Structure Formation in Algorithmic Transformers".

    Raises:
        OntogenyError: if a list is longer than there are numbers, or has fewer than two.
    """

    numbers: int = 51
    length: int = 10
    swaps: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.length <= self.numbers:
            raise OntogenyError(
                f"length must be between 2 and numbers, {self.numbers}, since a list's numbers are distinct; got "
                f"{self.length}."
            )

    @property
    def vocabulary(self) -> int:
        """The numbers and the separator."""
        return self.numbers + 1

    @property
    def positions(self) -> int:
        """Tokens of a row."""
        return 2 * self.length + 1

    def rows(self, count: int, stream: torch.Generator) -> Tensor:
        """``count`` rows, int64."""
        order = torch.rand(count, self.numbers, generator=stream).argsort(1)
        lists = order[:, : self.length]
        sorted_lists = lists.sort(1).values
        if self.swaps:
            sorted_lists = _swapped(sorted_lists, torch.rand(count, self.length - 1, generator=stream))
        separator = torch.full((count, 1), self.numbers)
        return torch.cat([lists, separator, sorted_lists], 1)


def _swapped(lists: Tensor, coins: Tensor) -> Tensor:
    lists = lists.clone()
    for place in range(lists.shape[1] - 1):
        left, right = lists[:, place].clone(), lists[:, place + 1].clone()
        swap = coins[:, place] < SWAP_PROBABILITY / (right - left)
        lists[:, place], lists[:, place + 1] = torch.where(swap, right, left), torch.where(swap, left, right)
    return lists


class SortedPart:
    """-log f_w(t_{k+1} | t_1 … t_k) in nats from the separator on, shape (batch, length).

    ``batch`` is rows of :class:`SortedLists` with ``length`` numbers.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, model: nn.Module, batch: Tensor) -> Tensor:
        """One loss per position, shape (batch, length)."""
        tokens = tokens_of(batch)
        logits = logits_of(model, tokens)[:, self.length : -1]
        return functional.cross_entropy(logits.mT, tokens[:, self.length + 1 :], reduction="none")

    def correct(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Whether the likeliest token is the right one, shape (batch, length)."""
        with torch.no_grad():
            return logits_of(model, batch)[:, self.length : -1].argmax(-1) == batch[:, self.length + 1 :]

    def identity(self) -> dict[str, object]:
        """What a number computed with this loss depends on."""
        return {"loss": "sorted part", "length": self.length}


@dataclass(frozen=True)
class CumulativeSums:
    """Rows of whole numbers between -largest and largest, uniform; to be told: the sign of the sum so far.

    A number is the token number + largest; the classes are 0 for a negative sum, 1 for zero, 2 for a positive one.

    Source: the November challenge of the same series (2023).
    """

    largest: int = 10
    length: int = 20

    @property
    def vocabulary(self) -> int:
        """How many different numbers there are."""
        return 2 * self.largest + 1

    @property
    def positions(self) -> int:
        """Tokens of a row."""
        return self.length

    def rows(self, count: int, stream: torch.Generator) -> Tensor:
        """``count`` rows, int64, (count, length)."""
        return torch.randint(self.vocabulary, (count, self.length), generator=stream)


class SignOfSum:
    """-log f_w(sign of t_1 + … + t_k | t_1 … t_k) in nats at every position, shape (batch, length)."""

    def __init__(self, largest: int) -> None:
        self.largest = largest

    def classes(self, batch: Tensor) -> Tensor:
        """0, 1 or 2 at every position."""
        return (batch - self.largest).cumsum(1).sign() + 1

    def __call__(self, model: nn.Module, batch: Tensor) -> Tensor:
        """One loss per position, shape (batch, length)."""
        tokens = tokens_of(batch)
        return functional.cross_entropy(logits_of(model, tokens).mT, self.classes(tokens), reduction="none")

    def correct(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Whether the likeliest class is the right one, shape (batch, length)."""
        with torch.no_grad():
            return logits_of(model, batch).argmax(-1) == self.classes(batch)

    def identity(self) -> dict[str, object]:
        """What a number computed with this loss depends on."""
        return {"loss": "sign of the cumulative sum", "largest": self.largest}
