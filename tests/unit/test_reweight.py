"""λ̂ at another temperature or localization from the same chains: against exact values, and what is refused."""

import numpy as np
import pytest
import torch

import ontogeny as og
from tiny import SHORT, Linear, data, squares

H = torch.logspace(-2, 1, 8, dtype=torch.float64)
N_BETA, GAMMA = 100.0, 10.0


def exact(n_beta, gamma):
    return float((0.5 * n_beta * H / (n_beta * H + gamma)).sum())


@pytest.fixture(scope="module")
def draws():
    well = og.Potential(lambda w: 0.5 * (H * w**2).sum(), torch.zeros(8, dtype=torch.float64))
    return og.sample(well, n_beta=N_BETA, localization=GAMMA, chains=64, draws=1500, progress=False)


@pytest.mark.parametrize(
    ("n_beta", "gamma"), [(None, 10.0), (70.0, None), (150.0, None), (None, 7.0), (None, 15.0), (120.0, 12.0)]
)
def test_a_quadratic(draws, n_beta, gamma):
    found = og.reweighted(draws, n_beta=n_beta, localization=gamma)
    want = exact(n_beta or N_BETA, gamma or GAMMA)
    error = float(found.llc_se)
    assert 0 < error < 0.02 * want
    assert abs(float(found.llc) - want) < 4 * error
    assert found.status.item() == "ok" and found.regime.item() == "localised"
    assert (float(found.n_beta), float(found.localization)) == (n_beta or N_BETA, gamma or GAMMA)
    assert 0.1 < float(found.check_reweighting) <= 1 + 1e-9


def test_nothing_changed_is_the_estimate_itself(draws):
    same, plain = og.reweighted(draws, N_BETA, GAMMA), og.llc_from_draws(draws)
    assert float(same.llc) == pytest.approx(float(plain.llc), rel=1e-12)
    assert float(same.llc_se) == pytest.approx(float(plain.llc_se), rel=0.05)
    assert float(same.kish_ess) == pytest.approx(64 * 1500)


def test_too_far_is_said_and_not_averaged(draws):
    found = og.reweighted(draws, n_beta=1e4)
    assert found.status.item() == "reweighting_failed" and np.isnan(found.llc) and np.isnan(found.llc_se)
    assert float(found.check_reweighting) < 0.1 and "sample anew" in og.describe_status("reweighting_failed")
    few = draws.isel(chain=slice(0, 2), draw=slice(0, 40))
    assert og.reweighted(few, localization=11.0).status.item() == "reweighting_failed"


def test_a_lost_chain_stays_lost(draws):
    lost = draws.assign(diverged=("chain", np.arange(64) == 3))
    found = og.reweighted(lost, localization=12.0)
    assert found.status.item() == "diverged" and np.isnan(found.llc) and int(found.chains_lost) == 1


def test_other_dims_stay():
    x, y = data()
    sets = {"all": (x, y), "half": (x[:20], y[:20])}
    two = og.sample(Linear(), sets, squares, **{**SHORT, "draws": 200, "burn_in": 50})
    found = og.reweighted(two, localization=2.2)
    assert found.llc.dims == ("dataset",) and list(found.dataset.values) == ["all", "half"]
    alone = og.reweighted(two.sel(dataset="half"), localization=2.2)
    assert float(found.llc.sel(dataset="half")) == pytest.approx(float(alone.llc), rel=1e-12)


def test_minibatch_draws_take_another_localization_only():
    some = og.sample(Linear(), data(), squares, **{**SHORT, "batch_size": 8, "draws": 300, "chains": 8})
    assert np.isfinite(og.reweighted(some, localization=2.5).llc)
    assert np.isfinite(og.reweighted(some, n_beta=20.0, localization=2.5).llc)  # that of the draws
    with pytest.raises(og.OntogenyError, match=r"n_beta = 30.0 cannot be reached from draws that saw minibatches"):
        og.reweighted(some, n_beta=30.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "n_beta or localization must be given"),
        ({"n_beta": 0.0}, "n_beta must be a positive number, got 0.0"),
        ({"localization": -1}, "localization must be zero or a positive number, got -1"),
        ({"n_beta": "warm"}, "n_beta must be a positive number, got 'warm'"),
        ({"n_beta": float("inf")}, "n_beta must be a positive number, got inf"),
        ({"localization": True}, "localization must be zero or a positive number, got True"),
    ],
)
def test_what_is_refused(draws, arguments, text):
    with pytest.raises(og.OntogenyError, match=text):
        og.reweighted(draws, **arguments)
