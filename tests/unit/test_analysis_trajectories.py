"""Synthetic trajectories of each kind, the precedence between kinds, and the edges of the thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.sigmoid import sigmoid
from ontogeny.analysis.trajectories import (
    CLASSES,
    TrajectoryThresholds,
    classify_trajectories,
    rank_before_plateau,
)
from ontogeny.core.errors import OntogenyError

STEP = np.arange(0.0, 6001.0, 20.0)


def trajectories(*values):
    block = np.stack(values)
    return xr.DataArray(block, dims=("seed", "time"), coords={"seed": np.arange(len(block)), "step": ("time", STEP)})


def piecewise(*points):
    """Linear through (step, rank) points."""
    steps, ranks = np.transpose(points)
    return np.interp(STEP, steps, ranks)


KINDS = {
    "plateau_then_jump": sigmoid(STEP, 1.8, 2.0, 3000.0, 100.0),
    "early_rise": piecewise((0, 1.3), (500, 1.97), (1000, 2.0), (6000, 2.0)),
    "stuck": piecewise((0, 1.3), (600, 1.83), (6000, 1.87)),
    "non_monotonic": piecewise((0, 1.3), (500, 2.0), (2000, 2.0), (2400, 1.85), (6000, 1.86)),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_each_kind_is_recognised(kind):
    result = classify_trajectories(trajectories(KINDS[kind]), start=400.0)
    assert result.kind.values.tolist() == [kind]


def test_noise_of_a_hundredth_changes_no_kind():
    rng = np.random.default_rng(0)
    rank = [KINDS[kind] + 0.005 * rng.normal(size=len(STEP)) for kind in CLASSES for _ in range(10)]
    result = classify_trajectories(trajectories(*rank), start=400.0)
    assert result.kind.values.tolist() == [kind for kind in CLASSES for _ in range(10)]


def test_a_reversal_goes_before_the_other_kinds():
    back_to_two = piecewise((0, 2.0), (2000, 2.0), (2400, 1.8), (4000, 1.8), (4300, 2.0), (6000, 2.0))
    result = classify_trajectories(trajectories(back_to_two), start=400.0)
    assert str(result.kind[0].values) == "non_monotonic" and float(result.fall[0]) == pytest.approx(0.2)
    assert float(result.jump_step[0]) > 4000  # what it did besides is still in the table


def test_a_short_peak_before_the_plateau_is_no_reversal():
    peak = piecewise((0, 1.3), (600, 1.98), (700, 1.98), (800, 1.83), (3000, 1.83), (3300, 2.0), (6000, 2.0))
    assert classify_trajectories(trajectories(peak), start=500.0).kind.values.tolist() == ["plateau_then_jump"]
    held = piecewise((0, 1.3), (600, 1.98), (1200, 1.98), (1500, 1.83), (3000, 1.83), (3300, 2.0), (6000, 2.0))
    assert classify_trajectories(trajectories(held), start=500.0).kind.values.tolist() == ["non_monotonic"]
    assert classify_trajectories(trajectories(held), start=1500.0).kind.values.tolist() == ["plateau_then_jump"]


@pytest.mark.parametrize(("plateau", "kind"), [(440.0, "plateau_then_jump"), (400.0, "early_rise")])
def test_the_plateau_must_last_its_fraction_of_training(plateau, kind):
    rank = np.where(STEP < 1000, 1.6, np.where(1000 + plateau >= STEP, 1.8, 2.0))  # 0.07·6000 = 420 steps
    result = classify_trajectories(trajectories(rank), start=0.0)
    assert str(result.kind[0].values) == kind and float(result.plateau_steps[0]) == plateau


def test_a_jump_that_does_not_stay_is_stuck_and_has_no_step():
    rank = piecewise((0, 1.8), (3000, 1.8), (3100, 1.955), (3140, 1.955), (3300, 1.92), (6000, 1.92))
    result = classify_trajectories(trajectories(rank), start=0.0)
    assert str(result.kind[0].values) == "stuck" and np.isnan(result.jump_step[0])


def test_columns_hold_the_numbers_behind_the_kind():
    result = classify_trajectories(trajectories(KINDS["plateau_then_jump"]), start=400.0).isel(seed=0)
    # the rank passes 1.95 at t0 + width·ln 3, and leaves the band |rank − 1.8| ≤ 0.1 at t0
    assert float(result.jump_step) == 20 * np.ceil((3000 + 100 * np.log(3)) / 20)
    assert abs(float(result.plateau_steps) - 2600) <= 20
    assert float(result.plateau_rank) == pytest.approx(1.803, abs=0.003) and float(result.final_rank) == pytest.approx(
        2.0
    )
    assert result.attrs["plateau_level"] == 1.8
    assert all("long_name" in v.attrs and "units" in v.attrs for v in result.data_vars.values())


def test_a_seed_that_never_represents_anything_is_stuck():
    rank = trajectories(np.full_like(STEP, np.nan), KINDS["early_rise"])
    start = xr.DataArray([np.nan, 400.0], dims="seed", coords={"seed": [0, 1]})
    assert classify_trajectories(rank, start=start).kind.values.tolist() == ["stuck", "early_rise"]


def test_errors_name_the_argument():
    rank = trajectories(KINDS["stuck"])
    with pytest.raises(OntogenyError, match=r"effective_rank of seed 0 must be finite from its start \(step 400\) on"):
        classify_trajectories(rank.where(rank.step != 3000), start=400.0)
    with pytest.raises(OntogenyError, match=r"effective_rank of seed 0 must be finite from its start \(step 9000\) on"):
        classify_trajectories(rank, start=9000.0)
    with pytest.raises(OntogenyError, match="effective_rank must have the dims"):
        classify_trajectories(rank.rename(time="draw"), start=400.0)
    with pytest.raises(OntogenyError, match=r"the plateau's band must end below jump_level; got 1.9 and 1.85"):
        TrajectoryThresholds(jump_level=1.85)
    with pytest.raises(OntogenyError, match="fall_tolerance of the thresholds must be positive"):
        TrajectoryThresholds(fall_tolerance=0)
    with pytest.raises(OntogenyError, match="plateau_fraction and hold_fraction must be below 1"):
        TrajectoryThresholds(plateau_fraction=2)
    with pytest.raises(OntogenyError, match="start must be a number or have the one dim"):
        classify_trajectories(rank, start=xr.DataArray([[0.0]], dims=("seed", "time")))
    with pytest.raises(OntogenyError, match="'seed' must name each seed once"):
        classify_trajectories(xr.concat([rank, rank], "seed"), start=400.0)


def test_the_rank_before_the_plateau_counts_while_two_features_are_represented():
    peak = piecewise(
        (0, 2.0), (200, 1.5), (600, 1.98), (700, 1.98), (800, 1.83), (3000, 1.83), (3300, 2.0), (6000, 2.0)
    )
    rank = trajectories(peak, peak, np.full(len(STEP), 2.0))
    found = classify_trajectories(rank, start=400.0)
    assert float(found["plateau_start"][0]) == 760.0 and np.isnan(found["plateau_start"][2])
    norm = np.zeros((3, len(STEP), 3))
    norm[[0, 2], :, :2] = np.where(STEP >= 300, 0.6, 0.1)[:, None]  # at first the rank of tiny weights is anything
    norm[1, :, 0] = 1.0
    lengths = xr.DataArray(norm, dims=("seed", "time", "feature"), coords=rank.coords)
    highest = rank_before_plateau(rank, lengths, found["plateau_start"])
    assert float(highest[0]) == pytest.approx(1.98) and np.isnan(highest[1:]).all()
