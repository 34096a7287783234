"""What second moments add to an estimate: on made draws whose variance and minibatch part are known."""

import numpy as np
import pytest
import xarray as xr

import ontogeny as og
from ontogeny.core.schema import VARIABLES

N_BETA, GAMMA, DIM = 10.0, 2.0, 4
PAIRS = (
    "llc_variance",
    "temperature_slope",
    "llc_extrapolated",
    "d_log_llc_d_log_localization",
    "d_log_llc_d_log_n_beta",
)


def made(chains=16, draws=4000, noise=0.0, control=0.0, seed=0):
    """Independent draws of nβL = ½‖z‖² with weights z/√(nβ), on minibatches whose halves each add ``noise``·√2·ξ."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((chains, draws, DIM))
    halves = noise * 2**0.5 * rng.standard_normal((2, 1, draws))  # shared by the chains, as minibatches are
    linear = control * 2**0.5 * rng.standard_normal((2, chains, draws))
    level = rng.standard_normal(draws)
    squared = (z**2).sum(-1)
    dims = ("chain", "draw")
    at_center = np.broadcast_to(level if noise or control else level[:1], (chains, draws))
    paired = 0.5 * squared / N_BETA + (halves.mean(0) + linear.mean(0)) / N_BETA
    values = {
        "loss": paired + at_center,
        "loss_at_center": at_center,
        "gap": (halves[0] - halves[1] + linear[0] - linear[1]) / N_BETA + np.zeros((chains, draws)),
        "virial": squared,
        "distance_squared": squared / N_BETA,
        "capped": np.zeros((chains, draws)),
    }
    if control:
        values |= {"control": linear.mean(0) / N_BETA}
    settings = {"n_beta": N_BETA, "localization": GAMMA, "step_size": 1e-3, "dim": DIM}
    lost = {"diverged": ("chain", np.zeros(chains, dtype=bool))}
    return xr.Dataset({name: (dims, value) for name, value in values.items()} | settings | lost), linear / N_BETA


def within(found, name, exact, sigmas=4.0):
    value, error = float(found[name]), float(found[f"{name}_se"])
    assert 0 < error < 0.2 * max(abs(exact), 1.0), name
    assert abs(value - exact) < sigmas * error, (name, value, error, exact)


@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_the_variance_of_the_loss_without_that_of_the_minibatches(noise):
    draws, _ = made(noise=noise)
    found = og.llc_from_draws(draws)
    within(found, "llc_variance", DIM / 2)  # half of a chi-square with DIM degrees of freedom
    within(found, "temperature_slope", 0.0)
    within(found, "d_log_llc_d_log_n_beta", 0.0)
    # Cov(½‖z‖², ‖z‖²/nβ) = DIM/nβ
    within(found, "d_log_llc_d_log_localization", -0.5 * GAMMA * DIM / N_BETA / (DIM / 2))
    assert float(found.minibatch_variance_share) == pytest.approx(noise**2 / (noise**2 + DIM / 2), abs=0.05)
    assert not noise or float(draws["loss"].var()) * N_BETA**2 > 1.5 * DIM / 2  # as it is without subtraction


def test_the_control_variate_of_the_halves_makes_it_sharper():
    draws, linear = made(noise=0.5, control=5.0)
    plain = og.llc_from_draws(draws)
    sharp = og.llc_from_draws(draws.assign(control_gap=(("chain", "draw"), linear[0] - linear[1])))
    for found in (plain, sharp):
        within(found, "llc_variance", DIM / 2)
    assert float(sharp.llc_variance_se) < 0.5 * float(plain.llc_variance_se)
    unknown = draws.assign(control_gap=xr.full_like(draws["loss"], np.nan))
    assert float(og.llc_from_draws(unknown).llc_variance) == pytest.approx(float(plain.llc_variance), rel=1e-12)


def test_the_errors_are_as_large_as_the_spread():
    found = [og.llc_from_draws(made(chains=8, draws=500, noise=1.0, seed=seed)[0]) for seed in range(60)]
    for name in PAIRS[:2] + PAIRS[3:]:
        spread = np.std([float(one[name]) for one in found])
        claimed = np.mean([float(one[f"{name}_se"]) for one in found])
        assert 0.7 < claimed / spread < 1.5, (name, claimed, spread)


def test_the_extrapolation_names_its_assumption_and_is_no_lower_than_the_estimate():
    draws, _ = made()
    found = og.llc_from_draws(draws)
    assert found.llc_extrapolated.attrs["multiplicity_assumed"] == 2
    assert float(found.llc_extrapolated) >= float(found.llc)
    assert float(found.llc_extrapolated_se) >= float(found.llc_se) * 0.9
    steep = og.llc_from_draws(draws.assign(loss=0.1 * draws["loss"].mean() + 0.02 * draws["loss"]))
    assert float(steep.temperature_slope) > 5 * float(steep.temperature_slope_se)
    assert float(steep.llc_extrapolated) == pytest.approx(
        float(steep.llc) + float(steep.temperature_slope) ** 0.5, rel=1e-12
    )


def test_minibatches_of_one_example_cannot_be_told_apart():
    draws, _ = made(noise=1.0)
    found = og.llc_from_draws(draws.assign(gap=xr.zeros_like(draws["gap"])))
    assert np.isnan(found.llc_variance) and np.isnan(found.temperature_slope) and np.isnan(found.check_temperature)
    assert np.isfinite(found.llc) and np.isfinite(found.d_log_llc_d_log_localization)


def test_chains_that_stand_still_or_diverge_give_no_sensitivities():
    draws, _ = made(chains=2, draws=20)
    still = og.llc_from_draws(draws.assign(loss=draws["loss_at_center"]))
    assert float(still.llc) == 0 == float(still.llc_variance)
    assert np.isnan(still.d_log_llc_d_log_localization) and np.isnan(still.check_temperature)
    assert float(still.llc_extrapolated) == 0 == float(still.llc_extrapolated_se)
    lost = draws.assign(diverged=("chain", [True, False]), loss=draws["loss"].where(draws["chain"] > 0, np.inf))
    found = og.llc_from_draws(lost)
    for name in PAIRS:
        assert np.isnan(found[name]) and np.isnan(found[f"{name}_se"]), name


def test_other_dims_stay_and_every_variable_is_described():
    draws, _ = made(chains=4, draws=200, noise=1.0)
    two = xr.concat([draws, draws.assign(loss=draws["loss"] * 1.1)], "checkpoint")
    found = og.llc_from_draws(two)
    alone = og.llc_from_draws(draws)
    for name in found.data_vars:
        assert name in VARIABLES and {"long_name", "units"} <= set(found[name].attrs), name
    for name in PAIRS:
        assert found[name].dims == ("checkpoint",)
        assert float(found[name][0]) == pytest.approx(float(alone[name]), rel=1e-12)
        assert f"{name}_se" in found
