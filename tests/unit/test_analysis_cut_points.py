"""The cut-point test: exact weights, uniform p under the null, planted elevations, and the trap of a rising curve."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.stats import kstest

from ontogeny.analysis.cut_points import (
    STATISTICS,
    VARIANTS,
    CutSettings,
    SeedCuts,
    cut_point_test,
    detectable_effect,
    isotonic_residual,
    level_weights,
    rise_weights,
    summarise,
)
from ontogeny.core.errors import OntogenyError

STEP = np.linspace(0.0, 6000.0, 61)
QUICK = CutSettings(permutations=199, cuts=120)
LOW, HIGH = 300.0, 5700.0  # the admissible cuts: a whole window of 5 % on both sides


def labelled(values, step=STEP):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    coords = {"seed": np.arange(len(values)), "step": ("checkpoint", step)}
    return xr.DataArray(values, dims=("seed", "checkpoint"), coords=coords)


def at(steps):
    return xr.DataArray(np.asarray(steps, dtype=float), dims="seed", coords={"seed": np.arange(len(steps))})


def test_level_weights_interpolate():
    rng = np.random.default_rng(0)
    steps, y = np.sort(rng.uniform(0, 100, 20)), rng.normal(size=20)
    cuts = np.concatenate([rng.uniform(steps[0], steps[-1], 50), steps])
    np.testing.assert_allclose(level_weights(steps, cuts) @ y, np.interp(cuts, steps, y), atol=1e-12)


def test_rise_weights_are_the_difference_of_two_window_means():
    rng = np.random.default_rng(1)
    steps, y = np.sort(rng.uniform(0, 100, 20)), rng.normal(size=20)
    window, cuts = 7.0, np.linspace(steps[0] + 7, steps[-1] - 7, 9)
    mean = lambda a, b: quad(lambda t: np.interp(t, steps, y), a, b, points=steps, limit=200)[0] / (b - a)  # noqa: E731
    expected = [mean(c, c + window) - mean(c - window, c) for c in cuts]
    np.testing.assert_allclose(rise_weights(steps, cuts, window) @ y, expected, atol=1e-7)
    # a straight line of slope 2 rises by 2·window
    np.testing.assert_allclose(rise_weights(steps, cuts, window) @ (2 * steps + 5), 2 * window, atol=1e-10)


def test_isotonic_residual_is_zero_for_a_rise_and_the_deviation_from_the_mean_for_a_fall():
    rise, fall = np.arange(10.0), np.arange(10.0)[::-1]
    np.testing.assert_array_equal(isotonic_residual(rise)[0], 0)
    residual, pooled = isotonic_residual(fall)
    np.testing.assert_allclose(residual, fall - 4.5, atol=1e-12)
    np.testing.assert_allclose(fall - pooled @ fall, residual, atol=1e-12)


def test_the_observed_numbers_are_the_plain_ones():
    result = cut_point_test(
        labelled([STEP] * 3), at([3000.0, 4500.0, 1500.0]), rng=np.random.default_rng(0), settings=QUICK
    )
    plain = result.sel(variant="plain", statistic="level")
    np.testing.assert_allclose(plain.at_inflection, [3000, 4500, 1500])
    np.testing.assert_allclose(plain.at_random_cuts, 3000)
    np.testing.assert_allclose(plain.difference, [0, 1500, -1500], atol=1e-9)
    np.testing.assert_allclose(plain.z, plain.difference / (5400 / np.sqrt(12)), rtol=1e-3)
    assert float(plain.mean_difference) == pytest.approx(0, abs=1e-9) and plain.seeds == 3 and plain.status == "ok"
    third = result.sel(variant="same_third", statistic="level")
    np.testing.assert_allclose(third.at_random_cuts, [3000, (4000 + 5700) / 2, (300 + 2000) / 2])
    assert float(result.sel(variant="plain", statistic="rise").at_inflection[0]) == pytest.approx(300)
    assert np.abs(result.sel(variant="detrended").difference).max() < 1e-9


def test_p_values_are_uniform_when_inflections_fall_at_random():
    rng, reps, seeds = np.random.default_rng(5), 300, 4
    p = np.empty((reps, len(VARIANTS), len(STATISTICS)))
    trend = 3 * np.log1p(STEP / 500) + 0.5 * np.sin(STEP / 700)
    for i in range(reps):
        llc = labelled(trend + 0.3 * rng.normal(size=(seeds, len(STEP))))
        p[i] = cut_point_test(llc, at(rng.uniform(LOW, HIGH, seeds)), rng=rng, settings=QUICK).p_value
    for v, variant in enumerate(VARIANTS):
        for s, statistic in enumerate(STATISTICS):
            assert kstest(p[:, v, s], "uniform").pvalue > 1e-3, (variant, statistic)


def test_a_bump_at_the_jump_is_found_by_every_variant():
    rng = np.random.default_rng(6)
    jumps = rng.uniform(1000, 5000, 8)
    bump = 2.0 * np.exp(-(((STEP - jumps[:, None]) / 250) ** 2))
    llc = labelled(np.log1p(STEP / 500) + bump + 0.1 * rng.normal(size=bump.shape))
    level = cut_point_test(llc, at(jumps), rng=rng).sel(statistic="level")
    assert (level.p_value < 0.01).all() and (level.low > 0).all()
    assert (level.mean_difference > level.detectable_difference).all()


def test_a_lasting_step_up_is_found_by_rise_and_absorbed_by_the_isotonic_trend():
    rng = np.random.default_rng(7)
    jumps = rng.uniform(1000, 5000, 8)
    llc = labelled(np.where(jumps[:, None] < STEP, 2.0, 1.0) + 0.02 * rng.normal(size=(8, len(STEP))))
    result = cut_point_test(llc, at(jumps), rng=rng)
    rise = result.sel(statistic="rise")
    assert float(rise.p_value.sel(variant="plain")) < 0.001 and float(rise.p_value.sel(variant="same_third")) < 0.001
    # the documented price of this trend: what is left is of the size of the noise, 0.02, where the step is 1
    assert np.abs(result.mean_difference.sel(variant="detrended")).max() < 0.02
    assert float(rise.mean_difference.sel(variant="plain")) > 0.5


def test_a_merely_rising_llc_passes_the_plain_test_and_not_the_others():
    """The trap: late jumps on a curve that grows anyway. More than 6 of 40 at 5 % has probability 0.3 %."""
    rng, reps = np.random.default_rng(8), 40
    rejected = dict.fromkeys(VARIANTS, 0)
    for _ in range(reps):
        llc = labelled(2 * np.log1p(STEP / 300) + 0.1 * rng.normal(size=(8, len(STEP))))
        level = cut_point_test(llc, at(rng.uniform(4000, HIGH, 8)), rng=rng, settings=QUICK).sel(statistic="level")
        for variant in VARIANTS:
            rejected[variant] += int(level.p_value.sel(variant=variant) <= 0.05)
    assert rejected["plain"] == reps
    assert rejected["detrended"] <= 6 and rejected["same_third"] <= 6


def test_random_cuts_are_uniform_in_step_however_dense_the_checkpoints():
    dense = np.unique(np.concatenate([STEP, np.linspace(2900, 3100, 80)]))
    thin = cut_point_test(labelled([STEP] * 3), at([3000.0] * 3), rng=np.random.default_rng(0), settings=QUICK)
    thick = cut_point_test(labelled([dense] * 3, dense), at([3000.0] * 3), rng=np.random.default_rng(0), settings=QUICK)
    cell = {"variant": "plain", "statistic": "level"}
    np.testing.assert_allclose(thin.at_random_cuts.sel(cell), thick.at_random_cuts.sel(cell))
    assert float(thin.p_value.sel(cell)) == float(thick.p_value.sel(cell))


def test_start_keeps_the_earliest_training_out_of_the_null():
    llc = labelled(np.tile(np.where(STEP < 1500, 0.0, 5.0), (4, 1)))
    jumps = at([3000.0, 3500.0, 4000.0, 4500.0])
    plain = {"variant": "plain", "statistic": "level"}
    run = lambda start: cut_point_test(llc, jumps, rng=np.random.default_rng(0), start=start).sel(plain)  # noqa: E731
    assert float(run(0.0).mean_difference) > 1
    assert float(run(1500.0).mean_difference) == pytest.approx(0, abs=1e-12)
    assert float(run(1500.0).p_value) == 1.0  # nothing varies, so nothing is elevated


def test_the_sampler_accounts_for_all_the_error_when_it_makes_all_the_noise():
    rng, n = np.random.default_rng(9), 400
    llc = labelled(rng.normal(size=(n, len(STEP))))
    result = cut_point_test(llc, at(rng.uniform(LOW, HIGH, n)), rng=rng, llc_se=xr.ones_like(llc), settings=QUICK)
    for variant in ("plain", "same_third"):  # the first-order error of the isotonic trend is no exact one
        share = result.sampler_share.sel(variant=variant)
        np.testing.assert_allclose(share, 1.0, atol=5 * np.sqrt(2 / n))
    half = cut_point_test(llc, at(rng.uniform(LOW, HIGH, n)), rng=rng, settings=QUICK)
    assert half.sampler_se.isnull().all() and np.isfinite(half.p_value).all()  # without errors given, none are claimed


def test_the_sampler_error_is_the_exact_propagation_of_the_checkpoints_errors():
    rng = np.random.default_rng(11)
    y, se, jumps = (
        np.log1p(STEP / 500) + rng.normal(size=(1, len(STEP))),
        rng.uniform(0.1, 1, (1, len(STEP))),
        at([2345.0]),
    )
    run = lambda values: cut_point_test(labelled(values), jumps, rng=rng, llc_se=labelled(se), settings=QUICK)  # noqa: E731
    slopes = [(run(y + 1e-6 * e).difference - run(y - 1e-6 * e).difference) / 2e-6 for e in np.eye(len(STEP))]
    expected = np.sqrt(sum((slope * s) ** 2 for slope, s in zip(slopes, se[0], strict=True)))
    np.testing.assert_allclose(run(y).sampler_se, expected.isel(seed=0), rtol=1e-6)


def test_p_counts_the_permutations_at_least_as_large():
    rng = np.random.default_rng(12)
    seeds = [SeedCuts(float(v), rng.integers(-3, 4, 20).astype(float), 0.1) for v in (3, 1, 2)]
    draws = rng.integers(20, size=(3, 199))
    settings = CutSettings(permutations=199, cuts=20)
    permuted = np.mean([s.random[d] for s, d in zip(seeds, draws, strict=True)], axis=0)
    count = int((permuted > 2 - 1e-9).sum())  # whole numbers: ties occur, and count
    assert int((permuted > 2 + 1e-9).sum()) < count
    cell = summarise(seeds, draws, settings)
    assert cell["p_value"] == (1 + count) / 200
    assert cell["p_two_sided"] == 2 * (1 + count) / 200


def test_the_detectable_effect_of_a_normal_null_is_known_and_has_its_power():
    rng = np.random.default_rng(10)
    assert detectable_effect(rng.normal(size=200_000)) == pytest.approx(1.6449 + 0.8416, abs=0.03)
    settings, reps, seeds, found = CutSettings(permutations=499, cuts=200), 400, 5, 0
    for _ in range(reps):
        random = rng.normal(size=(seeds, settings.cuts))
        draws = rng.integers(settings.cuts, size=(seeds, settings.permutations))
        null = [SeedCuts(float(rng.normal()), row, 0.1) for row in random]
        shift = float(summarise(null, draws, settings)["detectable_difference"])
        found += (
            float(summarise([s._replace(observed=s.observed + shift) for s in null], draws, settings)["p_value"])
            <= settings.alpha_each
        )
    assert abs(found / reps - 0.8) < 5 * np.sqrt(0.16 / reps)


def test_the_null_is_kept_and_gives_the_p_values_back():
    rng = np.random.default_rng(13)
    result = cut_point_test(labelled(rng.normal(size=(4, len(STEP)))), at([1500.0] * 4), rng=rng, settings=QUICK)
    assert result.null.dims == ("variant", "statistic", "permutation") and result.sizes["permutation"] == 199
    above = (result.null >= result.mean_difference - 1e-9).sum("permutation")
    np.testing.assert_allclose(result.p_value, (1 + above) / 200)
    np.testing.assert_allclose(result.null.mean("permutation"), 0, atol=0.15)


@pytest.mark.parametrize(
    ("jumping", "status", "reason"),
    [
        (0, "no_seeds", "No seed with a jump entered the test"),
        (1, "too_few_seeds", "Only 1 seed with a jump entered the test"),
        (2, "too_few_seeds", "Only 2 seeds with a jump entered the test"),
    ],
)
def test_few_jumping_seeds_give_no_p_value_and_say_why(jumping, status, reason):
    jumps = np.where(np.arange(5) < jumping, 3000.0, np.nan)
    rng = np.random.default_rng(0)
    result = cut_point_test(labelled(rng.normal(size=(5, len(STEP)))), at(jumps), rng=rng, settings=QUICK)
    assert (result.status == status).all() and all(reason in str(r) for r in result.reason.values.ravel())
    assert result.null.isnull().all() and result.sizes["permutation"] == 199
    assert result.p_value.isnull().all() and result.detectable_difference.isnull().all()
    assert result.sizes["seed"] == jumping and (result.seeds == jumping).all()
    assert result.mean_difference.isnull().all() == (jumping == 0) and result.low.isnull().all() == (jumping < 2)


def test_a_seed_without_room_around_its_inflection_does_not_enter_and_is_counted():
    rng = np.random.default_rng(0)
    jumps = at([2000.0, 3000.0, 4000.0, 5900.0])
    result = cut_point_test(labelled(rng.normal(size=(4, len(STEP)))), jumps, rng=rng, settings=QUICK)
    assert (result.seeds == 3).all() and result.sizes["seed"] == 4 and result.difference.sel(seed=3).isnull().all()
    assert all("1 more could not enter" in str(r) for r in result.reason.values.ravel())


def test_lost_checkpoints_are_bridged_and_counted():
    rng = np.random.default_rng(0)
    llc = labelled([STEP] * 3).where(lambda a: (a.step < 1000) | (a.step > 1200) | (a.seed != 1))
    result = cut_point_test(llc, at([3000.0] * 3), rng=rng, settings=QUICK)
    assert result.lost_checkpoints.values.tolist() == [0, 3, 0]
    np.testing.assert_allclose(result.at_random_cuts.sel(variant="plain", statistic="level"), 3000)


def test_each_seed_may_have_its_own_steps():
    own = np.stack([STEP, STEP / 2, np.where(STEP <= 5500, STEP, np.nan)])
    llc = xr.DataArray(own, dims=("seed", "checkpoint"), coords={"step": (("seed", "checkpoint"), own)})
    jumps = xr.DataArray([3000.0, 1500.0, 2750.0], dims="seed")
    result = cut_point_test(llc, jumps, rng=np.random.default_rng(0), settings=QUICK)
    np.testing.assert_allclose(result.difference.sel(variant="plain", statistic="level"), 0, atol=1e-9)


def test_every_column_says_what_it_is_and_the_settings_are_kept():
    rng = np.random.default_rng(0)
    result = cut_point_test(labelled(rng.normal(size=(3, len(STEP)))), at([3000.0] * 3), rng=rng, settings=QUICK)
    assert result.attrs.pop("alpha_each") == 0.025
    assert all("long_name" in v.attrs and "units" in v.attrs for v in result.data_vars.values())
    assert result.attrs == {"window": 0.05, "permutations": 199, "cuts": 120, "alpha": 0.05, "power": 0.8}


def test_errors_name_the_argument():
    rng, llc, jumps = np.random.default_rng(0), labelled([STEP] * 3), at([3000.0] * 3)
    with pytest.raises(OntogenyError, match="llc must have the dims"):
        cut_point_test(llc.isel(seed=0), jumps, rng=rng)
    with pytest.raises(OntogenyError, match="llc is empty"):
        cut_point_test(llc.isel(seed=[]), jumps, rng=rng)
    with pytest.raises(OntogenyError, match="inflection must hold the same seeds as the trajectories"):
        cut_point_test(llc, jumps.isel(seed=[0, 1]), rng=rng)
    with pytest.raises(OntogenyError, match="llc_se must have the same seeds, checkpoints and steps as llc"):
        cut_point_test(llc, jumps, rng=rng, llc_se=llc.isel(checkpoint=slice(3, None)))
    with pytest.raises(OntogenyError, match=r"window must be a fraction of training between 0 and 0.5; got 300"):
        CutSettings(window=300)
    with pytest.raises(OntogenyError, match="permutations must be at least 19 and cuts at least 10; got 5 and 400"):
        CutSettings(permutations=5)
    with pytest.raises(OntogenyError, match="alpha and power must lie between 0 and 1"):
        CutSettings(alpha=5)
    with pytest.raises(OntogenyError, match="null must hold at least one value"):
        detectable_effect([])
