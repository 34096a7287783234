"""The tasks of a study, their keys, and the chunks they are done in: fixed by the study alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.core.errors import NotFiniteError
from ontogeny.core.version import __version__
from ontogeny.execution.chunks import Chunk
from ontogeny.inputs.load_weights import load_into
from ontogeny.metrics.registry import Asked, Metric
from ontogeny.store import content_key

CHUNK_SECONDS = 20.0
FLOPS = 2e10
"""Floating-point operations a second that cutting into chunks assumes, about what small transformers reach on a core;
never measured, so that chunks are the same everywhere."""
STEP_SECONDS = 2e-3
"""Of one step, however small the model; all chains share it."""
OF_AN_ESTIMATE = 3.0
"""Seconds of looks at the curvature, trials and checks, however short the chains; what a small model takes."""
OPERATIONS_A_WEIGHT = 6
"""Of one gradient, for each weight and token: two forward, four backward."""


@dataclass(frozen=True)
class Component:
    """A selection of weights under the name that the caller gave it."""

    name: str
    digest: str
    """Of the weights it selects."""
    dim: int
    lowest_block: int
    """Below it the forward pass can be shared."""


@dataclass(frozen=True)
class DataSet:
    """A data set under the name that the caller gave it."""

    name: str
    digest: str
    examples: int
    positions: int
    """Tokens of an example; 1 where it is no text."""


@dataclass(frozen=True)
class TaskGroup:
    """One metric of one checkpoint on one data set, for some components (none: not by component): a chunk's payload."""

    step: int
    dataset: str
    metric: Metric
    components: tuple[str, ...]
    asked: Asked


@dataclass(frozen=True)
class Planned:
    """A chunk, and what it is expected to take."""

    chunk: Chunk
    evaluations: int
    """Gradients of one minibatch, about; where no draws were given, the bound on them."""
    seconds: float
    """At ``FLOPS``, nothing shared."""

    @property
    def group(self) -> TaskGroup:
        """The tasks of the chunk."""
        return self.chunk.payload

    @property
    def tasks(self) -> int:
        """How many tasks the chunk has."""
        return max(len(self.group.components), 1)


@dataclass(frozen=True)
class Product:
    """What tasks are made of: checkpoints, components and data sets, and what all have in common."""

    digest_of: Callable[[int], str]
    """A checkpoint's weights by content; they are read for it where no manifest says it."""
    components: tuple[Component, ...]
    datasets: tuple[DataSet, ...]
    common: Any
    """Model, loss and device, JSON-able."""
    parameters: int

    def chunks(self, metrics: tuple[Metric, ...], asked: Asked, steps: tuple[int, ...]) -> list[Planned]:
        """Checkpoint by checkpoint; tasks whose forward pass can be shared are together, up to about 20 seconds."""
        return [
            planned
            for step in steps
            for dataset in self.datasets
            for metric in metrics
            for planned in self._of_metric(metric, asked, step, dataset)
        ]

    def _of_metric(self, metric: Metric, asked: Asked, step: int, dataset: DataSet) -> Iterator[Planned]:
        if not metric.per_component:
            yield self._planned(metric, asked, step, dataset, [])
            return
        for lowest in dict.fromkeys(component.lowest_block for component in self.components):
            neighbours = [component for component in self.components if component.lowest_block == lowest]
            size = max(int(CHUNK_SECONDS / self._cost(metric, asked, dataset)[1]), 1)
            for first in range(0, len(neighbours), size):
                yield self._planned(metric, asked, step, dataset, neighbours[first : first + size])

    def _planned(
        self, metric: Metric, asked: Asked, step: int, dataset: DataSet, components: list[Component]
    ) -> Planned:
        evaluations, seconds = self._cost(metric, asked, dataset)
        tasks: list[Component] | list[None] = components or [None]
        keys = [self._key(metric, asked, step, dataset, component) for component in tasks]
        names = tuple(component.name for component in components)
        where = f"{'component' if len(names) == 1 else 'components'} {', '.join(names)}, " if names else ""
        label = f"{metric.name} at step {step}, {where}data set {dataset.name}"
        group = TaskGroup(step, dataset.name, metric, names, asked)
        return Planned(
            Chunk(content_key(keys), group, label, step),
            len(tasks) * evaluations,
            len(tasks) * seconds,
        )

    def _cost(self, metric: Metric, asked: Asked, dataset: DataSet) -> tuple[int, float]:
        """Gradients and seconds of one task, about."""
        evaluations = metric.evaluations(asked, self.parameters, dataset)
        tokens = asked.batch_size(self.parameters, dataset.examples, dataset.positions) * dataset.positions
        least = STEP_SECONDS / asked.chains(self.parameters)
        seconds = max(OPERATIONS_A_WEIGHT * self.parameters * tokens / FLOPS, least)
        return evaluations, evaluations * seconds + OF_AN_ESTIMATE * metric.at_localization

    def _key(self, metric: Metric, asked: Asked, step: int, dataset: DataSet, component: Component | None) -> str:
        """Everything the number depends on; the names are in it since random streams are named by them."""
        return content_key(
            "measure",
            __version__,
            metric.name,
            metric.settings(asked),
            self.common,
            self.digest_of(step),
            [dataset.name, dataset.digest],
            None if component is None else [component.name, component.digest],
        )


def compute(group: TaskGroup, shared: Mapping[str, Any]) -> xr.Dataset:
    """A chunk's result; ``shared``: model, data, loss_fn and selections by name, and the checkpoint's weights.

    Where the loss is not finite at the checkpoint it is the word for that alone, and numbers are NaN once all stand
    side by side: a run that diverged has checkpoints before that.
    """
    model = shared["model"]
    load_into(model, shared["part"])
    try:
        return group.metric.compute(
            model,
            {group.dataset: shared["data"][group.dataset]},
            shared["loss_fn"],
            {name: shared["selections"][name] for name in group.components},
            group.asked,
        )
    except NotFiniteError:
        if group.metric.status is None:
            raise
        words = np.full((len(group.components), 1), "not_finite", dtype=object)
        coords = {"component": list(group.components), "dataset": [group.dataset]}
        return xr.Dataset({group.metric.status: (("component", "dataset"), words)}, coords)
