"""The measures of curvature as metrics that ``og.measure`` takes, with the numbers of samples and probes it uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xarray as xr
from torch import nn

from ontogeny.inputs.losses import LossFunction
from ontogeny.metrics.curvature.fisher import empirical_fisher_trace, fisher_trace
from ontogeny.metrics.curvature.rank import MOST_DEGREE, hessian_rank
from ontogeny.metrics.curvature.second_order import second_order_llc
from ontogeny.metrics.curvature.trace import hessian_trace

if TYPE_CHECKING:
    from ontogeny.metrics.registry import Asked, Size

STEPS = 30


@dataclass(frozen=True)
class CurvatureMetric:
    """One of the measures, the same samples and probes for every checkpoint and component."""

    name: str
    function: Callable[..., xr.Dataset]
    gradients: float
    """What an example of the sample costs, in gradients of one example."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """Of the function's arguments, those that decide what it costs."""
    at_localization: bool = False
    per_component: bool = True

    @property
    def status(self) -> str:
        """The variable that says how well it was measured."""
        return "second_order_llc_status" if self.function is second_order_llc else f"{self.name}_status"

    def settings(self, asked: Asked) -> dict[str, Any]:
        """What its numbers depend on."""
        read = ("seed", *(("n_beta", "localization") if self.at_localization else ()))
        chosen = {name: getattr(asked.settings, name) for name in read}
        return self.numbers | chosen | {"batch_size": asked.given_batch_size}

    def evaluations(self, asked: Asked, weights: int, dataset: Size) -> int:
        """Products in gradients of a minibatch, and for what needs the whole gradient one pass over the data."""
        size = asked.batch_size(weights, dataset.examples, dataset.positions)
        drawn = min(self.numbers["samples"], dataset.examples)
        whole = dataset.examples / size if self.function is second_order_llc else 0
        return math.ceil(self.gradients * drawn / size + whole)

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """One data set; ``attrs`` are named after the metric, since others have samples and probes too."""
        found = self.function(model, data, loss_fn, components, **self.settings(asked), device=asked.settings.device)
        own = {name: value for name, value in found.attrs.items() if name not in ("seed", "ontogeny_version")}
        found.attrs = {f"{self.name}_{name}": value for name, value in own.items()}
        return found


def _cost(probes: int, products: float, price: float = 2.0) -> float:
    """One gradient, which all probes share, and a price for each product: of a Hessian two gradients."""
    return 1.0 + price * probes * products


CURVATURE = (
    CurvatureMetric("hessian_trace", hessian_trace, _cost(50, 1), {"samples": 100, "probes": 50}),
    CurvatureMetric("fisher_trace", fisher_trace, _cost(5, 1, 3.2), {"samples": 30, "probes": 5}),
    CurvatureMetric("empirical_fisher_trace", empirical_fisher_trace, _cost(5, 1, 1.0), {"samples": 100, "probes": 5}),
    CurvatureMetric(
        "hessian_rank",
        hessian_rank,
        _cost(10, STEPS + MOST_DEGREE / 2),
        {"samples": 100, "probes": 10, "steps": STEPS},
        at_localization=True,
    ),
    CurvatureMetric(
        "second_order",
        second_order_llc,
        _cost(10, STEPS),
        {"samples": 100, "probes": 10, "steps": STEPS},
        at_localization=True,
    ),
)
