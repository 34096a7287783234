"""A token in context as the patterns read it: the texts of a row's tokens, the current one and the one looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

LONGEST_CHARACTER = 4
"""Bytes of UTF-8, each of which can be a token."""


class TokenInContext(NamedTuple):
    """One position of a row of tokens.

    Attributes:
        ids: the whole row.
        texts: the text of each token; joined they are the text of the row.
        position: of the current token; the next one is what was to be foretold.
        attended: the position that the head looks at most from there.
    """

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    position: int
    attended: int

    @property
    def before(self) -> str:
        """The text up to the current token, itself included."""
        return "".join(self.texts[: self.position + 1])

    @property
    def after(self) -> str:
        """The text from the next token on: more than the model has seen, to tell how a word or a quotation goes on."""
        return "".join(self.texts[self.position + 1 :])

    @property
    def next_text(self) -> str:
        """The text of the next token."""
        return self.texts[self.position + 1]

    def token_at(self, character: int) -> str:
        """The text of the token that holds that character of the row's text."""
        end = 0
        for text in self.texts:
            end += len(text)
            if character < end:
                return text
        return ""


def token_texts(decode: Callable[[list[int]], str], ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token of a row. Of a character in several tokens the last has it and the others are empty.

    ``decode`` turns a list of ids into text, as ``Tokenizer.decode`` does; bytes that are no text, as where a row
    begins inside a character, stay the replacement character that it gives.
    """
    row, texts = [int(one) for one in ids], []
    place = 0
    while place < len(row):
        taken, text = 1, decode(row[place : place + 1])
        if "\ufffd" in text:
            for longer in range(2, LONGEST_CHARACTER + 1):
                together = decode(row[place : place + longer])
                if "\ufffd" not in together and place + longer <= len(row):
                    taken, text = longer, together
                    break
        texts += [""] * (taken - 1) + [text]
        place += taken
    return tuple(texts)
