"""How well two groupings of heads agree, against chance; and whether clusters stay when curves move in their errors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from ontogeny.analysis.clusters import RESTARTS, cluster_curves
from ontogeny.core.errors import OntogenyError

PERMUTATIONS = 9999
LEVEL = 0.05
"""Of the test that ``critical`` is of."""


class Agreement(NamedTuple):
    """The adjusted Rand index of two groupings, and its p-value.

    Attributes:
        rand_index: 1 where they are the same, 0 on average by chance, below 0 where they agree less than by chance.
        p_value: (1 + the permutations that agree at least as well)/(1 + permutations); one-sided.
        heads: how many were grouped.
        critical: the least index, of groups of these sizes, whose p-value would be at most 0.05; NaN where there is
            none, as with few heads in few arrangements.
    """

    rand_index: float
    p_value: float
    heads: int
    critical: float


def group_agreement(
    one: Sequence[Hashable] | xr.DataArray,
    other: Sequence[Hashable] | xr.DataArray,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Agreement:
    """The adjusted Rand index (Hubert and Arabie 1985) of two groupings of the same heads, with a permutation test.

    Under the null hypothesis the heads' groups in ``other`` are exchanged at random, so the sizes of the groups stay.
    Where few heads make few different arrangements the p-value cannot be small, and says so.

    Args:
        one: the group of each head, numbers or words, such as clusters.
        other: likewise, such as types; in the same order.
        permutations: how many.
        seed: of the permutations.

    Raises:
        OntogenyError: if the lengths differ, there are fewer than three heads, or no permutations.

    >>> group_agreement([0, 0, 1, 1], ["a", "a", "b", "b"]).rand_index
    1.0
    """
    from sklearn.metrics import adjusted_rand_score

    (a, b), names = ([_numbers(groups) for groups in (one, other)], ("one", "other"))
    if a.shape != b.shape or len(a) < 3:
        raise OntogenyError(
            f"{names[0]} and {names[1]} must group the same heads, at least three; got {len(a)} and {len(b)}."
        )
    if permutations < 1:
        raise OntogenyError(f"permutations must be at least 1; got {permutations!r}.")
    random = np.random.default_rng(seed)  # named streams would bring torch
    same_a = (a[:, None] == a[None, :]).astype(np.float64)
    # with the groups' sizes fixed the index rises with the number of pairs that are together in both
    together = (same_a * (b[:, None] == b[None, :])).sum()
    by_chance = np.empty(permutations)
    for number in range(permutations):
        shuffled = random.permutation(b)
        by_chance[number] = (same_a * (shuffled[:, None] == shuffled[None, :])).sum()
    least = [count for count in np.unique(by_chance) if (1 + (by_chance >= count).sum()) <= LEVEL * (1 + permutations)]
    return Agreement(
        float(adjusted_rand_score(a, b)),
        float(1 + (by_chance >= together).sum()) / (1 + permutations),
        len(a),
        _index(float(least[0]), a, b) if least else math.nan,
    )


def _index(together: float, a: np.ndarray, b: np.ndarray) -> float:
    """The adjusted Rand index of so many ordered pairs that are together in both, each head with itself among them."""
    heads = len(a)
    own, other = (((g[:, None] == g[None, :]).sum() - heads) / 2 for g in (a, b))
    expected, most = own * other / (heads * (heads - 1) / 2), (own + other) / 2
    return 1.0 if most == expected else float(((together - heads) / 2 - expected) / (most - expected))


def _numbers(groups: Sequence[Hashable] | xr.DataArray) -> np.ndarray:
    values = list(groups.values.tolist() if isinstance(groups, xr.DataArray) else groups)
    order = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([order[value] for value in values])


def cluster_stability(
    curves: xr.DataArray,
    se: xr.DataArray,
    clusters: int,
    *,
    algorithm: str = "euclidean",
    standardised: str = "none",
    draws: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    """Whether the clusters stay when each point of each curve is drawn anew within its error.

    Errors of different points are taken as independent and normal. The curves as measured have been moved by their
    errors once already, so what is drawn has twice their variance, and the true stability is if anything higher.

    Args:
        curves: as for :func:`ontogeny.analysis.cluster_curves`.
        se: their standard errors, the same dims.
        clusters: how many.
        algorithm: of ``ALGORITHMS``.
        standardised: of ``STANDARDISED``.
        draws: how often.
        seed: of the draws.

    Returns:
        ``stability``, the mean adjusted Rand index with the clusters of the curves as they are, ``stability_low`` and
        ``stability_high``, where 90 % of the draws lie; ``together``, dims (head, other), the share of draws in which
        two heads are in one cluster.

    Raises:
        OntogenyError: as :func:`ontogeny.analysis.cluster_curves`; if se differs in dims or is negative.
    """
    from sklearn.metrics import adjusted_rand_score

    if not isinstance(se, xr.DataArray) or set(se.dims) != set(curves.dims) or not bool((se >= 0).all()):
        raise OntogenyError(
            "se must hold the standard errors of curves, with the same dims, none negative or NaN: give llc_se, say."
        )
    if draws < 2:
        raise OntogenyError(f"draws must be at least 2; got {draws!r}.")
    errors = se.transpose(*curves.dims).values
    random = np.random.default_rng(seed)

    def labels(values: xr.DataArray) -> np.ndarray:
        found = cluster_curves(values, clusters, algorithms=[algorithm], standardised=[standardised], restarts=RESTARTS)
        return found["cluster"].values[0, 0]

    as_they_are = labels(curves)
    again = [labels(curves + errors * random.standard_normal(errors.shape)) for _ in range(draws)]
    scores = np.array([adjusted_rand_score(as_they_are, one) for one in again])
    low, high = np.quantile(scores, [0.05, 0.95])
    together = np.mean([one[:, None] == one[None, :] for one in again], axis=0)
    heads = curves["head"].values
    return xr.Dataset(
        {
            "stability": float(scores.mean()),
            "stability_low": float(low),
            "stability_high": float(high),
            "together": (("head", "other"), together),
        },
        coords={"head": heads, "other": heads},
    )
