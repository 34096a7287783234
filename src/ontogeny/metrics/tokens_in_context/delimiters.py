"""Brackets, quotation marks and markdown in a text, and which closes which.

What is a delimiter follows appendix B.3.1: a mark that is the same at both ends opens where the character before it is
no letter and closes where the one after it is none; between letters it is part of a word. Where both hold, it closes
what is open, and opens where nothing is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BRACKETS = {"(": ")", "[": "]", "{": "}", "“": "”"}
"""Marks that are nothing else, and differ at both ends."""
CLOSED_BY: dict[str, tuple[str, ...]] = {
    **{opening: (closing,) for opening, closing in BRACKETS.items()},
    '"': ('"',),
    "'": ("'",),
    "‘": ("’",),
    "`": (
        "'",
        "`",
    ),  # the second of each of these two is code in markdown and reStructuredText, not in the paper's list
    "``": ("''", "``"),
    "_": ("_",),
    "__": ("__",),
    "**": ("**",),
}
ONLY_CLOSE = frozenset({*BRACKETS.values(), "''"})
ALSO_OTHER_THINGS = frozenset(CLOSED_BY) - frozenset(BRACKETS) - {'"'}
"""Openers that often are none, as apostrophes are: left open they do not spoil what is around them."""
_MARKS = re.compile(r"``|''|\*\*|__|[()\[\]{}“”‘’\"'`_]")


class Pair(NamedTuple):
    """Where a delimiter opens and where it closes, in characters; ``valid``: all between them is closed too."""

    opens: int
    closes: int
    valid: bool


class _Open(NamedTuple):
    mark: str
    place: int


def pairs(text: str) -> list[Pair]:
    """All pairs of delimiters, in the order in which they close.

    >>> text = "f(a[0], “b”)"
    >>> [(text[one.opens : one.closes + 1], one.valid) for one in pairs(text)]
    [('[0]', True), ('“b”', True), ('(a[0], “b”)', True)]
    >>> [pair.valid for pair in pairs("([)]")]
    [False]
    """
    found: list[Pair] = []
    stack: list[_Open] = []
    spoiled: set[int] = set()
    for match in _MARKS.finditer(text):
        mark, place = match[0], match.start()
        opens, closes = _role(text, mark, place)
        depth = next((d for d in range(len(stack) - 1, -1, -1) if mark in CLOSED_BY[stack[d].mark]), None)
        if closes and depth is not None:
            inside = [one for one in stack[depth + 1 :] if one.mark not in ALSO_OTHER_THINGS]
            start = stack[depth].place
            found.append(Pair(start, place, not inside and start not in spoiled))
            del stack[depth:]
        elif opens:
            stack.append(_Open(mark, place))
        elif closes and mark in BRACKETS.values():
            spoiled |= {one.place for one in stack}
    return found


def _role(text: str, mark: str, place: int) -> tuple[bool, bool]:
    """Whether a mark can open and whether it can close."""
    before, after = text[place - 1 : place], text[place + len(mark) : place + len(mark) + 1]
    if mark in BRACKETS:
        return True, False
    if mark in ONLY_CLOSE:
        return False, True
    opens = mark in CLOSED_BY and not before.isalnum() and bool(after) and not after.isspace()
    closes = mark != "‘" and bool(before) and not before.isspace() and not after.isalnum()
    return opens, closes
