"""What og.estimate_llc asks of a loss: what it is given, one value an example or position, and how it is refused."""

import numpy as np
import pytest
import torch

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.datasets import as_examples
from tiny import EXAMPLES, SHORT, Linear, Regression, data, same_numbers, squares

ROUNDING = 1e-6
MINIBATCH = {**SHORT, "batch_size": 8}


def by_name(model, batch):
    return squares(model, (batch["x"], batch["y"]))


def test_a_loss_per_position_is_averaged_over_positions():
    def at_positions(model, batch):
        return (model(batch[0]) - batch[1] * torch.arange(1.0, 4.0)) ** 2

    by_position = og.sample(Linear(), data(), at_positions, **MINIBATCH)
    by_example = og.sample(Linear(), data(), lambda m, b: at_positions(m, b).mean(1), **MINIBATCH)
    same_numbers(by_position, by_example, rtol=ROUNDING)


def test_tensors_by_name_reach_the_loss_by_name():
    x, y = data()
    named = og.sample(Regression(), {"train": {"x": x, "y": y}}, by_name, **MINIBATCH).isel(dataset=0)
    same_numbers(named, og.sample(Regression(), {"train": (x, y)}, squares, **MINIBATCH).isel(dataset=0))
    with pytest.raises(OntogenyError, match=r"lengths are 40, 39\.$"):
        as_examples({"x": x, "y": y[1:]})


def test_predictions_broadcast_against_targets_are_refused():
    """(batch, 1) - (batch,) is (batch, batch), which would pass for a loss per position."""
    x, y = data()

    def crossed(model, batch):
        return (model(batch[0]) - batch[1]) ** 2

    with pytest.raises(OntogenyError, match=r"crosses every example with every other, shape \(8, 8\).*squeeze\(1\)\.$"):
        og.estimate_llc(Regression(), (x, y[:, 0]), crossed, **MINIBATCH)
    square = torch.randn(EXAMPLES, 8, 3)  # as many positions as examples in a batch: no fault
    found = og.estimate_llc(Regression(), square, lambda model, batch: model(batch)[..., 0] ** 2, **MINIBATCH)
    assert np.isfinite(found.llc)


def test_what_a_loss_raises_is_said_with_what_it_was_given():
    x, y = data()
    with pytest.raises(
        OntogenyError, match=r"fails on the first batch, a tensor of shape \(8, 3\): .*\{'train'"
    ) as error:
        og.estimate_llc(Regression(), {"x": x, "y": y}, by_name, **MINIBATCH)
    assert error.value.__cause__ is not None and "\n" not in str(error.value)
