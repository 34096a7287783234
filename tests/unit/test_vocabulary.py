"""Regions, anti-states and triangles of circuits made by hand."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.metrics import vocabulary

TOKENS = 12
DIMS = ("head", "source", "output")


def copying(*owned):
    """A head each: 1 on the diagonal at its tokens, 0 elsewhere."""
    values = np.zeros((len(owned), TOKENS, TOKENS))
    for head, tokens in enumerate(owned):
        values[head, tokens, tokens] = 1.0
    return xr.DataArray(values, dims=DIMS, coords={"head": [f"0:{h}" for h in range(len(owned))], "source": range(12)})


def test_regions_are_counted_by_head_and_single_tokens_are_none():
    ov = copying([0, 1, 2, 6, 7, 11], [3, 4, 5, 8, 9, 10])
    assert vocabulary.owners(ov).values.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    assert vocabulary.regions(ov).values.tolist() == [2, 2]
    assert vocabulary.regions(copying(range(12))).values.tolist() == [1]


def test_circuits_that_are_not_finite_have_no_regions():
    good = copying([0, 1, 2], [3, 4, 5, 8, 9])
    found = vocabulary.regions(xr.concat([good, good.where(good == 0)], "checkpoint"))
    np.testing.assert_array_equal(found, [[1, 2], [np.nan, np.nan]])


def test_tokens_that_nobody_copies_belong_to_nobody():
    ov = copying([0, 1, 2], [8, 9])
    assert vocabulary.owners(ov).values.tolist() == [0, 0, 0, -1, -1, -1, -1, -1, 1, 1, -1, -1]
    assert vocabulary.regions(ov).values.tolist() == [1, 1]


def test_other_dims_stay():
    ov = xr.concat([copying(range(6), range(6, 12)), copying(range(12), [])], "checkpoint")
    found = vocabulary.regions(ov)
    assert found.dims == ("checkpoint", "head") and found.values.tolist() == [[1, 1], [1, 0]]


def test_an_anti_state_is_told_by_its_cosine():
    ov = copying(range(6), range(6, 12), range(12))
    ov[2] *= -0.3
    found = vocabulary.opposition(ov)
    assert float(found.sel(head="0:2")) == pytest.approx(-1.0) and float(found.sel(head="0:0")) > -0.5
    assert int(vocabulary.anti_states(ov)) == 1
    assert vocabulary.opposition(copying(range(12))).isnull().all()
    assert int(vocabulary.anti_states(copying(range(6), range(6, 12)))) == 0


def test_crystallization_is_the_share_inside_the_triangles():
    ov = copying(range(6), range(6, 12))
    owned = vocabulary.owners(ov)
    inside = np.zeros((2, TOKENS, TOKENS))
    for head, (first, last) in enumerate([(0, 6), (6, 12)]):
        for i in range(first, last):
            inside[head, i, i + 1 : last] = 1.0
    qk = xr.DataArray(inside, dims=("head", "destination", "source"))
    assert float(vocabulary.crystallization(qk, owned)) == pytest.approx(1.0)
    everywhere = xr.DataArray(
        np.broadcast_to(np.triu(np.ones((TOKENS, TOKENS)), 1), (2, TOKENS, TOKENS)),
        dims=("head", "destination", "source"),
    )
    # each row less its mean: row i has 11 - i entries of (i + 1)/12 above the diagonal
    mass = np.array([(i + 1) / 12 for i in range(TOKENS)])
    total = sum(mass[i] * (11 - i) for i in range(TOKENS))
    first = sum(mass[i] * (5 - i) for i in range(6)) / total
    second = sum(mass[i] * (11 - i) for i in range(6, 12)) / total
    assert float(vocabulary.crystallization(everywhere, owned)) == pytest.approx((first + second) / 2)


def test_crystallization_by_chance_is_that_of_noise():
    """Two triangles of 15 of the 66 entries above the diagonal; noise within four standard errors of that."""
    owned = vocabulary.owners(copying(range(6), range(6, 12)))
    chance = vocabulary.crystallization_by_chance(owned)
    assert chance == pytest.approx(15 / 66)
    noise = np.random.default_rng(0).standard_normal((2000, 2, TOKENS, TOKENS))
    qk = xr.DataArray(noise, dims=("sample", "head", "destination", "source"))
    found = vocabulary.crystallization(qk, owned)
    assert abs(float(found.mean()) - chance) < 4 * float(found.std()) / 2000**0.5
    assert np.isnan(vocabulary.crystallization_by_chance(owned.where(False, -1)))
