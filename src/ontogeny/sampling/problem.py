"""One (component, data set) of a call as a loss, a centre and examples; every input is checked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.trees import size
from ontogeny.core.types import Params
from ontogeny.inputs.components import resolve
from ontogeny.inputs.datasets import Examples, as_examples
from ontogeny.inputs.losses import ModuleLoss, Potential, check_potential
from ontogeny.inputs.precision import forward_dtype, sampled_dtype
from ontogeny.inputs.shared_forward import SharedForwards


@dataclass(frozen=True)
class Problem:
    """What is sampled: the loss around ``center``, on ``examples``."""

    loss: ModuleLoss | Potential
    center: Params
    examples: Examples

    @property
    def dim(self) -> int:
        """d, the number of sampled weights."""
        return size(self.center)

    @property
    def weights(self) -> int:
        """How many weights the model has, sampled or not, which is what a gradient costs by."""
        return self.loss.weights if isinstance(self.loss, ModuleLoss) else self.dim


def build(
    model: object,
    data: Any,
    loss_fn: Any,
    selection: Any,
    n_beta: float | None,
    device: str | None,
    forwards: SharedForwards | None = None,
    precision: str | None = None,
) -> Problem:
    """Check the inputs of a call and put them together; ``forwards`` holds what several components have in common.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    if isinstance(model, Potential):
        given = {"data": data, "loss_fn": loss_fn, "components": selection}
        return _of_potential(model, given, n_beta, device, precision)
    if not isinstance(model, nn.Module):
        raise OntogenyError(f"model must be a torch.nn.Module or an og.Potential; got {type(model).__name__}.")
    if data is None or loss_fn is None:
        missing = "data" if data is None else "loss_fn"
        raise OntogenyError(f"{missing} must be given with a torch.nn.Module; got None. Only a Potential does without.")
    if not callable(loss_fn):
        raise OntogenyError(
            f"loss_fn must be a function loss_fn(model, batch) that returns one loss per example; got "
            f"{type(loss_fn).__name__}. The order is model, data, loss_fn."
        )
    return _of_module(model, data, loss_fn, selection, device, forwards or SharedForwards(), precision)


def _of_potential(
    model: Potential, given: dict[str, Any], n_beta: float | None, device: str | None, precision: str | None
) -> Problem:
    for name, value in given.items():
        if value is not None:
            raise OntogenyError(
                f"{name} has no meaning for a Potential, which is a loss of its own weights alone; leave it out, or "
                "give a torch.nn.Module as model."
            )
    if n_beta is None:
        raise OntogenyError("n_beta must be given for a Potential, which has no data set to take n from; got None.")
    if forward_dtype(precision) is not None:
        raise OntogenyError(
            f"precision = {precision!r} is for the forward pass of a torch.nn.Module; a Potential is computed in the "
            "dtype of its weights. Leave it out."
        )
    dtype = sampled_dtype(precision, any(v.dtype == torch.float64 for v in model.center.values()))
    problem = model.to(dtype, None if device is None else torch.device(device))
    check_potential(problem)
    return Problem(problem, problem.center, Examples(1, lambda _: None))


def _of_module(
    model: nn.Module,
    data: Any,
    loss_fn: Any,
    selection: Any,
    device_name: str | None,
    forwards: SharedForwards,
    precision: str | None,
) -> Problem:
    selected = resolve(model, selection)
    for name in selected:
        parameter = model.get_parameter(name)
        if not parameter.requires_grad:
            kind = "has requires_grad=False" if parameter.is_floating_point() else f"is of type {parameter.dtype}"
            raise OntogenyError(
                f"components: parameter {name!r} {kind}, and only trainable weights are sampled; "
                "call requires_grad_(True) on it to sample it, or leave it out through components."
            )
    dtype = sampled_dtype(precision, any(model.get_parameter(name).dtype == torch.float64 for name in selected))
    device = torch.device(device_name) if device_name else next(model.parameters()).device
    examples = as_examples(data, device, dtype)
    if hasattr(loss_fn, "check_data"):
        loss_fn.check_data(model, examples.whole)
    loss, examples = forwards.share(
        model,
        loss_fn,
        data,
        examples,
        selected,
        lambda cut: ModuleLoss(model, loss_fn, selected, dtype, device, cut, precision),
    )
    return Problem(loss, loss.center, examples)
