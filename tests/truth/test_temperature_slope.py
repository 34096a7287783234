"""Variance, temperature slope and sensitivities from chains, against exact values of the suite's problems."""

import math

import pytest

import ontogeny as og
from ontogeny.validation.problem import with_data
from ontogeny.validation.problems import problem

SETTINGS = [
    ("quadratic", 100.0, 10.0),
    ("node", 1000.0, 10.0),
    ("reduced rank 2-2-2", 1000.0, 100.0),
    ("sum", 100.0, 10.0),
]


def exact(one, n_beta, gamma, h=1e-3):
    mean, variance = one.exact(n_beta, gamma), one.exact_variance(n_beta, gamma)
    pull = (one.exact(n_beta, gamma * math.exp(h)) - one.exact(n_beta, gamma * math.exp(-h))) / (2 * h)
    return {
        "llc_variance": variance,
        "temperature_slope": mean - variance,
        "llc_extrapolated": mean + math.sqrt(max(mean - variance, 0.0)),
        "d_log_llc_d_log_localization": pull / mean,
        "d_log_llc_d_log_n_beta": 1 - variance / mean,
    }


@pytest.mark.parametrize(("name", "n_beta", "gamma"), SETTINGS)
def test_full_batch(name, n_beta, gamma):
    one = problem(name)
    found = og.estimate_llc(
        one.potential, n_beta=n_beta, localization=gamma, chains=64, draws=1500, seed=3, progress=False
    )
    assert found.status.item() == "ok"
    for variable, value in exact(one, n_beta, gamma).items():
        error = float(found[f"{variable}_se"])
        # four standard errors, and the bias of second order in ε
        assert abs(float(found[variable]) - value) < 4 * error + 0.01 * abs(value), variable
    # λ̂ changes by this much when γ is doubled, to first order
    assert float(found.check_temperature) == pytest.approx(abs(float(found.d_log_llc_d_log_n_beta)), rel=1e-9)


def test_minibatches_of_a_tenth():
    one = problem("reduced rank 2-2-2")
    model, data, loss_fn = with_data(one, 400, label_noise=0.1)
    found = og.estimate_llc(
        model, data, loss_fn, n_beta=1000.0, localization=100.0, batch_size=40, chains=64, draws=1500, seed=3,
        progress=False,
    )  # fmt: skip
    assert float(found.minibatch_variance_share) > 0.2
    for variable, value in exact(one, 1000.0, 100.0).items():
        error = float(found[f"{variable}_se"])
        assert abs(float(found[variable]) - value) < 4 * error + 0.03 * abs(value), variable
