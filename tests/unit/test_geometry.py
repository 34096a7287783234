"""Geometry of feature vectors against configurations whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.metrics.geometry import (
    closest_polygon,
    cosine_similarity,
    effective_rank,
    feature_norm,
    features_represented,
)

FEATURES = 6


def weights(*columns):
    """W with dims (hidden, feature) from the feature vectors given; the others are zero."""
    out = np.zeros((2, FEATURES))
    for i, column in enumerate(columns):
        out[:, i] = column
    return xr.DataArray(out, dims=("hidden", "feature"))


def polygon(corners, length=1.0, turned=0.3):
    angles = turned + 2 * np.pi * np.arange(corners) / corners
    return weights(*length * np.stack([np.cos(angles), np.sin(angles)], 1))


def turn(matrix, angle):
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return matrix.copy(data=rotation @ matrix.values)


@pytest.mark.parametrize("length", [0.1, 1.0, 30.0])
def test_an_antipodal_pair_and_a_single_feature_have_rank_nine_fifths(length):
    matrix = weights((length, 0), (-length, 0), (0, length))
    assert float(effective_rank(matrix)) == pytest.approx(9 / 5, abs=1e-14)
    assert float(effective_rank(turn(matrix, 0.7))) == pytest.approx(9 / 5, abs=1e-14)


@pytest.mark.parametrize("corners", [3, 4, 5, 6])
def test_a_regular_polygon_has_rank_two(corners):
    assert float(effective_rank(polygon(corners))) == pytest.approx(2.0, abs=1e-13)


def test_vectors_on_a_line_have_rank_one_and_two_at_right_angles_have_two():
    assert float(effective_rank(weights((1, 0), (-1, 0)))) == pytest.approx(1.0, abs=1e-14)
    assert float(effective_rank(weights((3, 4)))) == pytest.approx(1.0, abs=1e-14)
    assert float(effective_rank(weights((0, 1), (1, 0)))) == pytest.approx(2.0, abs=1e-14)


def test_nothing_has_no_rank():
    assert np.isnan(effective_rank(weights()))


def test_rank_keeps_other_dims_and_takes_float32():
    several = xr.concat([polygon(4), weights((1, 0), (-1, 0), (0, 1))], "seed").astype("float32")
    found = effective_rank(several.transpose("feature", "seed", "hidden"))
    assert found.dims == ("seed",) and found.dtype == np.float64
    np.testing.assert_allclose(found, [2.0, 9 / 5], atol=1e-6)


def test_norms_and_how_many_features_are_represented():
    matrix = weights((3, 4), (0, 0.5), (0.51, 0), (0, -1))
    norms = feature_norm(matrix)
    np.testing.assert_allclose(norms, [5, 0.5, 0.51, 1, 0, 0], atol=1e-15)
    assert int(features_represented(norms)) == 4  # 0.5 itself counts


def test_cosines():
    matrix = weights((2, 0), (-5, 0), (0, 3), (1, 1))
    found = cosine_similarity(matrix)
    assert set(found.dims) == {"feature", "other_feature"} and dict(found.sizes)["other_feature"] == FEATURES
    found = found.transpose("feature", "other_feature").values
    half = 0.5**0.5
    exact = [[1, -1, 0, half], [-1, 1, 0, -half], [0, 0, 1, half], [half, -half, half, 1]]
    np.testing.assert_allclose(found[:4, :4], exact, atol=1e-14)
    assert np.isnan(found[4:]).all() and np.isnan(found[:, 4:]).all()  # a zero vector has no direction


@pytest.mark.parametrize("corners", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("order", [range(6), [3, 0, 5, 2, 4, 1]], ids=["sorted", "shuffled"])
def test_a_polygon_is_recognised(corners, order):
    found = closest_polygon(polygon(corners, 1.3).isel(feature=list(order)))
    assert int(found.polygon) == corners and int(found.features_near_zero) == FEATURES - corners
    assert float(found.polygon_distance) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("corners", [2, 3, 4, 5, 6])
def test_a_polygon_with_noise_is_recognised_wherever_it_lies(corners):
    rng = np.random.default_rng(corners)
    for turned in rng.uniform(-np.pi, np.pi, 5):
        matrix = polygon(corners, turned=turned) + 0.03 * rng.normal(size=(2, FEATURES))
        found = closest_polygon(matrix)
        assert int(found.polygon) == corners
        assert 0.01 < float(found.polygon_distance) < 0.15


def test_the_distance_is_relative_and_scales_out():
    matrix = polygon(5) + 0.05 * np.random.default_rng(0).normal(size=(2, FEATURES))
    first, scaled = closest_polygon(matrix), closest_polygon(turn(10 * matrix, 1.0))
    assert float(first.polygon_distance) == pytest.approx(float(scaled.polygon_distance), rel=1e-9)
    # by hand: an antipodal pair of lengths 1 and 0.8 is 0.9 ± 0.1 away from the pair of length 0.9
    uneven = closest_polygon(weights((1, 0), (-0.8, 0)))
    assert int(uneven.polygon) == 2
    assert float(uneven.polygon_distance) == pytest.approx((2 * 0.1**2 / 1.64) ** 0.5, rel=1e-9)


def test_polygons_keep_other_dims():
    several = xr.concat([polygon(4), polygon(5)], "checkpoint").expand_dims(seed=[3])
    found = closest_polygon(several)
    assert found.polygon.dims == ("seed", "checkpoint") and found.polygon.values.tolist() == [[4, 5]]
