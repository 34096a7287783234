"""The mean loss on a data set, with the error that another sample of as many examples would show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import xarray as xr
from torch import nn

from ontogeny.core.schema import describe
from ontogeny.inputs.datasets import Examples, as_examples, check_batch_size
from ontogeny.inputs.losses import LossFunction, ModuleLoss, undisturbed


def mean_loss(
    model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, batch_size: int, device: str | None
) -> xr.Dataset:
    """L = (1/n) Σ ℓ_i for each data set and its standard error over examples, s/√n, s² = Σ (ℓ_i - L)²/(n - 1).

    ℓ_i is the loss of example i, positions averaged. The model runs in evaluation mode with weights in float32, in
    float64 where it has weights in float64, on ``batch_size`` examples at once.

    Returns:
        ``loss`` and ``loss_se`` with dim ``dataset``, in units of the loss; one example has no error (NaN).
    """
    found = []
    with undisturbed(model), torch.no_grad():
        for values in data.values():
            loss, examples = whole_loss(model, values, loss_fn, [], device)
            losses = torch.cat([loss({}, batch).double() for batch in pieces(examples, batch_size)]).cpu()
            error = float(losses.std()) / len(losses) ** 0.5 if len(losses) > 1 else torch.nan
            found.append((float(losses.mean()), error))
    means, errors = zip(*found, strict=True)
    return describe(
        xr.Dataset(
            {"loss": ("dataset", list(means)), "loss_se": ("dataset", list(errors))}, coords={"dataset": list(data)}
        )
    )


def whole_loss(
    model: nn.Module, data: Any, loss_fn: LossFunction, parameters: list[str], device_name: str | None
) -> tuple[ModuleLoss, Examples]:
    """The loss as a function of those parameters, whole tensors, and the examples, as an estimate would see them."""
    double = any(value.dtype == torch.float64 for value in model.parameters())
    dtype = torch.float64 if double else torch.float32
    device = torch.device(device_name) if device_name else next(model.parameters()).device
    return ModuleLoss(model, loss_fn, dict.fromkeys(parameters), dtype, device), as_examples(data, device, dtype)


def pieces(examples: Examples, size: int) -> Iterator[Any]:
    """All examples in order, so many at a time.

    Raises:
        OntogenyError: if there are fewer.
    """
    check_batch_size(size, examples.count)
    for part in torch.arange(examples.count).split(size):
        yield examples.take(part)
