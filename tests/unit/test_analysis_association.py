"""Within-seed Spearman correlations on planted data, raw and with training time taken out."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from ontogeny.analysis.association import associations
from ontogeny.core.errors import OntogenyError

STEP = np.geomspace(10, 6000, 80)


def array(values):
    values = np.asarray(values, dtype=float)
    return xr.DataArray(
        values, dims=("seed", "checkpoint"), coords={"seed": np.arange(len(values)), "step": ("checkpoint", STEP)}
    )


@pytest.fixture
def planted():
    """LLC and three indicators: one shares only the trend, one shares the wiggle too, one is constant."""
    rng = np.random.default_rng(0)
    trend = 0.02 * np.arange(80)
    wiggle = rng.normal(size=(8, 80))
    shared = trend + 0.3 * wiggle
    return array(shared), {
        "trend_only": array(trend + 0.3 * rng.normal(size=(8, 80))),
        "wiggle_too": array(trend + 0.3 * wiggle + 0.05 * rng.normal(size=(8, 80))),
        "constant": array(np.ones((8, 80))),
    }


def test_raw_is_spearman_and_partial_its_formula(planted):
    llc, indicators = planted
    result = associations(llc, indicators).sel(indicator="trend_only", seed=2)
    x, y = llc.values[2], indicators["trend_only"].values[2]
    ab, at, bt = (spearmanr(*pair).statistic for pair in ((x, y), (x, STEP), (y, STEP)))
    assert float(result.rho.sel(kind="raw")) == pytest.approx(ab)
    partial = (ab - at * bt) / np.sqrt((1 - at**2) * (1 - bt**2))
    assert float(result.rho.sel(kind="without_log_step")) == pytest.approx(partial)


def test_a_shared_trend_goes_away_and_a_shared_wiggle_stays(planted):
    result = associations(*planted)
    raw, partial = (result.sel(kind=kind) for kind in ("raw", "without_log_step"))
    assert float(raw.low.sel(indicator="trend_only")) > 0.5
    at = partial.sel(indicator="trend_only")
    assert abs(float(at.mean_rho)) < 5 / np.sqrt(8 * 80)  # five standard errors of a zero correlation
    assert float(partial.low.sel(indicator="wiggle_too")) > 0.8


def test_undefined_correlations_are_nan_and_counted(planted):
    result = associations(*planted)
    assert result.rho.sel(indicator="constant").isnull().all()
    assert (result.seeds.sel(indicator="constant") == 0).all() and result.mean_rho.sel(
        indicator="constant"
    ).isnull().all()
    log_step = result.sel(indicator="log_step")
    assert (log_step.rho.sel(kind="raw") > 0.5).all() and log_step.rho.sel(kind="without_log_step").isnull().all()


def test_lost_checkpoints_are_left_out_and_counted(planted):
    llc, indicators = planted
    result = associations(llc.where(llc.seed != 0), indicators)
    assert (result.points.sel(seed=0) == 0).all() and result.rho.sel(seed=0).isnull().all()
    assert (result.seeds.sel(indicator="trend_only") == 7).all()


def test_a_single_seed_has_a_mean_without_an_interval(planted):
    llc, indicators = planted
    result = associations(llc.isel(seed=[0]), {k: v.isel(seed=[0]) for k, v in indicators.items()})
    cell = result.sel(kind="raw", indicator="trend_only")
    assert np.isfinite(cell.mean_rho) and np.isnan(cell.se) and np.isnan(cell.low) and cell.seeds == 1


def test_the_loss_is_taken_out_too_where_it_is_given():
    rng = np.random.default_rng(1)
    level = rng.normal(size=(10, 80))  # what moves both with the loss, beside time
    loss = array(-0.02 * np.arange(80) - 0.3 * level)
    llc, through = (array(0.02 * np.arange(80) + 0.3 * level + 0.2 * rng.normal(size=(10, 80))) for _ in range(2))
    beyond = array(llc.values + 0.05 * rng.normal(size=(10, 80)))
    result = associations(llc, {"through": through, "beyond": beyond, "loss": loss}, loss)
    assert result["kind"].values.tolist() == ["raw", "without_log_step", "without_log_step_and_loss"]
    time, both = (result.mean_rho.sel(kind=k) for k in ("without_log_step", "without_log_step_and_loss"))
    assert float(time.sel(indicator="through")) > 0.5
    # five standard errors of a zero correlation, and what regression of ranks leaves of a curved relation
    assert abs(float(both.sel(indicator="through"))) < 5 / np.sqrt(10 * 80) + 0.05
    assert float(both.sel(indicator="beyond")) > 0.8
    assert result.rho.sel(kind="without_log_step_and_loss", indicator=["loss", "log_step"]).isnull().all()
    without = associations(llc, {"through": through, "beyond": beyond, "loss": loss})
    xr.testing.assert_identical(without["rho"], result["rho"].isel(kind=slice(0, 2)))
    assert "points_with_loss" not in without


def test_both_partialled_out_is_the_formula_of_second_order(planted):
    llc, indicators = planted
    loss = array(np.random.default_rng(2).normal(size=(8, 80)) - 0.3 * llc.values)
    rho = associations(llc, indicators, loss).rho.sel(kind="without_log_step_and_loss", indicator="trend_only", seed=2)
    x, y, z = (a.values[2] for a in (llc, indicators["trend_only"], loss))
    r = spearmanr(np.stack([x, y, STEP, z], axis=1)).statistic
    inverse = np.linalg.inv(r)  # partial correlation given all the others
    assert float(rho) == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))


def test_checkpoints_without_a_loss_are_left_out_and_counted(planted):
    llc, indicators = planted
    loss = (-llc).where(np.arange(80) >= 10)
    result = associations(llc, indicators, loss)
    assert (result.points_with_loss == 70).all() and (result.points == 80).all()
    few = associations(llc, indicators, loss.where(np.arange(80) >= 75))
    assert few.rho.sel(kind="without_log_step_and_loss").isnull().all()


def test_errors_name_the_argument(planted):
    llc, _ = planted
    with pytest.raises(OntogenyError, match="indicators must name at least one variable"):
        associations(llc, {})
    with pytest.raises(OntogenyError, match="must not contain 'log_step'"):
        associations(llc, {"log_step": llc})
    with pytest.raises(OntogenyError, match="indicator 'loss' must hold the same seeds as llc"):
        associations(llc, {"loss": llc.isel(seed=[0])})
    with pytest.raises(OntogenyError, match="loss must hold the same seeds as llc"):
        associations(llc, {"twice": 2 * llc}, llc.isel(seed=[0]))
    with pytest.raises(OntogenyError, match="indicator 'loss' must be measured at the same steps as llc"):
        associations(llc, {"loss": llc.isel(checkpoint=slice(2, None))})
    with pytest.raises(OntogenyError, match="indicator 'loss' must have the dims"):
        associations(llc, {"loss": llc.expand_dims(feature=2)})
