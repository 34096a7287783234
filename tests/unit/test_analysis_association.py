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


def test_errors_name_the_argument(planted):
    llc, _ = planted
    with pytest.raises(OntogenyError, match="indicators must name at least one variable"):
        associations(llc, {})
    with pytest.raises(OntogenyError, match="must not contain 'log_step'"):
        associations(llc, {"log_step": llc})
    with pytest.raises(OntogenyError, match="indicator 'loss' must hold the same seeds as llc"):
        associations(llc, {"loss": llc.isel(seed=[0])})
    with pytest.raises(OntogenyError, match="indicator 'loss' must be measured at the same steps as llc"):
        associations(llc, {"loss": llc.isel(checkpoint=slice(2, None))})
    with pytest.raises(OntogenyError, match="loss must have the dims"):
        associations(llc, {"loss": llc.expand_dims(feature=2)})
