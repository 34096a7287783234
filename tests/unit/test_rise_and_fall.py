"""Peaks, drops and arrivals of curves whose answers are known."""

import math

import numpy as np
import pytest
import xarray as xr

import ontogeny as og
from ontogeny.analysis.rise_and_fall import arrival, first_below, first_hill, peak_and_fall
from ontogeny.core.rng import numpy_generator

STEPS = np.array([0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000])


def curve(*rows):
    return xr.DataArray(
        np.array(rows, dtype=float),
        dims=("seed", "checkpoint"),
        coords={"seed": range(len(rows)), "step": ("checkpoint", STEPS)},
    )


def test_a_hill_has_its_peak_its_end_and_a_halfway_step_between_points():
    found = peak_and_fall(curve([0, 0, 0, 2, 4, 8, 10, 8, 2, 2][:10]), curve([0.1] * 10)).isel(seed=0)
    assert (float(found.peak), float(found.peak_step), float(found.end)) == (10, 300, 4.0)
    assert float(found.fall) == 6 and bool(found.fell)
    assert float(found.fall_se) == pytest.approx(0.1 * math.sqrt(1 + 1 / 3))
    # 7 lies 1/6 of the way from 8 (1000) to 2 (3000)
    expected = math.expm1(math.log1p(1000) + (math.log1p(3000) - math.log1p(1000)) / 6)
    assert float(found.fall_step) == pytest.approx(expected)


def test_a_curve_that_rises_to_its_end_has_no_drop():
    """White noise about a plateau, 200 seeds: the highest of ten points is taken for a drop in under one of twenty."""
    stream = numpy_generator(0, "plateau")
    rows = np.minimum(np.arange(10), 4.0) + 0.1 * stream.standard_normal((200, 10))
    found = peak_and_fall(curve(*rows), xr.full_like(curve(*rows), 0.1))
    assert float(found.fell.mean()) < 0.05 and found.fall_step.where(found.fell == 0, drop=True).isnull().all()


def test_neither_a_curve_that_still_rises_nor_one_that_merely_wanders_has_fallen():
    rising, wandering = np.arange(10.0), 10.0 + np.array([0, 0, 0.3, 0, 0, 0, 0, 0, 0, 0])
    found = peak_and_fall(curve(rising, wandering))
    assert found.fell.values.tolist() == [0, 0] and found.fall_step.isnull().all()


def test_the_lowest_point_after_the_peak_is_the_trough():
    found = peak_and_fall(curve([0, 1, 2, 8, 9, 4, 3, 5, 5, 5])).isel(seed=0)
    assert (float(found.trough), float(found.trough_step)) == (3, 300)


def test_the_first_hill_is_found_below_a_higher_end():
    found = first_hill(curve([0, 1, 5, 4.9, 2, 1, 1.02, 8, 9, 9], range(10), [0, 3, 1, 1, 1, 1, 1, 1, 1, 1]))
    assert found.peak.values[0] == 5 and found.peak_step.values[0] == 3
    assert found.trough.values[0] == 1 and found.trough_step.values[0] == 100
    assert found.peak.isnull().values.tolist() == [False, True, False] and found.trough.values[2] == 1
    noisy = first_hill(curve([0, 1, 5, 4, 5, 5, 5, 5, 5, 5]), xr.full_like(curve([0] * 10), 0.5))
    assert noisy.peak.isnull().all()


def test_points_without_a_value_are_passed_over():
    found = peak_and_fall(curve([math.nan, 0, 1, 5, math.nan, 9, 5, 3, math.nan, 3], [math.nan] * 10))
    assert float(found.peak[0]) == 9 and float(found.end[0]) == pytest.approx(11 / 3)
    assert found.peak[1].isnull() and found.fell[1].isnull()


def test_arrival_is_for_good():
    found = arrival(curve([0, 0.2, 1, 0.5, 1, 0.94, 0.96, 1, 1, 1], [1] * 10, [0] * 10), 0.95)
    assert found.values[:2].tolist() == [300, 0] and math.isnan(found.values[2])


def test_a_level_that_is_never_reached():
    assert math.isnan(first_below(np.array([1.0, 2.0]), np.array([3.0, 2.5]), 1.0))
    assert first_below(np.array([1.0, 2.0]), np.array([3.0, 2.5]), 3.0) == 1.0


def test_a_share_that_is_none_is_refused():
    with pytest.raises(og.OntogenyError, match=r"share must be above 0 and at most 1; got 1.5"):
        arrival(curve([1] * 10), 1.5)
