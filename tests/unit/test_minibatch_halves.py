"""Both halves of a minibatch in one batched call: the numbers of two calls, or two calls where that cannot be."""

import pytest
import torch

import ontogeny as og
import tiny
from ontogeny.inputs.losses import ModuleLoss, undisturbed
from ontogeny.sampling import preparation
from ontogeny.sampling.evaluation import evaluation, parts_go_together, stack_batches

SETTINGS = tiny.SHORT | {"batch_size": 8}


def looks_at_its_batch(model, batch):
    """Which cannot be batched over data."""
    return tiny.squares(model, batch) * (2.0 if bool((batch[0] > 100).any()) else 1.0)


def problem(loss_fn):
    model = tiny.Regression()
    selected = dict.fromkeys(name for name, _ in model.named_parameters())
    loss = ModuleLoss(model, loss_fn, selected, torch.float32, torch.device("cpu"))
    x, y = tiny.data()
    stack = {name: value.unsqueeze(0) for name, value in loss.center.items()}
    return loss, stack, [(x[:4], y[:4]), (x[4:8], y[4:8])]


def test_gradients_and_losses_are_those_of_each_half():
    loss, stack, parts = problem(tiny.squares)
    chains = {name: torch.cat([value, 1.1 * value, 0.9 * value]) for name, value in stack.items()}
    together = evaluation(loss, "vmap", together=True).of_parts(chains, parts)
    for (gradient, losses), part in zip(together, parts, strict=True):
        expected, known = evaluation(loss, "vmap").gradients(chains, part)
        torch.testing.assert_close(losses, known)
        for name in expected:
            torch.testing.assert_close(gradient[name], expected[name])


def test_who_cannot_be_batched_over_data_is_called_twice():
    loss, stack, parts = problem(tiny.squares)
    assert parts_go_together(loss, stack, parts)
    loss, stack, parts = problem(looks_at_its_batch)
    assert not parts_go_together(loss, stack, parts)


@pytest.mark.parametrize("kernel", ["baoab", "sgld"])
@pytest.mark.parametrize("examples", [40, 3200])
def test_draws_do_not_depend_on_it(kernel, examples, monkeypatch):
    """With a table at w*, and with w* along as one more chain; to rounding."""
    given = (tiny.Regression(), tiny.data(examples=examples), tiny.squares)
    found = og.sample(*given, **SETTINGS, kernel=kernel)
    monkeypatch.setattr(preparation, "parts_go_together", lambda *_: False)
    apart = og.sample(*given, **SETTINGS, kernel=kernel)
    for name in ("loss", "virial", "distance_squared", "control"):
        torch.testing.assert_close(
            torch.tensor(found[name].values), torch.tensor(apart[name].values), rtol=1e-4, atol=1e-5
        )
    plain = og.sample(*given[:2], looks_at_its_batch, **SETTINGS, kernel=kernel)
    torch.testing.assert_close(
        torch.tensor(plain["loss"].values), torch.tensor(apart["loss"].values), rtol=1e-4, atol=1e-5
    )


def test_batches_of_any_form_are_stacked():
    parts = [({"a": torch.ones(2)}, [torch.zeros(3)]), ({"a": torch.zeros(2)}, [torch.ones(3)])]
    found = stack_batches(parts)
    assert found[0]["a"].shape == (2, 2) and found[1][0].tolist() == [[0, 0, 0], [1, 1, 1]]
    with pytest.raises(TypeError, match="str cannot be stacked"):
        stack_batches([("word",), ("words",)])


def test_activations_in_one_operation_are_the_same_function():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=30, n_positions=8, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).eval()
    tokens = torch.arange(16).reshape(2, 8)
    selected = {"transformer.h.0.mlp.c_fc.weight": None}
    with undisturbed(model):
        loss = ModuleLoss(model, og.NextToken(), selected, torch.float32, torch.device("cpu"))
        called = loss._pair.model
        assert called is not model and "forward" in called.transformer.h[0].mlp.act.__dict__
        assert "forward" not in model.transformer.h[0].mlp.act.__dict__
        expected = og.NextToken()(model, tokens).mean()
        gradient = torch.autograd.grad(expected, model.transformer.h[0].mlp.c_fc.weight)[0]
        found, value = torch.func.grad_and_value(lambda p: loss(p, tokens).mean())(loss.center)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(found["transformer.h.0.mlp.c_fc.weight"], gradient, rtol=1e-4, atol=1e-7)
