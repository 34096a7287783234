"""What can be predicted from the last few tokens alone: the loss of n-gram models counted on training tokens.

Witten and Bell (1991) smoothing, interpolated: with c(h x) how often x followed the context h, c(h) = Σ_x c(h x), T(h)
how many different tokens did, and h' the context without its first token,

    P(x | h) = (c(h x) + T(h)·P(x | h')) / (c(h) + T(h)),      P(x | nothing seen) = 1/V

A context that was never seen leaves the word to the shorter one. Contexts end at the start of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor

from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.schema import describe

Whole = npt.NDArray[np.int64]


class _Level(NamedTuple):
    """The sequences of k tokens that were seen: ``keys`` = number of the first k - 1 · V + the last token, sorted."""

    keys: Whole
    counts: Whole
    of_context: Whole
    """c(h), by number of the first k - 1 tokens."""
    kinds: Whole
    """T(h), likewise."""


class NGram:
    """An n-gram model of order ``n`` with Witten-Bell smoothing, counted on rows of tokens.

    Args:
        tokens: rows to count, (rows, positions), whole numbers.
        n: the longest sequence, context and predicted token together; 1 is unigram, 2 bigram.
        vocabulary: V, how many different tokens there are.

    Raises:
        OntogenyError: for tokens that are none, numbers out of range, or rows shorter than n.

    >>> rows = np.array([[0, 1, 0, 1, 0, 1]])
    >>> NGram(rows, 2, 2).probabilities(np.array([[0, 1]])).round(3).tolist()      # (3 + 1·P(1)) / (3 + 1), P(1) = ½
    [[0.875]]
    """

    def __init__(self, tokens: Any, n: int, vocabulary: int) -> None:
        check_whole("n", n)
        rows = _rows(tokens, vocabulary, "tokens")
        if n > rows.shape[1]:
            raise OntogenyError(f"n must be at most the length of a row of tokens, {rows.shape[1]}; got {n}.")
        self.n, self.vocabulary = n, vocabulary
        self._levels: list[_Level] = []
        numbers, contexts = np.zeros_like(rows), 1
        for length in range(1, n + 1):
            # numbers[:, i] is of the `length - 1` tokens before rows[:, i + length - 1]
            grams = numbers[:, : rows.shape[1] - length + 1] * vocabulary + rows[:, length - 1 :]
            keys, inverse, counts = np.unique(grams, return_inverse=True, return_counts=True)
            of_context = np.bincount(keys // vocabulary, counts, contexts).astype(np.int64)
            kinds = np.bincount(keys // vocabulary, minlength=contexts)
            self._levels.append(_Level(keys, counts, of_context, kinds))
            numbers, contexts = inverse.reshape(grams.shape), len(keys)

    def probabilities(self, tokens: Any, order: int | None = None) -> npt.NDArray[np.float64]:
        """P(t_k | the up to n - 1 tokens before) for the second and later tokens of each row, (rows, positions - 1).

        ``order``: that of a shorter model in place of n, whose counts are among these.

        Raises:
            OntogenyError: for tokens that are none or out of the vocabulary, or an order that is not from 1 to n.
        """
        order = self.n if order is None else order
        if not 1 <= order <= self.n:
            raise OntogenyError(f"order must be from 1 to n = {self.n}; got {order!r}. Count a longer model for more.")
        rows = _rows(tokens, self.vocabulary, "tokens")
        found = np.full(rows.shape, 1.0 / self.vocabulary)
        numbers = np.zeros_like(rows)
        for length, level in enumerate(self._levels[: min(order, rows.shape[1])], start=1):
            grams = numbers[:, : rows.shape[1] - length + 1] * self.vocabulary + rows[:, length - 1 :]
            context = numbers[:, : grams.shape[1]]
            known = context >= 0
            place = np.searchsorted(level.keys, grams)
            there = known & (level.keys[np.minimum(place, len(level.keys) - 1)] == grams)
            counts = np.where(there, level.counts[np.where(there, place, 0)], 0)
            seen, kinds = (np.where(known, of[np.maximum(context, 0)], 0) for of in (level.of_context, level.kinds))
            shorter = found[:, length - 1 :]
            mixed = (counts + kinds * shorter) / np.maximum(seen + kinds, 1)
            found[:, length - 1 :] = np.where(seen > 0, mixed, shorter)
            numbers = np.where(there, place, -1)
        return found[:, 1:]

    def losses(self, tokens: Any, order: int | None = None) -> npt.NDArray[np.float64]:
        """-log P in nats, (rows, positions - 1): to be held against ``NextToken`` position by position."""
        return -np.log(self.probabilities(tokens, order))


def ngram_baselines(
    training_tokens: Any, data: Any, vocabulary: int, *, orders: Sequence[int] = (1, 2, 3, 4)
) -> xr.Dataset:
    """The mean loss on ``data`` of n-gram models counted on ``training_tokens``, with its error over rows.

    A model whose loss comes down to that of order 2 predicts as well as bigrams; order 1 is what token frequencies
    give. The error is that of another sample of as many rows, s/√rows, not that of the counts.

    Args:
        training_tokens: rows of tokens that are counted, (rows, positions).
        data: other rows, of at least two tokens.
        vocabulary: how many different tokens there are.
        orders: n, each at least 1.

    Returns:
        ``loss`` and ``loss_se`` in nats per token, dim ``order``.

    Raises:
        OntogenyError: for tokens that are none or out of the vocabulary, or orders below 1.
    """
    if not orders:
        raise OntogenyError("orders must hold at least one whole number, such as 2 for bigrams; got none.")
    rows = _rows(data, vocabulary, "data")
    if min(orders) < 1:
        raise OntogenyError(f"orders must be whole numbers of at least 1; got {list(orders)}.")
    longest = NGram(training_tokens, max(orders), vocabulary)
    by_row = [longest.losses(rows, order).mean(1) for order in orders]
    errors = [losses.std(ddof=1) / len(losses) ** 0.5 if len(losses) > 1 else np.nan for losses in by_row]
    return describe(
        xr.Dataset(
            {"loss": ("order", [float(losses.mean()) for losses in by_row]), "loss_se": ("order", errors)},
            coords={"order": list(orders)},
        )
    )


def _rows(tokens: Any, vocabulary: int, name: str) -> Whole:
    values = tokens.detach().cpu().numpy() if isinstance(tokens, Tensor) else np.asarray(tokens)
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2 or values.dtype.kind not in "iu":
        raise OntogenyError(
            f"{name} must be whole numbers of shape (rows, positions), at least one row of two; got {values.dtype} of "
            f"shape {values.shape}."
        )
    if int(values.min()) < 0 or int(values.max()) >= vocabulary:
        raise OntogenyError(
            f"{name} must be between 0 and vocabulary - 1 = {vocabulary - 1}; got {values.min()} to {values.max()}."
        )
    return values.astype(np.int64)
