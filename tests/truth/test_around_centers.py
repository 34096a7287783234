"""Chains of several centres in one program, against exact values of a linear regression, and against chains alone."""

import numpy as np
import pytest
import torch

from ontogeny.estimators.llc import llc_from_draws
from ontogeny.sampling.around_centers import ChainsAround, by_center, stacked_centers
from ontogeny.sampling.calibration import Calibration
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.sampling.problem import build

N_BETA, LOCALIZATION = (100.0, 200.0, 100.0, 100.0), (10.0, 10.0, 40.0, 10.0)
FROZEN = Calibration(
    kernel="baoab",
    n_beta=100.0,
    localization=10.0,
    step_size=1e-3,
    friction=6.0,
    burn_in=300,
    batch_size=50,
    chains=8,
    max_draws=10**6,
    compensate=True,
    h_max=3.0,
    settled=True,
    gradient_evaluations=0,
)


def squares(model, batch):
    inputs, targets = batch
    return 0.5 * (model(inputs) - targets).square().sum(1)


@pytest.fixture(scope="module")
def regression():
    """Data, model at its minimum, and Hessian: L(w) = ½ mean (x·w - y)²."""
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 5, generator=stream) * torch.tensor([1.5, 1.0, 1.0, 0.5, 0.2])
    targets = inputs.sum(1, keepdim=True) + 0.3 * torch.randn(400, 1, generator=stream)
    model = torch.nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(inputs, targets).solution.T)
    return (inputs, targets), model, (inputs.T @ inputs / 400).double()


def around(regression, rows, labels, calibration=FROZEN, **how):
    (inputs, targets), model, _ = regression
    problem = build(model, (inputs, targets), squares, None, 100.0, None)
    away = {"weight": problem.center["weight"] + 0.1}
    positions = [problem.center, problem.center, problem.center, away]
    posterior = LocalPosterior(
        problem.loss,
        stacked_centers([positions[row] for row in rows]),
        by_center([N_BETA[row] for row in rows]),
        by_center([LOCALIZATION[row] for row in rows]),
    )
    return ChainsAround(posterior, problem.examples, calibration, labels=labels, seed=0, mode="vmap", **how)


def exact(regression, row):
    """λ̂ of the quadratic: ½ tr(nβH κ⁻¹) + nβ(g·m + ½ m·H·m), κ = nβH + γ, m = -κ⁻¹ nβ g the shift of the mean."""
    hessian = regression[2]
    offset = torch.full((5,), 0.1 if row == 3 else 0.0, dtype=torch.float64)
    kappa = N_BETA[row] * hessian + LOCALIZATION[row] * torch.eye(5, dtype=torch.float64)
    slope = hessian @ offset
    shift = -torch.linalg.solve(kappa, N_BETA[row] * slope)
    width = 0.5 * torch.trace(torch.linalg.solve(kappa, N_BETA[row] * hessian))
    return float(width + N_BETA[row] * (slope @ shift + 0.5 * shift @ hessian @ shift))


@pytest.mark.parametrize("control", [False, True])
def test_every_center_has_its_own_setting(regression, control):
    """Four standard errors, and those below 4 % of five weights' ½."""
    chains = around(regression, range(4), list("abcd"), control=control)
    chains.take(4000)
    found = llc_from_draws(chains.draws(chains.steepest([regression[0]])))
    expected = np.array([exact(regression, row) for row in range(4)])
    assert (found.llc_se < 0.1).all()
    assert (np.abs(found.llc - expected) < 4 * found.llc_se).all(), (found.llc.values, expected, found.llc_se.values)
    top = float(torch.linalg.eigvalsh(regression[2])[-1])
    np.testing.assert_allclose(found.h_max, top, rtol=1e-3)


def test_a_center_does_not_hear_of_those_beside_it(regression):
    beside, alone = around(regression, [0, 3, 2], list("abc")), around(regression, [3], ["b"])
    for one in (beside, alone):
        one.take(20)
    one = alone.draws(np.ones(1)).loss.isel(center=0)
    np.testing.assert_allclose(beside.draws(np.ones(3)).loss.isel(center=1), one, rtol=1e-5)


def test_draws_are_taken_before_they_are_asked_for(regression):
    with pytest.raises(ValueError, match="no draws were taken yet; call take first"):
        around(regression, [0], ["a"]).draws(np.ones(1))
