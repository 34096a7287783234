"""What w* gives on every example, against plain gradients, and chains with and without it."""

import pytest
import torch

import ontogeny as og
from ontogeny.sampling import preparation
from ontogeny.sampling.at_center import center_table
from ontogeny.sampling.problem import build
from tiny import Regression, data, squares

DOUBLE = torch.float64


def problem(loss_fn=squares, components=None):
    return build(Regression(DOUBLE), data(DOUBLE), loss_fn, components, None, None)


@pytest.mark.parametrize("mode", ["vmap", "serial"])
@pytest.mark.parametrize("components", [None, "outer.*"])
def test_the_table_holds_plain_losses_and_gradients(mode, components):
    given = problem(components=components)
    table = center_table(given.loss, given.center, given.examples, 8, mode)
    index = torch.tensor([3, 3, 0, 11])
    batch = given.examples.take(index)
    leaves = {name: value.clone().requires_grad_() for name, value in given.center.items()}
    losses = given.loss(leaves, batch)
    slopes = torch.autograd.grad(losses.mean(), list(leaves.values()))
    found = table.beside(batch, index)
    torch.testing.assert_close(found.losses[0, 0], losses.mean().detach())
    torch.testing.assert_close(found.losses[1, 0], (losses[:2].mean() - losses[2:].mean()).detach())
    for value, slope in zip(found.gradient.values(), slopes, strict=True):
        torch.testing.assert_close(value[0], slope)
    everything = given.loss(leaves, given.examples.take(None)).mean()
    for value, slope in zip(
        table.full_gradient().values(), torch.autograd.grad(everything, list(leaves.values())), strict=True
    ):
        torch.testing.assert_close(value[0], slope)


def test_a_loss_that_mixes_examples_has_no_table():
    def mixing(model, batch):
        losses = squares(model, batch)
        return losses * losses.mean()

    given = problem(mixing)
    assert center_table(given.loss, given.center, given.examples, 8, "vmap") is None


@pytest.mark.parametrize("compensate", [True, False])
def test_chains_are_the_same_with_the_table_and_with_w_star_riding_along(compensate, monkeypatch):
    kernel = "baoab" if compensate else "rmsprop_sgld"
    run = {"n_beta": 20.0, "localization": 5.0, "draws": 30, "burn_in": 5, "chains": 3, "batch_size": 8}
    run |= {"step_size": 1e-3, "kernel": kernel, "progress": False}
    stored = og.sample(Regression(DOUBLE), data(DOUBLE), squares, **run)
    monkeypatch.setattr(preparation, "fits", lambda *_: False)
    riding = og.sample(Regression(DOUBLE), data(DOUBLE), squares, **run)
    for name in ("loss", "loss_at_center", "gap", "control", "virial", "distance_squared"):
        torch.testing.assert_close(
            torch.tensor(stored[name].values), torch.tensor(riding[name].values), rtol=1e-8, atol=1e-12
        )
    assert stored.attrs["gradient_evaluations"] < riding.attrs["gradient_evaluations"]
