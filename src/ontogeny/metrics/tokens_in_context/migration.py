"""Multigrams that one head is for at one checkpoint and another head at a later one (appendix B.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ontogeny.core.errors import OntogenyError
from ontogeny.metrics.tokens_in_context.classify import ClassifiedHead


class Migration(NamedTuple):
    """A multigram that moved.

    Attributes:
        multigram: its texts.
        pattern: "dyck", "skip_ngram" or "ngram", at the later checkpoint.
        left: the heads that had it and have it no longer.
        joined: the heads that have it and did not have it before.
        tokens_before: how many tokens in context it explained, over all heads, at the earlier checkpoint.
        tokens_after: at the later one.
    """

    multigram: tuple[str, ...]
    pattern: str
    left: tuple[str, ...]
    joined: tuple[str, ...]
    tokens_before: int
    tokens_after: int


def multigram_migrations(earlier: Mapping[str, ClassifiedHead], later: Mapping[str, ClassifiedHead]) -> list[Migration]:
    """The table of multigrams that some head lost and another gained, those with most tokens in context first.

    A multigram is told by its texts: "ago" after " years" and after " year" are two. One that only appears, or only
    vanishes, is no migration. Both must have been looked for on the same rows with the same number of tokens, or heads
    seem to lose what was cut off.

    Raises:
        OntogenyError: if the heads are not the same.
    """
    if set(earlier) != set(later):
        apart = ", ".join(sorted(set(earlier) ^ set(later)))
        raise OntogenyError(f"later must hold the heads of earlier; only one of them has {apart}: classify both alike.")
    before, after = _owners(earlier), _owners(later)
    found = []
    for multigram in before.keys() & after.keys():
        had, has = before[multigram], after[multigram]
        left = tuple(head for head in earlier if head in had and head not in has)
        joined = tuple(head for head in earlier if head in has and head not in had)
        if left and joined:
            pattern = later[joined[0]].multigrams()[multigram]
            found.append(Migration(multigram, pattern, left, joined, sum(had.values()), sum(has.values())))
    return sorted(found, key=lambda one: (-one.tokens_before - one.tokens_after, one.multigram))


def _owners(classified: Mapping[str, ClassifiedHead]) -> dict[tuple[str, ...], dict[str, int]]:
    """By multigram the heads that have it, and how many tokens in context each."""
    owners: dict[tuple[str, ...], dict[str, int]] = {}
    for head, found in classified.items():
        own = found.multigrams()
        for one in found.explained:
            if one is not None and one.multigram in own:
                of = owners.setdefault(one.multigram, {})
                of[head] = of.get(head, 0) + 1
    return owners
