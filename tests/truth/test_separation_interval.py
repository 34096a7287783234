"""The interval of δ holds its level for normal classes; the tolerance, four binomial errors, was fixed beforehand."""

import numpy as np
import pytest
from scipy.stats import norm

from ontogeny.analysis import separation
from ontogeny.core.rng import numpy_generator

RUNS, LEVEL, LOWEST = 80, 0.95, 0.91


@pytest.mark.parametrize(("n", "gap"), [(20, 0.0), (20, 1.5), (20, 3.0), (20, 5.0), (60, 2.0)])
def test_coverage(n, gap):
    """91 % of a nominal 95 are asked for, since the smoothing width is a rule of thumb, less four errors of 80 runs."""
    true = 0.5 * (1 - (2 * norm.cdf(gap / 2) - 1))
    inside = 0
    for run in range(RUNS):
        stream = numpy_generator(run, "coverage of delta", n, gap)
        found = separation(stream.normal(gap, 1.0, n), stream.normal(size=n), resamples=200, seed=run)
        inside += found.delta_low - 1e-12 <= true <= found.delta_high + 1e-12
    assert inside / RUNS > LOWEST - 4 * np.sqrt(LOWEST * (1 - LOWEST) / RUNS)
    print(n, gap, inside / RUNS)
