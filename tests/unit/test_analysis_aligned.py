"""Event-aligned averages and paired rises on series whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.aligned import event_aligned, paired_rise, sign_flip_p
from ontogeny.analysis.events import event_table
from ontogeny.core.errors import OntogenyError

STEP = np.arange(0.0, 4001.0, 50.0)
OFFSETS = np.arange(-400.0, 401.0, 100.0)


def array(values, units="LLC"):
    values = np.asarray(values, dtype=float)
    coords = {"seed": np.arange(len(values)), "step": ("checkpoint", STEP)}
    return xr.DataArray(values, dims=("seed", "checkpoint"), coords=coords, attrs={"units": units})


def per_seed(*values):
    return xr.DataArray(np.array(values, dtype=float), dims="seed", coords={"seed": np.arange(len(values))})


def test_a_ramp_is_aligned_exactly():
    result = event_aligned(
        array([0.01 * STEP, 0.01 * STEP + 7]), event_table([0, 1], [1025, 2000], "jump"), OFFSETS, kind="jump"
    )
    np.testing.assert_allclose(result["mean"], 0.01 * OFFSETS + 2.5, atol=1e-12)  # mean of -400 … -100 is -250
    np.testing.assert_allclose(result["low"], result["high"], atol=1e-9)
    assert (result["seeds"] == 2).all() and result["mean"].attrs["units"] == "LLC"
    at_event = event_aligned(
        array([0.01 * STEP]), event_table([0], [1025], "jump"), OFFSETS, kind="jump", baseline="event"
    )
    np.testing.assert_allclose(at_event["mean"], 0.01 * OFFSETS, atol=1e-12)


def test_a_seed_counts_once_however_many_events_it_has():
    rises = np.stack([1.0 * (STEP >= 1000) + 1.0 * (STEP >= 2000) + 1.0 * (STEP >= 3000), 5.0 * (STEP >= 2000)])
    events = event_table([0, 0, 0, 1, 1], [975, 1975, 2975, 1975, 3000], ["jump"] * 4 + ["other"])
    result = event_aligned(array(rises), events, OFFSETS, kind="jump")
    assert result["mean"].values[-1] == pytest.approx(3.0) and int(result["events"][-1]) == 4
    assert int(result["seeds"][-1]) == 2


def test_outside_of_the_measured_stretch_is_nan_and_counted():
    values = np.stack([STEP, STEP])
    values[0, STEP > 2000] = np.nan
    values[1, (STEP > 1000) & (STEP < 1200)] = np.nan  # a gap inside is bridged
    events = event_table([0, 1], [1900, 1100], "jump")
    result = event_aligned(array(values), events, OFFSETS, kind="jump", baseline="event")
    assert result["seeds"].values.tolist() == [2] * 6 + [1] * 3
    np.testing.assert_allclose(result["mean"], OFFSETS, atol=1e-9)


def test_no_event_of_the_kind_gives_empty_averages():
    result = event_aligned(array([STEP]), event_table([0], [100], "other"), OFFSETS, kind="jump")
    assert result.sizes["seed"] == 0 and result["mean"].isnull().all() and (result["seeds"] == 0).all()


def test_the_rise_is_the_value_after_minus_the_value_before():
    jump = 3.0 * (STEP >= 2025)  # between 2000 and 2050
    result = paired_rise(array([jump + 1, jump]), per_seed(2025, 2025), per_seed(1000, 3500), margin=60)
    np.testing.assert_allclose(result["rise"], [[3, 3], [0, 0]], atol=1e-9)
    assert float(result["mean_difference"]) == pytest.approx(float(result["rise_mean"][0] - result["rise_mean"][1]))
    line = paired_rise(array([0.001 * STEP]), per_seed(2010), per_seed(1000), margin=100)
    np.testing.assert_allclose(line["rise"][:, 0], [0.25, 0.2], atol=1e-12)  # 1900 to 2150, 900 to 1100


def test_steps_of_one_size_rise_alike_however_far_apart_the_checkpoints_are():
    """Dense checkpoints at the first event, sparse ones at the second: neither is seen in part."""
    steps = np.array([0, 50, 100, 150, 200, 250, 500, 1000, 1300, 1600, 1900, 2200], dtype=float)
    values = 1.0 * (steps > 120) + 1.0 * (steps > 1450)
    coords = {"seed": [0, 1], "step": ("checkpoint", steps)}
    series = xr.DataArray([values, values], dims=("seed", "checkpoint"), coords=coords)
    found = paired_rise(series, per_seed(1450, 1450), per_seed(120, 120), margin=60)
    np.testing.assert_array_equal(found["rise"], [[1, 1], [1, 1]])


def test_a_checkpoint_that_is_not_finite_is_not_replaced():
    values = array([1.0 * (STEP >= 2025), 1.0 * (STEP >= 2025)])
    values = values.where((values.seed != 1) | (values.step != 2100))
    found = paired_rise(values, per_seed(2025, 2025), per_seed(1000, 1000), margin=60)
    assert np.isfinite(found["difference"]).values.tolist() == [True, False] and int(found["seeds"]) == 1


def test_only_seeds_with_both_events_and_whole_windows_enter():
    values = array([STEP] * 4)
    result = paired_rise(values, per_seed(2000, np.nan, 3800, 2000), per_seed(1000, 1000, 1000, 1000), margin=500)
    assert int(result["seeds"]) == 2 and np.isnan(result["difference"].values).tolist() == [False, True, True, False]
    none = paired_rise(values, per_seed(*[np.nan] * 4), per_seed(*[1000] * 4), margin=500)
    assert int(none["seeds"]) == 0 and np.isnan(none["p_value"]) and np.isnan(none["mean_difference"])


def test_the_samplers_part_of_the_error_is_what_noise_gives():
    seeds = 400
    se = 0.5
    noise = array(se * np.random.default_rng(0).normal(size=(seeds, len(STEP))))
    result = paired_rise(
        noise, per_seed(*[2500] * seeds), per_seed(*[2000] * seeds), margin=800, se=xr.full_like(noise, se)
    )
    spread = float(result["difference"].std(ddof=1))  # its own error is 1/√(2·399) = 3.5 %
    assert spread == pytest.approx(float(result["difference_sampler_se"][0]), rel=5 * 0.035)
    assert float(result["sampler_share"]) == pytest.approx(1, rel=10 * 0.035)


def test_sign_flips_are_exact_up_to_twenty_values_and_close_above():
    assert sign_flip_p([1.0] * 5) == (2 / 2**5, True)
    assert sign_flip_p([1.0, -1.0])[0] == 1
    values = np.random.default_rng(1).normal(0.4, 1, 20)
    exact, sure = sign_flip_p(values)
    drawn, still = sign_flip_p([*values, 0.0])  # a zero changes nothing
    assert sure and not still and drawn == pytest.approx(exact, abs=5 * np.sqrt(exact / 1e5))
    assert np.isnan(sign_flip_p([])[0])


def test_errors_name_the_argument():
    ramp, events = array([STEP]), event_table([0], [1000], "jump")
    with pytest.raises(OntogenyError, match="offsets must be finite steps that increase"):
        event_aligned(ramp, events, [1, 0], kind="jump")
    with pytest.raises(OntogenyError, match="offsets must have negative ones for baseline='before'"):
        event_aligned(ramp, events, [0, 1], kind="jump")
    with pytest.raises(OntogenyError, match="baseline must be one of"):
        event_aligned(ramp, events, [-1, 1], kind="jump", baseline="first")
    with pytest.raises(OntogenyError, match=r"indicator must have every seed of events; seeds \[9\]"):
        event_aligned(ramp, event_table([9], [1], "jump"), [-1, 1], kind="jump")
    with pytest.raises(OntogenyError, match="margin must be a number of steps, 0 or more"):
        paired_rise(ramp, per_seed(1000), per_seed(2000), margin=-1)
    with pytest.raises(OntogenyError, match="se must be measured at the same steps as indicator"):
        paired_rise(ramp, per_seed(1000), per_seed(2000), margin=10, se=ramp.isel(checkpoint=slice(3)))
