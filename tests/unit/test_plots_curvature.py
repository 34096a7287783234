"""Figures of curvature: what is drawn, what is left out, and what says so."""

import numpy as np
import pytest

import synthetic
import synthetic_sweep
from ontogeny.plots import curvature


@pytest.fixture(scope="module")
def measured():
    return synthetic.study(seeds=2)[0]


def named(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def test_one_seed_shows_measured_and_predicted_and_where_there_is_no_prediction(measured):
    figure = curvature.curvature_over_training(measured, 1, inflection=100.0)
    traces, one = named(figure), measured.sel(seed=1)
    np.testing.assert_allclose(traces["second order"].y, one["second_order_llc"].values, rtol=1e-5)
    np.testing.assert_allclose(
        traces["second order, curvature's part"].y, one["second_order_llc_curvature"].values, rtol=1e-5
    )
    lost = traces["second order: no posterior"]
    assert len(lost.x) == int((one["second_order_llc_status"] == "no_posterior").sum()) > 0
    assert len(traces["λ̂ measured"].x) + len(traces["λ̂ where w* is no minimum (below baseline)"].x) == int(
        one["llc"].notnull().sum()
    )
    titles = [figure.layout[name].title.text for name in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert all(
        unit in title for unit, title in zip(("dimensionless", "", "weight²", "eigenvalues"), titles, strict=True)
    )
    assert figure.layout.yaxis2.type == "log"


def test_a_sweep_draws_the_same_checkpoints_in_every_curve():
    neighbours = synthetic_sweep.sweep(seeds=3, checkpoints=12)[1].sel(setting="frozen")
    figure = curvature.second_order_by_sparsity(neighbours)
    curves = [trace for trace in figure.data if trace.legendgroup]
    assert len(curves) == 3 * 4 and sum(bool(trace.showlegend) for trace in curves) == 3
    for column in range(4):
        known = [np.isfinite(trace.y) for trace in curves[3 * column : 3 * column + 3]]
        assert known[0].any() and all((known[0] == other).all() for other in known[1:])
