"""A run that diverged: checkpoints before it are measured, and those after have a word in place of numbers."""

import measure_work as work
import numpy as np
import pytest
import torch

import ontogeny as og
import tiny
from ontogeny.store import read_zarr

METRICS = ("llc", "loss", "hessian_trace", "second_order")


def diverged(metrics, out, **changes):
    """Three checkpoints, the last of NaN."""
    checkpoints = work.checkpoints()
    for value in checkpoints[-1][1].values():
        value.fill_(float("nan"))
    return work.small_study(out, checkpoints=checkpoints, metrics=metrics, **changes)


def test_what_is_not_finite_has_a_word_and_no_number(tmp_path):
    found = diverged(METRICS, tmp_path / "out")
    for name, status in (
        ("llc", "status"),
        ("hessian_trace", "hessian_trace_status"),
        ("second_order_llc", "second_order_llc_status"),
    ):
        assert (found[status].isel(checkpoint=-1) == "not_finite").all()
        assert found[name].isel(checkpoint=-1).isnull().all() and found[f"{name}_se"].isel(checkpoint=-1).isnull().all()
        assert (found[status].isel(checkpoint=[0, 1]) != "not_finite").all()
    assert found["llc"].isel(checkpoint=[0, 1]).notnull().all()
    assert (found["regime"].isel(checkpoint=-1) == "").all()
    said = og.describe_estimate(found.isel(checkpoint=-1, component=0, dataset=0))
    assert said.startswith("Status not_finite: The loss at w*")
    assert found.attrs["kernel"] == "baoab", "what all others have in common stays a setting"
    same = read_zarr(tmp_path / "out" / "results.zarr")
    np.testing.assert_array_equal(same["status"], found["status"])
    alone = work.small_study(tmp_path / "alone", checkpoints=work.checkpoints()[:2], metrics=METRICS)
    np.testing.assert_array_equal(alone["llc"], found["llc"].isel(checkpoint=[0, 1]))


def test_gamma_is_found_at_the_last_checkpoint_that_is_finite(tmp_path):
    found = diverged(("llc",), tmp_path / "out", localization=None)
    assert found.attrs["localization_from"] == f"step {work.STEPS[1]}"
    assert (found["status"].isel(checkpoint=-1) == "not_finite").all()
    alone = work.small_study(
        tmp_path / "alone", checkpoints=work.checkpoints()[:2], metrics=("llc",), localization=None
    )
    np.testing.assert_array_equal(alone["llc"], found["llc"].isel(checkpoint=[0, 1]))


@pytest.mark.parametrize("given", [{}, {"localization": None}])
def test_where_nothing_is_finite_it_is_said(tmp_path, given):
    checkpoints = [(0, {name: value * torch.nan for name, value in work.weights(0).items()})]
    with pytest.raises(og.OntogenyError, match=r"^loss_fn must be finite at w\*, and .*every checkpoint"):
        work.small_study(tmp_path / "out", checkpoints=checkpoints, metrics=("llc",), **given)


def test_the_second_order_of_an_estimate_is_there_only_where_it_was_computed(tmp_path):
    found = work.small_study(tmp_path / "small", checkpoints=work.checkpoints()[:1], metrics=("llc", "second_order"))
    assert found["second_order"].notnull().any() and "second_order_llc" in found

    class Wide(torch.nn.Linear):
        """201 weights."""

    rows = torch.randn(20, 201), torch.randn(20, 1)
    model = Wide(201, 1, bias=False)
    found = og.measure(
        model, [(0, model.state_dict())], rows, tiny.squares, out=tmp_path / "wide", **work.FROZEN, **work.SHORT
    )
    assert "second_order" not in found and "second_order_gradient" not in found
