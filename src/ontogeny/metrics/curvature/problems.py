"""From the arguments of a call to problems and samples of examples: the same for every measure of curvature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.devices import check_device
from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.rng import generator
from ontogeny.core.schema import describe
from ontogeny.core.types import Batch
from ontogeny.core.version import __version__
from ontogeny.inputs.components import by_name
from ontogeny.inputs.losses import LossFunction, ModuleLoss, Potential, check_loss, loss_positions, undisturbed
from ontogeny.inputs.shared_forward import SharedForwards
from ontogeny.operators.hessian import hessian_products
from ontogeny.operators.linear_operator import Operator, Product, averaged
from ontogeny.operators.vectors import at_once, leaves_of
from ontogeny.sampling.calibration import default_batch
from ontogeny.sampling.problem import Problem, build

GROUPS = 10
"""Into so many parts a sample of examples is cut for the spread between them to tell its own error."""
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Sampled:
    """A problem, and examples drawn for it."""

    problem: Problem
    batches: list[Batch]
    sizes: list[int]
    positions: int
    """Losses an example; 1 where it has one."""
    chosen: Tensor
    """Positions of the examples drawn in the data set, in the order of the batches."""
    labels: tuple[Any, ...]
    """What random streams are named by."""

    @property
    def share(self) -> float:
        """Of all examples."""
        return sum(self.sizes) / self.problem.examples.count

    def hessian(self) -> Operator:
        """The Hessian of the mean loss over all examples drawn."""
        return Operator(averaged(self._products, self.batches, self.sizes), self.problem.center)

    def hessians_of_groups(self) -> Iterator[tuple[int, Operator]]:
        """Sizes and Hessians of ten parts of the sample, or more where a batch would not hold one; one at a time."""
        for part in self.chosen.tensor_split(min(max(GROUPS, len(self.batches)), len(self.chosen))):
            yield len(part), Operator(self._products(self.problem.examples.take(part)), self.problem.center)

    def _products(self, batch: Batch) -> Product:
        return hessian_products(self.problem.loss, self.problem.center, batch, self.together)

    @property
    def together(self) -> int:
        """How many products of a batch to take at once."""
        return at_once(self.problem.weights, max(self.sizes) * self.positions)

    def stream(self, *labels: Any) -> torch.Generator:
        """A named random stream, the same for every checkpoint, component and data set: differences gain by it."""
        return generator(*self.labels, *labels)

    @property
    def batch_size(self) -> int:
        """Examples at once for a pass over all of them."""
        return max(self.sizes)

    def gradient(self) -> Tensor:
        """∇L(w*) over all examples, one row, float64, shape ``(1, d)``, loss/weight."""
        return mean_gradient(self.problem, self.batch_size)


@dataclass(frozen=True)
class Arguments:
    """What all measures of curvature are asked with."""

    model: nn.Module | Potential
    data: Any
    loss_fn: LossFunction | None
    components: Any
    samples: int
    batch_size: int | None
    seed: int
    device: str | None

    def __post_init__(self) -> None:
        check_counts(samples=self.samples, **({} if self.batch_size is None else {"batch_size": self.batch_size}))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise OntogenyError(f"seed must be a whole number; got {self.seed!r}.")
        if self.device is not None:
            check_device(self.device)

    def measure(self, one: Callable[[Sampled], Numbers], groups: int = 1, **settings: Any) -> xr.Dataset:
        """``one`` for every component and data set, as a Dataset with those two dims.

        A number of ``one`` is a plain number or word, or ``(dims, array)``. A single component is called by its text,
        "all" for all weights, a single data set "data", as in ``og.measure``.
        """
        datasets = self.data if type(self.data) is dict else {"data": self.data}
        if not datasets:
            raise OntogenyError("data must name at least one data set, as in {'train': (x, y)}; the dict is empty.")
        if isinstance(self.components, list | tuple | dict) and not self.components:
            raise OntogenyError("components must name at least one selection of weights, or be None for all; got none.")
        module = self.model if isinstance(self.model, nn.Module) else None
        named = None if module is None else by_name(module, self.components)
        selections = {_only(self.components): self.components} if named is None else named
        found: dict[tuple[Any, Any], Numbers] = {}
        with undisturbed(module):
            forwards = SharedForwards()
            for dataset, values in datasets.items():
                for component, selection in selections.items():
                    found[component, dataset] = one(self._sampled(values, selection, forwards, groups))
        rows = [
            xr.concat(
                [xr.Dataset(found[component, dataset]) for dataset in datasets],
                pd.Index(datasets, dtype=object, name="dataset"),
            )
            for component in selections
        ]
        out = xr.concat(rows, pd.Index(selections, dtype=object, name="component"))
        out = out.transpose("component", "dataset", ...)
        out.attrs = {"samples": self.samples, "seed": self.seed, "ontogeny_version": __version__}
        out.attrs |= {} if self.batch_size is None else {"batch_size": self.batch_size}
        out.attrs |= {name: value for name, value in settings.items() if value is not None}
        return describe(out)

    def _sampled(self, values: Any, selection: Any, forwards: SharedForwards, groups: int) -> Sampled:
        problem = build(self.model, values, self.loss_fn, selection, 1.0, self.device, forwards)
        examples, positions = problem.examples, 1
        if isinstance(problem.loss, ModuleLoss):
            check_loss(problem.loss, examples, min(examples.count, 8))
            positions = loss_positions(problem.loss, examples)
        most = self.batch_size or default_batch(problem.weights, examples.count, positions)
        count = min(self.samples, examples.count)
        chosen = torch.arange(examples.count)
        if count < examples.count:
            chosen = torch.randperm(examples.count, generator=generator(self.seed, "curvature samples"))[:count]
        parts = chosen.tensor_split(min(max(groups, math.ceil(count / most)), count))
        batches = [examples.take(part) for part in parts]
        return Sampled(problem, batches, [len(part) for part in parts], positions, chosen, (self.seed,))


def mean_gradient(problem: Problem, batch_size: int) -> Tensor:
    """∇L(w*) over all examples of a problem, one row, float64, shape ``(1, d)``, loss/weight."""
    loss, examples, leaves = problem.loss, problem.examples, leaves_of(problem.center)
    total = torch.zeros(1, problem.dim, dtype=torch.float64, device=next(iter(leaves.values())).device)
    for rows in torch.arange(examples.count).split(batch_size):
        with torch.enable_grad():
            part = loss(leaves, examples.take(rows)).sum() / examples.count
            found = torch.autograd.grad(part, list(leaves.values()), materialize_grads=True, allow_unused=True)
        total += torch.cat([value.flatten() for value in found]).double()
    return total


def _only(components: Any) -> str:
    """What a single selection is called."""
    return "all" if components is None else components if isinstance(components, str) else "selected"


def check_counts(**counts: Any) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        OntogenyError: naming the argument.
    """
    for name, value in counts.items():
        check_whole(name, value)


def check_positive(**numbers: Any) -> None:
    """Refuse what is no finite number above zero.

    Raises:
        OntogenyError: naming the argument.
    """
    for name, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise OntogenyError(f"{name} must be a finite number above 0; got {value!r}.")


def check_choice(name: str, value: Any, choices: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Refuse a word that is not among ``choices``.

    Raises:
        OntogenyError: naming the argument and what there is.
    """
    if value not in choices:
        raise OntogenyError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")
