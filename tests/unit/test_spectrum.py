"""λ̂ of the quadratic around w*: closed form, where it is not defined, and models that cannot be batched."""

import math

import numpy as np
import pytest
import torch

from ontogeny.sampling.problem import build
from ontogeny.sampling.spectrum import second_order
from tiny import Linear, Regression, data, squares

N_BETA, GAMMA = 50.0, 3.0


def quadratic(matrix, slope):
    def loss(params, batch):
        w = params["w"]
        return (0.5 * w @ matrix @ w + slope @ w).reshape(1)

    return loss


def drawn(dim, seed=0):
    stream = torch.Generator().manual_seed(seed)
    root = torch.randn(dim, dim, generator=stream, dtype=torch.float64)
    return root @ root.T / dim, 0.1 * torch.randn(dim, generator=stream, dtype=torch.float64)


def exact(matrix, slope, n_beta, gamma):
    """E of nβ·L over N(μ, K⁻¹), K = nβH + γ, μ = -nβ·K⁻¹g: the part without g, and the whole."""
    inverse = torch.linalg.inv(n_beta * matrix + gamma * torch.eye(len(slope), dtype=torch.float64))
    mu = -n_beta * inverse @ slope
    spread = 0.5 * n_beta * float((matrix * inverse).sum())
    return spread, float(n_beta * (slope @ mu + 0.5 * mu @ matrix @ mu))


@pytest.mark.parametrize("slope_size", [0.0, 1.0])
def test_a_quadratic(slope_size):
    matrix, slope = drawn(6)
    slope = slope_size * slope
    center = {"w": torch.zeros(6, dtype=torch.float64)}
    found = second_order(quadratic(matrix, slope), center, [None], N_BETA, GAMMA)
    assert found == pytest.approx(exact(matrix, slope, N_BETA, GAMMA), rel=1e-9, abs=1e-12)
    assert (found[1] < 0) == (slope_size > 0)


def test_it_is_not_defined_where_the_quadratic_has_no_posterior():
    hill = quadratic(-torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    center = {"w": torch.zeros(3, dtype=torch.float64)}
    assert all(map(math.isnan, second_order(hill, center, [None], 5.0, 4.0)))
    found = second_order(hill, center, [None], 5.0, 6.0)
    assert found[0] == pytest.approx(-0.5 * 3 * 5.0)


def test_it_is_not_computed_for_many_weights_or_infinite_ones():
    many = {"w": torch.zeros(201, dtype=torch.float64)}
    loss = lambda params, batch: params["w"].square().sum().reshape(1)  # noqa: E731
    assert all(map(math.isnan, second_order(loss, many, [None], 1.0, 1.0)))
    wild = lambda params, batch: (params["w"].square().sum() * math.inf).reshape(1)  # noqa: E731
    assert all(map(math.isnan, second_order(wild, {"w": torch.ones(2).double()}, [None], 1.0, 1.0)))


@pytest.mark.parametrize("model", [Linear, Regression])
def test_data_in_batches_with_the_gradient_of_all(model):
    problem = build(model(torch.float64), data(torch.float64), squares, None, None, None)
    examples = problem.examples
    whole = second_order(problem.loss, problem.center, [examples.take(None)], N_BETA, 2000.0)
    parts = [examples.take(part) for part in torch.arange(examples.count).split(10)]
    assert second_order(problem.loss, problem.center, parts, N_BETA, 2000.0) == pytest.approx(whole, rel=1e-9)
    leaves = {name: value.clone().requires_grad_() for name, value in problem.center.items()}
    found = torch.autograd.grad(problem.loss(leaves, examples.take(None)).mean(), list(leaves.values()))
    gradient = {name: g.unsqueeze(0) for name, g in zip(leaves, found, strict=True)}
    given = second_order(problem.loss, problem.center, parts, N_BETA, 2000.0, gradient)
    assert given == pytest.approx(whole, rel=1e-9)


def test_a_model_that_cannot_be_batched():
    def stubborn(model, batch):
        losses = squares(model, batch)
        assert not np.isnan(losses.detach().sum().item())  # .item() does not go through vmap
        return losses

    rows = data(torch.float64)
    plain, other = (build(Linear(torch.float64), rows, fn, None, None, None) for fn in (squares, stubborn))
    batches = [plain.examples.take(None)]
    first = second_order(plain.loss, plain.center, batches, N_BETA, GAMMA)
    assert second_order(other.loss, other.center, batches, N_BETA, GAMMA) == pytest.approx(first, rel=1e-9)
