"""Every problem of the suite, by name."""

from __future__ import annotations

from functools import lru_cache

from ontogeny.core.errors import OntogenyError
from ontogeny.validation.disjoint_copies import copied_problems
from ontogeny.validation.linear_networks import linear_network_problems
from ontogeny.validation.problem import Problem
from ontogeny.validation.regular_problems import regular_problems
from ontogeny.validation.singular_problems import singular_problems
from ontogeny.validation.small_networks import small_network_problems

TABLE = (
    "quadratic",
    "quartic",
    "node",
    "sum",
    "chain",
    "reduced rank 2-2-2",
    "reduced rank 5-3-5",
    "deep linear 4-1-4",
    "softmax 3",
)
"""The problems of the published table, in its order; they come first."""


@lru_cache(maxsize=1)
def problems() -> tuple[Problem, ...]:
    """All problems, the table's first, then by number of weights; nothing large is built before its ``potential``."""
    small = (*regular_problems(), *singular_problems(), *linear_network_problems(), *small_network_problems())
    named = {one.name: one for one in small}
    rest = sorted((one for one in (*small, *copied_problems(named)) if one.name not in TABLE), key=lambda one: one.dim)
    return (*(named[name] for name in TABLE), *rest)


def problem(name: str) -> Problem:
    """The problem of that name.

    Raises:
        OntogenyError: if there is none.
    """
    named = {one.name: one for one in problems()}
    if name not in named:
        raise OntogenyError(f"name must be one of the problems {', '.join(sorted(named))}; got {name!r}.")
    return named[name]
