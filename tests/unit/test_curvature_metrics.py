"""The measures of curvature as metrics of og.measure: names, keys, cost, and the same numbers as the functions."""

import measure_work as work
import numpy as np
import pytest

import ontogeny as og
import tiny
from ontogeny.execution.tasks import DataSet
from ontogeny.metrics import registry
from ontogeny.sampling.settings import Settings

NAMES = ("hessian_trace", "fisher_trace", "empirical_fisher_trace", "hessian_rank", "second_order")


def test_they_are_metrics():
    assert set(NAMES) < set(registry.METRICS)
    assert [name for name in NAMES if registry.METRICS[name].at_localization] == ["hessian_rank", "second_order"]


def test_a_study_has_the_numbers_of_the_functions(tmp_path):
    found = work.small_study(tmp_path / "out", metrics=("llc", *NAMES))
    model, data = work.at(10), work.data()["few"]
    here = found.sel(checkpoint=1, component="bias", dataset="few")
    trace = og.metrics.hessian_trace(model, data, tiny.squares, work.COMPONENTS["bias"])
    assert here["hessian_trace"].item() == pytest.approx(trace["hessian_trace"].item(), rel=1e-5)
    at = {name: work.FROZEN[name] for name in ("n_beta", "localization")}
    second = og.metrics.second_order_llc(model, data, tiny.squares, work.COMPONENTS["bias"], **at)
    assert here["second_order_llc"].item() == pytest.approx(second["second_order_llc"].item(), rel=1e-4)
    for name in ("hessian_rank", "fisher_trace", "empirical_fisher_trace", "hessian_trace"):
        assert found[name].dims == ("checkpoint", "component", "dataset") and np.isfinite(found[name]).all()
        assert f"{name}_se" in found and f"{name}_status" in found and found[name].attrs["units"]
    assert found.attrs["hessian_trace_samples"] == 100 and found.attrs["fisher_trace_samples"] == 30
    assert found["llc"].notnull().all(), "other metrics beside it"


def asked(**changes):
    return registry.Asked(Settings(*[changes.get("n_beta"), changes.get("localization")], *[None] * 8, 0, "cpu"))


def test_what_their_keys_hold():
    trace, rank = (registry.METRICS[name] for name in ("hessian_trace", "hessian_rank"))
    assert trace.settings(asked(n_beta=1.0)) == trace.settings(asked(n_beta=2.0)), "it does not depend on nβ"
    assert rank.settings(asked(n_beta=1.0)) != rank.settings(asked(n_beta=2.0))
    assert trace.settings(asked())["samples"] == 100


def test_cost_goes_by_samples_and_probes():
    many, few = (DataSet("data", "0", count, 1) for count in (100_000, 50))
    cost = {name: registry.METRICS[name].evaluations(asked(), 500, many) for name in NAMES}
    assert cost["fisher_trace"] < cost["empirical_fisher_trace"] < cost["hessian_trace"] < cost["hessian_rank"]
    whole = registry.METRICS["gradient_norm"].evaluations(asked(), 500, many)
    assert cost["second_order"] > whole > cost["hessian_trace"], "the gradient of all examples"
    assert registry.METRICS["hessian_trace"].evaluations(asked(), 500, few) == 101, "one batch: 1 + 2 × 50 gradients"
