"""FT-LLCs whose value is known: projections of a linear map, read through few weights and through many."""

import pytest
import torch
from torch import nn

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.features import (
    Functional,
    Natural,
    Site,
    calibrate_features,
    estimate_features,
    feature_problem,
    random_directions,
    second_order_features,
)
from ontogeny.sampling.calibration import Calibration

N_BETA, GAMMA, ERRORS = 2000.0, 1.0, 4.0
"""Four standard errors, fixed before the first run."""
INPUTS, WIDTH, EXAMPLES = 5, 7, 200


class LinearMap(nn.Module):
    """x (batch, k) to W x (batch, d); a softmax of it is read above."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(INPUTS, WIDTH, bias=False)
        self.above = nn.Linear(WIDTH, 3)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator(0, name)))

    def forward(self, x):
        return self.above(self.encoder(x))


class Blocks(nn.Module):
    """Two features side by side: the first reads 2 inputs, the second 8."""

    def __init__(self):
        super().__init__()
        self.few, self.many = nn.Linear(2, 1, bias=False), nn.Linear(8, 1, bias=False)
        self.read = nn.Identity()

    def forward(self, x):
        return self.read(torch.cat([self.few(x[:, :2]), self.many(x[:, 2:])], 1))


def exact(x):
    """½ Σ nβh/(nβh + γ), h the eigenvalues of the Hessian 2·E[xxᵀ] of E[(uᵀ(W - W*)x)²], ‖u‖ = 1; → k/2."""
    h = 2 * torch.linalg.eigvalsh((x.T @ x / len(x)).double())
    return float((0.5 * N_BETA * h / (N_BETA * h + GAMMA)).sum())


def calibrated(model, x, directions, site):
    return calibrate_features(
        model, x, directions, site, loss=Functional(threshold=None), n_beta=N_BETA, localization=GAMMA, batch_size=200,
        chains=8, max_draws=8000,
    )  # fmt: skip


def test_a_projection_of_a_linear_map_has_half_as_many_as_it_has_inputs():
    model, x = LinearMap(), torch.randn(EXAMPLES, INPUTS, generator=generator(0, "inputs"))
    directions, site = random_directions(3, WIDTH), Site("encoder", "output")
    found = estimate_features(
        model, x, directions, site, loss=Functional(threshold=None), draws=300, progress=False,
        calibration=calibrated(model, x, directions, site),
    )  # fmt: skip
    wanted = exact(x)
    assert abs(wanted - INPUTS / 2) < 0.01
    assert (abs(found["llc"] - wanted) < ERRORS * found["llc_se"]).all() and (found["llc_se"] < 0.25).all()
    assert found.attrs["mode"] == "vmap" and int(found["dim"][0]) == INPUTS * WIDTH


def test_few_and_many_weights():
    model, x = Blocks(), torch.randn(EXAMPLES, 10, generator=generator(1, "inputs"))
    directions, site = torch.eye(2), Site("read", "output")
    found = estimate_features(
        model, x, directions, site, loss=Functional(threshold=None), draws=300, progress=False,
        calibration=calibrated(model, x, directions, site),
    )  # fmt: skip
    for place, part in enumerate((x[:, :2], x[:, 2:])):
        one = found.isel(feature=place)
        assert abs(float(one["llc"]) - exact(part)) < ERRORS * float(one["llc_se"])


def test_log_keeps_the_value():
    """log(1 + ℓ) has ℓ's Hessian at w*, where ℓ is 0; nβ is so large that the rest is far below the error."""
    model, x = LinearMap(), torch.randn(EXAMPLES, INPUTS, generator=generator(0, "inputs"))
    problem = feature_problem(
        model, x, random_directions(1, WIDTH)[0], Site("encoder", "output"), loss=Functional(threshold=None, log=True)
    )
    found = og.estimate_llc(
        *problem, n_beta=N_BETA, localization=GAMMA, batch_size=200, chains=8, draws=300, max_draws=8000, progress=False
    )
    assert abs(float(found.llc) - exact(x)) < ERRORS * float(found.llc_se) + 0.02


def test_behavioral_of_a_linear_map():
    """KL ≈ ½·m(x)·(uᵀ(W - W*)x)², m = vᵀ(diag p - ppᵀ)v at w*, v = U u: h of E[m·xxᵀ]."""
    model, x = LinearMap(), torch.randn(EXAMPLES, INPUTS, generator=generator(0, "inputs"))
    u = random_directions(1, WIDTH)[0]
    n_beta = 1e5
    with torch.no_grad():
        p, v = model(x).softmax(-1), model.above.weight @ u
        m = (p * v.square()).sum(1) - (p @ v).square()
        h = torch.linalg.eigvalsh((x.T @ (m[:, None] * x) / len(x)).double())
    wanted = float((0.5 * n_beta * h / (n_beta * h + GAMMA)).sum())
    problem = feature_problem(model, x, u, Site("encoder", "output"), loss="behavioral")
    found = og.estimate_llc(
        *problem,
        n_beta=n_beta,
        localization=GAMMA,
        batch_size=200,
        chains=8,
        draws=300,
        max_draws=16000,
        progress=False,
    )
    assert abs(float(found.llc) - wanted) < ERRORS * float(found.llc_se) + 0.02


FROZEN = Calibration("baoab", N_BETA, GAMMA, 1e-5, 8.0, 10, 200, 8, 8000, True, 1.0, True, 0)
LAYER = Site("encoder", "output")


def test_second_order_of_a_gated_projection():
    """h of 2·E[1[p > θ]·xxᵀ] at w*: the positions below the threshold have no curvature."""
    model, x = LinearMap(), torch.randn(EXAMPLES, INPUTS, generator=generator(0, "inputs"))
    directions = random_directions(3, WIDTH)
    found = second_order_features(model, x, directions, LAYER, calibration=FROZEN)
    with torch.no_grad():
        p = model.encoder(x) @ directions.T
        active = p > p.std(0, correction=0)
    for place in range(3):
        h = 2 * torch.linalg.eigvalsh((x.T @ (active[:, place, None] * x) / len(x)).double())
        wanted = float((0.5 * N_BETA * h / (N_BETA * h + GAMMA)).sum())
        assert float(found["second_order_llc"][place]) == pytest.approx(wanted, rel=1e-4)
    assert (found["second_order_llc_gradient"] == 0).all() and found["second_order_llc"].dims == ("feature",)
    assert (found["second_order_llc_status"] == "ok").all()


def test_second_order_of_many_features_by_probes():
    """As from the whole matrix, within four of the errors that it tells."""
    model, x = LinearMap(), torch.randn(EXAMPLES, INPUTS, generator=generator(0, "inputs"))
    found = second_order_features(
        model, x, random_directions(3, WIDTH), LAYER, loss=Functional(threshold=None), calibration=FROZEN, probes=5,
        steps=6,
    )  # fmt: skip
    assert (found["second_order_llc_se"] > 0).all()
    assert (abs(found["second_order_llc"] - exact(x)) < ERRORS * found["second_order_llc_se"]).all()


def test_second_order_of_the_natural_loss_has_a_gradient_part():
    """ℓ = cross-entropy of U·(h* + s·u): with s = uᵀ(W - W*)x, g = E[(p - y)ᵀv·x] and h of E[m·xxᵀ], v = U u."""
    model, x = LinearMap(), torch.randn(EXAMPLES, INPUTS, generator=generator(0, "inputs"))
    y = torch.randint(3, (EXAMPLES,), generator=generator(0, "labels"))
    u = random_directions(1, WIDTH)
    natural = Natural(lambda m, batch: nn.functional.cross_entropy(m(batch[0]), batch[1], reduction="none"))
    found = second_order_features(model, (x, y), u, LAYER, loss=natural, calibration=FROZEN).isel(feature=0)
    with torch.no_grad():
        p, v = model(x).softmax(-1), model.above.weight @ u[0]
        m = (p * v.square()).sum(1) - (p @ v).square()
        h, basis = torch.linalg.eigh((x.T @ (m[:, None] * x) / len(x)).double())
        g = basis.T @ ((p @ v - v[y])[:, None] * x).double().mean(0)
        kappa = N_BETA * h + GAMMA
        gradient = -float(((N_BETA * g).square() / kappa * (1 - N_BETA * h / (2 * kappa))).sum())
    assert float(found["second_order_llc_gradient"]) == pytest.approx(gradient, rel=1e-3) and gradient < -1.0
    assert float(found["second_order_llc_curvature"]) == pytest.approx(
        float((0.5 * N_BETA * h / kappa).sum()), rel=1e-3
    )
