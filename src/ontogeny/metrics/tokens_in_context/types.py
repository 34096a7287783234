"""What kind of head each one is: by the pattern that explains most of its tokens in context, and by where it looks."""

from __future__ import annotations

import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.metrics.tokens_in_context.classify import PATTERNS

LEAST = 0.3
"""Score from which on a head looks at the current, the previous, or the matching token strongly and systematically."""
BY_SCORE = {"previous_token": "previous-token", "prefix_matching": "induction", "current_token": "current-token"}


def head_types(shares: xr.Dataset, scores: xr.Dataset | None = None, *, least: float = LEAST) -> xr.Dataset:
    """The type of each head (table 1 of arXiv:2410.02984, appendix B.1).

    ``pattern`` is the one with the largest share of the head's tokens in context, in a relative sense: 30 % may be
    enough; of equal shares the first in the order of ``PATTERNS``, and "" where nothing is explained. ``type`` is
    "previous-token", "induction" or "current-token" where that score (of :func:`ontogeny.metrics.attention_scores`)
    is the head's highest and at least ``least``; else "multigram", which without scores all but induction heads are.

    Args:
        shares: from :func:`pattern_shares`.
        scores: from :func:`ontogeny.metrics.attention_scores`, of the same heads; None: not looked at, and heads that
            induction patterns explain are "induction".
        least: the score asked for, between 0 and 1.

    Returns:
        ``type`` and ``pattern``, words, dim ``head``.

    Raises:
        OntogenyError: if scores lack a head, or ``least`` is out of range.
    """
    if not 0 < least <= 1:
        raise OntogenyError(f"least must be above 0 and at most 1; got {least!r}.")
    heads = [str(head) for head in shares["head"].values]
    if scores is not None:
        missing = sorted(set(heads) - {str(head) for head in scores["head"].values})
        if missing:
            raise OntogenyError(f"scores must hold the heads of shares; it lacks {', '.join(missing)}.")
    patterns, types = [], []
    for head in heads:
        share = shares["share"].sel(head=head, pattern=list(PATTERNS)).fillna(0.0).values
        pattern = PATTERNS[int(share.argmax())] if share.max() > 0 else ""
        patterns.append(pattern)
        if scores is None:
            types.append("induction" if pattern == "induction" else "multigram")
            continue
        looks = {word: float(scores[name].sel(head=head)) for name, word in BY_SCORE.items()}
        strongest = max(looks, key=lambda word: looks[word])
        types.append(strongest if looks[strongest] >= least else "multigram")
    return xr.Dataset({"type": ("head", types), "pattern": ("head", patterns)}, coords={"head": heads})
