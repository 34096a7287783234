"""Serial classification of tokens in context, the share of each pattern for each head, and a count of multigrams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.language_losses import tokens_of
from ontogeny.metrics.tokens_in_context.context import TokenInContext, token_texts
from ontogeny.metrics.tokens_in_context.dyck import dyck_pattern
from ontogeny.metrics.tokens_in_context.induction import induction_pattern
from ontogeny.metrics.tokens_in_context.ngrams import ngrams
from ontogeny.metrics.tokens_in_context.skip_ngrams import skip_ngram

PATTERNS = ("induction", "dyck", "skip_ngram", "ngram")
"""In the order in which they are tried."""
UNEXPLAINED = "unexplained"
MULTIGRAMS = ("dyck", "skip_ngram", "ngram")
"""The patterns whose unique sequences are a head's multigrams."""
_EACH: dict[str, Callable[[TokenInContext], tuple[str, ...] | None]] = {
    "induction": induction_pattern,
    "dyck": dyck_pattern,
    "skip_ngram": skip_ngram,
}


class Explained(NamedTuple):
    """The pattern that explains a token in context, and the texts that make it up, such as (" (", ")")."""

    pattern: str
    multigram: tuple[str, ...]


class ClassifiedHead(NamedTuple):
    """A head's most affected tokens in context, and what explains each; None: nothing."""

    tokens: tuple[TokenInContext, ...]
    explained: tuple[Explained | None, ...]

    def unique(self, pattern: str) -> set[tuple[str, ...]]:
        """The different sequences by which that pattern explains tokens."""
        return {one.multigram for one in self.explained if one is not None and one.pattern == pattern}

    def multigrams(self) -> dict[tuple[str, ...], str]:
        """Every unique multigram and its pattern; induction patterns are none."""
        return {multigram: pattern for pattern in MULTIGRAMS for multigram in self.unique(pattern)}


def classify_tokens(tokens: Sequence[TokenInContext]) -> list[Explained | None]:
    """What explains each token in context: the first of ``PATTERNS`` that fits, or None.

    n-grams are looked for among those that nothing else explains, so all of a head's are given together.
    """
    out: list[Explained | None] = []
    for token in tokens:
        found = ((pattern, explain(token)) for pattern, explain in _EACH.items())
        out.append(next((Explained(pattern, texts) for pattern, texts in found if texts is not None), None))
    left = [place for place, explained in enumerate(out) if explained is None]
    for place, texts in zip(left, ngrams([tokens[place] for place in left]), strict=True):
        out[place] = None if texts is None else Explained("ngram", texts)
    return out


def classify_heads(affected: xr.Dataset, data: Any, decode: Callable[[list[int]], str]) -> dict[str, ClassifiedHead]:
    """Each head's tokens in context, explained; those that ablation does not make worse are left out.

    Args:
        affected: from :func:`most_affected`.
        data: the rows of tokens that it was given.
        decode: ids to text, as ``Tokenizer.decode``.

    Raises:
        OntogenyError: if ``data`` has fewer rows than ``affected`` speaks of.
    """
    examples = as_examples(data)
    if affected["example"].size and int(affected["example"].max()) >= examples.count:
        raise OntogenyError(
            f"data must be the rows that most_affected was given; it has {examples.count}, and row "
            f"{int(affected['example'].max())} is asked for."
        )
    rows = tokens_of(examples.take(None))
    texts: dict[int, tuple[str, ...]] = {}
    out = {}
    for head in affected["head"].values:
        one = affected.sel(head=head)
        tokens = []
        columns = (one[name].values.tolist() for name in ("example", "position", "attended", "increase"))
        for example, position, attended, increase in zip(*columns, strict=True):
            if increase > 0:
                ids = tuple(rows[example].tolist())
                if example not in texts:
                    texts[example] = token_texts(decode, ids)
                tokens.append(TokenInContext(ids, texts[example], position, attended))
        out[str(head)] = ClassifiedHead(tuple(tokens), tuple(classify_tokens(tokens)))
    return out


def pattern_shares(classified: Mapping[str, ClassifiedHead]) -> xr.Dataset:
    """How much of each head's tokens in context each pattern explains, and how many multigrams the head has.

    Returns:
        ``share``, dims (head, pattern), of the four patterns and "unexplained", and ``share_se`` = √(s(1 - s)/n), as if
        the head's n tokens were drawn at random; ``tokens_in_context`` n; ``multigrams``, the unique Dyck patterns,
        skip n-grams and n-grams together (figure 11), and ``unique`` of each pattern. Without tokens shares are NaN.
        The number of multigrams grows with the tokens looked at, so compare heads at equal n.

    Raises:
        OntogenyError: if there are no heads.
    """
    if not classified:
        raise OntogenyError("classified must hold at least one head, from classify_heads; got none.")
    columns = (*PATTERNS, UNEXPLAINED)
    counts = np.array(
        [
            [sum((UNEXPLAINED if one is None else one.pattern) == name for one in head.explained) for name in columns]
            for head in classified.values()
        ],
        dtype=np.float64,
    )
    total = counts.sum(1, keepdims=True)
    share = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    share_se = np.sqrt(np.divide(share * (1 - share), total, out=np.full_like(counts, np.nan), where=total > 0))
    unique = [[len(head.unique(name)) for name in PATTERNS] for head in classified.values()]
    return describe(
        xr.Dataset(
            {
                "share": (("head", "pattern"), share),
                "share_se": (("head", "pattern"), share_se),
                "tokens_in_context": ("head", total[:, 0].astype(np.int64)),
                "unique": (("head", "kind"), unique),
                "multigrams": ("head", [len(head.multigrams()) for head in classified.values()]),
            },
            coords={"head": list(classified), "pattern": list(columns), "kind": list(PATTERNS)},
        )
    )
