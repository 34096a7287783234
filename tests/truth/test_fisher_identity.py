"""The Fisher matrix is the Hessian at the model's own distribution, found by going through all targets or sequences."""

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import ontogeny as og
import tiny_transformer
from ontogeny.core.rng import generator
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.outputs import split_at_output
from ontogeny.inputs.sequences import Sequences, importance_weights
from ontogeny.operators.fisher import empirical_fisher_products
from ontogeny.operators.gauss_newton import gauss_newton_products
from ontogeny.operators.linear_operator import Operator
from ontogeny.operators.output_law import law_of
from ontogeny.sampling.problem import build

SIGMAS = 4.5
CLASSES, LENGTH = 3, 4


class Classifier(nn.Module):
    """Five inputs, four hidden units, three classes."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(5, 4), nn.Linear(4, CLASSES)
        stream = generator(0, "classifier")
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=stream))
        self.double()

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x)))


def cross_entropy(model, batch):
    return functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def at_its_own_distribution(model, batch):
    """Σ_y p(y|x)·(-log p(y|x)), p held fixed where it weights."""
    logs = model(batch[0]).log_softmax(-1)
    return -(logs.detach().exp() * logs).sum(-1)


INPUTS = torch.randn(30, 5, generator=generator(0, "inputs"), dtype=torch.float64)
DATA = (INPUTS, torch.randint(CLASSES, (30,), generator=generator(0, "labels")))


def gauss_newton(model, data, loss_fn):
    problem = build(model, data, loss_fn, None, None, None)
    batch = problem.examples.take(None)
    return Operator(
        gauss_newton_products(lambda p, b: split_at_output(problem.loss, p, b), problem.center, batch), problem.center
    ).dense()


def test_gauss_newton_of_cross_entropy_is_the_hessian_with_the_models_own_targets():
    expected = tiny_transformer.dense(Classifier(), DATA, at_its_own_distribution)
    found = gauss_newton(Classifier(), DATA, cross_entropy)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert not np.allclose(tiny_transformer.dense(Classifier(), DATA, cross_entropy), expected, rtol=0.1)
    assert np.linalg.eigvalsh(found)[0] > -1e-12


def test_the_empirical_fisher_product_is_the_outer_product_of_gradients():
    problem = build(Classifier(), DATA, cross_entropy, None, None, None)
    batch = problem.examples.take(None)
    found = Operator(empirical_fisher_products(problem.loss, problem.center, batch), problem.center).dense()
    model, rows = Classifier(), []
    for x, y in zip(*DATA, strict=True):
        grads = torch.autograd.grad(cross_entropy(model, (x[None], y[None])).sum(), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    gradients = torch.stack(rows).numpy()
    np.testing.assert_allclose(found, gradients.T @ gradients / len(gradients), atol=1e-12)


@pytest.mark.parametrize(("estimator", "probes"), [("scores", 40), ("gauss_newton", 20)])
def test_the_trace_with_targets_drawn_from_the_model(estimator, probes):
    truth = np.trace(tiny_transformer.dense(Classifier(), DATA, at_its_own_distribution))
    found = og.metrics.fisher_trace(Classifier(), DATA, cross_entropy, estimator=estimator, probes=probes)
    error = found["fisher_trace_se"].item()
    assert 0 < error < 0.2 * truth and abs(found["fisher_trace"].item() - truth) < SIGMAS * error
    others = torch.zeros_like(DATA[1])
    again = og.metrics.fisher_trace(Classifier(), (INPUTS, others), cross_entropy, estimator=estimator, probes=probes)
    assert again["fisher_trace"].item() == pytest.approx(found["fisher_trace"].item(), rel=1e-9), "targets are not read"
    empirical = og.metrics.empirical_fisher_trace(Classifier(), DATA, cross_entropy, probes=40)
    assert abs(empirical["empirical_fisher_trace"].item() - truth) > 0.1 * truth, "which is another thing"


def small_language_model(seed=0):
    config = AttentionOnlyConfig(vocabulary=3, context=LENGTH, width=4, layers=1, heads=1)
    model = AttentionOnly(config).double()
    stream = generator(seed, "small language model")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=stream, dtype=torch.float64))
    return model


STARTS = torch.tensor([[0] * LENGTH, [1] * LENGTH, [2] * LENGTH])
EVERY = torch.tensor(list(product(range(3), repeat=LENGTH)))


def probabilities(model):
    """Of all 81 sequences, first tokens equally likely."""
    with torch.no_grad():
        return (-og.NextToken()(model, EVERY).sum(1)).exp() / 3


@lru_cache(maxsize=2)
def exact(seed):
    """(tr of the sequence Fisher matrix, tr of the Hessian of the mean loss of a token), under p(x|w)."""
    model = small_language_model(seed)
    p, fisher = probabilities(model), 0.0
    for row, weight in zip(EVERY, p, strict=True):
        grads = torch.autograd.grad(og.NextToken()(model, row[None]).sum(), list(model.parameters()), allow_unused=True)
        fisher += float(weight) * sum(float(g.square().sum()) for g in grads if g is not None)

    def under_the_model(model, batch):
        return len(EVERY) * batch[1] * og.NextToken()(model, batch[0]).mean(1)

    return fisher, float(np.trace(tiny_transformer.dense(model, (EVERY, p), under_the_model)))


def test_the_hessian_of_the_mean_loss_of_a_token_is_the_sequence_fisher_over_k_minus_1():
    fisher, hessian = exact(0)
    assert hessian == pytest.approx(fisher / (LENGTH - 1), rel=1e-9)
    assert probabilities(small_language_model()).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("estimator", ["scores", "gauss_newton", "hessian"])
def test_the_trace_at_sequences_that_the_model_draws(estimator):
    fisher, hessian = exact(0)
    found = og.metrics.fisher_trace(
        small_language_model(), STARTS, og.NextToken(), contexts="model", estimator=estimator, samples=600, probes=12
    )
    value, error = found["fisher_trace"].item(), found["fisher_trace_se"].item()
    assert 0 < error < 0.15 * hessian and abs(value - hessian) < SIGMAS * error
    assert found["fisher_positions"].item() == LENGTH - 1
    assert abs(value * (LENGTH - 1) - fisher) < SIGMAS * error * (LENGTH - 1)


def test_sequences_of_another_checkpoint_with_importance_weights():
    """Drawn at one checkpoint, they give the trace at another, a little trained; unweighted they do not."""
    first, other = small_language_model(0), small_language_model(0)
    with torch.no_grad():
        for one, two in zip(other.parameters(), small_language_model(7).parameters(), strict=True):
            one.add_(0.1 * two)
    drawn = og.metrics.sample_sequences(first, STARTS, 3000, seed=2)
    p, fisher = probabilities(other), 0.0
    for row, weight in zip(EVERY, p, strict=True):
        grads = torch.autograd.grad(og.NextToken()(other, row[None]).sum(), list(other.parameters()), allow_unused=True)
        fisher += float(weight) * sum(float(g.square().sum()) for g in grads if g is not None)
    truth = fisher / (LENGTH - 1)
    given = {"contexts": "model", "probes": 80}
    weighted = og.metrics.fisher_trace(other, STARTS, og.NextToken(), sequences=drawn, **given)
    error = weighted["fisher_trace_se"].item()
    assert abs(weighted["fisher_trace"].item() - truth) < SIGMAS * error < 0.3 * truth
    assert weighted["fisher_trace_status"].item() == "ok" and 500 < weighted["fisher_kish_ess"].item() < 3000
    plain = Sequences(drawn.tokens, -og.NextToken()(other, drawn.tokens).detach())  # as if drawn here
    unweighted = og.metrics.fisher_trace(other, STARTS, og.NextToken(), sequences=plain, **given)
    assert abs(unweighted["fisher_trace"].item() - truth) > 3 * unweighted["fisher_trace_se"].item()


def test_importance_weights_are_ratios_of_probabilities():
    first, other = small_language_model(0), small_language_model(1)
    drawn = og.metrics.sample_sequences(first, STARTS, 50)
    weights = importance_weights(other, drawn)
    assert (weights[:, 0] == 1).all() and weights.mean(0).tolist() == pytest.approx([1.0] * LENGTH)
    here, there = (-og.NextToken()(model, drawn.tokens).detach().cumsum(1)[:, -1] for model in (other, first))
    ratio = (here - there).exp()
    torch.testing.assert_close(weights[:, -1], ratio / ratio.mean())
    assert (importance_weights(first, drawn) - 1).abs().max() < 1e-9


def test_the_model_draws_from_its_own_distribution():
    model = small_language_model()
    drawn = og.metrics.sample_sequences(model, STARTS, 6000, seed=1)
    index = (drawn.tokens * torch.tensor([27, 9, 3, 1])).sum(1)
    counts = torch.bincount(index, minlength=81).double()
    expected = 6000 * probabilities(model)
    starts = drawn.tokens[:, 0].bincount(minlength=3) / 6000
    expected = expected * 3 * starts.double().repeat_interleave(27)  # first tokens as they were drawn
    common = expected > 5
    chi2 = ((counts - expected)[common] ** 2 / expected[common]).sum().item()
    assert chi2 < int(common.sum()) + 4.5 * (2 * int(common.sum())) ** 0.5
    again = og.metrics.sample_sequences(model, STARTS, 6000, seed=1)
    assert torch.equal(again.tokens, drawn.tokens)


@pytest.mark.parametrize("gap", [4.0, 16.0, 30.0])
def test_cross_entropy_is_known_for_what_it_is_where_one_class_has_nearly_all_the_probability(gap):
    # float32, where the covariance of classes cancels: p = 1 - 1e-7 at a gap of 16
    logits = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    logits[:, 2] += gap
    logits.requires_grad_()
    losses = functional.cross_entropy(logits, torch.full((64,), 2), reduction="none")
    law = law_of(logits, losses)
    assert law.kind == "categorical"
    torch.testing.assert_close(law.scale, torch.full((64,), 1 / 64), rtol=1e-4, atol=0)


def test_a_law_is_not_taken_for_cross_entropy_because_there_is_one_class():
    output = torch.randn(8, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with pytest.raises(og.OntogenyError, match=r"^loss_fn must be a negative log-likelihood"):
        law_of(output, (output**4).squeeze(1))
