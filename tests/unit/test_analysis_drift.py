"""Drift by hand, its noise floors on pure noise, what is left where signal and noise mix, and groups compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.drift import DEFINITIONS, compare_drifts, drift, range_of_noise
from ontogeny.analysis.intervals import bootstrap_t_interval, difference_interval, ratio_interval
from ontogeny.core.errors import OntogenyError

STEP = np.linspace(0.0, 8000.0, 40)


def labelled(values, step=None, **attrs):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    step = np.arange(values.shape[1]) * 100.0 if step is None else step
    coords = {"seed": np.arange(len(values)) + 5, "step": ("checkpoint", step)}
    return xr.DataArray(values, dims=("seed", "checkpoint"), coords=coords, attrs=attrs)


def test_the_definitions_by_hand():
    x = labelled([[4.0, 5, 6, 9, -1, 0, 1, 2], [1.0, 1, 1, 1, 1, 1, 1, 1]])
    found = drift(x)
    assert found.drift.sel(seed=5).values.tolist() == [4.0, 10.0, 1 + 1 + 3 + 10 + 1 + 1 + 1]
    assert found.signed.values.tolist() == [-4.0, 0.0] and (found.drift.sel(seed=6) == 0).all()
    assert float(found["size"].sel(seed=5)) == 3.0  # median of 0 1 1 2 4 5 6 9
    np.testing.assert_allclose(found.relative_drift, found.drift / found["size"])
    assert (found.noise_floor == 0).all() and not found.attrs["se_given"]


def test_the_floors_by_hand():
    se = np.array([3.0, 0, 0, 4, 0, 0, 0, 12, 5])
    found = drift(labelled(np.arange(9.0)), labelled(se))
    root = math.sqrt(2 / math.pi)
    floors = [root * math.sqrt(9 + 144 + 25) / 3, range_of_noise(se), root * (3 + 4 + 4 + 12 + 13)]
    np.testing.assert_allclose(found.noise_floor[:, 0], floors)
    np.testing.assert_allclose(found.drift[:, 0], [6, 8 - floors[1], 8 - floors[2]])
    assert found.floor_taken_off.values.tolist() == [False, True, True]


@pytest.mark.parametrize(
    "se", [np.ones(40), np.geomspace(0.01, 3, 40), np.r_[np.zeros(20), np.full(20, 0.3)], [1e-4, 5.0]]
)
def test_the_range_of_noise_is_what_a_simulation_says(se):
    drawn = np.ptp(np.random.default_rng(0).normal(size=(20_000, len(se))) * se, axis=1)
    assert abs(range_of_noise(np.asarray(se)) - drawn.mean()) < 4 * drawn.std() / math.sqrt(len(drawn))


def test_the_range_of_noise_has_its_known_values():
    assert range_of_noise(np.ones(3)) == pytest.approx(3 / math.sqrt(math.pi), rel=1e-5)
    assert range_of_noise(np.array([3.0, 4.0])) == pytest.approx(5 * math.sqrt(2 / math.pi), rel=1e-5)
    assert range_of_noise(np.array([2.0])) == range_of_noise(np.zeros(5)) == 0


def test_pure_noise_drifts_nowhere_on_average():
    rng = np.random.default_rng(3)
    se = rng.uniform(0.2, 2, size=(500, 40))
    found = drift(labelled(7 + se * rng.normal(size=(500, 40))), labelled(se))
    left = found.drift - found.noise_floor.where(~found.floor_taken_off, 0)  # the net change still has its floor
    for row in (*left.values, found.signed.values):
        assert abs(row.mean()) < 3 * row.std(ddof=1) / math.sqrt(500)
    uncorrected = found.drift + found.noise_floor
    assert (uncorrected.sel(definition="total_variation") > 30).all()  # so the test can fail


@pytest.mark.parametrize("noise", [0.02, 0.2, 2.0])
def test_what_is_left_of_a_mixture_lies_between_the_signal_less_the_floor_and_the_signal(noise):
    rng = np.random.default_rng(4)
    signal = np.log1p(STEP / 400) + 0.5 * np.sin(STEP / 700)
    own = drift(labelled(signal)).drift.values[1:, 0]
    se = np.full((400, 40), noise)
    found = drift(labelled(signal + se * rng.normal(size=se.shape)), labelled(se))
    mean, error, floor = found["mean"].values[1:], found["se"].values[1:], found.noise_floor.values[1:, 0]
    assert (mean < own + 3 * error).all() and (mean > own - floor - 3 * error).all()


def test_lost_checkpoints_are_left_out_and_counted():
    x = labelled(np.tile(np.arange(10.0), (3, 1)))
    lost = x.where((x.seed != 5) | (x.step != 900.0)).where((x.seed != 6) | (x.step < 500))
    found = drift(lost, 0 * x)
    assert found.points.values.tolist() == [9, 5, 10]
    np.testing.assert_allclose(found.drift.sel(definition="range"), [8, np.nan, 9])
    assert found.seeds.values.tolist() == [2, 2, 2] and np.isnan(found.drift.sel(seed=6)).all()
    unusable = drift(x, (0 * x).where(x.step < 800))
    assert (unusable.points == 8).all() and (unusable.drift.sel(definition="range") == 7).all()


def test_means_over_seeds_are_bootstrap_t_in_raw_and_relative_units():
    rng = np.random.default_rng(5)
    found = drift(labelled(rng.gamma(2, size=(12, 20)).cumsum(1), units="nats", long_name="LLC"))
    for k, definition in enumerate(DEFINITIONS):
        for prefix, name in (("", "drift"), ("relative_", "relative_drift")):
            mean = bootstrap_t_interval(found[name].values[k])
            row = found.sel(definition=definition)
            assert (float(row[prefix + "low"]), float(row[prefix + "high"])) == (mean.low, mean.high)
            assert float(row[prefix + "mean"]) == mean.mean and float(row[prefix + "se"]) == mean.se
    assert all("long_name" in v.attrs and "units" in v.attrs for v in found.data_vars.values())
    assert found.drift.attrs["units"] == found["low"].attrs["units"] == "nats"
    assert found.relative_drift.attrs["units"] == found.relative_low.attrs["units"] == ""


def test_another_size_may_be_given():
    x = labelled([np.arange(9.0), 2 * np.arange(9.0)])
    size = labelled(np.full((2, 9), -10.0)).isel(seed=[1, 0])
    found = drift(x, unit_of=size)
    np.testing.assert_allclose(found.relative_drift.sel(definition="range"), [0.8, 1.6])
    assert np.isnan(drift(0 * x).relative_drift).all()


def test_groups_are_compared_by_fieller_and_welch():
    rng = np.random.default_rng(6)
    slopes = {0.3: rng.normal(3, 0.2, size=12), 0.7: rng.normal(1, 0.1, size=9)}
    groups = {s: drift(labelled(5 + rows[:, None] * STEP / 8000, step=STEP)) for s, rows in slopes.items()}
    found = compare_drifts(groups, 0.7)
    row = found.sel(group=0.3, definition="range", scale="raw")
    assert float(row.ratio_low) < 3 < float(row.ratio_high) and float(row.ratio_low) > 2.5 and bool(row.ratio_bounded)
    by_hand = ratio_interval(*slopes.values())
    np.testing.assert_allclose([row.ratio, row.ratio_low, row.ratio_high], by_hand[:3])
    np.testing.assert_allclose(row.difference_high, difference_interval(*slopes.values()).high)
    relative = found.sel(group=0.3, definition="range", scale="relative")
    assert 1 < float(relative.ratio) < float(row.ratio)  # the steeper one is also larger
    own = found.sel(group=0.7)
    assert (own.ratio == 1).all() and (own.ratio_low == 1).all() and (own.difference_high == 0).all()
    assert found.seeds.sel(scale="raw", definition="range").values.tolist() == [12, 9]
    assert found.attrs["reference"] == 0.7 and found.ratio_bounded.dtype == bool


def test_a_reference_that_does_not_drift_bounds_no_ratio():
    rng = np.random.default_rng(7)
    se = labelled(np.ones((6, 20)))
    still, moving = (drift(labelled(x + rng.normal(size=(6, 20))), se) for x in (0, 30 * np.arange(20.0)))
    found = compare_drifts({"still": still, "moving": moving}, "still").sel(group="moving", scale="raw")
    assert not found.ratio_bounded.sel(definition="total_variation")
    assert np.isinf(found.ratio_low.sel(definition="total_variation"))
    assert np.isfinite(found.difference_low).all()


def test_errors_name_the_argument():
    x = labelled(np.ones((2, 8)))
    with pytest.raises(OntogenyError, match="indicator must have the dims"):
        drift(x.expand_dims(sparsity=2))
    with pytest.raises(OntogenyError, match="se must hold standard errors, none negative"):
        drift(x, -x)
    with pytest.raises(OntogenyError, match=r"se must hold the same seeds as indicator; got \[5\]"):
        drift(x, x.isel(seed=[0]))
    with pytest.raises(OntogenyError, match="se must be measured at the same steps as indicator"):
        drift(x, x.isel(checkpoint=slice(1, None)))
    with pytest.raises(OntogenyError, match="unit_of must hold the same seeds"):
        drift(x, unit_of=x.isel(seed=[0]))
    with pytest.raises(OntogenyError, match=r"reference must be one of the groups; got 0.7, and the groups \[0.3\]"):
        compare_drifts({0.3: drift(x)}, 0.7)
    with pytest.raises(OntogenyError, match=r"groups must hold tables from drift\(...\); group 0.3 is DataArray"):
        compare_drifts({0.3: x, 0.7: drift(x)}, 0.7)
