"""Measures of order in circuits, on matrices whose measures are known."""

from functools import partial

import numpy as np
import pytest
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import numpy_generator
from ontogeny.metrics import structure

DIMS = ("source", "output")


def matrix(values):
    return xr.DataArray(np.asarray(values, dtype=float), dims=DIMS)


def noise(size=40, label="noise"):
    return matrix(numpy_generator(0, label).standard_normal((size, size)))


def toeplitz(size, function):
    i, j = np.indices((size, size))
    return matrix(function(i - j))


def test_a_matrix_of_equal_diagonals_is_regular_along_them_and_its_symmetry_is_that_of_one_row_across():
    """W_ij = cos(k(i - j)): across, W - ½(W(x - 2) + W(x + 2)) = (1 - cos 2k)·W; so TS = 1 - cos 2k exactly."""
    for k in (0.3, 1.0, np.pi / 2):
        found = structure.translational_symmetry(toeplitz(30, lambda d, k=k: np.cos(k * d)), DIMS)
        assert float(found) == pytest.approx(1 - np.cos(2 * k), abs=1e-12)


def test_stripes_across_the_diagonal_count_negatively():
    i, j = np.indices((30, 30))
    assert float(structure.translational_symmetry(matrix(np.cos(0.7 * (i + j))), DIMS)) == pytest.approx(
        -(1 - np.cos(1.4)), abs=1e-12
    )


def test_noise_has_no_symmetry():
    """Both parts have the same mean; the spread of their difference over 38² cells is about 0.05."""
    found = [float(structure.translational_symmetry(noise(label=str(n)), DIMS)) for n in range(20)]
    assert abs(np.mean(found)) < 4 * np.std(found, ddof=1) / 20**0.5 and np.std(found) < 0.1


@pytest.mark.parametrize("scale", [1e-6, -3.0])
def test_scale_and_sign_change_nothing(scale):
    w = noise()
    for measure in (structure.translational_symmetry, structure.matrix_rank, structure.participation_ratio):
        assert float(measure(scale * w, DIMS)) == pytest.approx(float(measure(w, DIMS)))


def test_overlap_is_symmetric_between_0_and_1_and_known_for_parts():
    a, b = noise(label="a"), noise(label="b")
    assert float(structure.head_overlap(a, b, DIMS)) == pytest.approx(float(structure.head_overlap(b, a, DIMS)))
    assert 0 < float(structure.head_overlap(a, b, DIMS)) < 1
    left, right = np.eye(6), np.eye(6)
    left[3:], right[:4] = 0, 0  # tokens 0-2, and 4-5: nothing shared
    assert float(structure.head_overlap(matrix(left), matrix(right), DIMS)) == 0.0
    right = np.eye(6)
    right[:2] = 0  # tokens 2-5: one token of seven entries in common
    assert float(structure.head_overlap(matrix(left), matrix(right), DIMS)) == pytest.approx(2 / 7)
    assert float(structure.head_overlap(a, 3 * a, DIMS)) == pytest.approx(1 - 2 / 4)


def test_ranks_of_a_product_and_of_nothing():
    low = noise(20, "l").values[:, :3] @ noise(20, "r").values[:3]
    assert float(structure.matrix_rank(matrix(low), DIMS)) == 3
    assert 1 < float(structure.participation_ratio(matrix(low), DIMS)) <= 3
    nothing = matrix(np.zeros((5, 5)))
    assert float(structure.matrix_rank(nothing, DIMS)) == 0
    assert np.isnan(float(structure.participation_ratio(nothing, DIMS)))
    assert np.isnan(float(structure.translational_symmetry(nothing, DIMS)))
    assert np.isnan(float(structure.head_overlap(nothing, nothing, DIMS)))


def circuits(heads, checkpoints=2):
    shape = (checkpoints, heads, 12, 12)
    stream = numpy_generator(0, "circuits")
    return xr.Dataset(
        {
            "qk": (("checkpoint", "head", "destination", "source"), stream.standard_normal(shape)),
            "ov": (("checkpoint", "head", "source", "output"), stream.standard_normal(shape)),
        },
        coords={"head": [f"0:{head}" for head in range(heads)]},
    )


def test_means_are_over_heads_pairs_and_both_circuits():
    three = circuits(3)
    pairs = [("0:1", "0:0"), ("0:2", "0:0"), ("0:2", "0:1")]
    by_hand = np.mean(
        [
            float(structure.head_overlap(three[name].isel(checkpoint=1).sel(head=a), three[name].isel(checkpoint=1).sel(
                head=b), dims)) for a, b in pairs for name, dims in structure.CIRCUIT_DIMS.items()
        ]
    )  # fmt: skip
    assert float(structure.mean_overlap(three).isel(checkpoint=1)) == pytest.approx(by_hand)
    alone = [
        float(structure.translational_symmetry(three[name].isel(checkpoint=0, head=head), dims))
        for name, dims in structure.CIRCUIT_DIMS.items()
        for head in range(3)
    ]
    assert float(structure.mean_symmetry(three).isel(checkpoint=0)) == pytest.approx(np.mean(alone))
    assert (structure.summed(partial(structure.matrix_rank, tolerance=1e-9), three) == 6 * 12).all()


def test_one_head_has_no_overlap():
    assert structure.mean_overlap(circuits(1)).isnull().all() and structure.mean_overlap(circuits(1)).dims == (
        "checkpoint",
    )


@pytest.mark.parametrize("measure", [structure.matrix_rank, structure.participation_ratio])
def test_a_matrix_that_is_not_finite_has_no_rank(measure):
    stack = xr.concat([noise(), noise() * np.inf], "checkpoint")
    found = measure(stack, DIMS).values
    assert found[0] == measure(noise(), DIMS) and np.isnan(found[1])


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_a_tolerance_is_a_share_of_the_largest(tolerance):
    with pytest.raises(OntogenyError, match=rf"tolerance must be a share .*, 0 to 1; got {tolerance}"):
        structure.matrix_rank(noise(), DIMS, tolerance)
