"""Several sources of text in given shares, written as ``0.8*installed:docs + 0.2*installed:code``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.text.documents import Source
from ontogeny.inputs.text.sources import parse_source

_WEIGHTED = re.compile(r"([^*:]*)\*\s*([a-z]+:.*)", re.DOTALL)


@dataclass(frozen=True)
class Mixture:
    """Sources with their shares of the TOKENS of the mixed text; the shares are positive and add up to 1."""

    parts: tuple[tuple[float, Source], ...]

    def apportion(self, count: int) -> tuple[int, ...]:
        """``count`` rows shared out by largest remainder: each source is within one row of its share.

        >>> parse_mixture("1*installed:docs + 2*installed:code").apportion(10)
        (3, 7)
        """
        exact = [share * count for share, _ in self.parts]
        whole = [int(value + 1e-9) for value in exact]  # 0.3 + 0.7 of ten are three and seven in spite of rounding
        order = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
        for i in order[: count - sum(whole)]:
            whole[i] += 1
        return tuple(whole)


def parse_mixture(text: str) -> Mixture:
    """A mixture from its text: sources joined by `` + ``, each with a weight and ``*`` before it (without: 1).

    Raises:
        OntogenyError: if a weight is not positive, or a source is named twice or not known.
    """
    weights: dict[str, float] = {}
    for part in re.split(r"\s\+\s", text):
        weighted = _WEIGHTED.fullmatch(part.strip())
        uri = weighted[2] if weighted else part.strip()
        if uri in weights:
            raise OntogenyError(f"mixture must name each source once; {uri} stands twice in {text!r}.")
        weights[uri] = _weight(weighted[1].strip(), text) if weighted else 1.0
    total = sum(weights.values())
    return Mixture(tuple((weight / total, parse_source(uri)) for uri, weight in weights.items()))


def as_mixture(text: Mixture | Source | str) -> Mixture:
    """A mixture as it is, of one source, or from its text."""
    if isinstance(text, str):
        return parse_mixture(text)
    return Mixture(((1.0, text),)) if isinstance(text, Source) else text


def _weight(written: str, text: str) -> float:
    try:
        weight = float(written)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise OntogenyError(f"mixture: a weight must be a positive number; got {written!r} in {text!r}.")
    return weight
