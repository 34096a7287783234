"""Every kernel on a quadratic: mean and covariance in every coordinate against the kernel's own stationary law."""

import math

import numpy as np
import pytest
import torch

from independent_chains import DOUBLE, agree, run, same_for_all, stationary_covariance
from ontogeny.core.rng import generator
from ontogeny.sampling.kernels import KERNELS
from ontogeny.sampling.kernels.signal import Signal

KAPPA = torch.tensor([1.0, 4.0, 20.0, 100.0], dtype=DOUBLE)
FIRST_ORDER = ("sgld", "rmsprop_sgld")
CHAINS = 2000
STEEPNESS = (0.2, 1.0)  # ε·κ_max, of a stability limit of 4
FRICTION = 4.0
PRECISION = 0.035  # the largest standard error of a variance; a tenth of that in the steepest direction


def settle(name, step_size, **options):
    """Chains from draws of the exact law; burn-in takes the flattest variance to e^-3 of its way to the kernel's."""
    slowest = step_size * float(KAPPA.min())
    rate = math.sqrt(slowest) / 2 if KERNELS[name].momentum else slowest
    return run(
        name,
        lambda w: -KAPPA * w,
        torch.randn(CHAINS, 4, generator=generator(0, "start"), dtype=DOUBLE) / KAPPA.sqrt(),
        step_size=step_size,
        friction=FRICTION,
        burn_in=int(3 / rate),
        steps=int(max(2 / rate, 400)),
        energy=lambda w: 0.5 * (KAPPA * w**2).sum(1),
        **options,
    )


@pytest.mark.parametrize("steepness", STEEPNESS)
@pytest.mark.parametrize("name", KERNELS)
def test_mean_and_variance_of_every_coordinate(name, steepness):
    """(1/κ)/(1 - εκ/4) for SGLD, and 1/κ for all others: at εκ = 1 SGLD is a third too wide, and the others are not.

    SGNHT: 1/κ too, its velocities having variance 1 around O for every ε on a quadratic; what its thermostat's own
    motion adds is below 0.5 %.
    """
    step_size = steepness / float(KAPPA.max())
    found = settle(name, step_size)
    exact = 1 / KAPPA / (1 - step_size * KAPPA / 4 if name in FIRST_ORDER else 1)
    agree(
        found.product.diagonal(dim1=1, dim2=2),
        exact,
        bound=0.005 if name == "sgnht" else 0.0,
        precision=PRECISION,
    )
    agree(found.position, torch.zeros(4), scale=exact.sqrt(), precision=PRECISION)
    assert found.capped == 0.0


@pytest.mark.parametrize("steepness", STEEPNESS)
def test_a_frozen_preconditioner_is_sgld_with_a_step_size_of_its_own_for_every_weight(steepness):
    """ε becomes εP: (1/κ)/(1 - εPκ/4); P from gradients of known sizes, frozen before the chains start."""
    sizes = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=DOUBLE)
    metric = 1.1 / (sizes / sizes.square().mean().sqrt() + 0.1)
    step_size = steepness / float((metric * KAPPA).max())

    def adapted(state):
        gradient = {"w": sizes.expand(CHAINS, 4)}
        for _ in range(3):
            state = KERNELS["rmsprop_sgld"].adapt(state, gradient, 0)
        return state

    found = settle("rmsprop_sgld", step_size, prepare=adapted)
    torch.testing.assert_close(found.state.metric["w"], metric.expand(CHAINS, 4))
    exact = 1 / KAPPA / (1 - step_size * metric * KAPPA / 4)
    agree(found.product.diagonal(dim1=1, dim2=2), exact, precision=PRECISION)
    agree(found.position, torch.zeros(4), scale=exact.sqrt(), precision=PRECISION)


@pytest.mark.parametrize("steepness", [0.02, 0.2, 1.0, 3.0])
def test_the_laws_that_the_docstrings_state(steepness):
    """On paper: solving each linear recursion for its stationary covariance gives the closed form, whatever friction.

    Minibatch noise of s units of the injected noise: SGLD (1 + s)/(1 - εκ/4), and compensated 1/(1 - εκ/4);
    LM and BAOAB 1 + s/(1 - εκ/4), and compensated 1 + s·(εκ/4)/(1 - εκ/4).
    """
    kappa = KAPPA.numpy()
    step_size = steepness / kappa.max()
    left = 1 - step_size * kappa / 4

    def relative(name, friction, share=0.0, compensated=False):
        delta = math.sqrt(step_size)
        decay = 0.0 if name == "lm_sgld" else math.exp(-friction * delta)
        gain = delta / 2 * (1.0 if name == "sgld" else (1 + decay) / math.sqrt(1 - decay**2))
        noise = share / gain**2 * np.eye(4)
        covariance = stationary_covariance(
            name, np.diag(kappa), step_size, friction, noise=noise, compensated=compensated
        )
        np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-12)
        return np.diag(covariance) * kappa

    np.testing.assert_allclose(relative("sgld", 1.0), 1 / left, rtol=1e-9)
    np.testing.assert_allclose(relative("sgld", 1.0, 0.3), 1.3 / left, rtol=1e-9)
    np.testing.assert_allclose(relative("sgld", 1.0, 0.3, True), 1 / left, rtol=1e-9)
    for name, friction in (("lm_sgld", 1.0), ("baoab", 0.5), ("baoab", 4.0), ("baoab", 50.0)):
        np.testing.assert_allclose(relative(name, friction), 1.0, rtol=1e-9)
        np.testing.assert_allclose(relative(name, friction, 0.3), 1 + 0.3 / left, rtol=1e-9)
        np.testing.assert_allclose(relative(name, friction, 0.3, True), 1 + 0.3 * (1 - left) / left, rtol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_baoab_of_large_friction_is_leimkuhler_matthews(share):
    """Step by step, to rounding, with the same normals and the same minibatch noise."""
    stream = generator(0, "limit")

    def normals(scale=1.0):
        return {"w": scale * torch.randn(5, 4, generator=stream, dtype=DOUBLE)}

    start, first, epsilon = normals(), normals(), same_for_all(0.02, 5)
    states = {name: KERNELS[name].init(start, first, 0) for name in ("lm_sgld", "baoab")}
    for _ in range(20):
        noise, error = normals(), normals(share) if share else None
        for name, state in states.items():
            signal = Signal({"w": -KAPPA * state.params["w"]}, same_for_all(0.0, 5), None, error)
            states[name], accepted = KERNELS[name].step(
                state, signal, noise, step_size=epsilon, friction=same_for_all(1e6, 5), axis=0
            )
            assert accepted is None
    torch.testing.assert_close(states["baoab"].params, states["lm_sgld"].params, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step_size", [0.005, 0.00125])
def test_sgnht_takes_up_constant_isotropic_noise_without_being_told(step_size):
    """The drift's error has variance c in every weight; f + ξ grows to f + δc/2, and the variances stay 1/κ.

    Both up to O(ε); BAOAB without compensation is too wide by s/(1 - εκ/4), here 26 % and more.
    """
    strength, delta = 60.0, math.sqrt(step_size)
    decay = math.exp(-FRICTION * delta)
    share = strength * step_size / 4 * (1 + decay) / (1 - decay)
    assert share > 0.26

    def noise(stream, chains):
        return math.sqrt(strength) * torch.randn(chains, 4, generator=stream, dtype=DOUBLE), None

    heated = settle("baoab", step_size, noise=noise).product.diagonal(dim1=1, dim2=2)
    agree(heated, (1 + share / (1 - step_size * KAPPA / 4)) / KAPPA, precision=PRECISION)
    found = settle("sgnht", step_size, noise=noise)
    agree(found.product.diagonal(dim1=1, dim2=2), 1 / KAPPA, bound=8 * step_size, precision=PRECISION)
    agree(found.state.thermostat[:, None], [delta * strength / 2], bound=30 * step_size, precision=0.05)
