"""Whether the standard errors of the traces are what they say: coverage over seeds, samples of the data counted."""

import numpy as np
import pytest
import torch

import ontogeny as og
import tiny
import tiny_transformer
from ontogeny.core.rng import generator
from ontogeny.inputs.superposition import Superposition, importances, sparse_features

SEEDS = 120
LOW, HIGH = 0.8, 1.2
"""The root mean square of what estimates are off by, over that of the errors they state: 1 ± 0.065, which is
1/√(2·120)."""
COVERED = 0.88
"""Of the estimates, those within 2.262 errors of the truth (95 % for ten groups of normal numbers) less three errors of
that share and a little for groups that are skewed. Squared gradients are heavy-tailed, and then few examples are not
enough: with 60 in place of 200 the empirical Fisher trace had 0.84."""


def superposition():
    """Six features through two dimensions, half trained: weights that no minimum holds."""
    stream = generator(3, "weights")
    weight = torch.randn(2, 6, generator=stream, dtype=torch.float64)
    return Superposition(0.8 * weight, 0.1 * torch.randn(6, generator=stream, dtype=torch.float64))


def reconstruction(model, x):
    return (importances(6, 0.8).to(x) * (x - model(x)) ** 2).sum(1)


FEATURES = sparse_features((400, 6), 0.7, generator(0, "features")).double()


def check(measure, name, truth, **given):
    found = [measure(superposition(), FEATURES, reconstruction, seed=seed, **given) for seed in range(SEEDS)]
    off = np.array([one[name].item() - truth for one in found])
    errors = np.array([one[f"{name}_se"].item() for one in found])
    assert LOW < np.sqrt((off**2).mean() / (errors**2).mean()) < HIGH
    assert (np.abs(off) < 2.262 * errors).mean() > COVERED
    assert abs(off.mean()) < 4 * np.sqrt((errors**2).mean() / SEEDS)


def true_trace():
    return float(np.trace(tiny_transformer.dense(superposition(), FEATURES, reconstruction)))


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
@pytest.mark.parametrize("samples", [60, 400])
def test_the_hessian_trace(method, samples):
    """A sample of 60, whose choice counts, and all examples, where it does not."""
    given = {"samples": samples, "probes": 9, "method": method, "batch_size": 400}
    check(og.metrics.hessian_trace, "hessian_trace", true_trace(), **given)


def test_a_sample_is_known_worse_than_all_examples():
    errors = {
        samples: og.metrics.hessian_trace(
            superposition(), FEATURES, reconstruction, samples=samples, probes=18, batch_size=400
        )["hessian_trace_se"].item()
        for samples in (40, 200, 400)
    }
    assert errors[40] > 1.5 * errors[200] > 0 == errors[400], "18 probes of 18 weights are exact, the sample is not"


def test_the_empirical_fisher_trace():
    model, squares = superposition(), 0.0
    for x in FEATURES:
        found = torch.autograd.grad(reconstruction(model, x[None]).sum(), list(model.parameters()))
        squares += sum(g.square().sum().item() for g in found)
    truth = squares / len(FEATURES)
    given = {"samples": 200, "probes": 3, "batch_size": 400}
    check(og.metrics.empirical_fisher_trace, "empirical_fisher_trace", truth, **given)
    whole = og.metrics.empirical_fisher_trace(model, FEATURES, reconstruction, samples=400, probes=40, batch_size=400)
    assert whole["empirical_fisher_trace"].item() == pytest.approx(truth, rel=1e-9)


def test_the_fisher_trace_of_a_squared_error():
    """The loss is -log of a normal law with ∂²ℓ/∂x̂² = 2·importance: F = Jᵀ(2·importance)J."""
    model = superposition()
    weights = list(model.parameters())
    output = model(FEATURES)
    truth = 0.0
    for k in range(6):
        for row in torch.eye(len(FEATURES), dtype=torch.float64):
            found = torch.autograd.grad(output[:, k] @ row, weights, retain_graph=True)
            truth += 2 * 0.8**k * sum(g.square().sum().item() for g in found) / len(FEATURES)
    given = {"samples": 100, "probes": 3, "batch_size": 400}
    check(og.metrics.fisher_trace, "fisher_trace", truth, **given)
    product = og.metrics.fisher_trace(
        model, FEATURES, reconstruction, samples=400, probes=18, batch_size=400, estimator="gauss_newton"
    )
    assert product["fisher_trace"].item() == pytest.approx(truth, rel=1e-9) and product["fisher_trace_se"].item() == 0


def test_one_probe_a_group_still_has_an_error():
    found = og.metrics.hessian_trace(superposition(), FEATURES, reconstruction, samples=60, probes=1)
    assert found["hessian_trace_se"].item() > 0
    single = og.metrics.hessian_trace(tiny.Regression(), tiny.data(examples=1), tiny.squares, probes=1)
    assert np.isnan(single["hessian_trace_se"].item()), "one example, one probe: nothing tells the error"


def test_dense_numbers_of_the_superposition_model():
    """Rank, density's ends and second order of a model small enough to be whole, from the whole and from probes."""
    h = np.linalg.eigvalsh(tiny_transformer.dense(superposition(), FEATURES, reconstruction))
    given = {"samples": 400, "batch_size": 400}
    asked = {"n_beta": 50.0, "localization": 10.0}
    whole = og.metrics.hessian_rank(superposition(), FEATURES, reconstruction, **asked, **given)
    assert whole["hessian_rank"].item() == (h > 0.2).sum()
    part = og.metrics.hessian_rank(
        superposition(), FEATURES, reconstruction, exact=False, probes=40, degree=300, **asked, **given
    )
    assert abs(part["hessian_rank"].item() - (h > 0.2).sum()) < 4.5 * part["hessian_rank_se"].item() + 0.5
    assert (part["hessian_min"].item(), part["hessian_max"].item()) == pytest.approx((h[0], h[-1]), rel=1e-6)
