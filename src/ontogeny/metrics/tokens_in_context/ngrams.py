"""n-grams: the tokens from the one looked at up to the next one, where they come more than once (appendix B.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ontogeny.metrics.tokens_in_context.context import TokenInContext


def ngrams(tokens: Sequence[TokenInContext]) -> list[tuple[str, ...] | None]:
    """For each token in context its n-gram, if at least two of those given have it; None otherwise.

    The n-gram is the tokens from the position that the head looks at most up to and including the next token, of any
    length and however much attention there is. Those given are a head's that no other pattern explains.
    """
    found = [token.ids[token.attended : token.position + 2] for token in tokens]
    counts = Counter(found)
    return [
        token.texts[token.attended : token.position + 2] if counts[ids] > 1 else None
        for token, ids in zip(tokens, found, strict=True)
    ]
