"""Loss and gradient at w* of every example, so that no step has to evaluate w* on its minibatch.

The paired baseline L_B(w*) and the control variate ∇L_B(w*) are means over the minibatch of what is stored by example.
For the weights of an attention head that is a few hundred megabytes at most, and it is had with one pass over the data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from ontogeny.core.differentiation import at_most_once
from ontogeny.core.trees import size, tree_map
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.inputs.datasets import Examples
from ontogeny.sampling.evaluation import Mode, evaluation, mean_and_gap

MOST_BYTES = 2**29
MOST_ONE_BY_ONE = 4096


class WithCenter(NamedTuple):
    """A minibatch with what w* gives on it, for chains of one centre, the chain axis first."""

    batch: Batch
    losses: Tensor
    """Mean, and first half less second; shape (2, 1)."""
    gradient: Params
    """∇L_B(w*), with a leading axis of one centre."""


class CenterTable:
    """Per-example losses, shape (n,), and gradients, (n, ...) by name, at w*."""

    def __init__(self, losses: Tensor, gradients: Params) -> None:
        self._losses, self._gradients = losses, gradients

    def beside(self, batch: Batch, index: Tensor) -> WithCenter:
        """The minibatch of the examples ``index``, with what w* gives on it."""
        index = index.to(self._losses.device)
        gradient = {name: value[index].mean(0, keepdim=True) for name, value in self._gradients.items()}
        return WithCenter(batch, mean_and_gap(self._losses[index])[:, None], gradient)

    def full_gradient(self) -> Params:
        """∇L(w*) over all examples, with a leading axis of one centre."""
        return {
            name: value.mean(0, keepdim=True, dtype=torch.float64).to(value) for name, value in self._gradients.items()
        }


def fits(center: Params, examples: int) -> bool:
    """Whether a table for so many examples fits into ``MOST_BYTES``."""
    return examples * size(center) * next(iter(center.values())).element_size() <= MOST_BYTES


def center_table(loss: Loss, center: Params, examples: Examples, batch_size: int, mode: Mode) -> CenterTable | None:
    """The table, made in pieces of the batch's size, or example by example where that cannot be batched.

    None where the latter would take long, or where the examples of a batch are not independent: the table must agree
    with the plain gradient on the first piece.
    """
    if mode != "serial":
        table = _table(loss, center, examples, batch_size, _by_example)
        if table is not None:
            return table
    return _table(loss, center, examples, batch_size, _one_by_one) if examples.count <= MOST_ONE_BY_ONE else None


def _table(
    loss: Loss,
    center: Params,
    examples: Examples,
    batch_size: int,
    differentiated: Callable[..., tuple[Params, Tensor]],
) -> CenterTable | None:
    losses = torch.empty(examples.count)
    gradients: Params = {}
    try:
        for rows in torch.arange(examples.count).split(batch_size):
            batch = examples.take(rows)
            found, values = differentiated(loss, center, batch)
            if not gradients:
                if not _agrees(loss, center, batch, found):
                    return None
                losses = values.new_empty(examples.count)
                gradients = {name: value.new_empty(examples.count, *value.shape[1:]) for name, value in found.items()}
            losses[rows] = values
            for name, value in found.items():
                gradients[name][rows] = value
    except Exception:  # whatever a stranger's model raises, it means the same: try another way
        return None
    return CenterTable(losses, gradients)


def _by_example(loss: Loss, center: Params, batch: Batch) -> tuple[Params, Tensor]:
    def alone(params: Params, example: Any) -> Tensor:
        return loss(params, _map(lambda part: part.unsqueeze(0), example))[0]

    with at_most_once():
        found, values = vmap(grad_and_value(alone), in_dims=(None, 0))(center, batch)
    return tree_map(torch.Tensor.detach, found), values.detach()


def _one_by_one(loss: Loss, center: Params, batch: Batch) -> tuple[Params, Tensor]:
    how, stack = evaluation(loss, "serial"), {name: value.unsqueeze(0) for name, value in center.items()}
    rows = range(len(_first_tensor(batch)))
    parts = [how.gradients(stack, _map(partial(torch.narrow, dim=0, start=row, length=1), batch)) for row in rows]
    return tree_map(lambda *g: torch.cat(g), *(found for found, _ in parts)), torch.cat([both[0] for _, both in parts])


def _first_tensor(batch: Any) -> Tensor:
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
    return batch


def _agrees(loss: Loss, center: Params, batch: Batch, found: Params) -> bool:
    stack = {name: value.unsqueeze(0) for name, value in center.items()}
    plain = {name: value[0] for name, value in evaluation(loss, "serial").gradients(stack, batch)[0].items()}
    scale = max(float(value.abs().max()) for value in plain.values())
    atol = (1e-5 + 2.0 * getattr(loss, "rounding", 0.0)) * scale
    return all(torch.allclose(found[name].mean(0), plain[name], rtol=1e-3, atol=atol) for name in plain)


def _map(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """The function on every tensor of a batch, its form kept."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {name: _map(function, part) for name, part in batch.items()}
    parts = [_map(function, part) for part in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
