"""Combinations of indicators: better where each is half informative, not where one is perfect."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.combination import Peaks, average_precision, combined_detection, find_peaks
from ontogeny.analysis.events import event_table
from ontogeny.core.errors import OntogenyError

STEP = np.linspace(0, 8000, 40)


def array(values):
    coords = {"seed": np.arange(len(values)), "step": ("checkpoint", STEP)}
    return xr.DataArray(np.asarray(values, dtype=float), dims=("seed", "checkpoint"), coords=coords)


def planted(seed=0, seeds=20, noise=1.0):
    """One event a seed, at which `first`, `second` and `perfect` jump; the first two also jump once by themselves."""
    rng = np.random.default_rng(seed)
    places = np.stack([rng.choice(np.arange(2, 37, 4), 3, replace=False) for _ in range(seeds)])
    up = 8.0 * (np.arange(40) > places[..., None])  # (seed, event or decoy, checkpoint)
    noisy = {name: noise * rng.normal(size=(seeds, 40)) for name in ("first", "second", "perfect", "nothing")}
    indicators = {
        "first": array(up[:, 0] + up[:, 1] + noisy["first"]),
        "second": array(up[:, 0] + up[:, 2] + noisy["second"]),
        "perfect": array(up[:, 0] + 0.2 * noisy["perfect"]),
        "nothing": array(noisy["nothing"]),
    }
    return indicators, event_table(np.arange(seeds), STEP[places[:, 0] + 1] - 1, "jump")


def choose(indicators, *names):
    return {name: indicators[name] for name in names}


@pytest.mark.parametrize("seed", range(3))
def test_two_half_informative_indicators_win_together(seed):
    indicators, events = planted(seed)
    result = combined_detection(choose(indicators, "first", "second"), events, kind="jump")
    both = result.sel(combination="first + second")
    assert str(both["statement"].values) == "better" and float(both["difference_low"]) > 0
    assert float(both["f1"]) > 0.8 > 0.75 > float(result["f1"].sel(combination="first"))
    assert float(both["average_precision_difference_low"]) > 0
    assert 0 < float(both["detectable_difference"]) < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_noise_adds_nothing_to_a_perfect_indicator(seed):
    indicators, events = planted(seed)
    result = combined_detection(choose(indicators, "perfect", "nothing"), events, kind="jump")
    both = result.sel(combination="perfect + nothing")
    assert result.attrs["best_single"] == "perfect" and str(both["statement"].values) == "not better"
    assert float(result["f1"].sel(combination="nothing")) < 0.4


def test_noise_alone_is_not_called_better():
    rng = np.random.default_rng(5)
    called = []
    for seed in range(10):
        _, events = planted(seed)
        noise = {name: array(rng.normal(size=(20, 40))) for name in ("first", "second")}
        result = combined_detection(noise, events, kind="jump")
        called.append(str(result["statement"].values[-1]))
    assert called.count("better") <= 1  # 2.5 % each, less what the best single is favoured by


def test_every_single_every_pair_and_all():
    indicators, events = planted()
    result = combined_detection(indicators, events, kind="jump", folds=3)
    assert result["size"].values.tolist() == [1] * 4 + [2] * 6 + [4]
    assert result["combination"].values[-1] == "first + second + perfect + nothing"
    assert (result["f1_low"] <= result["f1"]).all() and (result["f1"] <= result["f1_high"]).all()
    assert result["statement"].values[:4].tolist() == [""] * 4
    assert result.attrs["events"] == result.attrs["seeds_with_events"] == 20


def test_seeds_without_events_and_missing_points_are_lived_with():
    indicators, events = planted()
    quiet = events.isel(event=slice(0, 12))
    indicators["first"][3, 5:9] = np.nan
    indicators["second"][4] = np.nan
    result = combined_detection(choose(indicators, "first", "second"), quiet, kind="jump")
    assert result.attrs["seeds"] == 19 and result.attrs["seeds_with_events"] == 11
    assert np.isfinite(result["f1"]).all()


def test_detections_keep_their_distance_and_find_one_event_each():
    scores = np.array([0.1, 0.9, 0.8, 0.2, 0.7, 0.0])
    peaks = find_peaks(scores, np.array([2, 4]))
    assert peaks.scores.tolist() == [0.9, 0.7] and peaks.hits.tolist() == [True, True]
    assert find_peaks(scores, np.array([1])).hits.tolist() == [True, False]


def test_average_precision_is_the_mean_precision_at_the_events():
    one = Peaks(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 3)
    assert average_precision([one]) == pytest.approx((1 + 2 / 3) / 3)
    tied = Peaks(np.array([0.5, 0.5]), np.array([True, False]), 1)
    assert average_precision([tied]) == 0.5  # a tie is no credit
    assert np.isnan(average_precision([Peaks(np.array([0.5]), np.array([False]), 0)]))


def test_errors_name_the_argument():
    indicators, events = planted(seeds=6)
    with pytest.raises(OntogenyError, match="indicators must name at least two"):
        combined_detection(choose(indicators, "first"), events, kind="jump")
    with pytest.raises(OntogenyError, match="folds must be from 2 to the number of seeds, 6; got 7"):
        combined_detection(indicators, events, kind="jump", folds=7)
    with pytest.raises(OntogenyError, match="events must have kind 'fall' in at least 2 seeds"):
        combined_detection(indicators, events, kind="fall")
    with pytest.raises(OntogenyError, match="indicator 'second' must have the seeds and steps of the first"):
        combined_detection({"first": indicators["first"], "second": indicators["second"][1:]}, events, kind="jump")
