"""The trace of the Hessian over selected weights, from samples of the data and random probes."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr
from torch import nn

from ontogeny.inputs.losses import LossFunction, Potential
from ontogeny.metrics.curvature.problems import (
    GROUPS,
    Arguments,
    Numbers,
    Sampled,
    check_choice,
    check_counts,
)
from ontogeny.operators.hessian import hessian_products
from ontogeny.operators.linear_operator import Operator, Product
from ontogeny.operators.trace import METHODS, over_groups


def hessian_trace(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    *,
    samples: int = 100,
    probes: int = 50,
    method: str = "hutchinson",
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """tr ∇²L(w*) over the selected weights, L the mean loss over all examples of ``data``, with its standard error.

    ``samples`` examples are drawn without replacement and cut into groups (ten, or more where a batch would not hold
    one); each group has ``probes`` of its own, so the whole has ten times as many at the same cost, and the spread
    between groups tells what the choice of examples adds to the error. With all examples in the sample the error is
    that of the probes alone, unless each group has but one probe. Examples and probes are the same for every
    checkpoint, component and data set.

    Args:
        model: as in :func:`ontogeny.estimate_llc`, as are data, loss_fn and components.
        data: one data set or {name: data set}.
        loss_fn: one loss per example, or position.
        components: one selection of weights, a list, or {name: selection}.
        samples: examples drawn, at most all; 100 in the source.
        probes: Hessian-vector products of each example; 50 in the source. A product costs about two gradients, and
            the gradient itself is computed once for all probes of a group.
        method: "hutchinson" or "hutch++", which is better where few eigenvalues make up the trace.
        batch_size: examples at once; by rule that of ``estimate_llc``.
        seed: of examples and probes.
        device: where to compute; None: where the model is.

    Returns:
        ``hessian_trace``, ``hessian_trace_se`` (loss/weight²) and ``hessian_trace_status`` ("ok"; "no_error", where
        one example or probe tells none; "not_finite") with dims ``component`` and ``dataset``.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: Wang et al., arXiv:2410.02984, appendix D.1; Hutchinson 1989; Meyer et al., arXiv:2010.09649.

    >>> import torch
    >>> from ontogeny.inputs.losses import Potential
    >>> well = Potential(lambda w: (torch.tensor([1.0, 2.0]) * w**2).sum(), torch.zeros(2))
    >>> hessian_trace(well).hessian_trace.item()
    6.0
    """
    arguments = Arguments(model, data, loss_fn, components, samples, batch_size, seed, device)
    check_counts(probes=probes)
    check_choice("method", method, tuple(METHODS))

    def one(sampled: Sampled) -> Numbers:
        value, error = group_traces(
            sampled, [_product(sampled, n) for n in range(len(sampled.batches))], probes, method
        )
        return numbers("hessian_trace", value, error)

    return arguments.measure(one, GROUPS, probes=probes, method=method)


def _product(sampled: Sampled, number: int) -> Any:
    return lambda: hessian_products(
        sampled.problem.loss, sampled.problem.center, sampled.batches[number], sampled.together
    )


def group_traces(
    sampled: Sampled, products: list[Any], probes: int, method: str, share: float | None = None
) -> tuple[float, float]:
    """The trace and its error from one operator a group, made when its turn comes."""
    estimates = []
    for number, make in enumerate(products):
        product: Product = make()
        operator = Operator(product, sampled.problem.center)
        estimates.append(METHODS[method](operator, probes, sampled.stream("probes", number)))
    return over_groups(estimates, sampled.sizes, sampled.share if share is None else share)


def numbers(name: str, value: float, error: float) -> Numbers:
    """A number under its name, with its error and whether there are both."""
    status = "not_finite" if not math.isfinite(value) else "ok" if math.isfinite(error) else "no_error"
    return {name: value, f"{name}_se": error, f"{name}_status": status}
