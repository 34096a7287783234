"""The sorting study's curves: what is drawn where λ̂ is not positive."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.plots.circuits import CURVES as LABELS
from ontogeny.plots.circuits import circuits_over_training, side_by_side

CURVES = ("llc_se", "token_accuracy", "list_accuracy", "head_overlap", "translational_symmetry", "rank_sum",
          "participation_sum", "second_order_llc", "hessian_trace", "hessian_rank")  # fmt: skip


def measured(llc):
    """Seeds by checkpoints; every other curve is 1."""
    llc = np.array(llc, dtype=float)
    out = xr.Dataset({name: (("seed", "checkpoint"), np.ones_like(llc)) for name in CURVES})
    out["llc"] = (("seed", "checkpoint"), llc)
    out["chains_lost"] = (("seed", "checkpoint"), np.zeros(llc.shape, int))
    out["regime"] = (("seed", "checkpoint"), np.full(llc.shape, "localised"))
    for name, dims in (("qk", ("destination", "source")), ("ov", ("source", "output"))):
        out[name] = (("checkpoint", "head", *dims), np.ones((llc.shape[1], 1, 2, 2)))
    return out.assign_coords(step=("checkpoint", 10 ** np.arange(llc.shape[1])), head=["0:0"])


def lines(figure, name):
    return [np.array(trace.y, dtype=float) for trace in figure.data if trace.name == name and trace.fill is None]


@pytest.mark.parametrize(("values", "drawn"), [([2.0, -1.0, 4.0], [2.0, np.nan, 4.0]), ([-2.0, -1.0, -4.0], None)])
@pytest.mark.parametrize("curve", ["llc", "hessian_trace"])
def test_a_logarithmic_axis_has_gaps_for_what_is_not_positive(curve, values, drawn):
    """No line that drops straight down; where nothing is positive the axis is linear, and all is drawn."""
    one = measured([[1.0, 1.0, 1.0]])
    one[curve] = (("seed", "checkpoint"), [values])
    (line,) = lines(circuits_over_training(one.isel(seed=0)), LABELS[curve][0])
    np.testing.assert_array_equal(line, values if drawn is None else drawn)


def test_a_prediction_shares_the_axis_of_the_llc():
    one = measured([[1.0, 2.0, 3.0]])
    one["second_order_llc"] = (("seed", "checkpoint"), [[-1.0, 2.0, 3.0]])
    (line,) = lines(circuits_over_training(one.isel(seed=0)), LABELS["second_order_llc"][0])
    np.testing.assert_array_equal(line, [np.nan, 2.0, 3.0])


def test_the_mean_over_seeds_is_of_all_of_them():
    figure = side_by_side({"a model": measured([[2.0, -1.0, 4.0], [4.0, 5.0, -6.0]])})
    np.testing.assert_array_equal(lines(figure, "a model")[0], [3.0, 2.0, np.nan])


def test_an_estimate_that_is_not_ok_is_hollow():
    one = measured([[1.0, 2.0, 3.0]])
    one["status"] = (("seed", "checkpoint"), [["ok", "not_mixed", "ok"]])
    figure = circuits_over_training(one.isel(seed=0))
    (llc,) = [trace for trace in figure.data if trace.name == LABELS["llc"][0] and trace.fill is None]
    assert list(llc.marker.symbol) == ["circle", "circle-open", "circle"]
