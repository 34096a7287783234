"""The paired difference of two areas under the curve: its interval holds its level, and knows what both share."""

import numpy as np
import pytest
from scipy.stats import norm

import ontogeny as og
from ontogeny.analysis import area_difference, separation
from ontogeny.core.rng import numpy_generator

RUNS, LEVEL = 200, 0.95


def members(stream, n, shift, shared):
    """Two numbers of n members of a class, of which so large a share of the variance is common."""
    common = stream.normal(size=n)
    own = stream.normal(size=(2, n))
    return [gap + np.sqrt(shared) * common + np.sqrt(1 - shared) * part for gap, part in zip(shift, own, strict=True)]


@pytest.mark.parametrize(
    ("n", "shift", "shared"), [(20, (1.0, 1.0), 0.8), (20, (1.5, 0.5), 0.0), (60, (1.0, 0.0), 0.5)]
)
def test_coverage(n, shift, shared):
    """Of normal numbers AUC is Φ(shift/√2); 95 % less four binomial errors of 200 runs, and two for 20 members."""
    true = float(norm.cdf(shift[0] / 2**0.5) - norm.cdf(shift[1] / 2**0.5))
    inside = 0
    for run in range(RUNS):
        stream = numpy_generator(run, "coverage of an area", n, *shift)
        first, second = members(stream, n, shift, shared), members(stream, n, (0.0, 0.0), shared)
        found = area_difference((first[0], second[0]), (first[1], second[1]))
        inside += found.low <= true <= found.high
    assert inside / RUNS > LEVEL - 6 * np.sqrt(LEVEL * (1 - LEVEL) / RUNS)


def test_it_is_the_difference_of_the_areas_and_nothing_where_both_are_one():
    stream = numpy_generator(0, "areas")
    a, b, c, d = (stream.normal(size=n).round(1) for n in (12, 15, 12, 15))
    found = area_difference((a + 1, b), (c, d))
    assert found.difference == pytest.approx(separation(a + 1, b).auc - separation(c, d).auc)
    assert area_difference((a, b), (a * 2, b * 2)) == (0.0, 0.0, 0.0), "the same order"


def test_what_is_shared_narrows_the_interval():
    stream = numpy_generator(1, "areas")
    widths = []
    for shared in (0.0, 0.9):
        first, second = members(stream, 40, (1.0, 1.0), shared), members(stream, 40, (0.0, 0.0), shared)
        found = area_difference((first[0], second[0]), (first[1], second[1]))
        widths.append(found.high - found.low)
    assert widths[1] < 0.6 * widths[0]


def test_other_members_are_refused():
    with pytest.raises(
        og.OntogenyError, match=r"^first and second must be of the same members; got classes of \(2, 3\)"
    ):
        area_difference(([1, 2], [1, 2, 3]), ([1, 2, 3], [1, 2, 3]))
    with pytest.raises(og.OntogenyError, match=r"^second\[0\] must hold at least two finite values"):
        area_difference(([1, 2], [1, 2]), ([1, float("nan")], [1, 2]))
