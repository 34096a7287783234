"""δ, the area under the curve and correlations, against formulas."""

import math

import numpy as np
import pytest

import ontogeny as og
from ontogeny.analysis import below_medians, correlation, separation
from ontogeny.core.rng import numpy_generator


def test_delta_is_the_share_that_the_best_threshold_gets_wrong():
    first, second = np.array([1.0, 3.0, 5.0, 6.0, 7.0]), np.array([0.0, 1.0, 2.0, 3.0])
    found = separation(first, second, resamples=100)
    every = [0.5 * ((first <= cut).mean() + (second > cut).mean()) for cut in np.concatenate([[-1.0], first, second])]
    assert math.isclose(found.delta, min(min(every), 1 - max(every)))
    assert 0.5 * ((first <= found.threshold).mean() + (second > found.threshold).mean()) == pytest.approx(found.delta)
    assert found.delta_low <= found.delta <= found.delta_high <= 0.5


def test_which_class_is_higher_does_not_matter_to_delta_and_turns_the_area():
    stream = numpy_generator(0, "separation test")
    one, other = stream.normal(size=30), stream.normal(1.0, 1.0, 40)
    there, back = separation(one, other, resamples=100), separation(other, one, resamples=100)
    assert there.delta == pytest.approx(back.delta) and there.auc == pytest.approx(1 - back.auc)
    pairs = (one[:, None] > other).mean()
    assert there.auc == pytest.approx(pairs) and there.auc_low < there.auc < there.auc_high


def test_classes_apart_have_no_error_but_an_interval():
    found = separation(np.arange(10.0) + 100, np.arange(10.0), resamples=100)
    assert (found.delta, found.auc) == (0.0, 1.0) and found.threshold == pytest.approx(54.5)
    assert 0.1 < found.delta_high < 0.2 and 0.7 < found.auc_low < 1.0  # 0 of 20: 1 - 0.025^(1/20) = 0.17


def test_two_samples_of_one_law_may_be_told_by_nothing():
    stream = numpy_generator(3, "one law")
    found = separation(stream.normal(size=20), stream.normal(size=20), resamples=200)
    assert found.delta_high == 0.5 and found.auc_low < 0.5 < found.auc_high


def test_many_equal_values_and_one_far_away_leave_the_interval_where_it_is():
    """Sparsity near 1 is a tie in most random directions; a KL may lie thousands of widths away."""
    first = np.concatenate([np.full(30, 1.0), np.linspace(0.0, 0.9, 10)])
    second = np.full(40, 1.0)
    found = separation(first, second, resamples=400)
    assert found.delta == pytest.approx(0.375) and not found.first_above
    assert found.delta_low == pytest.approx(0.29, abs=0.03)  # 10 of 40: 0.25 ± 0.13, half of it from a half
    assert separation(second, first, resamples=400).delta_low == pytest.approx(found.delta_low, abs=0.01)
    stream = numpy_generator(0, "far")
    near, other = stream.normal(size=40), stream.normal(3.0, 1.0, 40)
    plain = separation(near, other, resamples=400)
    far = separation(near, np.append(other[:-1], 1e6), resamples=400)
    assert far.delta_high == pytest.approx(plain.delta_high, abs=0.05) and far.delta_high < 0.25
    assert plain.first_above is False and separation(other, near, resamples=100).first_above is True


def test_correlation_has_fishers_interval():
    stream = numpy_generator(0, "correlation")
    x = stream.normal(size=50)
    y = x + stream.normal(size=50)
    found = correlation(x, y)
    assert found.r == pytest.approx(np.corrcoef(x, y)[0, 1]) and found.n == 50
    assert math.atanh(found.high) - math.atanh(found.low) == pytest.approx(2 * 1.959964 / 47**0.5, rel=1e-5)
    assert math.isnan(correlation([1, 2, np.nan, 3], [1, 2, 3, 4]).r) and math.isnan(correlation([1] * 5, x[:5]).r)


def test_below_both_medians():
    assert below_medians([1, 2, 3, 4], [4, 1, 2, 3]).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: separation([1.0, np.nan], [1.0, 2.0]), "first must hold at least two finite values; got 2, 1 of them"),
        (lambda: separation([1.0, 2.0], [1.0]), "second must hold at least two finite values; got 1"),
        (lambda: separation([1.0, 2.0], [1.0, 2.0], resamples=3), "resamples must be .* at least 100; got 3"),
        (lambda: separation([1.0, 2.0], [1.0, 2.0], level=2), "level must lie between 0 and 1; got 2"),
        (lambda: correlation([1.0], [1.0, 2.0]), "x and y must be pairs, of one length; got 1 and 2"),
    ],
)
def test_wrong_arguments(call, text):
    with pytest.raises(og.OntogenyError, match=text):
        call()
