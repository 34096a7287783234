"""What must not change an analysis: a constant added to the LLC, the order of seeds or dims, the unit of the LLC."""

from __future__ import annotations

import numpy as np
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis import (
    CLASSES,
    CutSettings,
    associations,
    classify_trajectories,
    clopper_pearson,
    cut_point_test,
    fit_sigmoids,
    sigmoid,
)

STEP = np.linspace(0.0, 6000.0, 61)
QUICK = CutSettings(permutations=199, cuts=60)
few = settings(max_examples=15, deadline=None, derandomize=True)


def measured(seed, n=6):
    rng = np.random.default_rng(seed)
    coords = {"seed": np.arange(n) * 3 + 1, "step": ("checkpoint", STEP)}
    llc = np.log1p(STEP / 500) + rng.normal(size=(n, len(STEP)))
    jumps = rng.uniform(500, 5500, n)
    jumps[0] = np.nan
    return (
        xr.DataArray(llc, dims=("seed", "checkpoint"), coords=coords),
        xr.DataArray(jumps, dims="seed", coords={"seed": coords["seed"]}),
    )


def run_test(llc, jumps):
    return cut_point_test(llc, jumps, rng=np.random.default_rng(0), llc_se=0.1 + 0 * llc, settings=QUICK)


@few
@given(seed=st.integers(0, 10**6), shift=st.floats(-1e3, 1e3))
def test_a_constant_added_to_the_llc_changes_no_difference_and_no_p(seed, shift):
    llc, jumps = measured(seed)
    before, after = run_test(llc, jumps), run_test(llc + shift, jumps)
    for name in ("difference", "p_value", "p_two_sided", "cohen_d", "sampler_share", "detectable_difference"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-8)


@few
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_the_unit_of_the_llc_changes_no_p_and_no_effect_size(seed, scale):
    llc, jumps = measured(seed)
    before, after = run_test(llc, jumps), run_test(llc * scale, jumps)
    for name in ("z", "p_value", "cohen_d", "detectable_z"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(after.difference, scale * before.difference, rtol=1e-6, atol=1e-8 * scale)


@few
@given(seed=st.integers(0, 10**6), order=st.permutations(range(6)))
def test_the_order_of_seeds_and_dims_changes_nothing(seed, order):
    llc, jumps = measured(seed)
    xr.testing.assert_identical(run_test(llc, jumps), run_test(llc.isel(seed=order), jumps.isel(seed=order)))
    xr.testing.assert_identical(run_test(llc, jumps), run_test(llc.transpose(), jumps.isel(seed=order)))
    loss = llc**2
    first = associations(llc, {"loss": loss})
    second = associations(llc.isel(seed=order), {"loss": loss.isel(seed=order)}).sel(seed=first.seed)
    np.testing.assert_allclose(second.rho, first.rho)
    np.testing.assert_allclose(second.mean_rho, first.mean_rho)


@few
@given(seed=st.integers(0, 10**6))
def test_seeds_that_do_not_jump_do_not_matter(seed):
    llc, jumps = measured(seed)
    kept = np.isfinite(jumps.values)
    xr.testing.assert_identical(run_test(llc, jumps), run_test(llc.isel(seed=kept), jumps.isel(seed=kept)))


@few
@given(
    t0=st.floats(1000, 5000),
    width=st.floats(60, 300),
    lo=st.floats(1.2, 1.8),
    height=st.floats(0.12, 0.7),
    stretch=st.floats(0.1, 10),
)
def test_the_fit_follows_the_unit_of_time(t0, width, lo, height, stretch):
    rank = sigmoid(STEP, lo, lo + height, t0, width)[None]
    one, other = (
        fit_sigmoids(xr.DataArray(rank, dims=("seed", "time"), coords={"step": ("time", STEP * s)}), start=0.0)
        for s in (1.0, stretch)
    )
    np.testing.assert_allclose(one.inflection, t0, atol=5)
    np.testing.assert_allclose(other.inflection, stretch * one.inflection, rtol=1e-4)
    assert one.verdict.values.tolist() == other.verdict.values.tolist()


@few
@given(points=st.lists(st.floats(1.0, 2.0), min_size=2, max_size=12), start=st.floats(0, 6000))
def test_every_trajectory_has_exactly_one_kind(points, start):
    rank = np.interp(STEP, np.linspace(0, 6000, len(points)), points)[None]
    array = xr.DataArray(rank, dims=("seed", "time"), coords={"step": ("time", STEP)})
    result = classify_trajectories(array, start=start)
    assert str(result.kind[0].values) in CLASSES
    assert float(result.fall[0]) >= 0 and (
        np.isfinite(result.jump_step[0]) or result.kind[0] in ("stuck", "non_monotonic")
    )


@few
@given(n=st.integers(1, 500), data=st.data())
def test_binomial_intervals_hold_the_fraction_and_mirror(n, data):
    k = data.draw(st.integers(0, n))
    low, high = clopper_pearson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    np.testing.assert_allclose(clopper_pearson(n - k, n), (1 - high, 1 - low), atol=1e-9)
