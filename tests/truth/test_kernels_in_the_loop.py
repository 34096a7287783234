"""Every kernel through the chain loop and the public call, on problems whose λ̂ is known on paper."""

import pytest
import torch
from torch import nn

import ontogeny as og
from independent_chains import DOUBLE, SIGMAS, same_for_all
from ontogeny.core.rng import generator
from ontogeny.inputs.losses import Potential
from ontogeny.sampling.chains import advance, start
from ontogeny.sampling.kernels import KERNELS
from ontogeny.sampling.posterior import LocalPosterior

FIRST_ORDER = ("sgld", "rmsprop_sgld")


@pytest.mark.parametrize("name", KERNELS)
def test_llc_and_virial_of_a_quadratic(name):
    """½Σ nβh/κ and d, for SGLD each term over 1 - εκ/4; SGNHT within 1 %. P is near 1 where curvatures are alike."""
    alike = name == "rmsprop_sgld"
    curvature, n_beta, gamma = torch.tensor([3.0, 3.0, 3.0] if alike else [0.3, 1.0, 3.0], dtype=DOUBLE), 100.0, 10.0
    kappa = n_beta * curvature + gamma
    epsilon = 0.6 / float(kappa.max())
    well = og.Potential(lambda w: 0.5 * (curvature * w**2).sum(), torch.zeros(3, dtype=DOUBLE))
    found = og.estimate_llc(
        well,
        n_beta=n_beta,
        localization=gamma,
        step_size=epsilon,
        chains=128,
        draws=800,
        burn_in=300,
        kernel=name,
        progress=False,
    )
    inflated = 1 / (1 - epsilon * kappa / 4) if name in FIRST_ORDER else torch.ones(3, dtype=DOUBLE)
    slack = {"sgnht": 0.01, "rmsprop_sgld": 0.02}.get(name, 0.0)
    for value, error, exact in (
        (found.llc, found.llc_se, float((0.5 * n_beta * curvature / kappa * inflated).sum())),
        (found.check_virial, found.check_virial_se, float(inflated.mean())),
    ):
        assert float(error) < 0.02 * exact
        assert abs(float(value) - exact) < SIGMAS * float(error) + slack * exact
    assert float(found.check_capped) == 0.0 and int(found.chains_lost) == 0


class Line(nn.Module):
    """Three weights at the truth plus an offset."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.1, -1.0, 0.5], dtype=DOUBLE))

    def forward(self, x):
        return x @ self.weight


@pytest.mark.parametrize("name", ["sgld", "baoab"])
def test_llc_of_a_regression_with_a_tenth_of_the_data_a_step(name):
    """The exact λ̂ of the data set, although w* is off its minimum and every chain shares its minibatches.

    E[nβ(L(w) - L(w*))] = nβ(g·m + ½ tr A(Σ + mmᵀ)), m = -K⁻¹nβg, K = nβA + γ, Σ = K⁻¹ (over 1 - εK/4 for SGLD).
    At most 1 % is left for what compensation leaves.
    """
    stream = generator(0, "line")
    x = torch.randn(400, 3, generator=stream, dtype=DOUBLE)
    y = x @ torch.tensor([1.0, -1.0, 0.5], dtype=DOUBLE) + 0.5 * torch.randn(400, generator=stream, dtype=DOUBLE)
    model, n_beta, gamma = Line(), 60.0, 3.0
    A = x.T @ x / 400
    slope = x.T @ (x @ model.weight.detach() - y) / 400
    K = n_beta * A + gamma * torch.eye(3, dtype=DOUBLE)
    epsilon = 0.3 / float(torch.linalg.eigvalsh(K).max())
    spread = torch.linalg.inv(K @ (torch.eye(3, dtype=DOUBLE) - epsilon / 4 * K) if name in FIRST_ORDER else K)
    m = -torch.linalg.solve(K, n_beta * slope)
    exact = n_beta * float(slope @ m + 0.5 * torch.trace(A @ (spread + torch.outer(m, m))))
    found = og.estimate_llc(
        model,
        (x, y),
        lambda model, batch: 0.5 * (model(batch[0]) - batch[1]) ** 2,
        n_beta=n_beta,
        localization=gamma,
        step_size=epsilon,
        batch_size=40,
        chains=64,
        draws=700,
        burn_in=100,
        kernel=name,
        progress=False,
    )
    assert float(found.llc_se) < 0.03 * abs(exact)
    assert abs(float(found.llc) - exact) < SIGMAS * float(found.llc_se) + 0.01 * abs(exact)


def chains_on(power, name, step_size, friction, chains=200):
    """Chains at w* = 0 of nβ = 1000 times Σ|w|^power/power over two weights, γ = 1."""
    well = Potential(lambda w: (w.abs() ** power).sum() / power, torch.zeros(2, dtype=DOUBLE))
    posterior = LocalPosterior(
        well,
        {key: value.unsqueeze(0) for key, value in well.center.items()},
        same_for_all(1000.0, 1),
        same_for_all(1.0, 1),
    )
    run = start(
        posterior,
        KERNELS[name],
        step_size=same_for_all(step_size, 1),
        friction=same_for_all(friction, 1),
        chains=chains,
        labels=["well"],
        seed=0,
        mode="vmap",
        baseline=same_for_all(0.0, 1),
    )
    return run, next(iter(well.center))


@pytest.mark.parametrize("name", KERNELS)
def test_chains_thrown_far_out_are_capped_counted_and_come_back(name):
    """From w = (±3, ±3), where a plain step would be 13 times the way back and the next without end."""
    run, key = chains_on(4, name, step_size=1e-3, friction=6.0)
    far = {key: 3.0 * torch.randn(200, 2, generator=generator(0, "far"), dtype=DOUBLE).sign()}
    assert 1e-3 / 2 * 1000 * 3.0**3 > 4 * 3.0
    noise = {key: torch.randn(200, 2, generator=generator(0, "velocity"), dtype=DOUBLE)}
    run.state = run.kernel.init(far, noise, 0)
    record = advance(run, lambda step: (None,), 1200)
    assert record.capped.dtype == torch.bool and record.capped[0].all()
    assert record.distance_squared[0].eq(18.0).all()
    assert record.distance_squared.isfinite().all() and (record.distance_squared[-1] < 1.0).all()
    assert not record.capped[-50:].any()
    if not run.kernel.momentum and not run.kernel.coins:
        # every step of full length √ε(√2 + 4)·(√P) less its noise: the way of √18 takes about 25
        steps = record.capped.double().sum(0).mean()
        assert 15 < float(steps) < 45


@pytest.mark.parametrize("name", ["sgld", "lm_sgld"])
def test_rare_excursions_are_capped_and_counted(name):
    """On |w|⁸/8 with a step too large for its steep sides: one drift in some hundreds, and no chain is lost."""
    run, _ = chains_on(8, name, step_size=0.016, friction=1.0)
    record = advance(run, lambda step: (None,), 400)
    assert 1e-4 < float(record.capped.double().mean()) < 0.02
    assert record.distance_squared.isfinite().all() and float(record.distance_squared.max()) < 2.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_chains_that_do_not_move_measure_zero(name, dtype):
    model = nn.Linear(3, 1).to(dtype)
    x = torch.randn(200, 3, generator=generator(0, "x"), dtype=dtype)
    found = og.estimate_llc(
        model,
        (x, x.sum(1, keepdim=True)),
        lambda model, batch: (model(batch[0]) - batch[1])[:, 0] ** 2,
        n_beta=1000.0,
        localization=1.0,
        step_size=1e-14,
        batch_size=200 if KERNELS[name].full_batch_only else 20,
        chains=4,
        burn_in=0,
        draws=200,
        kernel=name,
        progress=False,
    )
    # with momentum 200 steps of 1e-7, without √200, against a slope of order one, times nβ; unpaired, of order 1 to 100
    assert abs(float(found.llc)) < (0.2 if KERNELS[name].momentum else 0.01)
    assert found.status.item() != "ok"  # nothing was sampled, and it says so
