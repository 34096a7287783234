"""The norm of the full-data gradient over selected weights: how far from a stationary point w* is there."""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from torch import nn

from ontogeny.core.schema import describe
from ontogeny.core.types import Params
from ontogeny.inputs.components import Masks, resolve
from ontogeny.inputs.losses import LossFunction, undisturbed
from ontogeny.metrics.loss import pieces, whole_loss


def gradient_norms(
    model: nn.Module,
    data: dict[str, Any],
    loss_fn: LossFunction,
    components: dict[str, Any],
    batch_size: int,
    device: str | None,
) -> xr.Dataset:
    """‖∇L(w*)‖ over the selected weights, L the mean loss over all n examples, not an estimate from minibatches.

    One pass over the data, ``batch_size`` examples at once, serves all components. A parameter that the loss does not
    depend on adds nothing.

    Returns:
        ``gradient_norm`` with dims ``component`` and ``dataset``, in loss/weight.
    """
    selected = {name: resolve(model, selection) for name, selection in components.items()}
    parameters = list(dict.fromkeys(name for masks in selected.values() for name in masks))
    columns = []
    with undisturbed(model), torch.enable_grad():
        for values in data.values():
            gradient = _gradient(model, values, loss_fn, parameters, batch_size, device)
            columns.append([_norm(gradient, masks) for masks in selected.values()])
    norms = (("component", "dataset"), [list(row) for row in zip(*columns, strict=True)])
    return describe(xr.Dataset({"gradient_norm": norms}, coords={"component": list(components), "dataset": list(data)}))


def _gradient(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    parameters: list[str],
    batch_size: int,
    device: str | None,
) -> Params:
    loss, examples = whole_loss(model, data, loss_fn, parameters, device)
    leaves = {name: value.requires_grad_() for name, value in loss.center.items()}
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in leaves.items()}
    for batch in pieces(examples, batch_size):
        share = loss(leaves, batch).sum() / examples.count
        found = torch.autograd.grad(share, list(leaves.values()), materialize_grads=True, allow_unused=True)
        for name, value in zip(leaves, found, strict=True):
            total[name] += value.detach()
    return total


def _norm(gradient: Params, masks: Masks) -> float:
    squares = [
        (gradient[name] if mask is None else gradient[name][mask.to(gradient[name].device)]).square().sum()
        for name, mask in masks.items()
    ]
    return float(torch.stack(squares).sum().sqrt())
