"""The trace of the Hessian over each component's own weights, by Hutchinson's random vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.core.schema import describe
from ontogeny.inputs.components import resolve
from ontogeny.inputs.losses import LossFunction, undisturbed
from ontogeny.metrics.loss import whole_loss
from ontogeny.operators.hessian import hessian_vector_product


def hessian_traces(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    components: Mapping[str, Any],
    *,
    probes: int = 32,
    batch_size: int = 16,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """tr H of each component's block of the Hessian of the mean loss over ``data``, with its standard error.

    Hutchinson (1989): the mean over ±1 vectors v of Σ_i v_i (H v)_i, the sum over the component's weights. One vector
    runs over the weights of all components, so that a Hessian-vector product serves them all; what the others add has
    mean 0 and is in the error, s/√probes. The error is of the vectors alone: the data are what they are.

    Args:
        model: any module; neither its weights nor its mode change.
        data: as in ``og.estimate_llc``; the product is a sum over all of it.
        loss_fn: per example or position.
        components: {name: selection}, as ``og.estimate_llc`` takes selections.
        probes: random vectors, at least 2.
        batch_size: examples at once.
        seed: of the vectors.
        device: where to compute; None: where the model is.

    Returns:
        ``hessian_trace`` and ``hessian_trace_se``, dim ``component``, in loss/weight².

    Raises:
        OntogenyError: for fewer than two probes, or a selection that selects nothing.
    """
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 2:
        raise OntogenyError(f"probes must be a whole number of at least 2; got {probes!r}.")
    selected = {name: resolve(model, selection) for name, selection in components.items()}
    parameters = list(dict.fromkeys(name for masks in selected.values() for name in masks))
    stream = generator(seed, "hessian trace")
    found: list[list[float]] = []
    with undisturbed(model):
        loss, examples = whole_loss(model, data, loss_fn, parameters, device)
        for _ in range(probes):
            vector = {
                name: (torch.randint(0, 2, value.shape, generator=stream) * 2 - 1).to(value)
                for name, value in loss.center.items()
            }
            image = {name: torch.zeros_like(value) for name, value in loss.center.items()}
            for rows in torch.arange(examples.count).split(batch_size):
                part = hessian_vector_product(loss, loss.center, examples.take(rows), vector)
                share = len(rows) / examples.count
                image = {name: image[name] + share * value.detach() for name, value in part.items()}
            product = {name: vector[name] * image[name] for name in vector}
            found.append(
                [
                    sum(
                        float((product[name] if mask is None else product[name][mask.to(product[name].device)]).sum())
                        for name, mask in masks.items()
                    )
                    for masks in selected.values()
                ]
            )
    values = torch.tensor(found, dtype=torch.float64)
    return describe(
        xr.Dataset(
            {
                "hessian_trace": ("component", values.mean(0).numpy()),
                "hessian_trace_se": ("component", (values.std(0) / probes**0.5).numpy()),
            },
            coords={"component": list(selected)},
        )
    )
