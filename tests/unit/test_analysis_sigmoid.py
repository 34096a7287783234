"""Sigmoid fits on planted trajectories: parameters within standard errors, and each clause of the acceptance rule."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.sigmoid import AcceptanceRule, fit_sigmoids, sigmoid, start_of_representation, start_of_rise
from ontogeny.core.errors import OntogenyError

STEP = np.arange(0.0, 6001.0, 20.0)


def trajectories(values, name="rank"):
    values = np.atleast_2d(values)
    return xr.DataArray(
        values, dims=("seed", "time"), coords={"seed": np.arange(len(values)), "step": ("time", STEP)}, name=name
    )


def norms(total, features=4):
    """Feature norms, all equal, whose squares add up to `total` (time,)."""
    each = np.sqrt(np.asarray(total) / features)
    block = np.broadcast_to(each[None, :, None], (1, len(each), features))
    return xr.DataArray(block, dims=("seed", "time", "feature"), coords={"seed": [0], "step": ("time", STEP)})


def test_sigmoid_has_its_levels_its_middle_and_no_overflow():
    assert sigmoid(300.0, 1.8, 2.0, 300.0, 50.0) == pytest.approx(1.9)
    assert sigmoid(350.0, 0.0, 1.0, 300.0, 50.0) == pytest.approx(1 / (1 + np.exp(-1)))
    np.testing.assert_allclose(sigmoid(np.array([-1e9, 1e9]), 1.8, 2.0, 300.0, 1e-3), [1.8, 2.0])


def test_planted_parameters_come_back_within_their_errors():
    n, noise = 60, 0.01
    rng = np.random.default_rng(1)
    t0, width = rng.uniform(1500, 4500, n), rng.uniform(60, 250, n)
    rank = sigmoid(STEP, 1.8, 2.0, t0[:, None], width[:, None]) + noise * rng.normal(size=(n, len(STEP)))
    fit = fit_sigmoids(trajectories(rank), start=0.0)
    assert (fit.verdict == "accepted").all() and fit.accepted.all()
    z = (fit.inflection.values - t0) / fit.inflection_se.values
    assert np.abs(z).max() < 5
    assert 0.7 < np.sqrt((z**2).mean()) < 1.3  # its own sampling error is 0.09; slack for the autocorrelation factor
    per_level = 5 * noise / np.sqrt(50)  # at least 50 points lie on each level
    np.testing.assert_allclose(fit.lo, 1.8, atol=per_level)
    np.testing.assert_allclose(fit.hi, 2.0, atol=per_level)
    np.testing.assert_allclose(fit.width, width, rtol=0.35)
    np.testing.assert_allclose(fit.rmse, noise, rtol=5 / np.sqrt(2 * len(STEP)))


def test_correlated_residuals_widen_the_error():
    n = 40
    rng = np.random.default_rng(2)
    noise = 0.01 * rng.normal(size=(n, len(STEP)))
    for i in range(1, len(STEP)):
        noise[:, i] = 0.8 * noise[:, i - 1] + 0.6 * noise[:, i]
    fit = fit_sigmoids(trajectories(sigmoid(STEP, 1.8, 2.0, 3000.0, 150.0) + noise), start=0.0)
    z = (fit.inflection.values - 3000) / fit.inflection_se.values
    assert np.sqrt((z**2).mean()) < 1.6  # without the factor 3 of AR(1) at 0.8 it would be near 3


def test_gross_outliers_do_not_move_the_inflection():
    rng = np.random.default_rng(3)
    rank = sigmoid(STEP, 1.8, 2.0, 3000.0, 100.0) + 0.002 * rng.normal(size=len(STEP))
    spoiled = rank.copy()
    spoiled[(STEP >= 3100) & (STEP < 3180)] = 1.7  # four points beside the jump; plain least squares moves by 176
    clean, dirty = (float(fit_sigmoids(trajectories(r), start=0.0).inflection[0]) for r in (rank, spoiled))
    assert abs(clean - 3000) < 20 and abs(dirty - clean) < 20


def test_the_transient_is_left_out_by_start():
    transient = np.where(STEP < 400, 1.2 + 0.8 * np.sin(STEP / 60), 0)
    rank = np.where(STEP < 400, transient, sigmoid(STEP, 1.8, 2.0, 3000.0, 100.0))
    fit = fit_sigmoids(trajectories(rank), start=400.0).isel(seed=0)
    assert fit.accepted and fit.start == 400 and abs(float(fit.inflection) - 3000) < 20


CLAUSES = {
    "height": sigmoid(STEP, 1.83, 1.87, 3000.0, 100.0),
    "early": sigmoid(STEP, 1.6, 2.0, 100.0, 150.0),
    "late": sigmoid(STEP, 1.8, 2.0, 5600.0, 200.0),
    "wide": sigmoid(STEP, 1.5, 2.0, 2500.0, 800.0),
    "final_level": np.where(STEP > 5700, 1.85, sigmoid(STEP, 1.8, 2.0, 3000.0, 80.0)),
    "flat": np.full_like(STEP, 1.8),
    "not_finite": np.where(STEP == 3000, np.nan, 1.8),
}


@pytest.mark.parametrize("verdict", CLAUSES)
def test_each_clause_of_the_rule_is_named_when_it_fails(verdict):
    rule = AcceptanceRule(min_r2=0.5) if verdict == "final_level" else AcceptanceRule()
    fit = fit_sigmoids(trajectories(CLAUSES[verdict]), start=0.0, rule=rule)
    assert str(fit.verdict[0].values) == verdict and not fit.accepted[0]


def test_noise_fails_by_height_or_r2_and_a_fall_by_height():
    rng = np.random.default_rng(4)
    rank = np.stack([1.9 + 0.1 * rng.normal(size=len(STEP)), sigmoid(STEP, 2.0, 1.8, 3000.0, 100.0)])
    first, second = fit_sigmoids(trajectories(rank), start=0.0).verdict.values
    assert first in ("height", "r2", "early", "late") and second in ("height", "r2", "late", "early")
    assert not fit_sigmoids(trajectories(rank), start=0.0).accepted.any()


def test_no_start_and_too_few_points_are_verdicts_with_nan():
    rank = trajectories(np.tile(sigmoid(STEP, 1.8, 2.0, 3000.0, 100.0), (2, 1)))
    start = xr.DataArray([np.nan, 5950.0], dims="seed", coords={"seed": [0, 1]})
    fit = fit_sigmoids(rank, start=start)
    assert fit.verdict.values.tolist() == ["no_start", "too_few_points"] and fit.inflection.isnull().all()


def test_every_column_says_what_it_is():
    fit = fit_sigmoids(trajectories(sigmoid(STEP, 1.8, 2.0, 3000.0, 100.0)), start=0.0)
    assert all("long_name" in v.attrs and "units" in v.attrs for v in fit.data_vars.values())
    assert fit.attrs["min_r2"] == 0.9


def test_representation_starts_where_the_norm_passes_its_fraction():
    total = np.minimum((STEP + 10) / 1000, 4.0)  # passes 0.7·4 = 2.8 after step 2790
    assert float(start_of_representation(norms(total))[0]) == 2800
    assert float(start_of_representation(norms(total), fraction=0.5)[0]) == 2000
    assert start_of_representation(norms(np.zeros_like(STEP))).isnull().all()


def test_the_rise_starts_at_the_plateau():
    rank = np.where(STEP < 1000, 2.0 - 0.2 * STEP / 1000, sigmoid(STEP, 1.8, 2.0, 3000.0, 100.0))
    assert float(start_of_rise(trajectories(rank), 0.0)[0]) == 900  # 2 − 0.2·0.9 = 1.82
    assert float(start_of_rise(trajectories(rank), 1500.0)[0]) == 1500


def test_errors_name_the_argument():
    rank = trajectories(sigmoid(STEP, 1.8, 2.0, 3000.0, 100.0))
    with pytest.raises(
        OntogenyError, match=r"effective_rank must have the dims \(seed, checkpoint or time\); got \('time',\)"
    ):
        fit_sigmoids(rank.isel(seed=0), start=0.0)
    with pytest.raises(OntogenyError, match="effective_rank is empty"):
        fit_sigmoids(rank.isel(time=[]), start=0.0)
    with pytest.raises(OntogenyError, match="must carry the coordinate 'step'"):
        fit_sigmoids(rank.drop_vars("step"), start=0.0)
    with pytest.raises(OntogenyError, match="'step' of effective_rank must increase strictly; seed 0 does not"):
        fit_sigmoids(rank.isel(time=[0, 2, 1]), start=0.0)
    with pytest.raises(OntogenyError, match="start must hold the same seeds as the trajectories"):
        fit_sigmoids(rank, start=xr.DataArray([0.0], dims="seed", coords={"seed": [7]}))
    with pytest.raises(OntogenyError, match=r"must be an xarray.DataArray; got ndarray"):
        fit_sigmoids(rank.values, start=0.0)
    with pytest.raises(OntogenyError, match="max_width of the acceptance rule must be positive and finite; got -1"):
        AcceptanceRule(max_width=-1)
    with pytest.raises(OntogenyError, match="min_r2 of the acceptance rule must be below 1"):
        AcceptanceRule(min_r2=1.0)
    with pytest.raises(OntogenyError, match="fraction must lie between 0 and 1; got 1"):
        start_of_representation(norms(STEP), fraction=1)
