"""WBIC, functional variance, singular fluctuation and WAIC of linear regression, against the Gaussian posterior."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ontogeny as og
from ontogeny.core.rng import generator

EXAMPLES, DIM, GAMMA = 200, 3, 1.0


def nats(model, batch):
    """-log p(y|x, w) of a normal error of variance one."""
    return (0.5 * (model(batch[0]) - batch[1]) ** 2 + 0.5 * math.log(2 * math.pi)).sum(-1)


@pytest.fixture(scope="module")
def regression():
    stream = generator(0, "regression")
    x = torch.randn(EXAMPLES, DIM, generator=stream, dtype=torch.float64)
    y = x.sum(1, keepdim=True) + torch.randn(EXAMPLES, 1, generator=stream, dtype=torch.float64)
    model = nn.Linear(DIM, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    return model, (x, y)


def exact(model, data, n_beta, gamma=GAMMA):
    """Under N(ŵ, (nβH + γ)⁻¹) a residual r becomes r - a, a ~ N(0, s): all criteria in closed form."""
    x, y = data
    r = (y - x @ model.weight.detach().T)[:, 0]
    covariance = torch.linalg.inv(n_beta * x.T @ x / EXAMPLES + gamma * torch.eye(DIM, dtype=torch.float64))
    s, beta, constant = (x @ covariance * x).sum(1), n_beta / EXAMPLES, 0.5 * math.log(2 * math.pi)
    variance = float((r**2 * s + 0.5 * s**2).sum())
    training = float((constant + 0.5 * (1 + s).log() + 0.5 * r**2 / (1 + s)).mean())
    return {
        "wbic": float((0.5 * r**2 + constant + 0.5 * s).sum()),
        "free_energy_excess": float(0.5 * s.sum()),
        "functional_variance": variance,
        "singular_fluctuation": 0.5 * beta * variance,
        "bayes_training_loss": training,
        "waic": training + beta / EXAMPLES * variance,
    }


def agrees(found, values, sigmas=4.0):
    for name, value in values.items():
        error = float(found[f"{name}_se"])
        assert error > 0 and abs(float(found[name]) - value) < sigmas * error, (name, float(found[name]), error, value)


@pytest.mark.parametrize(
    "settings",
    [
        {"chains": 32, "draws": 60},
        {"chains": 32, "draws": 60, "batch_size": 50},
        {"chains": 16, "draws": 100, "kernel": "mala"},
        {"chains": 2, "draws": 300},
    ],
    ids=["full batch", "minibatches", "mala", "two chains"],
)
def test_linear_regression(regression, settings):
    model, data = regression
    found = og.watanabe(model, data, nats, localization=GAMMA, progress=False, **{"batch_size": EXAMPLES, **settings})
    n_beta = EXAMPLES / math.log(EXAMPLES)
    assert float(found.n_beta) == pytest.approx(n_beta) and float(found.beta) == pytest.approx(1 / math.log(EXAMPLES))
    assert found.status.item() == "ok"
    agrees(found, exact(model, data, n_beta))
    assert float(found.singular_fluctuation) == pytest.approx(DIM / 2, rel=0.5)  # its limit for a regular model


def test_at_the_temperature_of_bayes_and_with_one_chain(regression):
    model, data = regression
    settings = {"n_beta": float(EXAMPLES), "localization": GAMMA, "batch_size": EXAMPLES, "chains": 1, "draws": 600}
    found = og.watanabe(model, data, nats, progress=False, **settings)
    assert float(found.beta) == 1.0
    agrees(found, exact(model, data, float(EXAMPLES)))


def test_errors_are_as_large_as_the_spread(regression):
    model, data = regression
    settings = {"localization": GAMMA, "batch_size": EXAMPLES, "chains": 4, "draws": 24, "progress": False}
    settings |= {"step_size": 5e-3, "burn_in": 100, "max_draws": 4 * 2000}
    found = [og.watanabe(model, data, nats, seed=seed, **settings) for seed in range(10)]
    for name in ("wbic", "functional_variance"):
        spread = np.std([float(one[name]) for one in found], ddof=1)
        claimed = np.mean([float(one[f"{name}_se"]) for one in found])
        assert 0.6 < claimed / spread < 2.5, name


def test_a_calibration_components_and_what_is_refused(regression):
    model, data = regression
    calibration = og.calibrate(model, data, nats, chains=4, max_draws=8000, progress=False)
    found = og.watanabe(model, data, nats, components="weight", draws=20, calibration=calibration, progress=False)
    assert float(found.n_beta) == calibration.n_beta and found.attrs["evaluated_draws"] == 20
    for name, values in found.data_vars.items():
        assert {"long_name", "units"} <= set(values.attrs), name
    assert "localized" in found.wbic.attrs["long_name"]
    with pytest.raises(og.OntogenyError, match=r"model must be a torch.nn.Module: a Potential has no examples"):
        og.watanabe(og.Potential(lambda w: (w**2).sum(), torch.zeros(2)), None, None)
    with pytest.raises(og.OntogenyError, match="contradicts the calibration"):
        og.watanabe(model, data, nats, n_beta=3.0, calibration=calibration)


def test_a_diverged_run_gives_no_criteria(regression):
    model, data = regression
    found = og.watanabe(
        model, data, nats, localization=GAMMA, step_size=5.0, burn_in=5, draws=5, chains=4, progress=False
    )
    assert found.status.item() == "diverged" and np.isnan(found.wbic) and np.isnan(found.waic_se)
