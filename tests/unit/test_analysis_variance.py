"""Variance components: planted ones come back, increments too, and what is dropped is counted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.variance import SOURCES, variance_components
from ontogeny.core.errors import OntogenyError

PLANTED = {"group": 1.0, "checkpoint": 0.6, "group:checkpoint": 0.4, "seed": 0.3, "seed:checkpoint": 0.2}


def labelled(values, group="sparsity", **attrs):
    values = np.asarray(values, dtype=float)
    coords = {
        group: np.arange(values.shape[0]) / 10,
        "seed": np.arange(values.shape[1]),
        "step": ("checkpoint", 10.0 * np.arange(values.shape[2])),
    }
    return xr.DataArray(values, dims=(group, "seed", "checkpoint"), coords=coords, attrs=attrs)


def parts(rng, groups=4, seeds=6, checkpoints=8, variances=PLANTED):
    """The sum of random effects with these variances, (group, seed, checkpoint)."""
    shapes = {
        "group": (groups, 1, 1),
        "checkpoint": (1, 1, checkpoints),
        "group:checkpoint": (groups, 1, checkpoints),
        "seed": (groups, seeds, 1),
        "seed:checkpoint": (groups, seeds, checkpoints),
    }
    return 5 + sum(np.sqrt(variances[name]) * rng.normal(size=shape) for name, shape in shapes.items())


def uneven_errors(rng, shape=(4, 6, 8)):
    return rng.uniform(0.1, 0.9, size=shape)


def within_three_errors(found, truth):
    found = np.array(found)
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    return np.abs(found.mean(0) - truth) <= 3 * error + 1e-12


def test_planted_components_come_back_on_average():
    rng = np.random.default_rng(0)
    se = uneven_errors(rng)
    found = [
        variance_components(labelled(parts(rng) + se * rng.normal(size=se.shape)), labelled(se)).variance.values
        for _ in range(250)
    ]
    truth = np.array([*PLANTED.values(), (se**2).mean()])
    assert within_three_errors(found, truth).all()
    without_sampler = np.array(found)[:, 4] + np.array(found)[:, 5]  # what seed:checkpoint would be without se
    assert not within_three_errors(without_sampler[:, None], truth[4]).all()  # so the test can fail


def test_planted_components_of_increments_come_back_on_average():
    """Levels are sums of independent increments, the sampler's errors sit on the levels and so on two increments."""
    rng = np.random.default_rng(1)
    se = uneven_errors(rng, (4, 6, 9))
    found = []
    for _ in range(250):
        levels = np.concatenate([np.zeros((4, 6, 1)), parts(rng).cumsum(2)], axis=2) + se * rng.normal(size=se.shape)
        found.append(variance_components(labelled(levels), labelled(se), of="increments").variance.values)
    sampler = (se[..., 1:] ** 2 + se[..., :-1] ** 2).mean()
    assert within_three_errors(found, np.array([*PLANTED.values(), sampler])).all()
    # taken as independent, the increments' errors would be taken off the seeds' averages in full
    naive = np.array(found)[:, 3] - (sampler - (se[..., 0] ** 2 + se[..., -1] ** 2).mean() / 8) / 8
    assert not within_three_errors(naive[:, None], PLANTED["seed"]).all()


def test_what_is_not_there_is_zero_on_average_and_may_be_negative():
    rng = np.random.default_rng(2)
    nothing = dict.fromkeys(PLANTED, 0.0)
    se = np.full((4, 6, 8), 0.5)
    tables = [
        variance_components(labelled(parts(rng, variances=nothing) + se * rng.normal(size=se.shape)), labelled(se))
        for _ in range(200)
    ]
    found = np.array([table.variance.values for table in tables])
    assert within_three_errors(found[:, :5], np.zeros(5)).all() and (found[:, :5] < 0).any(0).all()
    table = next(t for t in tables if (t.variance < 0).sum() == 2)
    positive = np.maximum(table.variance.values, 0)
    np.testing.assert_allclose(table.share, positive / positive.sum())
    assert (table.share_low >= 0).all() and (table.share_low <= table.share + 1e-12).all()
    assert (table.share <= table.share_high + 1e-12).all()


def test_components_of_a_table_without_scatter_are_exact():
    values = np.zeros((3, 5, 4)) + np.array([1.0, 2, 3])[:, None, None]
    found = variance_components(labelled(values), labelled(0 * values))
    np.testing.assert_allclose(found.variance, [1, 0, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found.share, [1, 0, 0, 0, 0, 0], atol=1e-12)
    assert np.isnan(variance_components(labelled(0 * values), labelled(0 * values)).share).all()


def test_the_jackknife_is_its_formula():
    rng = np.random.default_rng(3)
    x, se = labelled(parts(rng)), labelled(uneven_errors(rng))
    found = variance_components(x, se)
    out = [variance_components(x.drop_sel(seed=k), se.drop_sel(seed=k)).variance.values for k in range(6)]
    np.testing.assert_allclose(found.se, np.sqrt(5 / 6 * ((out - np.mean(out, 0)) ** 2).sum(0)))
    np.testing.assert_allclose(found.high - found.variance, 2.570582 * found.se, rtol=1e-6)  # Student's t, 5 d.o.f.


def test_order_of_dims_and_seeds_and_the_level_do_not_matter_and_the_unit_is_squared():
    rng = np.random.default_rng(4)
    x, se = labelled(parts(rng), units="nats"), labelled(uneven_errors(rng))
    found = variance_components(x, se)
    order = rng.permutation(6)
    other = (100 + 10 * x).isel(seed=order).transpose("checkpoint", "seed", "sparsity").assign_attrs(units="nats")
    scaled = variance_components(other, (10 * se).isel(seed=order))
    for name in ("variance", "se", "low", "high"):
        np.testing.assert_allclose(scaled[name], 100 * found[name], rtol=1e-8)
        assert found[name].attrs["units"] == "(nats)²"
    np.testing.assert_allclose(scaled.share_low, found.share_low, rtol=1e-8, atol=1e-12)
    assert found.source.values.tolist() == list(SOURCES)
    assert all("long_name" in v.attrs and "units" in v.attrs for v in found.data_vars.values())


def test_incomplete_rows_are_dropped_the_worst_first_and_counted():
    rng = np.random.default_rng(5)
    x, se = parts(rng), uneven_errors(rng)
    x[2, 3, 1:] = np.nan  # a seed that is nearly all lost
    x[:, :, 0] = np.nan  # a checkpoint that is
    se[0, 0, 5] = np.nan  # and one cell
    found = variance_components(labelled(x), labelled(se))
    assert (found.attrs["seeds"], found.attrs["checkpoints"]) == (5, 6)
    assert (found.attrs["seeds_dropped"], found.attrs["checkpoints_dropped"]) == (1, 2)
    seeds, points = [0, 1, 2, 4, 5], [1, 2, 3, 4, 6, 7]
    by_hand = variance_components(labelled(x[:, seeds][:, :, points]), labelled(se[:, seeds][:, :, points]))
    np.testing.assert_allclose(found.variance, by_hand.variance)


def test_without_se_the_sampler_s_part_stays_in_the_rest():
    rng = np.random.default_rng(6)
    x, se = labelled(parts(rng), "batch"), labelled(np.full((4, 6, 8), 0.3), "batch")
    known, unknown = variance_components(x, se, group="batch"), variance_components(x, None, group="batch")
    rest = [float(table.variance.sel(source="seed:checkpoint")) for table in (known, unknown)]
    assert rest[1] - rest[0] == pytest.approx(0.09)
    assert np.isnan(unknown.variance.sel(source="sampler")) and np.isnan(unknown.share.sel(source="sampler"))
    assert float(unknown.share.sum()) == pytest.approx(1)


def test_errors_name_the_argument():
    x = labelled(np.random.default_rng(7).normal(size=(2, 4, 5)))
    with pytest.raises(OntogenyError, match="of must be one of"):
        variance_components(x, abs(x), of="drift")
    with pytest.raises(OntogenyError, match="indicator must have the dims"):
        variance_components(x, abs(x), group="setting")
    with pytest.raises(OntogenyError, match="se must hold standard errors, none negative"):
        variance_components(x, -abs(x))
    with pytest.raises(OntogenyError, match="se must have the same sparsity, seeds and steps as indicator"):
        variance_components(x, abs(x).isel(seed=[1, 0, 2, 3]))
    with pytest.raises(OntogenyError, match=r"at least 2 groups, 3 seeds and 2 checkpoints .* got 2, 2 and 5"):
        variance_components(x.isel(seed=[0, 1]), abs(x).isel(seed=[0, 1]))
    with pytest.raises(OntogenyError, match="3 checkpoints without missing values for increments; got 2, 4 and 2"):
        variance_components(x[..., :2], abs(x[..., :2]), of="increments")
    with pytest.raises(OntogenyError, match="needs at least 2 groups"):
        variance_components(x * np.nan, abs(x))
    own_steps = x.assign_coords(step=(("seed", "checkpoint"), np.arange(20.0).reshape(4, 5)))
    with pytest.raises(OntogenyError, match="indicator must have the same steps for every seed"):
        variance_components(own_steps, abs(x))
    with pytest.raises(OntogenyError, match="level must lie between 0 and 1"):
        variance_components(x, abs(x), level=95)
