"""Intervals that cover as they say and p-values that are uniform when nothing is there, for events and indicators.

Coverage of a 95 % interval must lie between 90 % and 99 % over the repetitions, at 5, 10 and 20 seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest

from ontogeny.analysis.aligned import event_aligned, paired_rise
from ontogeny.analysis.combination import Peaks, average_precision, half_width, jackknife, score_interval
from ontogeny.analysis.detection import clustered_proportion, detection
from ontogeny.analysis.events import event_table

SEEDS = (5, 10, 20)
SPACING = 100.0
STEP = SPACING * np.arange(41)


def covers(inside, low=0.90, high=0.99):
    assert low <= np.mean(inside) <= high, np.mean(inside)


def array(values):
    coords = {"seed": np.arange(len(values)), "step": ("checkpoint", STEP)}
    return xr.DataArray(np.asarray(values, dtype=float), dims=("seed", "checkpoint"), coords=coords)


def per_seed(values):
    return xr.DataArray(np.asarray(values, dtype=float), dims="seed", coords={"seed": np.arange(len(values))})


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("together", [0.0, 0.3])
def test_a_proportion_covers_however_alike_the_trials_of_a_seed(seeds, together):
    """Beta-binomial seeds with 1-5 trials each; `together` is the correlation within a seed."""
    rng = np.random.default_rng(0)
    for p in (0.5, 0.7):
        inside = []
        for _ in range(400):
            trials = rng.integers(1, 6, seeds)
            shape = (1 / together - 1) if together else None
            chance = rng.beta(p * shape, (1 - p) * shape, seeds) if shape else np.full(seeds, p)
            _, low, high = clustered_proportion(rng.binomial(trials, chance), trials)
            inside.append(low <= p <= high)
        covers(inside)


def found_and_events(rng, seeds):
    """Three events a seed, each found with chance 0.6 in its interval or, as often, the next; and false alarms."""
    of, at, points = [], [], []
    for seed in range(seeds):
        for place in rng.choice(np.arange(2, 34, 8), 3, replace=False):
            of.append(seed)
            at.append(STEP[place] + SPACING * rng.uniform(0.01, 0.99))
            if rng.random() < 0.6:
                points.append((seed, STEP[place] + SPACING * (0.5 + rng.integers(2))))
        alarms = rng.choice(np.array([6, 14, 22, 30, 38]), rng.binomial(4, 0.5), replace=False)
        points += [(seed, STEP[k] + SPACING / 2) for k in alarms]
    return event_table([s for s, _ in points], [t for _, t in points], "change"), event_table(of, at, "jump")


@pytest.mark.parametrize("seeds", SEEDS)
def test_recall_precision_lag_and_false_alarms_cover(seeds):
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(200):
        result = detection(*found_and_events(rng, seeds), array(np.zeros((seeds, 41))), kinds=["jump"], draws=1)
        jump = result.sel(kind="jump")
        inside.append(
            [
                jump.recall_low <= 0.6 <= jump.recall_high,
                jump.precision_low <= 1.8 / 3.8 <= jump.precision_high,
                jump.lag_low <= SPACING / 2 <= jump.lag_high,
                result["false_alarms_low"] <= 2 <= result["false_alarms_high"],
            ]
        )
    for column in np.array(inside, dtype=bool).T:
        covers(column)


def test_random_points_give_a_uniform_p_value():
    rng = np.random.default_rng(2)
    seeds, values = 20, []
    steps = array(np.zeros((seeds, 41)))
    for _ in range(250):
        places = [rng.choice(40, rng.integers(2, 7), replace=False) for _ in range(seeds)]
        of = np.repeat(np.arange(seeds), [len(p) for p in places])
        points = event_table(of, STEP[np.concatenate(places)] + SPACING / 2, "change")
        events = event_table(np.repeat(np.arange(seeds), 3), rng.uniform(0, 4000, 3 * seeds), "jump")
        values.append(float(detection(points, events, steps, kinds=[], draws=200).sel(kind="any").p_value))
    assert kstest(values, "uniform").pvalue > 1e-3
    assert np.mean(np.array(values) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 250)


def test_points_near_the_events_are_told_from_random_ones():
    rng = np.random.default_rng(3)
    small = 0
    for _ in range(20):
        found, events = found_and_events(rng, 5)
        small += float(detection(found, events, array(np.zeros((5, 41)))).sel(kind="jump").p_value) < 0.05
    assert small >= 18


@pytest.mark.parametrize("seeds", SEEDS)
def test_the_band_of_an_aligned_average_covers_at_each_offset(seeds):
    rng = np.random.default_rng(4)
    offsets = np.array([-400.0, -200.0, 0.0, 300.0, 600.0])
    inside = []
    for _ in range(300):
        at = rng.uniform(1000, 3000, seeds)
        size = rng.normal(2.0, 0.5, seeds)  # the true mean rise is 2
        values = size[:, None] * (at[:, None] < STEP) + 0.5 * rng.normal(size=(seeds, 41))
        result = event_aligned(array(values), event_table(np.arange(seeds), at, "jump"), offsets, kind="jump")
        inside.append([(low <= 2 <= high) for low, high in zip(result["low"][3:], result["high"][3:], strict=True)])
    for column in np.array(inside, dtype=bool).T:
        covers(column)


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_paired_rise_covers_and_its_p_value_is_uniform(seeds):
    rng = np.random.default_rng(5)
    inside, p_null, p_effect = [], [], []
    size, effect = 1.0, 0.5  # of the rise, and its spread between seeds
    for _ in range(200):
        first, second = rng.uniform(2500, 3200, seeds), rng.uniform(800, 1500, seeds)
        noise = rng.normal(size=(seeds, 41))
        shape = rng.normal(size, effect, (seeds, 1)) * (first[:, None] <= STEP)
        result = paired_rise(array(shape + 0.25 * noise), per_seed(first), per_seed(second), margin=100)
        inside.append(float(result["low"]) <= size <= float(result["high"]))  # the step is there, and seen whole
        p_effect.append(float(result["p_value"]))
        if seeds < 20:
            nothing = paired_rise(array(noise), per_seed(first), per_seed(second), margin=100)
            p_null.append(float(nothing["p_value"]))
    covers(inside)
    if seeds > 5:
        assert np.mean(np.array(p_effect) < 0.05) > 0.9
    if seeds == 10:
        assert kstest(p_null, "uniform").pvalue > 1e-3
    if seeds == 5:  # sixteen values are not a continuum; the least p is 1/16
        assert np.mean(np.array(p_null) <= 1 / 16) < 1 / 16 + 3 * np.sqrt(1 / 16 / 200)


def scored_seeds(rng, seeds, skill):
    """What `jackknife` takes: two events a seed; a score is `skill` higher where an event is; threshold 1."""
    result = []
    for _ in range(seeds):
        shared = 0.5 * rng.normal()  # seeds differ
        scores = rng.normal(size=12) + shared + skill * (np.arange(12) < 2)
        order = np.argsort(-scores)
        peaks = Peaks(scores[order], order < 2, 2)
        over = peaks.scores >= 1
        hits = float((peaks.hits & over).sum())
        result.append((peaks, np.array([hits, over.sum() - hits, 2 - hits])))
    return result


def true_scores(many):
    true, false, missed = np.sum([counts for _, counts in many], axis=0)
    scores = {"precision": true / (true + false), "recall": true / (true + missed)}
    scores["f1"] = 2 * true / (2 * true + false + missed)
    return scores | {"average_precision": average_precision([peaks for peaks, _ in many])}


@pytest.mark.parametrize("seeds", SEEDS)
def test_the_jackknife_of_scores_and_of_their_difference_covers(seeds):
    rng = np.random.default_rng(6)
    better, worse = (true_scores(scored_seeds(rng, 5000, skill)) for skill in (2.0, 1.5))
    names = tuple(better)
    inside = {name: [] for name in (*names, "difference")}
    for _ in range(200):
        one, two = (jackknife(scored_seeds(rng, seeds, skill)) for skill in (2.0, 1.5))
        for name in names:
            low, high = score_interval(*one[name])
            inside[name].append(low <= better[name] <= high)
        apart = one["f1"][0] - two["f1"][0]
        expected = better["f1"] - worse["f1"]
        inside["difference"].append(abs(apart - expected) <= half_width(one["f1"][1] - two["f1"][1])[1])
    for name, column in inside.items():
        covers(column, high=1.0 if name == "recall" else 0.99)  # two events a seed are few, and most are found
