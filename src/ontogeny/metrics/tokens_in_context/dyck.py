"""Dyck patterns: the next token closes what an earlier one opened, validly nested (appendix B.3).

Delimiters are brackets, quotation marks and markdown (:mod:`.delimiters`); split constructions are words that call for
others within the sentence, "neither … nor", "more … than", "Why … ?". Where the head looks is not asked.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ontogeny.metrics.tokens_in_context.context import TokenInContext
from ontogeny.metrics.tokens_in_context.delimiters import BRACKETS, pairs


class Split(NamedTuple):
    """A word that opens a construction, and what closes it; patterns of the module ``re``."""

    opens: re.Pattern[str]
    closes: re.Pattern[str]


def _split(opens: str, closes: str) -> Split:
    return Split(re.compile(rf"\b(?:{opens})\b"), re.compile(closes))


SPLIT_CONSTRUCTIONS = (
    _split("[Bb]oth", r"\band\b"),
    _split("[Nn]ot only", r"\bbut\b"),
    _split("[Nn]either", r"\bnor\b"),
    _split("[Ee]ither", r"\bor\b"),
    _split("[Mm]ore|[Ll]ess|[Bb]etter", r"\bthan\b"),
    _split("[Mm]ost|[Ll]east", r"\bever\b"),
    _split("Why|What|How", r"\?"),
)
"""Correlative conjunctions, comparatives and superlatives, and questions, as the paper lists them."""

SENTENCE_END = re.compile(r"[.!?](?=\s)|\n\s*\n")


def dyck_pattern(token: TokenInContext) -> tuple[str, ...] | None:
    """(opening token, closing token) of a delimiter, (opening word, closing word) of a construction; None otherwise."""
    return _delimiter(token) or _construction(token)


def _delimiter(token: TokenInContext) -> tuple[str, ...] | None:
    text = token.before + token.after
    start = len(token.before)
    end = start + len(token.next_text)
    closed = [pair for pair in pairs(text) if start <= pair.closes < end and pair.opens < start and pair.valid]
    return (token.token_at(closed[0].opens), token.next_text) if closed else None


def _construction(token: TokenInContext) -> tuple[str, ...] | None:
    """The closing word begins with the next token, in one sentence with its opening word, and is the first to."""
    before, after = token.before, token.after
    skipped = len(after) - len(after.lstrip())
    if not token.next_text.strip():
        return None
    sentence = before[last_sentence_end(before) :]
    for split in SPLIT_CONSTRUCTIONS:
        closing = split.closes.match(before + after, len(before) + skipped)
        if closing is None:
            continue
        opening = next(reversed(list(split.opens.finditer(sentence))), None)
        if opening is None:
            continue
        between = sentence[opening.end() :]
        if split.closes.search(between) is None and is_closed(between):
            return opening[0].lower(), closing[0]
    return None


def last_sentence_end(text: str) -> int:
    """Where the last sentence of a text begins, in characters."""
    return max((match.end() for match in SENTENCE_END.finditer(text)), default=0)


def is_closed(text: str) -> bool:
    """Whether every bracket in a text is closed in it, validly."""
    found = pairs(text)
    ends = {place for pair in found for place in (pair.opens, pair.closes)}
    marks = {*BRACKETS, *BRACKETS.values()}
    single = {place for place, letter in enumerate(text) if letter in marks}
    return all(pair.valid for pair in found) and single <= ends
