"""Matching of found points with events on small planted tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.detection import Targets, clustered_proportion, detection, match
from ontogeny.analysis.events import event_table
from ontogeny.core.errors import OntogenyError

STEP = np.arange(0.0, 1001.0, 100.0)


def grid(seeds=3, step=STEP):
    coords = {"seed": np.arange(seeds), "step": ("checkpoint", step)}
    return xr.DataArray(np.zeros((seeds, len(step))), dims=("seed", "checkpoint"), coords=coords)


def test_a_point_finds_the_event_of_its_interval_or_a_neighbour():
    events = event_table([0, 0, 1], [250, 750, 550], ["jump"] * 3)
    found = event_table([0, 0, 1, 2], [350, 950, 550, 450], "change")  # next interval, two away, same, nothing there
    result = detection(found, events, grid())
    jump = result.sel(kind="jump")
    assert (int(jump.events), int(jump.found), int(jump.matched)) == (3, 4, 2)
    assert float(jump.recall) == pytest.approx(2 / 3) and float(jump.precision) == pytest.approx(0.5)
    assert float(jump.lag) == pytest.approx(50.0) and float(jump.lag_median) == pytest.approx(50.0)
    assert jump.matched_by_seed.values.tolist() == [1, 1, 0] and int(jump.lag_seeds) == 2
    assert result["false_alarms_by_seed"].values.tolist() == [1, 0, 1]
    assert float(result["false_alarms"]) == pytest.approx(2 / 3)
    assert int(result["quiet_seeds"]) == 1 and float(result["false_alarms_quiet"]) == 1


def test_matching_is_one_to_one_and_nearest_first():
    targets = Targets(np.array([100.0, 200.0]), np.array([0.0, 100.0]), np.array([200.0, 300.0]))
    assert match(np.array([[190.0, 120.0]]), targets).tolist() == [[1, 0]]
    assert match(np.array([[190.0, 195.0]]), targets).tolist() == [[0, 1]]  # 195 takes 200, 190 what is left
    assert match(np.array([[110.0], [400.0]]), targets).tolist() == [[0], [-1]]
    two = detection(event_table([0, 0], [450, 550], "change"), event_table([0], [520], "jump"), grid())
    assert int(two.sel(kind="jump").matched) == 1 and float(two.sel(kind="jump").lag) == 30


def test_events_in_one_interval_count_once_and_events_outside_do_not():
    events = event_table([0, 0, 0, 0], [410, 450, 490, 1200], ["a", "a", "b", "b"])
    result = detection(event_table([0], [450], "change"), events, grid(1))
    assert result["events"].values.tolist() == [1, 1, 1]  # a, b, any
    assert result["merged"].values.tolist() == [1, 0, 2] and result["outside"].values.tolist() == [0, 1, 1]
    assert float(result.sel(kind="a").lag) == 20
    assert result["kind"].values.tolist() == ["a", "b", "any"]


def test_an_event_at_a_checkpoint_belongs_to_the_interval_before_it():
    result = detection(event_table([0], [150], "change"), event_table([0], [400], "jump"), grid(1))
    assert int(result.sel(kind="jump").matched) == 0  # the event's interval is 300-400, 150 is two before
    result = detection(event_table([0], [250], "change"), event_table([0], [400], "jump"), grid(1))
    assert int(result.sel(kind="jump").matched) == 1


def test_tolerance_in_steps_or_as_a_function_of_the_step():
    events, found = event_table([0, 0], [100, 900], "jump"), event_table([0, 0], [150, 950], "change")

    def count(tolerance):
        return int(detection(found, events, grid(1), tolerance=tolerance).sel(kind="jump").matched)

    assert [count(40), count(60), count(lambda step: 0.1 * step)] == [0, 2, 1]


def test_the_null_is_the_chance_of_random_intervals():
    seeds = 40  # one event and one point a seed, 10 intervals, reach of 3 in the middle: recall 0.3 by chance
    events = event_table(np.arange(seeds), np.full(seeds, 550.0), "jump")
    random = np.random.default_rng(0).integers(10, size=seeds) * 100.0 + 50
    jump = detection(event_table(np.arange(seeds), random, "change"), events, grid(seeds)).sel(kind="jump")
    assert float(jump.recall_null) == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / seeds / 2000))
    assert float(jump.precision_null) == pytest.approx(float(jump.recall_null))
    exact = event_table(np.arange(seeds), np.full(seeds, 550.0), "change")
    assert float(detection(exact, events, grid(seeds)).sel(kind="jump").p_value) == pytest.approx(1 / 2001)


def test_missing_points_make_their_interval_wider():
    steps = grid(1)
    steps[0, 4:7] = np.nan  # 300 … 700 is one interval
    result = detection(event_table([0], [500], "change"), event_table([0], [690], "jump"), steps)
    assert int(result.sel(kind="jump").matched) == 1


def test_no_events_or_no_points_give_nan_and_not_an_error():
    empty = event_table([], [], "jump")
    none = detection(event_table([0], [450], "change"), empty, grid())
    assert none["kind"].values.tolist() == ["any"] and none["recall"].isnull().all() and none["p_value"].isnull().all()
    assert float(none["false_alarms_quiet"]) == pytest.approx(1 / 3)
    absent = detection(event_table([0], [450], "change"), event_table([0], [450], "jump"), grid(), kinds=["fall"])
    assert int(absent.sel(kind="fall").events) == 0 and np.isnan(absent.sel(kind="fall").recall)
    silent = detection(empty, event_table([0], [450], "jump"), grid()).sel(kind="jump")
    assert (
        float(silent.recall) == 0 and np.isnan(silent.precision) and np.isnan(silent.p_value) and np.isnan(silent.lag)
    )


def test_a_seed_without_finite_points_finds_nothing():
    steps = grid(2)
    steps[0] = np.nan
    result = detection(event_table([1], [450], "change"), event_table([0, 1], [450, 450], "jump"), steps)
    assert int(result.sel(kind="jump").outside) == 1 and float(result.sel(kind="jump").recall) == 1


def test_the_result_does_not_change_from_run_to_run():
    rng = np.random.default_rng(3)
    events, found = (event_table(np.arange(3), rng.uniform(0, 1000, 3), kind) for kind in ("jump", "change"))
    assert detection(found, events, grid()).identical(detection(found, events, grid()))


def test_clustered_proportion_keeps_seeds_as_the_sample():
    p, low, high = clustered_proportion([10, 10, 10, 0, 0, 0], [10] * 6)  # all or nothing within a seed
    apart = clustered_proportion([5] * 6, [10] * 6)
    assert p == 0.5 and low < 0.15 and high > 0.85 and apart[2] - apart[1] < 0.8
    assert clustered_proportion([3, 3], [3, 3])[0::2] == (1.0, 1.0)
    assert np.isnan(clustered_proportion([1], [2])[1]) and np.isnan(clustered_proportion([], [])[0])


def test_errors_name_the_argument():
    events, found = event_table([0], [250], "jump"), event_table([0], [250], "change")
    with pytest.raises(OntogenyError, match="tolerance must be positive, in steps; got 0"):
        detection(found, events, grid(), tolerance=0)
    with pytest.raises(OntogenyError, match=r"steps must have every seed of found; seeds \[7\] are missing"):
        detection(event_table([7], [1], "change"), events, grid())
    with pytest.raises(OntogenyError, match="draws must be at least 1"):
        detection(found, events, grid(), draws=0)
    with pytest.raises(OntogenyError, match="found must be an event table"):
        detection(grid().to_dataset(name="x"), events, grid())
    with pytest.raises(OntogenyError, match="found has 11 points in seed 0, which has 10 intervals"):
        detection(event_table([0] * 11, np.arange(11.0), "change"), events, grid())
