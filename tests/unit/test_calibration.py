"""og.calibrate and what estimate_llc does with arguments left at None."""

import dataclasses

import numpy as np
import pytest
import torch

import ontogeny as og
from tiny import Linear, data, same_numbers, squares

NODE = og.Potential(lambda w: w[0] ** 2 * w[1] ** 2, torch.zeros(2))
WELL = og.Potential(lambda w: 0.5 * (torch.tensor([1.0, 10.0, 100.0]) * w**2).sum(), torch.zeros(3))
AT = {"n_beta": 1000.0, "localization": 1.0, "progress": False}


@pytest.fixture(scope="module")
def found():
    return og.calibrate(WELL, **AT)


def test_the_step_follows_the_steepest_direction(found):
    assert found.h_max == pytest.approx(100.0, rel=1e-3)
    assert found.step_size * (1000.0 * 100.0 + 1.0) == pytest.approx(0.64, rel=1e-3)
    assert found.settled and found.kernel == "baoab" and found.burn_in > 0


def test_the_curvature_is_that_of_where_the_chains_go():
    """At w* = 0 the Hessian of w₁²w₂² vanishes; out in the valleys, where |w| is 2 or 3, it is 2w²."""
    found = og.calibrate(NODE, **AT)
    assert 4.0 < found.h_max < 60.0 and found.settled


def slope(curvature, minimum):
    """½Σ h(w - m)² seen from 0, which is no minimum, and how far its λ̂ lies from 0 on paper."""
    curvature, minimum = torch.tensor(curvature).double(), torch.tensor(minimum).double()
    n_beta, gamma = 100.0, 10.0
    kappa = n_beta * curvature + gamma
    mean = n_beta * curvature * minimum / kappa
    exact = 0.5 * n_beta * (curvature * ((mean - minimum) ** 2 + 1 / kappa - minimum**2)).sum()
    well = og.Potential(lambda w: 0.5 * (curvature * (w - minimum) ** 2).sum(), torch.zeros_like(minimum))
    return well, {"n_beta": n_beta, "localization": gamma, "progress": False}, float(exact)


def test_chains_on_their_way_down_are_not_held_up_by_friction():
    """λ̂ < 0 tells that the loss falls; then friction stays at critical damping of the flattest direction, κ = γ."""
    well, at, exact = slope([0.3, 1.0, 3.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.0, 0.0])
    found = og.estimate_llc(well, **at, chains=32, draws=300, seed=1)
    assert found.attrs["friction"] == pytest.approx(2 * 10.0**0.5)
    assert float(found.llc) == pytest.approx(exact, abs=4 * float(found.llc_se))


def test_one_slope_among_many_steep_directions_is_no_reason_for_friction():
    """Cov(loss, ‖w - w*‖²) < 0 with λ̂ > 0; without a bound, friction was 15,000 and burn-in 70,000 steps."""
    steep = [3.0] * 400
    well, at, exact = slope([0.03, 0.0, 0.0, *steep], [12.0, 0.0, 0.0, *(0.0 for _ in steep)])
    found = og.estimate_llc(well, **at, chains=8, draws=500, seed=1)
    assert found.attrs["friction"] < 1.01 * (2 * 310) ** 0.5
    assert found.attrs["settled"] and found.attrs["burn_in"] < 1000
    assert float(found.llc) == pytest.approx(exact, abs=4 * float(found.llc_se))


def test_few_draws_of_a_large_model_are_not_preceded_by_a_long_warm_up():
    """So far from w* the virial is never known sharply enough for burn-in to end by itself."""
    flat = [0.0] * 10_000
    well, at, _ = slope([10.0, *flat], [1000.0, *flat])
    found = og.estimate_llc(well, **at, draws=20)
    assert not found.attrs["settled"] and found.attrs["burn_in"] == 500
    assert found.status.item() != "ok"


def test_a_warm_up_cut_short_shows_in_the_status():
    """Burn-in of a large model given 20 draws ends after 500 steps; flat directions take three times as long."""
    stiff, soft = [100.0] * 200, [0.02] * 9_900
    well, at, exact = slope([*stiff, *soft], [*(0.0 for _ in stiff), *(3.0 for _ in soft)])
    found = og.estimate_llc(well, **at, draws=20, step_size=6e-5, kernel="sgld")
    assert found.attrs["burn_in"] == 500
    assert abs(float(found.llc) - exact) > 4 * float(found.llc_se)
    assert found.status.item() != "ok"


def test_a_calibration_passed_on_is_used_as_it_is(found):
    estimate = og.estimate_llc(WELL, calibration=found, draws=300, progress=False)
    for name in ("n_beta", "localization", "step_size", "kernel", "friction", "burn_in", "chains"):
        value = estimate[name].item() if name in estimate else estimate.attrs[name]
        assert value == getattr(found, name), name
    assert float(estimate.llc) == pytest.approx(1.5, abs=5 * float(estimate.llc_se) + 0.02)
    again = og.estimate_llc(WELL, calibration=og.Calibration.from_dict(found.to_dict()), draws=300, progress=False)
    same_numbers(again, estimate)


def test_a_neighbouring_setting_is_a_replaced_calibration(found):
    other = dataclasses.replace(found, localization=2.0)
    assert float(og.estimate_llc(WELL, calibration=other, draws=100, progress=False).localization) == 2.0


def test_what_contradicts_the_calibration_is_refused(found):
    with pytest.raises(og.OntogenyError, match=r"step_size = 0.1 contradicts the calibration, which has .*; leave"):
        og.estimate_llc(WELL, calibration=found, step_size=0.1)
    with pytest.raises(og.OntogenyError, match=r"calibration must be what og.calibrate returned, .*; got dict"):
        og.estimate_llc(WELL, calibration={"n_beta": 3})
    with pytest.raises(og.OntogenyError, match=r"values must be a dict with exactly .*; got"):
        og.Calibration.from_dict({"n_beta": 3})


def test_the_description_states_the_bound(found):
    text = found.describe()
    assert "at most 4,000,000 gradient evaluations" in text and "γ = 1 " in text and "128 chains" in text


def test_one_calibration_for_several_components():
    parts = {"weight": "inner.weight", "all": None}
    found = og.calibrate(Linear(), data(), squares, components=parts, max_draws=20_000, progress=False)
    estimate = og.estimate_llc(Linear(), data(), squares, components=parts, calibration=found, draws=50, progress=False)
    assert (estimate.step_size == found.step_size).all() and (estimate.localization == found.localization).all()


def test_the_cost_is_bounded_and_counted():
    for most in (5_000, 40_000):
        found = og.estimate_llc(NODE, **AT, target_se=1e-6, max_draws=most)
        assert found.attrs["gradient_evaluations"] < 1.1 * most
        assert found.status.item() != "ok"


def test_a_metropolis_test_needs_full_batches():
    with pytest.raises(
        og.OntogenyError, match=r"kernel 'mala' needs full batches, batch_size = 40, .*; got batch_size = 8"
    ):
        og.estimate_llc(Linear(), data(), squares, kernel="mala", batch_size=8)


def test_off_a_minimum_and_at_a_maximum():
    hill = og.Potential(lambda w: -0.5 * (w**2).sum() + 0.25 * (w**4).sum(), torch.zeros(2))
    found = og.estimate_llc(hill, n_beta=100.0, localization=1.0, max_draws=200_000, progress=False)
    assert found.regime.item() == "below_baseline" and float(found.llc) < -10


@pytest.mark.parametrize("kernel", ["sgld", "lm_sgld", "baoab", "rmsprop_sgld", "sgnht", "mala", "hmc"])
def test_every_kernel_is_calibrated_unaided(kernel):
    curvature = torch.tensor([1.0, 3.0, 10.0])
    well = og.Potential(lambda w: 0.5 * (curvature * w**2).sum(), torch.zeros(3))
    found = og.estimate_llc(
        well, n_beta=100.0, localization=10.0, kernel=kernel, target_se=0.03, max_draws=400_000, progress=False
    )
    exact = 0.5 * sum(100.0 * h / (100.0 * h + 10.0) for h in (1.0, 3.0, 10.0))
    bias = 0.03 if kernel in ("sgld", "rmsprop_sgld", "sgnht") else 0.01
    assert abs(float(found.llc) / exact - 1) < bias + 4 * float(found.llc_se) / exact
    assert found.status.item() == "ok" and np.isfinite(found.attrs["gradient_evaluations"])
