"""Skip n-grams, [1] … ([2] … [N-1]) -> [N]: a list of what comes some way after what (appendix B.4).

The paper compiled its list by hand and prints examples of it; these are those examples, with the forms of the verbs. An
entry is what has to stand earlier, what has to stand right before, and what has to come next.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ontogeny.metrics.tokens_in_context.context import TokenInContext
from ontogeny.metrics.tokens_in_context.delimiters import pairs
from ontogeny.metrics.tokens_in_context.dyck import last_sentence_end

AFTER_QUOTATIONS = re.compile(r"\s*(said|says|wrote|of)\b")
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
AFTER_PARENTHESES = re.compile(rf"\s*({MONTHS})\b")
QUOTES = ("''", '"', "”", "’", "'")
COMPARED = re.compile(r"\b([Mm]ore|[Ll]ess|[Bb]etter)\b")
INITIALS = re.compile(r"(?<![A-Za-z])((?:[A-Z]\.)+[A-Z])$")


class Phrase(NamedTuple):
    """A word that calls for another later in the sentence; with ``unbroken`` no space may stand between them."""

    first: re.Pattern[str]
    then: re.Pattern[str]
    unbroken: bool = False


def _phrase(first: str, then: str) -> Phrase:
    """Both as whole words, in any case of letters."""
    return Phrase(re.compile(rf"\b({first})\b", re.IGNORECASE), re.compile(rf"\s*\b({then})\b", re.IGNORECASE))


PHRASES = (
    _phrase(r"prevent(?:s|ed|ing)?", r"from"),
    _phrase(r"keep(?:s|ing)?|kept", r"safe"),
    _phrase(r"let(?:s|ting)?", r"(?:go|die)"),
    _phrase(r"meet(?:s|ing)?|met", r"requirements?"),
    _phrase(r"remov(?:e|es|ed|ing)", r"from"),
    _phrase(r"accus(?:e|es|ed|ing)", r"of"),
    _phrase(r"ask(?:s|ed|ing)?", r"whether"),
    _phrase(r"turn(?:s|ed|ing)?", r"into"),
    _phrase(r"solv(?:e|es|ed|ing)", r"problems?"),
    _phrase(r"violat(?:e|es|ed|ing)", r"laws?"),
    Phrase(re.compile(r"\b([Ee]-?mail|at)\b"), re.compile(r"\s*(@)")),
    Phrase(re.compile(r"(://)"), re.compile(r"(/)"), unbroken=True),
)
"""Verbs with particles and objects, addresses and URLs."""


def skip_ngram(token: TokenInContext) -> tuple[str, ...] | None:
    """([1], …, [N]) of the first entry of the list that fits; None if none does. Where the head looks is not asked."""
    return _after_a_pair(token) or _comparison(token) or _initials(token) or _phrases(token)


def _after_a_pair(token: TokenInContext) -> tuple[str, ...] | None:
    """“…” said, (@…) October: the current token ends a quotation or a parenthesis."""
    before = token.before
    if not token.next_text.strip():
        return None
    for pair in pairs(before + token.after):
        mark = next((mark for mark in (*QUOTES, ")") if before.startswith(mark, pair.closes)), "")
        if not mark or not pair.valid or pair.closes + len(mark) != len(before):
            continue
        following = (AFTER_PARENTHESES if mark == ")" else AFTER_QUOTATIONS).match(token.after)
        if following is not None:
            longer = ("(@", "``")
            opening = next((one for one in longer if before.startswith(one, pair.opens)), before[pair.opens])
            return opening, mark, following[1]
    return None


def _comparison(token: TokenInContext) -> tuple[str, ...] | None:
    """More … th -> an, and what comes after more … than."""
    before = token.before
    compared = next(reversed(list(COMPARED.finditer(before, last_sentence_end(before)))), None)
    if compared is None:
        return None
    if re.search(r"\bth$", before) and re.match(r"an\b", token.after):
        return compared[1].lower(), "th", "an"
    if re.search(r"\bthan$", before) and token.next_text.strip():
        return compared[1].lower(), "than", token.next_text.strip()
    return None


def _initials(token: TokenInContext) -> tuple[str, ...] | None:
    """N.A.S.A.: a point after a letter that itself comes after a letter and a point."""
    found = INITIALS.search(token.before)
    return (*found[1], ".") if found and token.next_text.startswith(".") else None


def _phrases(token: TokenInContext) -> tuple[str, ...] | None:
    before = token.before
    if not token.next_text.strip():
        return None
    start = last_sentence_end(before)
    for phrase in PHRASES:
        then = phrase.then.match(before + token.after, len(before))
        if then is None:
            continue
        first = next(reversed(list(phrase.first.finditer(before, start))), None)
        if first is not None and not (phrase.unbroken and re.search(r"\s", before[first.end() :])):
            return first[1].lower(), then[1].lower()
    return None
