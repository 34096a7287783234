"""Curvature of a study's checkpoints from dense Hessians: the jackknife's error, and what each status means."""

import numpy as np
import pytest
import torch

from ontogeny.studies.superposition.curvature import GROUPS, curvature

AT = {"n_beta": 10.0, "localization": 10.0}


def diagonal(values):
    """One Hessian a group and checkpoint, of the diagonals given: (group, checkpoint, d)."""
    return torch.diag_embed(torch.tensor(np.asarray(values, dtype=np.float64)))


def test_the_error_of_a_trace_is_that_of_the_mean_over_groups():
    spread = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = curvature(diagonal(spread[:, None, None] * [1.0, 1.0]), torch.zeros(1, 2), share=0.2, **AT)
    assert found["hessian_trace"].item() == pytest.approx(6.0)
    assert found["hessian_trace_se"].item() == pytest.approx(0.8**0.5 * np.std(2 * spread, ddof=1) / GROUPS**0.5)
    assert found["second_order_llc"].item() == pytest.approx(2 * 0.5 * 3 / 4)
    assert found["hessian_rank"].item() == 2 and found["second_order_llc_status"].item() == "ok"


def test_all_examples_leave_no_error_and_the_gradient_pulls():
    groups = diagonal(np.full((GROUPS, 1, 2), 3.0))
    found = curvature(groups, torch.tensor([[0.0, 2.0]]), share=1.0, **AT)
    assert found["second_order_llc_se"].item() == 0.0
    assert found["second_order_llc_gradient"].item() == pytest.approx(-((10 * 2) ** 2 / 40) * (1 - 30 / 80))


def test_statuses_say_where_there_is_no_prediction_and_where_it_is_not_known():
    groups = np.ones((GROUPS, 3, 2))
    groups[:, 0] = -2.0  # nβh + γ < 0
    groups[:, 1, 0] = [8.0, -2.5, -2.5, -2.5, -2.5]  # κ > 0 on the whole, not without the first group
    found = curvature(diagonal(groups), torch.zeros(3, 2), share=0.2, **AT)
    assert found["second_order_llc_status"].values.tolist() == ["no_posterior", "unresolved", "ok"]
    assert np.isnan(found["second_order_llc"].values).tolist() == [True, False, False]
    assert np.isfinite(found["hessian_trace"]).all()
