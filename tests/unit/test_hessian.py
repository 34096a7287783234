"""Curvature against the dense Hessian of torch.autograd."""

import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian

from ontogeny.core.rng import generator
from ontogeny.operators.eigenvalues import krylov_top, largest_eigenvalue
from ontogeny.operators.hessian import dense_hessian, hessian_vector_products
from ontogeny.sampling.curvature import Curvature

SHAPES = {"a": (2, 3), "b": (2,)}


class Loss:
    """A loss per example with a Hessian that is full and depends on the weights."""

    def __call__(self, params, batch):
        return (torch.tanh(batch @ params["a"].T) @ params["b"] - batch.sum(1)) ** 2 + params["b"].prod()


def some(seed=0):
    stream = generator(seed, "hessian")
    return {name: torch.randn(shape, generator=stream, dtype=torch.float64) for name, shape in SHAPES.items()}


BATCH = torch.randn(10, 3, generator=generator(0, "batch"), dtype=torch.float64)


def flat(params):
    return torch.cat([value.reshape(-1) for value in params.values()])


def folded(vector):
    return {"a": vector[:6].reshape(2, 3), "b": vector[6:]}


def exact(params):
    return hessian(lambda vector: Loss()(folded(vector), BATCH).mean(), flat(params))


def test_a_product_is_the_dense_hessian_times_the_vector():
    params, vector = some(0), some(1)
    before = flat(params).clone()
    image = hessian_vector_products(Loss(), params, BATCH)(vector)
    torch.testing.assert_close(flat(image), exact(params) @ flat(vector), rtol=1e-12, atol=1e-12)
    assert {name: value.shape for name, value in image.items()} == {n: v.shape for n, v in params.items()}
    assert torch.equal(flat(params), before) and not any(value.requires_grad for value in params.values())


def test_a_product_inside_no_grad_and_without_curvature():
    with torch.no_grad():
        image = hessian_vector_products(Loss(), some(0), BATCH)(some(1))
    torch.testing.assert_close(flat(image), exact(some(0)) @ flat(some(1)), rtol=1e-12, atol=1e-12)
    linear = hessian_vector_products(lambda p, x: x @ p["b"], {"b": torch.ones(3)}, torch.ones(4, 3))(
        {"b": torch.ones(3)}
    )
    assert (linear["b"] == 0).all()


def test_a_weight_that_the_loss_does_not_read_has_no_curvature():
    params = some(0) | {"spare": torch.ones(2, dtype=torch.float64)}
    image = hessian_vector_products(Loss(), params, BATCH)({name: torch.ones_like(v) for name, v in params.items()})
    assert (image["spare"] == 0).all()


@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_dense_hessians_of_several_positions(chunk):
    positions = {name: torch.stack([some(seed)[name] for seed in range(3)]) for name in SHAPES}
    found = dense_hessian(Loss(), positions, BATCH, chunk=chunk)
    assert found.shape == (3, 8, 8)
    for seed in range(3):
        torch.testing.assert_close(found[seed], exact(some(seed)), rtol=1e-10, atol=1e-10)


def operator(eigenvalues, seed=0):
    """Return v -> Hv for H with these eigenvalues in a random basis, and H."""
    count = len(eigenvalues)
    basis = torch.linalg.qr(torch.randn(count, count, generator=generator(seed, "basis"), dtype=torch.float64)).Q
    matrix = basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T
    return lambda vector: {"w": matrix @ vector["w"]}, matrix


def start(count, seed=0):
    return {"w": torch.randn(count, generator=generator(seed, "start"), dtype=torch.float64)}


@pytest.mark.parametrize(
    ("eigenvalues", "largest"),
    [
        ([5.0, 2.0, 1.0, 0.0], 5.0),
        ([5.0, -2.0, -4.0], 5.0),
        ([-9.0, 5.0, 2.0, 0.5], 5.0),  # the negative one dominates in magnitude
        ([-20.0, 8.0, 1.0, -5.0], 8.0),
        ([-3.0, -2.0, -1.0], -1.0),  # the algebraically largest of a maximum
        ([-100.0, 3.0, 1.0], 3.0),
        ([-100.0, 3.0, *[0.01 * i for i in range(40)]], 3.0),
        ([1e-6, 0.0], 1e-6),
        ([0.0, 0.0], 0.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("more", [0, 60], ids=["matrix", "Lanczos"])
def test_the_algebraically_largest_eigenvalue(eigenvalues, largest, more):
    eigenvalues = [*eigenvalues, *[min(eigenvalues)] * more]  # beyond 16 weights by products alone
    product, _ = operator(eigenvalues)
    found = [largest_eigenvalue(product, start(len(eigenvalues), seed)) for seed in range(5)]
    for value in found:
        assert value == pytest.approx(largest, rel=1e-3, abs=1e-12)
        assert value <= largest + 1e-9 * max(abs(e) for e in eigenvalues)  # a Rayleigh quotient is a lower bound


def test_the_eigenvalue_of_a_loss():
    params = some(0)
    found = largest_eigenvalue(lambda vector: hessian_vector_products(Loss(), params, BATCH)(vector), some(5))
    assert found == pytest.approx(torch.linalg.eigvalsh(exact(params))[-1].item(), rel=1e-3)


def test_some_lanczos_steps_from_a_vector_nearby():
    """What step sizes of large models rest on: a lower bound, close after eight steps, closer from the last vector."""
    eigenvalues = [40.0, *np.linspace(-5.0, 20.0, 199)]
    product, _ = operator(eigenvalues)
    value, vector = krylov_top(product, start(200), 8)
    again, _ = krylov_top(product, vector, 8)
    assert 0.9 * 40.0 < value <= 40.0 + 1e-9
    assert again == pytest.approx(40.0, rel=1e-4) and again >= value
    assert math.isnan(krylov_top(lambda v: {"w": v["w"] * math.nan}, start(200), 8)[0])


def test_lanczos_ends_where_the_value_has_settled():
    eigenvalues = [40.0, *np.linspace(-5.0, 20.0, 199)]
    exact_product, _ = operator(eigenvalues)
    calls = []

    def product(vector):
        calls.append(1)
        return exact_product(vector)

    _, vector = krylov_top(product, start(200), 8)
    calls.clear()
    value, _ = krylov_top(product, vector, 8, settled=0.02)
    assert len(calls) == 3 and value == pytest.approx(40.0, rel=0.01)


def quadratic(params, batch):
    return 0.5 * (params["w"] @ batch @ params["w"]).reshape(1)


@pytest.mark.parametrize("bulk", [(-5.0, 20.0), (-1.0, 10.0)])
def test_looks_at_chains_follow_the_steepest_direction_when_it_becomes_another(bulk):
    """Where the chains come to, the curvature has doubled along a direction that was among the others."""
    first = np.concatenate([np.linspace(*bulk, 198), [20.0, 10.0]])
    after = first.copy()
    after[-1] = 40.0
    basis = torch.linalg.qr(torch.randn(200, 200, generator=generator(0, "basis"), dtype=torch.float64)).Q
    matrices = [basis @ torch.diag(torch.tensor(values)) @ basis.T for values in (first, after)]
    for seed in range(6):
        curvature = Curvature(quadratic, matrices, seed)
        found = []
        for matrix in matrices:
            curvature.batches = [matrix]
            found.append(curvature._quickly(0, {"w": torch.zeros(200, dtype=torch.float64)}, None))
        assert found[0] > 0.9 * 20.0 and 0.9 * 40.0 < found[1] <= 40.0 + 1e-9


def test_the_gradient_is_computed_once_for_all_products():
    calls = []

    def loss(params, batch):
        calls.append(1)
        return Loss()(params, batch)

    product = hessian_vector_products(loss, some(0), BATCH)
    for seed in (1, 2):
        one = hessian_vector_products(Loss(), some(0), BATCH)(some(seed))
        assert all(torch.allclose(value, one[name]) for name, value in product(some(seed)).items())
    assert len(calls) == 1
