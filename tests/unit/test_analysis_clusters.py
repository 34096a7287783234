"""What the clustering functions say to arguments they cannot use."""

import math

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis import cluster_curves, cluster_stability, group_agreement, majority_vote, transfer_clusters
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import numpy_generator

CURVES = xr.DataArray(
    numpy_generator(0, "curves").standard_normal((5, 8)),
    dims=("head", "checkpoint"),
    coords={"head": ["0:0", "0:1", "0:2", "1:0", "1:1"]},
)
FOUND = cluster_curves(CURVES, 2, algorithms=["ward"])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: cluster_curves(CURVES, 5), r"clusters must be a whole number from 2 to .* less one, 4; got 5"),
        (
            lambda: cluster_curves(CURVES, 2, algorithms=["spectral"]),
            r"algorithms must be a list of some of 'euclidean', 'dtw'",
        ),
        (lambda: cluster_curves(CURVES, 2, algorithms="ward"), r"algorithms must be a list of .*; got 'ward'"),
        (lambda: cluster_curves(CURVES, 2, standardised=["both"]), r"standardised must be a list of some of 'none'"),
        (lambda: cluster_curves(CURVES, 2, restarts=0), r"restarts must be at least 1; got 0"),
        (
            lambda: cluster_curves(CURVES.rename(head="seed"), 2),
            r"curves must be an xarray.DataArray with the dims \(head, checkpoint\).*got \('seed', 'checkpoint'\)",
        ),
        (lambda: cluster_curves(np.zeros((3, 4)), 2), r"curves must be an xarray.DataArray .* got ndarray"),
        (
            lambda: cluster_curves(CURVES.where(CURVES["head"] != "1:0"), 2),
            r"curves must be finite at every checkpoint; head 1:0 is not: leave out the head or the checkpoint",
        ),
        (
            lambda: transfer_clusters(FOUND, CURVES.isel(checkpoint=slice(4))),
            r"curves must have as many points as those that were clustered, 8; got 4",
        ),
        (lambda: majority_vote(FOUND["cluster"].isel(algorithm=0)), r"clusters must have the dims head and algorithm"),
        (lambda: majority_vote(FOUND["cluster"], {"ward": 0}), r"votes must be above 0; got 0 for 'ward'"),
        (lambda: group_agreement([0, 1], [0, 1]), r"one and other must group the same heads, at least three; got 2"),
        (lambda: group_agreement([0, 1, 1], [0, 1, 1], permutations=0), r"permutations must be at least 1; got 0"),
        (lambda: cluster_stability(CURVES, -abs(CURVES), 2), r"se must hold the standard errors of curves"),
        (lambda: cluster_stability(CURVES, abs(CURVES), 2, draws=1), r"draws must be at least 2; got 1"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(OntogenyError, match=text):
        call()


def test_equal_curves_are_no_trouble():
    """Several heads that do nothing at all: clusters are found, if not meaningful ones."""
    flat = CURVES.copy()
    flat[:3] = 0.0
    found = cluster_curves(flat, 2, restarts=3, standardised=["none", "each"])
    assert np.isfinite(found["centre"]).all()
    assert found["cluster"].max() == 1 and found["cluster"].min() == 0


def test_the_order_of_heads_does_not_matter():
    found = cluster_curves(CURVES, 2, restarts=10)["cluster"]
    turned = cluster_curves(CURVES.isel(head=slice(None, None, -1)), 2, restarts=10)["cluster"].sel(head=found["head"])
    for one, other in zip(found.values.reshape(-1, 5), turned.values.reshape(-1, 5), strict=True):
        assert group_agreement(one, other, permutations=1).rand_index == 1.0


def test_the_least_significant_index_is_what_the_permutation_test_calls_so():
    """Types and clusters of 2 and 6 heads: 1 of 28 arrangements agrees wholly, 12 by half; only the first is rare."""
    found = group_agreement([0, 0, 1, 1, 1, 1, 1, 1], list("aabbbbbb"), permutations=1999)
    assert found.critical == 1.0 and found.p_value < 0.05
    apart = group_agreement([0, 1, 0, 1, 1, 1, 1, 1], list("aabbbbbb"), permutations=1999)
    assert apart.p_value > 0.3 and apart.critical == 1.0 and apart.rand_index == pytest.approx(0.12, abs=0.01)
    alone = group_agreement([0, 1, 1, 1, 1, 1, 1, 1], list("abbbbbbb"), permutations=1999)
    assert alone.rand_index == 1.0 and alone.p_value > 0.05 and math.isnan(alone.critical)  # 1 of 8 is not rare
