"""A feature: a function f of an activation, the same at every position, and how an activation is moved along it.

Intervening on the value of f means following its normal flow, v' = ∇f/‖∇f‖², which changes f at unit speed and, to
first order, nothing orthogonal to it; for a projection on a direction that is adding a multiple of the direction.
Source: "feature targeted LLC estimation", section "The behavioral FT-LLC".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError

FLOW_STEPS = 8
"""Fourth-order Runge-Kutta steps along the normal flow."""
CORRECTIONS = 2
"""Newton steps along the gradient after it, each of which squares what f is off by."""


@dataclass(frozen=True, eq=False)
class Projection:
    """f(v) = u·v, u of shape (width,) and norm 1."""

    direction: Tensor

    def value(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (...)."""
        return hidden @ self.direction

    def moved(self, hidden: Tensor, value: Tensor) -> Tensor:
        """The activation with f at ``value``: v + (value - u·v)·u."""
        return hidden + (value - self.value(hidden)).unsqueeze(-1) * self.direction


@dataclass(frozen=True, eq=False)
class FunctionFeature:
    """f(v), any function that maps each position's activation to a number, (..., width) -> (...).

    It must be twice differentiable almost everywhere, and no position may see another.
    """

    function: Callable[[Tensor], Tensor]

    def value(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (...)."""
        found = self.function(hidden)
        if found.shape != hidden.shape[:-1]:
            raise OntogenyError(
                f"feature must map activations (..., width) to one number a position, {tuple(hidden.shape[:-1])}; got "
                f"{tuple(found.shape)}."
            )
        return found

    def moved(self, hidden: Tensor, value: Tensor) -> Tensor:
        """The activation carried along dv/dt = ∇f/‖∇f‖² until f is ``value``; where ∇f = 0 it stays."""
        ways = torch.func.grad(lambda v: self.value(v).sum())

        def speed(v: Tensor) -> Tensor:
            slope = ways(v)
            return slope / slope.square().sum(-1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)

        step = ((value - self.value(hidden)) / FLOW_STEPS).unsqueeze(-1)
        for _ in range(FLOW_STEPS):
            first = speed(hidden)
            second = speed(hidden + 0.5 * step * first)
            third = speed(hidden + 0.5 * step * second)
            fourth = speed(hidden + step * third)
            hidden = hidden + step / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)
        for _ in range(CORRECTIONS):
            hidden = hidden + (value - self.value(hidden)).unsqueeze(-1) * speed(hidden)
        return hidden


Feature = Projection | FunctionFeature


def as_feature(feature: object) -> Feature:
    """A direction, normalised to norm 1, or a function of the activation, as a feature.

    Raises:
        OntogenyError: if it is neither, or the direction is zero or not finite.
    """
    if isinstance(feature, Projection | FunctionFeature):
        return feature
    if isinstance(feature, Tensor):
        row = feature.reshape(1, -1) if feature.dim() == 1 else feature
        if row.dim() == 2 and len(row) > 1:
            raise OntogenyError(
                f"feature must be one direction, of shape (width,); got {len(row)} rows. og.features.estimate_features "
                "takes many."
            )
        return Projection(normalised(row, "feature")[0])
    if callable(feature):
        return FunctionFeature(feature)
    raise OntogenyError(
        f"feature must be a direction, a tensor of shape (width,), or a function of the activation; got "
        f"{type(feature).__name__}."
    )


def normalised(directions: Tensor, argument: str = "directions") -> Tensor:
    """Rows of norm 1, (features, width).

    Raises:
        OntogenyError: if there is no row, or one is zero or not finite.
    """
    if not isinstance(directions, Tensor) or directions.dim() != 2 or not directions.numel():
        came = f"shape {tuple(directions.shape)}" if isinstance(directions, Tensor) else type(directions).__name__
        raise OntogenyError(
            f"{argument} must be a tensor of shape (features, width) with at least one row; got {came}."
        )
    wide = directions if directions.dtype in (torch.float32, torch.float64) else directions.float()
    lengths = wide.norm(dim=1, keepdim=True)
    bad = (~(lengths.isfinite() & (lengths > 0))).flatten().nonzero().flatten().tolist()
    if bad:
        raise OntogenyError(f"{argument}: row {bad[0]} is zero or not finite, and has no direction; leave it out.")
    return wide / lengths
