"""Intervals over few seeds: what they are by hand, where they fall back, and that order and unit do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from ontogeny.analysis.intervals import (
    bootstrap_t_interval,
    count_interval,
    difference_interval,
    ratio_interval,
    t_interval,
)
from ontogeny.core.errors import OntogenyError

SKEWED = np.random.default_rng(0).gamma(1, size=12)


def test_bootstrap_t_is_its_formula_over_all_resamples():
    """Over all 5⁵ resamples of five values, the quantiles are known without a random number."""
    x = np.array([0.3, 1.0, 1.4, 2.9, 6.0])
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 5), -1).reshape(-1, 5)
    drawn = x[grid]
    varied = np.ptp(drawn, axis=1) > 0
    studentised = (drawn.mean(1) - x.mean())[varied] / (drawn.std(1, ddof=1)[varied] / math.sqrt(5))
    extremes = np.array([-np.inf, -np.inf, np.inf, np.inf, -np.inf])  # the five of equal values; 1.4 is below the mean
    q = np.quantile(np.append(studentised, extremes), [0.025, 0.975], method="inverted_cdf")
    se = x.std(ddof=1) / math.sqrt(5)
    found = bootstrap_t_interval(x, resamples=200_000)
    np.testing.assert_allclose([found.low, found.high], x.mean() - q[::-1] * se, rtol=0.03)
    assert found[:2] == t_interval(x)[:2] and found.n == 5


def test_bootstrap_t_follows_the_skewness():
    found, plain = bootstrap_t_interval(SKEWED), t_interval(SKEWED)
    assert found.high - found.mean > 1.2 * (found.mean - found.low)
    assert found.high > plain.high and found.low > plain.low
    mirrored = bootstrap_t_interval(-SKEWED)
    np.testing.assert_allclose([-mirrored.high, -mirrored.low], [found.low, found.high], rtol=0.1)


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 3.0, 9.0], [0, 0, 0, 0, 0, 0, 0, 1.0], [5.0, 5.0, 5.0, 5.0, 5.0], [2.0], []]
)
def test_where_resamples_say_nothing_it_is_student_s(values):
    np.testing.assert_equal(bootstrap_t_interval(values), t_interval(values))


def test_equal_values_that_rounding_spreads_do_not_count_as_spread():
    found = bootstrap_t_interval(np.array([0.1, 0.1, 0.1, 0.2, 0.3, 0.7]) + 1e3, resamples=2000)
    assert np.isfinite(found).all() and found.high - found.low < 10 * t_interval([0.1, 0.1, 0.1, 0.2, 0.3, 0.7]).sd


def test_order_and_lost_values_do_not_matter_and_the_seed_does():
    found = bootstrap_t_interval(SKEWED)
    np.testing.assert_allclose(bootstrap_t_interval([*SKEWED[::-1], np.nan, np.inf]), found, rtol=1e-12)
    assert bootstrap_t_interval(SKEWED, seed=1) != found
    assert bootstrap_t_interval(SKEWED, level=0.8).high < found.high


def test_the_unit_goes_through():
    found, scaled = bootstrap_t_interval(SKEWED), bootstrap_t_interval(1e6 * SKEWED + 3e6)
    np.testing.assert_allclose([scaled.low, scaled.high], 1e6 * np.array([found.low, found.high]) + 3e6)


def test_difference_is_welch_s():
    rng = np.random.default_rng(1)
    x, y = rng.normal(2, 3, size=7), rng.normal(size=12)
    found, expected = difference_interval(x, [*y, np.nan]), ttest_ind(x, y, equal_var=False)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [interval.low, interval.high])
    assert found.degrees_of_freedom == pytest.approx(expected.df)
    assert found.difference / found.se == pytest.approx(expected.statistic)


def test_the_ends_of_the_ratio_are_where_the_test_just_rejects():
    rng = np.random.default_rng(2)
    x, y = rng.normal(6, 2, size=8), rng.normal(3, 1, size=15)
    found = ratio_interval(x, y)
    assert found.bounded and found.low < found.ratio == x.mean() / y.mean() < found.high
    v_x, v_y = x.var(ddof=1) / 8, y.var(ddof=1) / 15
    a, b = v_x, found.ratio**2 * v_y
    limit = t.ppf(0.975, (a + b) ** 2 / (a**2 / 7 + b**2 / 14))
    for end in (found.low, found.high):
        assert abs(x.mean() - end * y.mean()) / math.sqrt(v_x + end**2 * v_y) == pytest.approx(limit)


def test_a_denominator_around_zero_bounds_nothing_and_says_so():
    assert ratio_interval([3.0, 3.1, 2.9], [-1.0, 1.0, 0.1])[1:] == (-math.inf, math.inf, False)
    at_zero = ratio_interval([3.0, 3.1, 2.9], [-1.0, 1.0])
    assert math.isnan(at_zero.ratio) and at_zero[1:] == (-math.inf, math.inf, False)


def test_too_few_values_give_nan_and_constants_no_width():
    assert np.isnan(ratio_interval([1.0], [1.0, 2.0])[1:3]).all() and not ratio_interval([1.0], [1.0, 2.0]).bounded
    assert np.isnan(difference_interval([1.0, np.nan], [1.0, 2.0])[1:]).all()
    assert ratio_interval([6.0, 6.0], [2.0, 2.0]) == (3.0, 3.0, 3.0, True)
    assert difference_interval([6.0, 6.0], [2.0, 2.0])[:4] == (4.0, 0.0, 4.0, 4.0)


def test_errors_name_the_argument():
    for interval in (bootstrap_t_interval, t_interval):
        with pytest.raises(OntogenyError, match=r"level must lie between 0 and 1; got 95: 0.95 is usual"):
            interval([1.0, 2.0], level=95)
    for interval in (ratio_interval, difference_interval):
        with pytest.raises(OntogenyError, match="level must lie between 0 and 1; got 0"):
            interval([1.0, 2.0], [1.0, 2.0], level=0)
    with pytest.raises(OntogenyError, match="resamples must be at least 100; got 5"):
        bootstrap_t_interval([1.0, 2.0], resamples=5)


def test_no_counts_at_all_leave_an_upper_limit():
    none = count_interval([0] * 20)
    assert (none.mean, none.low) == (0.0, 0.0) and none.high == pytest.approx(3.689 / 20, abs=1e-3)
    assert np.exp(-20 * none.high) == pytest.approx(0.025)  # so seldom would such a rate show nothing
    some = count_interval([0, 1, 0, 0])
    assert some.low == 0.0 and some.high == t_interval([0, 1, 0, 0]).high
