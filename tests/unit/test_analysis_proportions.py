"""Exact binomial intervals against published values and their coverage; t intervals against the table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.intervals import t_interval
from ontogeny.analysis.proportions import class_fractions, clopper_pearson
from ontogeny.core.errors import OntogenyError


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (5, 20, 0.08657, 0.49105),  # the standard tables' values
        (4, 20, 0.05733, 0.43661),
        (81, 263, 0.2527, 0.3676),  # Newcombe 1998, table I, method 5
        (15, 148, 0.0578, 0.1617),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_clopper_pearson_against_known_values(k, n, low, high):
    np.testing.assert_allclose(clopper_pearson(k, n), (low, high), atol=6e-5)


def test_clopper_pearson_at_the_ends_is_the_rule_of_the_tail():
    np.testing.assert_allclose(clopper_pearson(0, 20), (0.0, 1 - 0.025 ** (1 / 20)))
    np.testing.assert_allclose(clopper_pearson(20, 20), (0.025 ** (1 / 20), 1.0))


def test_clopper_pearson_covers_at_least_its_level():
    from scipy.stats import binom

    n = 20
    bounds = np.array([clopper_pearson(k, n) for k in range(n + 1)])
    for p in np.linspace(0.01, 0.99, 50):
        inside = (bounds[:, 0] <= p) & (p <= bounds[:, 1])
        assert binom.pmf(np.flatnonzero(inside), n, p).sum() >= 0.95


def test_class_fractions_count_every_seed_once():
    kinds = xr.DataArray(["a", "b", "a", "a"], dims="seed")
    result = class_fractions(kinds, ("a", "b", "c"))
    assert result["count"].values.tolist() == [3, 1, 0] and result.fraction.values.tolist() == [0.75, 0.25, 0.0]
    np.testing.assert_allclose((result.low[0], result.high[0]), clopper_pearson(3, 4))
    assert result.attrs == {"seeds": 4, "level": 0.95}


def test_t_interval_against_the_table():
    mean, se, low, high, sd, n = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (mean, n) == (3.0, 5) and sd == pytest.approx(math.sqrt(2.5)) and se == pytest.approx(math.sqrt(0.5))
    np.testing.assert_allclose((low, high), 3 + np.array([-1, 1]) * 2.7764451 * math.sqrt(0.5))


def test_t_interval_of_one_or_no_value_has_no_error():
    one, none = t_interval([2.0, np.nan]), t_interval([])
    assert one.mean == 2.0 and one.n == 1 and math.isnan(one.se) and math.isnan(none.mean) and none.n == 0


def test_errors_name_the_argument():
    with pytest.raises(
        OntogenyError, match="successes must lie between 0 and trials, and trials be at least 1; got 3 of 2"
    ):
        clopper_pearson(3, 2)
    with pytest.raises(OntogenyError, match="level must lie between 0 and 1; got 95"):
        clopper_pearson(1, 2, level=95)
    with pytest.raises(OntogenyError, match="level must lie between 0 and 1; got 95"):
        t_interval([1.0], level=95)
    with pytest.raises(OntogenyError, match=r"classes must each be one of \('a',\); got \['b'\]"):
        class_fractions(xr.DataArray(["b"], dims="seed"), ("a",))
    with pytest.raises(OntogenyError, match="classes must have the one dim"):
        class_fractions(xr.DataArray([], dims="seed"), ("a",))
