"""Which tokens in context a head is for, and by which pattern they can be foretold: appendix B of arXiv:2410.02984.

    most_affected ─► classify_heads ─► pattern_shares, head_types; multigram_migrations between two checkpoints

A token in context is a position of a text. Those whose loss rises most when the head is mean-ablated are explained, in
this order, by an induction pattern, a Dyck pattern, a skip n-gram, an n-gram, or by none; one file a pattern.
"""

from ontogeny.metrics.tokens_in_context.affected import most_affected
from ontogeny.metrics.tokens_in_context.classify import (
    PATTERNS,
    ClassifiedHead,
    Explained,
    classify_heads,
    classify_tokens,
    pattern_shares,
)
from ontogeny.metrics.tokens_in_context.context import TokenInContext, token_texts
from ontogeny.metrics.tokens_in_context.migration import Migration, multigram_migrations
from ontogeny.metrics.tokens_in_context.types import head_types

__all__ = [
    "PATTERNS",
    "ClassifiedHead",
    "Explained",
    "Migration",
    "TokenInContext",
    "classify_heads",
    "classify_tokens",
    "head_types",
    "most_affected",
    "multigram_migrations",
    "pattern_shares",
    "token_texts",
]
