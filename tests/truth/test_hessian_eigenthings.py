"""Products, trace and ends of the spectrum against hessian-eigenthings, a second implementation."""

import numpy as np
import pytest
import torch
from torch import nn

import ontogeny as og
import tiny
from ontogeny.operators.gauss_newton import gauss_newton_products
from ontogeny.operators.hessian import hessian_products
from ontogeny.sampling.problem import build

peer = pytest.importorskip("hessian_eigenthings")
operators = pytest.importorskip("hessian_eigenthings.operators")

DATA = tiny.data(torch.float64)


def mean_loss(model, batch):
    return tiny.squares(model, batch).mean()


def theirs(model):
    return operators.HessianOperator(model, [DATA], mean_loss)


def vectors(dim, count=5):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def wide():
    """More hidden units than `tiny.Regression` has."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)).double()


def test_products():
    model = tiny.Regression(torch.float64)
    problem = build(model, DATA, tiny.squares, None, None, None)
    ours = hessian_products(problem.loss, problem.center, problem.examples.take(None))
    v = vectors(problem.dim)
    expected = torch.stack([theirs(model).matvec(one) for one in v])
    torch.testing.assert_close(ours(v), expected, rtol=1e-10, atol=1e-12)


def test_gauss_newton_products():
    from ontogeny.inputs.outputs import split_at_output

    model = tiny.Regression(torch.float64)
    problem = build(model, DATA, tiny.squares, None, None, None)
    v = vectors(problem.dim)
    other = operators.GGNOperator(
        model,
        [DATA],
        forward_fn=lambda model, batch: model(batch[0]),
        loss_of_output_fn=lambda output, batch: 0.5 * ((output - batch[1]) ** 2).sum(-1).mean(),
    )
    expected = torch.stack([other.matvec(one) for one in v])
    ours = gauss_newton_products(
        lambda params, batch: split_at_output(problem.loss, params, batch), problem.center, problem.examples.take(None)
    )
    torch.testing.assert_close(ours(v), expected, rtol=1e-10, atol=1e-12)


def test_the_trace_and_the_largest_eigenvalue():
    model = wide()  # 81 weights: neither the trace by unit vectors nor the ends from the whole matrix
    found = peer.trace(theirs(model), num_matvecs=600, method="hutchinson", seed=0)
    ours = og.metrics.hessian_trace(model, DATA, tiny.squares, samples=tiny.EXAMPLES, probes=50)
    error = np.hypot(found.stderr, ours["hessian_trace_se"].item())
    assert abs(found.estimate - ours["hessian_trace"].item()) < 4.5 * error
    largest = peer.lanczos(theirs(model), k=1, which="LA", max_iter=15, seed=0).eigenvalues
    extremes = og.metrics.extreme_eigenvalues(model, DATA, tiny.squares, samples=tiny.EXAMPLES)
    assert extremes["hessian_max"].item() == pytest.approx(float(largest[0]), rel=1e-3)
