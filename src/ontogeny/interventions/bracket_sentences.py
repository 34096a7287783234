"""Sentences whose last token closes a bracket, with or without another pair inside: the data of figure 6.

Wang et al. (arXiv:2410.02984) measure on "a synthetic dataset of sentences with parentheses" that they do not print;
these are made of a few hundred word forms, "The owner of the house (a friend (of the mayor) from Paris)".
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.rng import numpy_generator
from ontogeny.inputs.language_losses import logits_of, tokens_of


def _words(text: str) -> list[str]:
    return text.split()


PEOPLE = _words("owner author teacher judge doctor writer player leader driver farmer painter singer editor captain")
THINGS = _words("house book school town company garden river report bridge market film paper train museum station")
PLACES = _words("Paris London Rome Boston Chicago Berlin Texas India Japan Spain Canada Ireland Egypt Kenya Norway")
DEEDS = _words("found bought sold saw left built lost kept showed opened closed took made used wanted")
TIMES = ["last year", "in May", "at night", "on Monday", "for years", "in the end", "this week", "years ago"]
OUTER = ["a friend", "the son", "a member", "the head", "one", "a student", "the other half", "a part"]
INNER = ["of the {person}", "from {place}", "of a {thing}", "with the {person}", "in {place}", "at the {thing}"]


class _Encodes(Protocol):
    def encode(self, text: str) -> Any: ...

    def decode(self, ids: list[int]) -> str: ...


def bracket_sentences(tokenizer: _Encodes, examples: int, *, nested: bool, length: int = 64, seed: int = 0) -> Tensor:
    """Rows of ``length`` tokens that end with the bracket that closes the outer pair; int64, (examples, length).

    Before it stand sentences without brackets, cut at the left to the length, so that no row is padded. With
    ``nested`` another pair opens and closes inside, so that the nearest bracket before the end is a closed one; without
    it the same words stand there with commas. Row i of both has the same words. A model that closes brackets is told
    by the loss of the last token (:class:`LastToken`).

    Args:
        tokenizer: with ``encode`` (text to ids) and ``decode`` (back), as :class:`ontogeny.inputs.text.Tokenizer`.
        examples: how many rows.
        nested: whether another pair stands inside.
        length: tokens a row, at least 32.
        seed: of the words.

    Raises:
        OntogenyError: for other numbers, or a tokenizer whose last token of such a sentence is not the bracket alone.
    """
    check_whole("examples", examples)
    if isinstance(length, bool) or not isinstance(length, int) or length < 32:
        raise OntogenyError(f"length must be a whole number of at least 32 tokens; got {length!r}.")
    words = numpy_generator(seed, "bracket sentences")
    rows = []
    for _ in range(examples):
        sentence, before = _sentence(words, nested), ""
        ids: list[int] = []
        while len(ids) < length:  # a few sentences more to the left until the row is full
            before = f"{_plain(words)} {before}"
            ids = list(tokenizer.encode(before + sentence))
        rows.append(ids[-length:])
    last = tokenizer.decode(rows[0][-1:])
    if last.strip() != ")":
        raise OntogenyError(
            f"tokenizer must end these sentences with a token of ')' alone; it ends them with {last!r}. Give one that "
            "cuts punctuation from words, and adds nothing at the end."
        )
    return torch.tensor(rows, dtype=torch.int64)


def _one_of(words: np.random.Generator, of: list[str]) -> str:
    return of[int(words.integers(len(of)))]


def _plain(words: np.random.Generator) -> str:
    person, deed, thing, time = (_one_of(words, of) for of in (PEOPLE, DEEDS, THINGS, TIMES))
    return f"The {person} {deed} the {thing} {time}."


def _sentence(words: np.random.Generator, nested: bool) -> str:
    person, thing, outer, inner, place, time = (
        _one_of(words, of) for of in (PEOPLE, THINGS, OUTER, INNER, PLACES, TIMES)
    )
    aside = inner.format(person=_one_of(words, PEOPLE), place=_one_of(words, PLACES), thing=_one_of(words, THINGS))
    inside = f"({aside})" if nested else f"{aside},"
    return f"The {person} of the {thing} ({outer} {inside} from {place} {time})"


class LastToken:
    """-log f_w(t_K | t_1 … t_{K-1}) in nats, the loss of the last token of each row, shape (batch,)."""

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """One loss per example."""
        tokens = tokens_of(batch)
        return nn.functional.cross_entropy(logits_of(model, tokens)[:, -2], tokens[:, -1].long(), reduction="none")

    def identity(self) -> dict[str, str]:
        """What a number computed with this loss depends on."""
        return {"loss": "last token"}
