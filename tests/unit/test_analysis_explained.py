"""The share that training time and loss explain: planted shares, pure noise, and what the other seeds predict."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import t

from ontogeny.analysis.explained import QUANTILES, TRENDS, explained_by_trend, natural_spline
from ontogeny.analysis.intervals import bootstrap_t_interval
from ontogeny.core.errors import OntogenyError

STEP = np.unique(np.concatenate([np.geomspace(1, 8000, 40), np.linspace(0, 8000, 81)]))
LOG_STEP = np.log1p(STEP)
TREND = (LOG_STEP - LOG_STEP.mean()) / LOG_STEP.std(ddof=1)


def labelled(values, step=STEP):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    coords = {"seed": np.arange(len(values)), "step": ("checkpoint", step)}
    return xr.DataArray(values, dims=("seed", "checkpoint"), coords=coords)


def noise(rng, seeds=60):
    return rng.normal(size=(seeds, len(STEP)))


def away(values, truth):
    """Distance of the mean over seeds from the truth, in standard errors."""
    return abs(values.mean() - truth) / (values.std(ddof=1) / np.sqrt(len(values)))


def test_a_planted_share_comes_back():
    rng = np.random.default_rng(0)
    loss = labelled(noise(rng))
    found = explained_by_trend(labelled(3 + 2 * TREND + noise(rng)), loss)
    truth = 4 / 5  # of the variances 4 and 1
    assert away(found.r2.sel(trend="log_step").values, truth) < 3
    assert away(found.r2.sel(trend="both").values, truth) < 3
    assert away(found.r2.sel(trend="loss").values, 0) < 3
    assert away(found.r2_across.sel(trend="log_step").values, truth) < 3


def test_pure_noise_is_not_explained():
    rng = np.random.default_rng(1)
    found = explained_by_trend(labelled(noise(rng)), labelled(noise(rng)))
    for row in found.r2.values:
        assert away(row, 0) < 3
    assert (found.r2_across.mean("seed") < 0.01).all()


def test_the_loss_explains_what_it_carries_and_both_all_of_it():
    rng = np.random.default_rng(2)
    loss = noise(rng)
    found = explained_by_trend(labelled(TREND + 2 * loss + noise(rng)), labelled(np.exp(-3 * loss)))
    r2 = found.r2.mean("seed")
    assert abs(float(r2.sel(trend="log_step")) - 1 / 6) < 0.05 and abs(float(r2.sel(trend="both")) - 5 / 6) < 0.1
    assert float(r2.sel(trend="loss")) > 0.4  # a cubic spline in the exponential, not its logarithm


def test_the_sampler_s_part_is_taken_off_what_there_is_to_explain():
    rng = np.random.default_rng(3)
    se = np.tile(np.linspace(0.5, 1.5, len(STEP)), (60, 1))
    llc, loss = labelled(2 * TREND + se * noise(rng)), labelled(noise(rng))
    without, given = explained_by_trend(llc, loss), explained_by_trend(llc, loss, se=labelled(se))
    for name in ("r2", "r2_across"):
        assert away(given[name].sel(trend="log_step").values, 1) < 3
        assert float(without[name].sel(trend="log_step").mean()) < 0.85
    assert given.attrs["se_given"] and not without.attrs["se_given"]


def test_what_is_only_sampler_noise_has_no_share():
    rng = np.random.default_rng(4)
    se = np.ones((60, len(STEP)))
    found = explained_by_trend(labelled(noise(rng)), labelled(noise(rng)), se=labelled(se))
    assert float(found.r2.sel(trend="log_step").isnull().mean()) > 0.9


def test_a_course_of_its_own_is_explained_within_the_seed_and_not_across():
    rng = np.random.default_rng(5)
    sign = np.where(np.arange(60) % 2, 1, -1)[:, None]
    found = explained_by_trend(labelled(3 * sign * TREND + noise(rng)), labelled(noise(rng))).sel(trend="log_step")
    assert away(found.r2.values, 0.9) < 3 and (found.r2_across < 0.1).all()
    levels = explained_by_trend(labelled(2 * sign + TREND + 0.1 * noise(rng)), labelled(noise(rng)))
    assert (levels.r2.sel(trend="log_step") > 0.95).all() and (levels.r2_across.sel(trend="log_step") < -1).all()


def test_the_seed_itself_does_not_enter_its_prediction():
    rng = np.random.default_rng(6)
    llc = labelled(TREND + 0.3 * noise(rng, 6))
    loss = labelled(noise(rng, 6))
    odd = llc + 50 * (llc.seed == 2)
    before, after = (explained_by_trend(x, loss).r2_across.sel(trend="log_step") for x in (llc, odd))
    # its curve is 50 above a prediction that has not moved; had it entered the fit, the distance would be 50·5/6
    total = float(llc.sel(seed=2).var(ddof=1))
    error_before, error_after = (np.sqrt((1 - float(r2.sel(seed=2))) * total) for r2 in (before, after))
    assert error_before < 1 and abs(error_after - 50) <= error_before
    assert (after.drop_sel(seed=2) < before.drop_sel(seed=2)).all()


def test_the_spline_is_straight_outside_its_knots_and_smooth_within():
    knots = np.array([-1.0, 0.0, 0.7, 2.0])
    x = np.linspace(-4, 6, 2001)
    basis = natural_spline(x, knots)
    second = np.diff(basis, 2, axis=0) / (x[1] - x[0]) ** 2
    outside = (x[1:-1] < -1.01) | (x[1:-1] > 2.01)
    np.testing.assert_allclose(second[outside], 0, atol=1e-7)
    assert np.abs(np.diff(second, axis=0)).max() < 0.05 and basis.shape == (2001, 3)
    assert np.linalg.matrix_rank(np.column_stack([np.ones(len(x)), basis])) == 4
    assert natural_spline(x, knots[:2]).shape == (2001, 1)


def test_r2_is_the_adjusted_r2_of_the_regression():
    rng = np.random.default_rng(7)
    x = TREND + noise(rng, 1)[0]
    found = float(explained_by_trend(labelled(x), labelled(noise(rng, 1))).r2.sel(trend="log_step", seed=0))
    knots = np.quantile(LOG_STEP, QUANTILES)
    design = np.column_stack([np.ones(len(x)), natural_spline(LOG_STEP, knots)])
    left = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    n = len(x)
    assert found == pytest.approx(1 - (left @ left / (n - 4)) / x.var(ddof=1))


def test_a_loss_of_few_values_makes_fewer_terms_and_no_error():
    rng = np.random.default_rng(8)
    loss = np.where(STEP < 4000, 1.0, 0.0) + np.zeros((5, 1))
    found = explained_by_trend(labelled(loss * 3 + noise(rng, 5)), labelled(loss))
    assert (found.r2.sel(trend="loss") > 0.5).all()
    flat = explained_by_trend(labelled(noise(rng, 5)), labelled(np.ones((5, len(STEP)))))
    np.testing.assert_allclose(flat.r2.sel(trend="loss"), 0, atol=1e-9)


def test_lost_points_are_left_out_and_counted():
    rng = np.random.default_rng(9)
    llc, loss = labelled(TREND + 0.1 * noise(rng, 4)), labelled(noise(rng, 4))
    lost = llc.where((llc.seed != 1) | (llc.step > 7900)).where((llc.seed != 2) | (llc.step > 100))
    found = explained_by_trend(lost, loss.where((loss.seed != 3) | (loss.step != 0)))
    late = int((STEP > 7900).sum())
    assert found.points.values.tolist() == [len(STEP), late, int((STEP > 100).sum()), len(STEP) - 1]
    assert np.isnan(found.r2.sel(seed=1)).all() and found.seeds.values.tolist() == [3, 3, 3]
    constant = explained_by_trend(0 * llc + 0.1, loss)
    assert np.isnan(constant.r2).all() and np.isnan(constant.r2_across).all()
    assert np.isnan(explained_by_trend(llc[:1], loss[:1]).r2_across).all()


def test_shares_predicted_from_the_other_seeds_are_pooled():
    """A seed that hardly varies has a share of any size; it must not decide the mean."""
    rng = np.random.default_rng(11)
    still = noise(rng, 8) * np.array([0.02, *[1.0] * 7])[:, None] + 3 * TREND * np.array([0.0, *[1.0] * 7])[:, None]
    found = explained_by_trend(labelled(still), labelled(noise(rng, 8)))
    alone = found.r2_across.sel(trend="log_step")
    assert float(alone[0]) < -100 and float(found.across_mean.sel(trend="log_step")) > 0.5
    weights = still.var(1, ddof=1)
    pooled = float((weights * alone).sum() / weights.sum())
    assert float(found.across_mean.sel(trend="log_step")) == pytest.approx(pooled)
    left_out = [float((np.delete(weights * alone.values, i)).sum() / np.delete(weights, i).sum()) for i in range(8)]
    jackknife = 7 / 8 * ((np.array(left_out) - np.mean(left_out)) ** 2).sum()
    half = float((found.across_high - found.across_low).sel(trend="log_step") / 2)
    assert half == pytest.approx(t.ppf(0.975, 7) * jackknife**0.5, rel=0.3)


def test_means_over_seeds_are_bootstrap_t():
    rng = np.random.default_rng(10)
    found = explained_by_trend(labelled(TREND + noise(rng, 8)), labelled(noise(rng, 8)))
    assert found.trend.values.tolist() == list(TRENDS)
    for k in range(3):
        mean = bootstrap_t_interval(found.r2.values[k])
        assert [float(found[part][k]) for part in ("mean", "low", "high", "seeds")] == [*mean[:1], *mean[2:4], 8]
    assert all("long_name" in v.attrs and "units" in v.attrs for v in found.data_vars.values())


def test_errors_name_the_argument():
    x = labelled(np.ones((2, len(STEP))))
    with pytest.raises(OntogenyError, match="llc must have the dims"):
        explained_by_trend(x.expand_dims(sparsity=2), x)
    with pytest.raises(OntogenyError, match=r"loss must hold the same seeds as llc; got \[0\]"):
        explained_by_trend(x, x.isel(seed=[0]))
    with pytest.raises(OntogenyError, match="se must be measured at the same steps as llc"):
        explained_by_trend(x, x, se=x.isel(checkpoint=slice(1, None)))
    with pytest.raises(OntogenyError, match="se must hold standard errors, none negative"):
        explained_by_trend(x, x, se=-x)
