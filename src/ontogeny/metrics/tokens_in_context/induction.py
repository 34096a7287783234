"""Induction patterns, [A][B] … [A] -> [B]: what came after the current token before comes again (appendix B.2)."""

from __future__ import annotations

from ontogeny.metrics.tokens_in_context.context import TokenInContext


def induction_pattern(token: TokenInContext) -> tuple[str, ...] | None:
    """The pair (A, B) where the next token is the second B, and the head looks where a head of the circuit does.

    That is at a first B (an induction head), or at the second A or the token before it (a previous-token head: the
    paper names the second A alone, which a head that looks one back from there does not see). None otherwise.
    """
    here = token.position
    now, following = token.ids[here], token.ids[here + 1]
    firsts = {place + 1 for place in range(here) if token.ids[place] == now and token.ids[place + 1] == following}
    if firsts and token.attended in firsts | {here, here - 1}:
        return token.texts[here], token.texts[here + 1]
    return None
