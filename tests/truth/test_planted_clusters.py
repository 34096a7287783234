"""Curves of a few planted shapes are clustered as planted, votes and transfer keep them, and chance is told apart."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis import (
    cluster_curves,
    cluster_stability,
    group_agreement,
    majority_vote,
    transfer_clusters,
)
from ontogeny.analysis.curve_distances import dtw, dtw_barycentre, shape_distance
from ontogeny.core.rng import numpy_generator

CLOCK = np.linspace(0, 1, 20)
SHAPES = {
    "rise": 1 / (1 + np.exp(-20 * (CLOCK - 0.6))),
    "hump": np.exp(-(((CLOCK - 0.4) / 0.12) ** 2)),
    "fall": 1 - CLOCK,
}
PLANTED = ["rise", "rise", "hump", "fall", "hump", "rise", "fall", "hump", "fall"]
ALGORITHMS = ["euclidean", "dtw", "ward", "shape"]


def planted(seed, noise, scales=False, shifts=False):
    """(head, checkpoint, dataset): each head's shape on two data sets, the second upside down, with noise."""
    draw = numpy_generator(seed, "planted clusters")
    values = np.empty((len(PLANTED), len(CLOCK), 2))
    for head, shape in enumerate(PLANTED):
        scale, offset = (draw.uniform(0.3, 3), draw.uniform(-2, 2)) if scales else (1.0, 0.0)
        for dataset, sign in enumerate((1, -1)):
            curve = sign * np.roll(SHAPES[shape], int(draw.integers(-1, 2)) if shifts else 0)
            values[head, :, dataset] = offset + scale * (curve + noise * draw.standard_normal(len(CLOCK)))
    heads = [f"0:{head}" for head in range(len(PLANTED))]
    return xr.DataArray(values, dims=("head", "checkpoint", "dataset"), coords={"head": heads})


@pytest.fixture(scope="module")
def found():
    return cluster_curves(planted(0, 0.05), 3, standardised=["none", "each", "all"], restarts=5)


def test_planted_clusters_are_found_by_every_method(found):
    for algorithm in ALGORITHMS:
        for way in found["standardised"].values:
            labels = found["cluster"].sel(algorithm=algorithm, standardised=way)
            assert group_agreement(labels, PLANTED, permutations=9).rand_index == 1.0, (algorithm, way)
    assert (found["silhouette"] > 0.5).all() and (found["davies_bouldin"] < 1).all()
    assert list(found["cluster"].isel(algorithm=0, standardised=0, head=slice(4)).values) == [0, 0, 1, 2]


def test_indices_are_those_of_scikit_learn_and_k_means_is_its_equal(found):
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    curves = planted(0, 0.05).transpose("head", "dataset", "checkpoint").values.reshape(len(PLANTED), -1)
    one = found.sel(algorithm="euclidean", standardised="none")
    theirs = KMeans(3, n_init=10, random_state=0).fit(curves)
    spent = ((curves - one["centre"].values[one["cluster"].values]) ** 2).sum()
    assert spent == pytest.approx(theirs.inertia_)
    assert one["silhouette"].item() == pytest.approx(silhouette_score(curves, theirs.labels_))


def test_shape_sees_through_scale_and_offset_where_distance_does_not():
    curves = planted(1, 0.03, scales=True)
    found = cluster_curves(curves, 3, algorithms=["euclidean", "shape"], restarts=10)
    labels = found["cluster"].isel(standardised=0)
    score = {
        name: group_agreement(labels.sel(algorithm=name), PLANTED, permutations=9) for name in ("euclidean", "shape")
    }
    assert score["shape"].rand_index == 1.0 and score["euclidean"].rand_index < 0.6


def test_the_vote_outvotes_one_method_and_weighs_shape_more():
    def labels(*rows):
        coords = {"algorithm": ["euclidean", "dtw", "ward", "shape"][: len(rows)], "head": range(6)}
        return xr.DataArray(np.array(rows), dims=("algorithm", "head"), coords=coords)

    right, renumbered, wrong = [0, 0, 1, 1, 2, 2], [2, 2, 0, 0, 1, 1], [0, 1, 1, 1, 2, 2]
    vote = majority_vote(labels(right, renumbered, wrong, right))
    assert group_agreement(vote["cluster"], right, permutations=9).rand_index == 1.0
    np.testing.assert_allclose(vote["agreement"], [1, 0.8, 1, 1, 1, 1])
    tie = majority_vote(labels(right, right, wrong, wrong), votes={})  # two against two: the first of them
    np.testing.assert_array_equal(tie["cluster"], right)
    heavier = majority_vote(labels(right, wrong, wrong, right), votes={"shape": 2.0})
    np.testing.assert_array_equal(heavier["cluster"], right)


def test_clusters_found_on_one_seed_hold_for_another(found):
    other = transfer_clusters(found, planted(7, 0.1))
    assert other.dims == ("algorithm", "standardised", "head")
    for algorithm in ALGORITHMS:
        labels = other.sel(algorithm=algorithm, standardised="none")
        np.testing.assert_array_equal(labels, found["cluster"].sel(algorithm=algorithm, standardised="none"))


def test_stability_falls_with_the_errors():
    curves = planted(0, 0.05)
    known = [
        cluster_stability(curves, xr.full_like(curves, error), 3, draws=20)["stability"].item() for error in (0.01, 1.5)
    ]
    assert known[0] == 1.0 and known[1] < 0.7
    together = cluster_stability(curves, xr.full_like(curves, 0.01), 3, draws=5)["together"]
    assert together.sel(head="0:0", other="0:1") == 1.0 and together.sel(head="0:0", other="0:2") == 0.0


def test_p_values_are_no_smaller_than_chance_makes_them():
    """Of 400 pairs of unrelated groupings at most 5 % + 3 s.e. have p <= 0.05; equal ones have a small p."""
    draw = numpy_generator(0, "groupings")
    p = [
        group_agreement(draw.integers(3, size=12), draw.integers(3, size=12), permutations=99, seed=n).p_value
        for n in range(400)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    same = group_agreement([0, 0, 0, 1, 1, 1, 2, 2, 2], list("aaabbbccc"), permutations=999)
    assert same.rand_index == 1.0 and same.p_value < 0.02 and same.heads == 9


def test_warping_distance_is_that_of_the_recursion():
    draw = numpy_generator(2, "curves")
    curves, other = draw.standard_normal((3, 7)), draw.standard_normal(7)

    def cheapest(x, y, i, j):
        before = [(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
        return (x[i] - y[j]) ** 2 + min((cheapest(x, y, a, b) for a, b in before), default=0.0)

    np.testing.assert_allclose(dtw(curves, other) ** 2, [cheapest(one, other, 6, 6) for one in curves])


def test_the_barycentre_is_nearer_than_the_mean():
    curves = planted(3, 0.02, shifts=True).isel(dataset=0).values[[2, 4, 7]]
    middle = dtw_barycentre(curves, curves.mean(0))
    assert (dtw(curves, middle) ** 2).sum() < 0.5 * (dtw(curves, curves.mean(0)) ** 2).sum()


def test_shape_distance_finds_the_shift():
    """By hand: of two humps three points apart the correlation at that shift is 1 less what falls off the ends."""
    x, y = np.roll(SHAPES["hump"], 3), SHAPES["hump"]
    a, b = ((curve - curve.mean()) / curve.std() for curve in (x, y))
    best = max(float(a[max(s, 0) : len(a) + min(s, 0)] @ b[max(-s, 0) : len(b) - max(s, 0)]) for s in range(-19, 20))
    np.testing.assert_allclose(shape_distance(x[None], y), 1 - best / len(x))
