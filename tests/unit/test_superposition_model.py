"""The toy model of superposition: textbook formula, module, stacked and written-out form are one function."""

import shutil

import numpy as np
import pytest
import torch

from ontogeny.core.rng import generator
from ontogeny.core.types import Loss, StackedLoss
from ontogeny.inputs.superposition import Superposition, SuperpositionLoss, importances, sparse_features
from ontogeny.sampling.evaluation import evaluation

CHAINS, EXAMPLES, FEATURES = 5, 7, 6
needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")), reason="torch.compile needs a C++ compiler"
)


def problem(dtype=torch.float64):
    stream = generator(0, "superposition")
    weight = torch.randn(2, FEATURES, CHAINS, generator=stream, dtype=torch.float64)
    bias = 0.3 * torch.randn(FEATURES, CHAINS, generator=stream, dtype=torch.float64)
    x = sparse_features((EXAMPLES, FEATURES), 0.5, stream)
    return {"weight": weight.to(dtype), "bias": bias.to(dtype)}, x.to(dtype)


def chain(params, number):
    return {name: value[..., number] for name, value in params.items()}


def textbook(params, x, importance):
    """Σ_i I_i·(x_i - ReLU(Wᵀ W x + b)_i)² with numpy, example by example."""
    weight, bias = params["weight"].numpy(), params["bias"].numpy()
    output = [np.maximum(weight.T @ (weight @ row) + bias, 0) for row in x.numpy()]
    return np.array([(importance.numpy() * (row - out) ** 2).sum() for row, out in zip(x.numpy(), output, strict=True)])


def test_plain_stacked_and_module_agree_with_the_formula():
    params, x = problem()
    importance = importances(FEATURES, 0.8)
    loss = SuperpositionLoss(importance)
    assert isinstance(loss, Loss) and isinstance(loss, StackedLoss)
    stacked = loss.stacked(params, x)
    assert stacked.shape == (EXAMPLES, CHAINS)
    for number in range(CHAINS):
        one = chain(params, number)
        exact = torch.from_numpy(textbook(one, x, importance))
        torch.testing.assert_close(loss(one, x), exact, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(stacked[:, number], exact, rtol=1e-12, atol=1e-12)
        model = Superposition(one["weight"], one["bias"])
        assert dict(model.named_parameters()).keys() == params.keys()
        torch.testing.assert_close((importance * (model(x) - x) ** 2).sum(-1), exact, rtol=1e-12, atol=1e-12)


def test_a_batch_for_each_chain():
    params, x = problem()
    loss = SuperpositionLoss(importances(FEATURES, 0.8))
    several = torch.stack([x.roll(number, 0) for number in range(CHAINS)], -1)
    stacked = loss.stacked(params, several)
    for number in range(CHAINS):
        exact = loss(chain(params, number), several[..., number])
        torch.testing.assert_close(stacked[:, number], exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["vmap", "serial"])
def test_gradients_of_all_evaluations_agree(mode):
    params, x = problem()
    loss = SuperpositionLoss(importances(FEATURES, 0.8))
    last, values = evaluation(loss, "stacked").gradients(params, x)
    first, others = evaluation(loss, mode).gradients({k: v.movedim(-1, 0).contiguous() for k, v in params.items()}, x)
    torch.testing.assert_close(others, values, rtol=1e-12, atol=1e-12)
    for name in params:
        torch.testing.assert_close(first[name].movedim(0, -1), last[name], rtol=1e-12, atol=1e-12)


@needs_compiler
def test_the_written_out_form_under_the_compiler_agrees():
    params, x = problem()
    loss = SuperpositionLoss(importances(FEATURES, 0.8))
    how = evaluation(loss, "stacked")
    gradient, values = torch.compile(how.gradients, dynamic=False)(params, x)
    expected, expected_values = how.gradients(params, x)
    torch.testing.assert_close(values, expected_values, rtol=1e-12, atol=1e-12)
    for name in params:
        torch.testing.assert_close(gradient[name], expected[name], rtol=1e-12, atol=1e-12)


def test_the_written_out_form_is_the_same_sum():
    """Without a compiler too: what the compiler is given is chosen by ``torch.compiler.is_compiling``."""
    params, x = problem()
    loss = SuperpositionLoss(importances(FEATURES, 0.8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        written_out = loss.stacked(params, x)
    torch.testing.assert_close(written_out, loss.stacked(params, x), rtol=1e-12, atol=1e-12)


def test_importances_decay():
    torch.testing.assert_close(importances(4, 0.5), torch.tensor([1, 0.5, 0.25, 0.125], dtype=torch.float64))
    assert (importances(4, 1.0) == 1).all()


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.7, 1.0])
def test_features_are_uniform_and_zero_with_probability_s(sparsity, count=40_000):
    values = sparse_features((count, 3), sparsity, generator(0, "features"))
    assert values.dtype == torch.float32 and values.shape == (count, 3)
    assert ((values >= 0) & (values < 1)).all()
    share = (values == 0).double().mean().item()
    error = (max(sparsity * (1 - sparsity), 1e-6) / (3 * count)) ** 0.5
    assert abs(share - sparsity) < 5 * error
    if sparsity < 1:
        kept = values[values > 0].double()
        assert abs(kept.mean().item() - 0.5) < 5 * (1 / 12 / len(kept)) ** 0.5
