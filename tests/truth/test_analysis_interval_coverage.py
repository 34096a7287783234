"""Coverage of the nominal 95 % intervals over few seeds: between 90 and 99 %, the tolerance fixed beforehand.

An interval that covers 95 % is found outside those limits less than once in 10,000 times with 400 repetitions, and less
than once in 300 with 200.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.explained import explained_by_trend
from ontogeny.analysis.factors import factor_analysis
from ontogeny.analysis.intervals import bootstrap_t_interval, difference_interval, ratio_interval, t_interval
from ontogeny.analysis.variance import variance_components

REPETITIONS = 400
SEEDS = (5, 10, 20)
DRAWS = {
    "normal": lambda rng, n: rng.normal(4, 2, size=n),
    "gamma": lambda rng, n: rng.gamma(4, size=n),  # shape 4: skewness 1
}
MEAN = 4.0
LOWEST, HIGHEST = 0.90, 0.99


def covers(interval, truth):
    return interval.low <= truth <= interval.high


def labelled(values, dims):
    coords = {d: np.arange(n) for d, n in zip(dims, values.shape, strict=True) if d != "checkpoint"}
    step = ("checkpoint", np.arange(values.shape[-1]) * 100.0)
    return xr.DataArray(values, dims=dims, coords={**coords, "step": step})


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("shape", DRAWS)
def test_means_differences_and_ratios_are_covered(shape, n):
    rng = np.random.default_rng([n, len(shape)])
    hits = np.zeros(5)
    for _ in range(REPETITIONS):
        x, y = DRAWS[shape](rng, n), DRAWS[shape](rng, n)
        hits += [
            covers(t_interval(x), MEAN),
            covers(bootstrap_t_interval(x, resamples=1000), MEAN),
            covers(difference_interval(3 * x, y), 2 * MEAN),  # unequal spreads
            covers(ratio_interval(3 * x, y), 3),
            covers(difference_interval(3 * x, DRAWS[shape](rng, 2 * n)), 2 * MEAN),
        ]
    assert (hits >= LOWEST * REPETITIONS).all() and (hits <= HIGHEST * REPETITIONS).all(), hits / REPETITIONS


def test_the_percentile_bootstrap_would_fail():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(REPETITIONS):
        x = DRAWS["normal"](rng, 5)
        low, high = np.quantile(x[rng.integers(5, size=(1000, 5))].mean(1), [0.025, 0.975])
        hits += low <= MEAN <= high
    assert hits < LOWEST * REPETITIONS


def components(values, se):
    dims = ("sparsity", "seed", "checkpoint")
    return variance_components(labelled(values, dims), labelled(se, dims))


@pytest.mark.parametrize("n", SEEDS)
def test_variance_components_are_covered_for_these_groups_and_checkpoints(n, groups=4, checkpoints=8):
    rng = np.random.default_rng(n)
    fixed = (
        np.array([-1.2, -0.4, 0.3, 1.3])[:, None, None]
        + 0.8 * rng.normal(size=checkpoints)
        + 0.6 * rng.normal(size=(groups, 1, checkpoints))
    )
    shape = (groups, n, checkpoints)
    se = np.broadcast_to(0.3 * rng.uniform(0.5, 1.5, size=(groups, 1, checkpoints)), shape)
    random = np.array([0, 0, 0, 0.25, 0.16, (se**2).mean()])
    truth = random + components(np.broadcast_to(fixed, shape), 0 * se).variance.values
    share = truth / truth.sum()
    hits, of_shares = np.zeros(6), np.zeros(6)
    repetitions = REPETITIONS // 2
    for _ in range(repetitions):
        scatter = 0.5 * rng.normal(size=(groups, n, 1)) + 0.4 * rng.normal(size=shape) + se * rng.normal(size=shape)
        found = components(fixed + scatter, se)
        hits += (found.low.values <= truth + 1e-12) & (truth <= found.high.values + 1e-12)
        of_shares += (found.share_low.values <= share) & (share <= found.share_high.values)
    for some in (hits[:5], of_shares):  # the sampler's variance itself is known here
        assert (some >= LOWEST * repetitions).all() and (some <= HIGHEST * repetitions).all(), some / repetitions
    assert hits[5] == repetitions


@pytest.mark.parametrize("n", SEEDS)
def test_mean_shares_explained_are_covered(n, points=20):
    """A trend common to all seeds, its size their own, in noise; the truth is the mean of all repetitions."""
    rng = np.random.default_rng(n)
    trend = np.linspace(-1, 1, points)

    def shares():
        slopes = rng.gamma(16, 1 / 16, size=(n, 1))
        llc = labelled(2 * slopes * trend + rng.normal(size=(n, points)), ("seed", "checkpoint"))
        return explained_by_trend(llc, labelled(trend + rng.normal(size=(n, points)), ("seed", "checkpoint")))

    tables = [shares() for _ in range(REPETITIONS // 2)]
    for mean, low, high in (("mean", "low", "high"), ("across_mean", "across_low", "across_high")):
        truth = np.mean([table[mean].values for table in tables], axis=0)
        hits = sum((table[low].values <= truth) & (truth <= table[high].values) for table in tables)
        assert (hits >= LOWEST * len(tables)).all() and (hits <= HIGHEST * len(tables)).all(), hits / len(tables)


def loadings_covered(n, repetitions, points=10):
    """Share of the repetitions in which each of four loadings on one factor is covered."""
    rng = np.random.default_rng(n)
    loading = np.array([0.85, 0.8, 0.75, 0.7])
    hits = np.zeros(4)
    for _ in range(repetitions):
        # a fifth of the variance is the unit's own level, so that its points are not independent
        series = np.sqrt(0.2) * rng.normal(size=(5, n, 1)) + np.sqrt(0.8) * rng.normal(size=(5, n, points))
        values = loading[:, None, None] * series[0] + np.sqrt(1 - loading**2)[:, None, None] * series[1:]
        indicators = {f"x{k}": labelled(v, ("seed", "checkpoint")) for k, v in enumerate(values)}
        found = factor_analysis(indicators, factors=1, resamples=20)
        hits += (found.loading_low.values[:, 0] <= loading) & (loading <= found.loading_high.values[:, 0])
    return hits / repetitions


@pytest.fixture
def without_null(monkeypatch):
    """The number of factors is given here, so that the null draws are not needed."""
    monkeypatch.setattr("ontogeny.analysis.factors.NULL_DRAWS", 2)


def test_loadings_are_covered(without_null):
    covered = loadings_covered(10, REPETITIONS // 2)
    assert (covered >= LOWEST).all() and (covered <= HIGHEST).all(), covered


@pytest.mark.slow
@pytest.mark.parametrize("n", SEEDS)
def test_loadings_are_covered_with_few_and_many_units(without_null, n):
    covered = loadings_covered(n, 250)
    assert (covered >= LOWEST).all() and (covered <= HIGHEST).all(), covered
