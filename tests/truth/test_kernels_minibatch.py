"""Minibatch noise: of constant covariance, and of a linear regression through the chain loop, with and without care.

Compensation is judged by whole covariance matrices against laws solved on paper (``independent_chains``).
"""

import math

import numpy as np
import pytest
import torch

from independent_chains import (
    DOUBLE,
    agree,
    linear_kernel,
    run,
    same_for_all,
    stationary_covariance,
)
from ontogeny.core.rng import generator
from ontogeny.sampling.chains import advance, start
from ontogeny.sampling.kernels import KERNELS
from ontogeny.sampling.kernels.signal import compensated
from ontogeny.sampling.posterior import LocalPosterior

COMPENSATING = [name for name, kernel in KERNELS.items() if kernel.compensates and not kernel.full_batch_only]
FRICTION = 3.0


def covariances_agree(products, exact, *, bound=0.0, precision):
    """Every entry of a covariance, in units of the spreads of its two coordinates."""
    spread = np.sqrt(np.diag(exact))
    agree(products, exact, bound=bound, scale=np.outer(spread, spread), precision=precision)


@pytest.mark.parametrize("length", [0.3, 0.9, 1.7])
@pytest.mark.parametrize("axis", [0, -1])
def test_compensated_normals_have_the_covariance_left_over(length, axis, count=40_000):
    """I - uuᵀ for a given u; nothing along u where ‖u‖ ≥ 1. Over two tensors, and with a gain for each chain."""
    gains = torch.tensor([0.5, 2.0], dtype=DOUBLE).repeat_interleave(count)
    u = length * torch.tensor([2.0, -1.0, 2.0], dtype=DOUBLE) / 3
    noise = torch.randn(2 * count, 3, generator=generator(0, "normals"), dtype=DOUBLE)
    error = u / gains[:, None]

    def tree(values):
        parts = {"a": values[:, :1], "b": values[:, 1:]}
        return parts if axis == 0 else {name: part.T.contiguous() for name, part in parts.items()}

    out = compensated(tree(noise), tree(error), gains, axis)
    flat = torch.cat([out[name] if axis == 0 else out[name].T for name in ("a", "b")], 1)
    left = torch.eye(3, dtype=DOUBLE) - torch.outer(u, u) * min(1.0, 1 / length**2)
    for half in flat.split(count):
        agree(half[:, :, None] * half[:, None, :], left, scale=torch.ones(3, 3), precision=0.01)
    if length > 1:
        assert (flat @ u).abs().max() < 1e-12
    assert compensated(tree(noise), None, gains, axis)["a"] is not None


def test_without_an_error_the_normals_stay_as_they_are():
    noise = {"w": torch.randn(3, 4, generator=generator(0, "normals"))}
    for error in (None, {"w": torch.zeros(3, 4)}):
        assert torch.equal(compensated(noise, error, torch.ones(3), 0)["w"], noise["w"])


CONSTANT_KAPPA = torch.tensor([1.0, 5.0, 25.0], dtype=DOUBLE)
CORRELATION = np.array([[1.0, 0.6, -0.5], [0.6, 1.0, 0.2], [-0.5, 0.2, 1.0]])
SHARE = 0.45  # trace of gain²·C: the noise of the drift is worth so much injected noise
METRIC = torch.tensor([2.0, 0.5, 0.8], dtype=DOUBLE)


@pytest.mark.parametrize("care", [True, False], ids=["compensated", "as it is"])
@pytest.mark.parametrize("steepness", [0.2, 1.0])
@pytest.mark.parametrize("name", COMPENSATING)
def test_constant_noise_of_a_known_covariance(name, steepness, care, chains=2500):
    """Two halves of a minibatch whose gradients err by columns of a matrix, so that ‖u‖ < 1 throughout.

    SGLD and RMSprop-SGLD: compensated exactly as without the noise; as it is (1 + ε c/4) times that on the diagonal,
    c = (nβ)²c_i/b the variance of the drift's error. LM and BAOAB: what their linear recursions give.
    """
    scaled = METRIC if name == "rmsprop_sgld" else torch.ones(3, dtype=DOUBLE)
    root = np.diag(scaled.sqrt().numpy())  # the preconditioned kernel is SGLD in w/√P
    law = "sgld" if name == "rmsprop_sgld" else name
    K = root @ np.diag(CONSTANT_KAPPA.numpy()) @ root
    step_size = steepness / float(np.diag(K).max())
    gain = linear_kernel(law, K, step_size, FRICTION)[3]
    C = SHARE / 3 / gain**2 * np.linalg.solve(root, np.linalg.solve(root, CORRELATION).T)  # of the drift itself
    values, vectors = np.linalg.eigh(2 * root @ C @ root)
    half = torch.as_tensor(np.linalg.solve(root, vectors @ np.diag(np.sqrt(3 * values)) @ vectors.T))

    def noise(stream, count):
        """Either half errs by ± one of three columns; ‖u‖² is at most 2·SHARE, below 1."""
        which = torch.randint(0, 3, (2, count), generator=stream)
        signs = torch.randint(0, 2, (2, count, 1), generator=stream).to(DOUBLE) * 2 - 1
        first, second = signs * half.T[which]
        return (first + second) / 2, (first - second) / 2 if care else None

    slowest = float(np.diag(K).min()) * step_size
    rate = math.sqrt(slowest) / 2 if KERNELS[name].momentum else slowest
    exact = root @ stationary_covariance(law, K, step_size, FRICTION, noise=root @ C @ root, compensated=care) @ root
    if law == "sgld":
        alone = 1 / CONSTANT_KAPPA.numpy() / (1 - step_size * np.diag(K) / 4)
        heat = 0.0 if care else step_size / 4 * np.diag(root @ C @ root)
        np.testing.assert_allclose(np.diag(exact), alone * (1 + heat), rtol=1e-9)
    found = run(
        name,
        lambda w: -CONSTANT_KAPPA * w,
        torch.randn(chains, 3, generator=generator(0, "start"), dtype=DOUBLE) / CONSTANT_KAPPA.sqrt(),
        step_size=step_size,
        friction=FRICTION,
        burn_in=int(5 / rate),
        steps=int(max(4 / rate, 200)),
        noise=noise,
        prepare=lambda state: state._replace(metric={"w": METRIC.expand(chains, 3)}) if law != name else state,
    )
    covariances_agree(found.product, exact, precision=0.03)
    agree(found.position, np.zeros(3), scale=np.sqrt(np.diag(exact)), precision=0.03)


EXAMPLES, BATCH, N_BETA, GAMMA = 100, 10, 50.0, 2.0


class Regression:
    """½(x·w - y)² with two weights; every chain takes rows of its own: a batch is indices (batch, chains)."""

    def __init__(self):
        stream = generator(0, "regression")
        mix = torch.tensor([[1.4, 0.4], [0.4, 1.4]], dtype=DOUBLE)
        self.x = (2 * torch.rand(EXAMPLES, 2, generator=stream, dtype=DOUBLE) - 1) @ mix
        self.y = self.x @ torch.tensor([1.0, -1.0], dtype=DOUBLE)
        self.y = self.y + 0.5 * torch.randn(EXAMPLES, generator=stream, dtype=DOUBLE)

    def __call__(self, params, batch):
        return 0.5 * (self.x[batch] @ params["w"] - self.y[batch]) ** 2

    def stacked(self, params, batch):
        rows = batch.repeat(1, params["w"].shape[1] // batch.shape[1])  # w* of every chain may come along
        return 0.5 * ((self.x[rows] * params["w"].T).sum(-1) - self.y[rows]) ** 2


@pytest.mark.parametrize(
    ("name", "care"), [("sgld", True), ("lm_sgld", True), ("baoab", True), ("sgld", False), ("baoab", False)]
)
def test_a_regression_with_a_tenth_of_the_data_a_step(name, care, chains=2000):
    """Through the loop with the control variate, w* off the minimum: multiplicative noise n = -nβ(A_B - A)(w - w*).

    Its covariance is linear in E[(w - w*)(w - w*)ᵀ], so that second moments close and the law can be solved exactly:
    compensated, for SGLD, that of full batches. What compensation could not make room for is the bound.
    """
    loss = Regression()
    A = loss.x.T @ loss.x / EXAMPLES
    optimum = torch.linalg.solve(A, loss.x.T @ loss.y / EXAMPLES)
    w_star = optimum + torch.tensor([0.6, 0.1], dtype=DOUBLE)
    gradient = A @ (w_star - optimum)
    K = (N_BETA * A + GAMMA * torch.eye(2, dtype=DOUBLE)).numpy()
    step_size = (0.25 if name == "baoab" else 0.3) / float(np.linalg.eigvalsh(K).max())
    friction = 2 / math.sqrt(step_size)
    shift = -np.linalg.solve(K, N_BETA * gradient.numpy())  # the posterior mean, from w*

    def noise(moment):
        """(nβ)²·Cov(A_B δ), δ δᵀ having the mean ``moment`` + the posterior mean's own."""
        second = torch.as_tensor(moment + np.outer(shift, shift))
        size = torch.einsum("ni,ij,nj->n", loss.x, second, loss.x)
        each = torch.einsum("n,ni,nj->ij", size, loss.x, loss.x) / EXAMPLES
        return (N_BETA**2 / BATCH * (each - A @ second @ A)).numpy()

    exact = stationary_covariance(name, K, step_size, friction, noise=noise, compensated=care)
    free = stationary_covariance(name, K, step_size, friction)
    if name == "sgld" and care:
        np.testing.assert_allclose(exact, free, rtol=1e-9)
    if not care:
        assert (np.diag(exact) / np.diag(free) > 1.04).all()

    posterior = LocalPosterior(
        loss, {"w": w_star.expand(chains, 2)}, same_for_all(N_BETA, chains), same_for_all(GAMMA, chains)
    )
    chain = start(
        posterior,
        KERNELS[name],
        step_size=same_for_all(step_size, chains),
        friction=same_for_all(friction, chains),
        chains=1,  # each chain its own centre, so that it draws its own minibatches
        labels=range(chains),
        seed=0,
        mode="stacked",
        gradient={"w": gradient.expand(chains, 2)},
    )
    stream = generator(0, "minibatches")

    def parts_at(step):
        rows = torch.randint(EXAMPLES, (BATCH, chains), generator=stream)
        return tuple(rows.split(BATCH // 2)) if care else (rows,)

    slowest = step_size * float(np.linalg.eigvalsh(K).min())
    advance(chain, parts_at, int(6 / slowest))
    every, positions, beyond = max(int(0.5 / slowest), 1), [], 0.0
    for _ in range(80):
        record = advance(chain, parts_at, every)
        beyond += float((record.noise_share - record.noise_removed).mean()) / 80 if care else 0.0
        positions.append(chain.params["w"].T - w_star - torch.as_tensor(shift))
    assert beyond < 0.005
    values = torch.stack(positions, 1)
    agree(values.mean(1), np.zeros(2), scale=np.sqrt(np.diag(exact)), precision=0.02)
    covariances_agree((values[..., None] * values[..., None, :]).mean(1), exact, bound=beyond, precision=0.007)
