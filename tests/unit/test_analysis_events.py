"""Events found from planted weights: one for each lasting change, none for flicker."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.events import EventRules, checked_events, event_table, find_events, steps_by_seed
from ontogeny.analysis.sigmoid import sigmoid
from ontogeny.core.errors import OntogenyError

STEP = np.arange(0.0, 8001.0, 10.0)


def norms(*seeds):
    """Feature norms from one list of (points,) arrays a seed."""
    values = np.stack([np.stack(features, axis=1) for features in seeds])
    coords = {"seed": np.arange(len(seeds)) + 3, "step": ("time", STEP)}
    return xr.DataArray(values, dims=("seed", "time", "feature"), coords=coords)


def along_training(*seeds):
    coords = {"seed": np.arange(len(seeds)) + 3, "step": ("time", STEP)}
    return xr.DataArray(np.stack(seeds), dims=("seed", "time"), coords=coords)


def step_up(at, height=1.0):
    return height * (at <= STEP)


def between(low, high):
    return (low <= STEP) & (high > STEP)


def rows(events, kind):
    chosen = events.isel(event=np.flatnonzero(events["kind"].values == kind))
    return list(zip(chosen["seed"].values.tolist(), chosen["step"].values.tolist(), strict=True))


def test_a_table_is_sorted_by_seed_and_step():
    table = event_table([2, 1, 2], [300, 5, 100], ["a", "b", "c"], feature=[1, -1, 0])
    assert table["kind"].values.tolist() == ["b", "c", "a"] and table["feature"].values.tolist() == [-1, 0, 1]
    assert table["step"].attrs["units"] == "steps" and table["seed"].dtype == np.int64
    assert event_table([], [], "a").sizes["event"] == 0
    assert [s.tolist() for s in steps_by_seed(table, [2, 7])] == [[100, 300], []]
    assert steps_by_seed(table, [2], "a")[0].tolist() == [300]


def test_each_feature_emerges_once_and_carries_its_label():
    events = find_events(norms([step_up(700), step_up(2000), 0 * STEP]).assign_coords(feature=[4, 5, 6]))
    chosen = events.isel(event=np.flatnonzero(events["kind"].values == "emergence"))
    assert chosen["step"].values.tolist() == [700, 2000] and chosen["feature"].values.tolist() == [4, 5]
    assert rows(events, "count_change") == [(3, 700), (3, 2000)]
    assert events.attrs["represented_above"] == 0.5


def test_flicker_around_the_threshold_is_one_change_or_none():
    rng = np.random.default_rng(0)
    near = 0.5 + 0.04 * rng.choice([-1, 1], size=STEP.size)  # crosses 0.5 hundreds of times, never falls below 0.4
    events = find_events(norms([near, step_up(0)]))
    assert len(rows(events, "count_change")) <= 1
    brief = step_up(0, 0.2) + 0.5 * between(3000, 3040)  # up for half of the time that lasts
    assert rows(find_events(norms([brief, step_up(0)])), "count_change") == []
    longer = step_up(0, 0.2) + 0.5 * between(3000, 3500)
    assert rows(find_events(norms([longer, step_up(0)])), "count_change") == [(3, 3000), (3, 3500)]
    passing = step_up(1000) + step_up(1030)
    assert rows(find_events(norms([step_up(1000), step_up(1030)])), "count_change") == [(3, 1030)], passing


def test_a_polygon_change_needs_a_polygon_before_and_after():
    polygon = np.where(STEP < 4000, 3, np.where(STEP < 6000, 4, 5))
    distance = np.where(between(3500, 4300) | (STEP >= 6000), 0.5, 0.1)  # far between 3 and 4; never close to 5
    flicker = np.where(between(5000, 5030), 5, polygon)
    held = along_training(polygon, flicker, 0 * polygon + 4)
    far = along_training(distance, distance, np.where(between(2000, 3000), 0.9, 0.1))
    events = find_events(norms(*[[step_up(0)]] * 3), polygon=held, polygon_distance=far)
    assert rows(events, "polygon_change") == [(3, 4000), (4, 4000)]


def test_gaps_shorter_than_the_stay_do_not_break_a_polygon():
    gaps = np.where((STEP % 60 == 0), 0.9, 0.1)
    polygon = np.where(STEP < 4000, 3, 4)
    events = find_events(norms([step_up(0)]), polygon=along_training(polygon), polygon_distance=along_training(gaps))
    assert rows(events, "polygon_change") == [(3, 4000)]


def test_the_rank_jump_is_the_accepted_inflection_or_what_is_given():
    norm = norms([step_up(300), step_up(400)], [step_up(300), step_up(400)])
    rank = along_training(sigmoid(STEP, 1.8, 2.0, 5000.0, 100.0), np.full_like(STEP, 1.8))
    events = find_events(norm, rank)
    ((seed, step),) = rows(events, "rank_jump")
    assert seed == 3 and abs(step - 5000) < 10
    given = xr.DataArray([np.nan, 1234.0], dims="seed", coords={"seed": [3, 4]})
    assert rows(find_events(norm, rank_jump=given), "rank_jump") == [(4, 1234)]


def test_nothing_represented_means_no_events():
    events = find_events(norms([0.01 + 0 * STEP]))
    assert events.sizes["event"] == 0 and set(events) == {"seed", "step", "kind", "feature"}


def test_errors_name_the_argument():
    norm = norms([step_up(300)])
    with pytest.raises(OntogenyError, match="polygon and polygon_distance must be given together"):
        find_events(norm, polygon=along_training(STEP))
    with pytest.raises(OntogenyError, match="effective_rank and rank_jump both say"):
        find_events(norm, along_training(STEP), rank_jump=xr.DataArray([1.0], dims="seed", coords={"seed": [3]}))
    with pytest.raises(OntogenyError, match="one entry an event each; got lengths"):
        event_table([1, 2], [3.0], "a")
    with pytest.raises(OntogenyError, match="step must be finite for every event"):
        event_table([1], [np.nan], "a")
    with pytest.raises(OntogenyError, match="seed must hold whole numbers"):
        event_table([1.5], [2.0], "a")
    with pytest.raises(OntogenyError, match="minimum_stay of the event rules must be below 1"):
        EventRules(minimum_stay=2.0)
    with pytest.raises(OntogenyError, match="count_hysteresis of the event rules must be below represented_above"):
        EventRules(count_hysteresis=0.6)
    with pytest.raises(OntogenyError, match="found must be an event table with seed, step and kind"):
        checked_events(xr.Dataset(), "found")
