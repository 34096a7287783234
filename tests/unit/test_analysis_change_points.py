"""Change points on planted series: jumps in noise are found, trends are not, whatever the dims and gaps."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.change_points import change_points
from ontogeny.analysis.sigmoid import sigmoid
from ontogeny.core.errors import OntogenyError

STEP = np.unique(np.concatenate([np.geomspace(10, 8000, 14).round(-1), np.linspace(0, 8000, 27).round(-1)]))
POINTS = STEP.size
U = STEP / 8000
TRENDS = {"flat": 0 * U, "linear": 8 * U, "relaxation": 8 * np.exp(-4 * U), "log": np.log1p(STEP)}


def array(values, **coords):
    values = np.asarray(values, dtype=float)
    coords = {"seed": np.arange(len(values)), "step": ("checkpoint", STEP), **coords}
    return xr.DataArray(values, dims=("seed", "checkpoint", "feature")[: values.ndim], coords=coords)


def jumps(rng, seeds, size=5.0):
    """Unit noise with one jump a seed; the jump lies after the point `at`."""
    at = rng.integers(4, POINTS - 5, size=seeds)
    return rng.normal(size=(seeds, POINTS)) + size * (np.arange(POINTS) > at[:, None]), at


def hits(table, at):
    """Whether each seed's jump is found within one checkpoint."""
    found = zip(table["seed"].values, table["step"].values, strict=True)
    near = {int(s) for s, step in found if STEP[at[s] - 1] < step < STEP[at[s] + 2]}
    return np.array([s in near for s in range(len(at))])


@pytest.mark.parametrize("trend", ["flat", "linear"])
@pytest.mark.parametrize("given", [True, False])
def test_jumps_of_five_sigma_are_found_within_one_checkpoint(trend, given):
    values, at = jumps(np.random.default_rng(1), 150)
    table = change_points(array(values + TRENDS[trend]), se=array(np.ones_like(values)) if given else None)
    assert hits(table, at).mean() > 0.9 - (0 if given else 2 * np.sqrt(0.09 / 150))
    assert table.sizes["event"] < 1.2 * len(at)
    assert set(table["kind"].values) == {"change"}


def test_the_size_is_the_change_of_level_with_its_sign():
    values, _ = jumps(np.random.default_rng(2), 40, size=-8.0)
    table = change_points(array(values), se=array(np.ones_like(values)))
    assert table["size"].median() == pytest.approx(-8, abs=5 * 1.25 / np.sqrt(40))  # error of one size: about 1
    assert (table["low"] < table["step"]).all() and (table["step"] < table["high"]).all()


@pytest.mark.parametrize("trend", TRENDS)
@pytest.mark.parametrize("given", [True, False])
def test_a_trend_with_noise_but_no_jump_gives_less_than_a_tenth_of_a_change(trend, given):
    seeds = 120
    values = TRENDS[trend] + np.random.default_rng(3).normal(size=(seeds, POINTS))
    table = change_points(array(values), se=array(np.ones_like(values)) if given else None)
    assert table.sizes["event"] / seeds < 0.1


@pytest.mark.parametrize("trend", TRENDS)
def test_without_noise_a_trend_is_no_change_and_a_jump_is_one(trend):
    plain = np.stack([TRENDS[trend]] * 3)
    assert change_points(array(plain)).sizes["event"] == 0
    at = np.array([12, 20, 30])
    table = change_points(array(plain + 4.0 * (np.arange(POINTS) > at[:, None])))
    assert hits(table, at).all() and table.sizes["event"] == 3
    assert table["low"].values.tolist() == STEP[at].tolist() and table["high"].values.tolist() == STEP[at + 1].tolist()


@pytest.mark.parametrize("width", [20.0, 100.0])
def test_a_jump_resolved_by_a_few_checkpoints_is_one_change(width):
    centres = np.linspace(2500, 7000, 8)
    rank = 1.8 - 0.8 * np.exp(-STEP / 200) + sigmoid(STEP, 0.0, 0.2, centres[:, None], width)
    table = change_points(array(rank))
    assert table["seed"].values.tolist() == list(range(8))
    assert (np.abs(table["step"].values - centres) < 310).all()  # one spacing


def test_two_jumps_are_two_changes():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(20, POINTS)) + 7.0 * (np.arange(POINTS) > 10) - 7.0 * (np.arange(POINTS) > 26)
    table = change_points(array(values))
    assert 38 <= table.sizes["event"] <= 42


def test_missing_points_are_left_out():
    values, at = jumps(np.random.default_rng(5), 60, size=8.0)
    holes = np.random.default_rng(6).random(values.shape) < 0.15
    holes[0] = True
    table = change_points(array(np.where(holes, np.nan, values)))
    assert 0 not in table["seed"].values
    middle = (STEP[at] + STEP[at + 1]) / 2
    found = {int(s): step for s, step in zip(table["seed"].values, table["step"].values, strict=True)}
    near = [abs(found.get(s, np.inf) - middle[s]) < 650 for s in range(1, 60)]
    assert np.mean(near) > 0.85


def test_columns_are_sought_together():
    rng = np.random.default_rng(7)
    at = rng.integers(6, POINTS - 7, size=40)
    up = (np.arange(POINTS) > at[:, None])[..., None]
    values = rng.normal(size=(40, POINTS, 4)) + 4.0 * up * np.array([1, -1, 1, -1])
    values[..., 3] = 1.0  # constant: says nothing
    table = change_points(array(values), se=array(np.ones_like(values)))
    assert hits(table, at).mean() > 0.9  # each column for itself has only 4σ
    assert float(table["size"].median()) == pytest.approx(4 * np.sqrt(3), abs=1.0)
    nothing = change_points(array(rng.normal(size=(60, POINTS, 4))))
    assert nothing.sizes["event"] / 60 < 0.15


def test_a_loss_is_looked_at_in_logarithms():
    loss = np.exp(-3 * U) * np.where(np.arange(POINTS) > 25, 0.5, 1.0)
    table = change_points(array(loss[None]), transform="log")
    assert table["size"].values == pytest.approx([np.log(0.5)], abs=0.02) and table["size"].attrs["units"] == "log"


def test_scatter_beyond_the_errors_is_no_change():
    values = np.random.default_rng(9).normal(size=(80, POINTS))
    assert change_points(array(values), se=array(np.full_like(values, 0.2))).sizes["event"] / 80 < 0.1


def test_order_of_seeds_and_scale_do_not_matter():
    values, _ = jumps(np.random.default_rng(8), 12)
    plain, turned = change_points(array(values)), change_points(array(values).isel(seed=slice(None, None, -1)))
    scaled = change_points(1000 * array(values))
    assert plain.equals(turned)
    assert scaled["step"].equals(plain["step"])
    np.testing.assert_allclose(scaled["size"], 1000 * plain["size"], rtol=1e-9)


def test_too_few_points_are_no_changes():
    few = array(np.ones((2, POINTS))).isel(checkpoint=slice(5))
    assert change_points(few).sizes["event"] == 0


def test_errors_name_the_argument():
    one = array(np.ones((2, POINTS)))
    with pytest.raises(OntogenyError, match="penalty must be positive and finite; got -1"):
        change_points(one, penalty=-1)
    with pytest.raises(OntogenyError, match="min_points must be at least 2"):
        change_points(one, min_points=1)
    with pytest.raises(OntogenyError, match="transform must be one of"):
        change_points(one, transform="sqrt")
    with pytest.raises(OntogenyError, match="indicator must be positive for transform='log'"):
        change_points(one - 1, transform="log")
    with pytest.raises(OntogenyError, match="se must be positive; got 0 or less"):
        change_points(one, se=0 * one)
    with pytest.raises(OntogenyError, match="se must be a DataArray with the dims and sizes of indicator"):
        change_points(one, se=one.isel(seed=[0]))
