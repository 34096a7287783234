"""FT-LLCs whose value is known: projections of a linear map, read through few weights and through many."""

import torch
from torch import nn

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.features import (
    Functional,
    Site,
    calibrate_features,
    estimate_features,
    feature_problem,
    random_directions,
)

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
