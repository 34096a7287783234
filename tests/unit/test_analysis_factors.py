"""Factor analysis on planted factors: loadings, their number, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.factors import factor_analysis, normal_scores
from ontogeny.core.errors import OntogenyError

POINTS = 24
LOADINGS = np.array([[0.8, 0], [0.7, 0], [0.8, 0], [0, 0.7], [0, 0.8], [0, -0.7], [0.5, 0.5]])
NAMES = ("llc", "rank", "norm", "loss", "gradient", "trace", "both")


def slow(rng, shape, memory):
    """Normal series along the last axis, variance 1, each point remembering `memory` of the one before."""
    fresh = rng.normal(size=shape)
    result = fresh.copy()
    for i in range(1, shape[-1]):
        result[..., i] = memory * result[..., i - 1] + np.sqrt(1 - memory**2) * fresh[..., i]
    return result


def labelled(values, sparsity=False):
    """(seed, checkpoint), or (sparsity, seed, checkpoint) where the first axis is there."""
    dims = ("sparsity", "seed", "checkpoint") if sparsity else ("seed", "checkpoint")
    coords = {
        d: np.arange(n) / 10 if d == "sparsity" else np.arange(n) for d, n in zip(dims, values.shape, strict=True)
    }
    return xr.DataArray(
        values, dims=dims, coords={**coords, "step": ("checkpoint", 100.0 * np.arange(values.shape[-1]))}
    )


def planted(seed, units=(60,), memory=0.6):
    rng = np.random.default_rng(seed)
    factors = slow(rng, (2, *units, POINTS), memory)
    own = np.sqrt(1 - (LOADINGS**2).sum(1)).reshape(-1, *[1] * (len(units) + 1))
    values = np.tensordot(LOADINGS, factors, axes=1) + own * slow(rng, (len(LOADINGS), *units, POINTS), memory / 2)
    return {name: labelled(v, len(units) == 2) for name, v in zip(NAMES, values, strict=True)}


def independent(seed, indicators=6, units=20, memory=0.9):
    rng = np.random.default_rng(seed)
    return {f"x{k}": labelled(v) for k, v in enumerate(slow(rng, (indicators, units, POINTS), memory))}


def in_planted_order(loading):
    """Factors in the order and with the signs of LOADINGS."""
    alike = LOADINGS.T @ np.asarray(loading)
    order = np.abs(alike).argmax(1)
    return np.asarray(loading)[:, order] * np.sign(alike[[0, 1], order])


def test_two_planted_factors_are_found_and_their_loadings():
    found = factor_analysis(planted(0))
    assert found.attrs["factors"] == 2 and found.attrs["chosen_by"] == "parallel analysis" and found.attrs["converged"]
    np.testing.assert_allclose(in_planted_order(found.loading), LOADINGS, atol=0.1)
    np.testing.assert_allclose(found.communality, (LOADINGS**2).sum(1), atol=0.12)
    np.testing.assert_allclose(found.variance_share.sum(), found.communality.mean())
    assert found.variance_share[0] >= found.variance_share[1] and (found.loading.sum("indicator") > 0).all()
    low, high = found.loading_low, found.loading_high
    assert (low < found.loading).all() and (found.loading < high).all() and float((high - low).max()) < 0.3
    assert (found.eigenvalue[:2] > found.eigenvalue_null[:2]).all() and found.eigenvalue[2] < found.eigenvalue_null[2]
    assert float(found.eigenvalue.sum()) == pytest.approx(len(LOADINGS))


def test_slow_indicators_with_nothing_in_common_have_no_factor():
    """Twenty independent sets at 5 % each: at most four, probability of more 0.3 %."""
    counts = [factor_analysis(independent(k), resamples=20).attrs["factors"] for k in range(20)]
    assert sum(count > 0 for count in counts) <= 4
    # points shuffled one by one would give a null as narrow as of independent points, and factors out of nothing
    largest = [np.linalg.eigvalsh(np.corrcoef([v.values.ravel() for v in independent(k).values()]))[-1] for k in (0, 1)]
    rng = np.random.default_rng(0)
    naive = [np.linalg.eigvalsh(np.corrcoef(rng.normal(size=(6, 20 * POINTS))))[-1] for _ in range(200)]
    assert min(largest) > np.quantile(naive, 0.95)


def test_without_a_factor_the_tables_are_empty():
    found = next(t for t in (factor_analysis(independent(k), resamples=20) for k in range(5)) if not t.attrs["factors"])
    assert found.sizes["factor"] == 0 and found.loading.shape == (6, 0) and (found.communality == 0).all()


def test_a_number_of_factors_may_be_given():
    found = factor_analysis(planted(1), factors=3, resamples=20)
    assert found.sizes["factor"] == 3 and found.attrs["chosen_by"] == "caller"
    np.testing.assert_allclose(found.factor, [1, 2, 3])


def test_monotone_changes_of_an_indicator_do_not_matter():
    x = planted(2)
    changed = {**x, "loss": np.exp(5 * x["loss"]), "rank": 1e6 * x["rank"] ** 3 - 4}
    first, second = (factor_analysis(one, factors=2, resamples=20) for one in (x, changed))
    for name in ("loading", "loading_low", "eigenvalue", "eigenvalue_null"):
        np.testing.assert_allclose(second[name], first[name], atol=1e-9)


def test_groups_are_stacked_with_seeds_and_order_of_dims_does_not_matter():
    x = planted(3, units=(3, 20))
    found = factor_analysis(x, factors=2, resamples=40)
    assert found.attrs["units"] == 60 and found.attrs["points"] == 60 * POINTS
    turned = {name: v.transpose("checkpoint", "sparsity", "seed") for name, v in x.items()}
    xr.testing.assert_allclose(factor_analysis(turned, factors=2, resamples=40), found)
    np.testing.assert_allclose(in_planted_order(found.loading), LOADINGS, atol=0.1)


def test_the_same_seed_gives_the_same_and_another_moves_only_what_is_drawn():
    x = planted(4)
    first, again, other = (factor_analysis(x, factors=2, seed=s, resamples=20) for s in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    xr.testing.assert_identical(first.loading, other.loading)
    assert not first.loading_low.equals(other.loading_low)


def test_incomplete_points_are_left_out_of_all_and_counted():
    x = planted(5, units=(10,))
    lost = {**x, "llc": x["llc"].where((x["llc"].seed != 3) & (x["llc"].step > 150))}
    found = factor_analysis(lost, factors=2, resamples=20)
    assert (found.attrs["units"], found.attrs["points"], found.attrs["points_dropped"]) == (9, 9 * 22, 24 + 9 * 2)
    kept = {name: v.isel(checkpoint=slice(2, None)).drop_sel(seed=3) for name, v in x.items()}
    np.testing.assert_allclose(found.loading, factor_analysis(kept, factors=2, resamples=20).loading, atol=1e-9)


def test_one_unit_has_loadings_without_intervals():
    found = factor_analysis(planted(6, units=(1,)), factors=1, resamples=20)
    assert np.isfinite(found.loading).all() and np.isnan(found.loading_low).all()


def test_every_column_says_what_it_is():
    found = factor_analysis(planted(7, units=(5,)), factors=2, resamples=20)
    assert all("long_name" in v.attrs and "units" in v.attrs for v in found.data_vars.values())
    assert "approximate" in found.attrs["interval"]


def test_normal_scores_know_the_order_only_and_ties_share_theirs():
    x = np.array([3.0, -1, 8, 3])
    np.testing.assert_allclose(normal_scores(x), normal_scores(np.exp(x)))
    scores = normal_scores(x)
    assert scores[0] == scores[3] and scores.mean() == pytest.approx(0) and scores.std() == pytest.approx(1)


def test_errors_name_the_argument():
    x = planted(8, units=(4,))
    with pytest.raises(OntogenyError, match=r"indicators must name at least 3 variables.*got \['llc', 'rank'\]"):
        factor_analysis({name: x[name] for name in ("llc", "rank")})
    with pytest.raises(OntogenyError, match="factors must lie between 1 and 3, which is all that 7 indicators"):
        factor_analysis(x, factors=4)
    with pytest.raises(OntogenyError, match="resamples must be at least 20; got 5"):
        factor_analysis(x, resamples=5)
    with pytest.raises(OntogenyError, match="indicator 'rank' must have the same dims, seeds and steps as 'llc'"):
        factor_analysis({**x, "rank": x["rank"].isel(seed=[1, 0, 2, 3])})
    with pytest.raises(OntogenyError, match="indicator 'loss' must have the same dims, seeds and steps as 'llc'"):
        factor_analysis({**x, "loss": x["loss"].expand_dims(sparsity=[0.3])})
    with pytest.raises(OntogenyError, match="indicator 'rank' may have one dim beside seed and checkpoint"):
        factor_analysis({**x, "rank": x["rank"].expand_dims(sparsity=2, feature=3)})
    with pytest.raises(OntogenyError, match="indicator 'rank' is constant over the 96 complete points"):
        factor_analysis({**x, "rank": 0 * x["rank"]})
    with pytest.raises(OntogenyError, match=r"indicator 'rank' must be an xarray\.DataArray"):
        factor_analysis({**x, "rank": x["rank"].values})
