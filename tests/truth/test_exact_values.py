"""The exact values themselves: against the published table, scipy, Monte Carlo from the prior, and each other."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.validation.problem import with_data
from ontogeny.validation.problems import TABLE, problem, problems
from ontogeny.validation.quadrature import Moments, disjoint

COLUMNS = ((100, 1), (1000, 1), (1000, 100), (10_000, 1))
PUBLISHED = {
    "quadratic": (4.5256, 4.9272, 3.5979, 4.9923),
    "quartic": (0.2417, 0.2473, 0.0961, 0.2492),
    "node": (0.3542, 0.3903, 0.0610, 0.4123),
    "sum": (0.7392, 0.7471, 0.5723, 0.7491),
    "chain": (0.5016, 0.5002, 0.4768, 0.5000),
    "reduced rank 2-2-2": (1.3563, 1.4418, 0.2515, 1.4769),
    "reduced rank 5-3-5": (5.9847, 6.2207, 1.7722, 6.3226),
    "deep linear 4-1-4": (1.7463, 1.8353, 0.4368, 1.8800),
    "softmax 3": (0.9767, 0.9977, 0.7694, 0.9998),
}
NAMES = [one.name for one in problems()]
WITH_DATA = [one.name for one in problems() if one.data_version is not None]


@pytest.mark.parametrize("name", TABLE)
def test_the_published_table(name):
    found = [problem(name).exact(*setting) for setting in COLUMNS]
    assert found == pytest.approx(PUBLISHED[name], abs=5.001e-5)


def test_the_suite_spans_what_it_should():
    every = problems()
    assert len(every) >= 24 and len(set(NAMES)) == len(every) and NAMES[: len(TABLE)] == list(TABLE)
    assert {min(one.dim for one in every), max(one.dim for one in every)} == {1, 1_000_000}
    assert {1, 2, 3} <= {one.multiplicity for one in every if one.dim <= 10}
    assert {one.kind for one in every} == {"closed form", "quadrature", "copies"}


@pytest.mark.parametrize("setting", [*COLUMNS, (30, 300), (1, 1), (10_000, 100)])
@pytest.mark.parametrize("name", NAMES)
def test_the_slope_in_temperature_is_mean_minus_variance(name, setting, h=1e-3):
    one, (n_beta, gamma) = problem(name), setting
    below, above = (one.moments(n_beta * math.exp(sign * h), gamma).mean for sign in (-1, 1))
    expected = one.exact(n_beta, gamma) - one.exact_variance(n_beta, gamma)
    scale = abs(one.exact(n_beta, gamma))
    # a central difference over 2h carries h²/6 of the third derivative, and rounding over h
    assert (above - below) / (2 * h) == pytest.approx(expected, abs=2e-6 * scale, rel=2e-6)


@pytest.mark.parametrize("name", [one.name for one in problems() if one.multiplicity == 1 and one.dim <= 5000])
def test_at_low_temperature_what_is_left_is_the_learning_coefficient(name):
    one = problem(name)
    assert one.exact(1e7, 1.0) == pytest.approx(one.learning_coefficient, rel=0.02)


@pytest.mark.parametrize(
    "name", [one.name for one in problems() if (one.multiplicity or 1) > 1 and one.kind == "quadrature"]
)
def test_multiplicity_is_the_pole_s_order(name):
    """log Z = -λ log nβ + (m - 1) log log nβ, so that λ̂ = λ - (m - 1)/(log nβ + c): c drops out of two values."""
    one, settings = problem(name), (1e8, 1e10)
    lags = [1 / (one.learning_coefficient - one.exact(n_beta, 1.0)) for n_beta in settings]
    assert (lags[1] - lags[0]) / math.log(settings[1] / settings[0]) == pytest.approx(
        1 / (one.multiplicity - 1), rel=0.1
    )


@pytest.mark.parametrize("name", NAMES)
def test_importance_sampling_from_the_prior_through_the_torch_loss(name):
    """At an nβ where λ̂ is about 0.3, draws from N(w*, I/γ) weighted by exp(-nβL) estimate it in any dimension."""
    one, gamma = problem(name), 2.0
    low, high = -3.0 if "softmax" in one.name + one.description else -24.0, 12.0
    for _ in range(8):
        middle = (low + high) / 2
        hot = max(abs(one.exact(2**middle, gamma)), one.exact_variance(2**middle, gamma)) < 0.3
        low, high = (middle, high) if hot else (low, middle)
    n_beta = 2**low
    count = int(np.clip(4e6 // one.dim, 30, 100_000))
    function, w_star = one.potential.function, one.potential.w_star
    noise = torch.randn(count, one.dim, generator=generator(0, "prior", name))
    excess = n_beta * (function(w_star + noise / gamma**0.5) - function(w_star)).double()
    weight = torch.exp(-excess)
    weight /= weight.mean()
    estimate = float((weight * excess).mean())
    se = float((weight * (excess - estimate)).std() / count**0.5)
    assert abs(estimate - one.exact(n_beta, gamma)) < 4.5 * se + 1e-5


def weigh(loss, far, *limits, n_beta, gamma):
    """λ̂ of a loss of one or two weights by scipy's adaptive integration."""
    options = {"epsabs": 1e-12, "epsrel": 1e-8, "limit": 400}

    def density(*w):
        return math.exp(-n_beta * loss(*w) - 0.5 * gamma * far(*w))

    top = integrate.nquad(lambda *w: n_beta * loss(*w) * density(*w), limits, opts=options)[0]
    return top / integrate.nquad(density, limits, opts=options)[0]


@pytest.mark.parametrize("setting", [(1000, 1), (1000, 100)])
@pytest.mark.parametrize(
    ("name", "loss", "center", "limits"),
    [
        ("quartic", lambda u: u**4, (0,), ((-1, 1),)),
        ("sextic", lambda u: u**6, (0,), ((-1.5, 1.5),)),
        ("double well", lambda u: (u * u - 16) ** 2 / 128, (4,), ((3.5, 4.5),)),
        ("banana", lambda v, u: 0.5 * u * u + 10 * (v - u * u) ** 2, (0, 0), ((-0.3, 0.3), (-0.25, 0.25))),
        ("softmax 3", None, (0, 0), ((-0.8, 0.8), (-0.8, 0.8))),
    ],
)
def test_adaptive_integration(name, loss, center, limits, setting):
    if name == "softmax 3":  # in an orthonormal basis of the plane Σ b = 0

        def loss(v, u):
            b = (u / 2**0.5 + v / 6**0.5, -u / 2**0.5 + v / 6**0.5, -2 * v / 6**0.5)
            return math.log(sum(map(math.exp, b)) / 3)

    n_beta, gamma = setting

    def far(*w):
        return sum((x - c) ** 2 for x, c in zip(w, center, strict=True))

    found = weigh(loss, far, *limits, n_beta=n_beta, gamma=gamma)
    assert problem(name).exact(n_beta, gamma) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("name", [one.name for one in problems() if one.dim <= 5000])
def test_losses_batch_under_vmap_and_have_two_derivatives(name):
    one = problem(name)
    function, w_star = one.potential.function, one.potential.w_star.double()
    w = w_star + 0.3 * torch.randn(3, one.dim, generator=generator(0, name), dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(function)(w), function(w), rtol=1e-6, atol=1e-10)
    gradient = torch.func.grad(function)
    _, second = torch.func.jvp(gradient, (w[0],), (w[1] - w[0],))
    ahead, behind = (gradient(w[0] + sign * 1e-5 * (w[1] - w[0])) for sign in (1, -1))
    torch.testing.assert_close(second, (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-4 * float(second.abs().max()))


@pytest.mark.parametrize("name", WITH_DATA)
@torch.no_grad()
def test_the_mean_over_the_data_is_the_potential(name, examples=384, spread=0.3):
    one = problem(name)
    examples = {"softmax 3": 60, "softmax 20": 60, "logistic": 48}.get(name, examples)
    model, data, loss_fn = with_data(one, examples, seed=3, label_noise=0.5)
    at_center = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    stream = generator(0, "data", name)
    base = float(loss_fn(model, data).mean())
    assert loss_fn(model, data).shape == (examples,) and len(at_center) == one.dim
    for _ in range(3):
        move = spread * torch.randn(one.dim, generator=stream, dtype=torch.float64)
        torch.nn.utils.vector_to_parameters(at_center + move, model.parameters())
        function, w_star = one.potential.function, one.potential.w_star.double()
        expected = float(function(w_star + move) - function(w_star))
        assert float(loss_fn(model, data).mean()) - base == pytest.approx(expected, rel=1e-6)


def test_label_noise_makes_the_gradients_of_single_examples_differ_at_the_center():
    model, data, loss_fn = with_data(problem("reduced rank 5-3-5"), 200, label_noise=0.5)
    assert loss_fn(model, data).mean().item() == pytest.approx(0.5 * 5 * 0.5**2)
    quiet = with_data(problem("chain"), 200, label_noise=0.0)
    noisy = with_data(problem("chain"), 200, label_noise=0.5)
    for (model, data, loss_fn), moves in ((quiet, False), (noisy, True)):
        (gradient,) = torch.autograd.grad(loss_fn(model, tuple(x[:1] for x in data)).sum(), model[0].weight)
        assert (gradient.abs().item() > 1e-8) == moves


def test_parts_add():
    assert disjoint((3, Moments(1.0, 2.0)), (1, Moments(0.5, 0.25))) == Moments(3.5, 6.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: problem("cubic"), r"name must be one of the problems .*; got 'cubic'\."),
        (lambda: problem("node").exact(0, 1), r"n_beta must be positive and finite for an exact value; got 0\.0\."),
        (lambda: problem("node").exact(1, -1), r"localization must be positive and finite for an exact value"),
        (lambda: with_data(problem("banana"), 10), r"problem: 'banana' is a loss of its weights alone"),
        (lambda: with_data(problem("softmax 3"), 100), r"examples must be at least 3, a multiple of 3 .*; got 100\."),
        (lambda: with_data(problem("chain"), 1), r"examples must be at least 2 for this problem's data; got 1\."),
    ],
)
def test_errors_say_what_came_and_the_way_out(call, message):
    with pytest.raises(OntogenyError, match=message):
        call()
