"""What can be measured at a checkpoint, by name; a new metric is one class and one line in ``METRICS``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import xarray as xr
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.losses import LossFunction
from ontogeny.metrics.curvature.measured import CURVATURE
from ontogeny.metrics.gradient import gradient_norms
from ontogeny.metrics.loss import mean_loss
from ontogeny.metrics.size import number_of_weights, token_positions
from ontogeny.sampling.calibration import (
    SMALL_MODEL,
    Calibration,
    default_batch,
    default_chains,
    default_max_draws,
    longest_warm_up,
)
from ontogeny.sampling.estimate import calibrate, estimate_llc
from ontogeny.sampling.preparation import (
    CONTROL_SHARE,
    CURVATURE_EXAMPLES,
    DIAGNOSTICS_COST,
    DIAGNOSTICS_SHARE,
    MOST_BATCHES,
    planned_gradients,
)
from ontogeny.sampling.settings import Settings

FINDING = 3000
"""About what finding γ and the step takes, in gradients of one minibatch; at most a tenth of what is allowed."""
LOOKS = 2
"""About how often a run looks at curvature and slope as closely as at w*."""


@dataclass(frozen=True)
class Asked:
    """How a study is to be measured: the numbers of the call, and a calibration in place of some of them."""

    settings: Settings
    calibration: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and words, for keys and JSON; which of several devices it is changes no number."""
        return {
            "settings": {name: value for name, value in asdict(self.settings).items() if name != "device"},
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
        }

    def chains(self, weights: int) -> int:
        """Chains of an estimate, chosen by rule where not given."""
        wanted, calibrated = self.settings, self.calibration
        most = wanted.max_draws or (calibrated.max_draws if calibrated else default_max_draws(weights))
        return wanted.chains or (calibrated.chains if calibrated else default_chains(weights, most))

    @property
    def given_batch_size(self) -> int | None:
        """Examples a step as the call or the calibration says; None: chosen by rule."""
        return self.settings.batch_size or (None if self.calibration is None else self.calibration.batch_size)

    def batch_size(self, weights: int, examples: int, positions: int = 1) -> int:
        """Examples a step, chosen by rule where not given."""
        return min(self.given_batch_size or default_batch(weights, examples, positions), examples)

    def batch_size_of(self, model: nn.Module, data: dict[str, Any]) -> int:
        """The same for one data set, {name: data}."""
        [examples] = [as_examples(values) for values in data.values()]
        return self.batch_size(number_of_weights(model), examples.count, token_positions(examples.head(1)))


class Size(Protocol):
    """How large a data set is."""

    @property
    def examples(self) -> int:
        """The number n of them."""
        ...

    @property
    def positions(self) -> int:
        """Tokens of an example; 1 where it is no text."""
        ...


class Metric(Protocol):
    """Something measured at a checkpoint on a data set, once or once for each component."""

    @property
    def name(self) -> str:
        """What it is asked for by."""
        ...

    @property
    def per_component(self) -> bool:
        """Whether it is of selected weights, or of the whole model."""
        ...

    @property
    def at_localization(self) -> bool:
        """Whether it is measured at (nβ, γ), which a study then holds fixed."""
        ...

    @property
    def status(self) -> str | None:
        """The variable that says how well it was measured; None: it has none, as its NaN is plain enough."""
        ...

    def settings(self, asked: Asked) -> dict[str, Any]:
        """What its numbers depend on of the study's settings, JSON-able."""
        ...

    def evaluations(self, asked: Asked, weights: int, dataset: Size) -> int:
        """Gradients of one minibatch that a task takes, about; a model of so many ``weights``."""
        ...

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """Measure one data set, {name: data}, with dims component and dataset, or dataset alone; model stays as is."""
        ...


class LLC:
    """λ̂ with its error, tests and status for each component; see :func:`ontogeny.estimate_llc`."""

    name, per_component, at_localization, status = "llc", True, True, "status"

    def settings(self, asked: Asked) -> dict[str, Any]:
        """All of the study's settings."""
        return asked.to_dict()

    def evaluations(self, asked: Asked, weights: int, dataset: Size) -> int:
        """Chains × (draws + burn-in), or the bound on that where no draws were given, and what comes before.

        Before are the step, the table of the control variate, n/batch, and the looks at the curvature.
        """
        wanted, calibrated = asked.settings, asked.calibration
        most = wanted.max_draws or (calibrated.max_draws if calibrated else default_max_draws(weights))
        chains = asked.chains(weights)
        size = asked.batch_size(weights, dataset.examples, dataset.positions)
        planned = planned_gradients(wanted, weights, chains, most)
        looks = LOOKS * DIAGNOSTICS_COST * min(CURVATURE_EXAMPLES / size, dataset.examples / size, MOST_BATCHES)
        if weights >= SMALL_MODEL:
            looks = min(looks, DIAGNOSTICS_SHARE * planned)
        table = dataset.examples / size if size < dataset.examples else 0
        before = math.ceil(looks + (table if table <= CONTROL_SHARE * planned else 0))
        if wanted.draws is None:
            return most + before
        burn_in = calibrated.burn_in if calibrated else wanted.burn_in
        if burn_in is None:  # it lasts until the chains have settled, at most so long
            burn_in = min(most // (3 * chains), longest_warm_up(wanted.draws, weights))
        finding = 0 if calibrated or wanted.step_size else min(FINDING, most // 10)
        return chains * (wanted.draws + burn_in) + finding + before

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """One estimate for each component."""
        wanted = asdict(asked.settings)
        return estimate_llc(model, data, loss_fn, components, **wanted, progress=False, calibration=asked.calibration)


class MeanLoss:
    """Mean loss on the data set and its standard error over examples."""

    name, per_component, at_localization, status = "loss", False, False, None

    def settings(self, asked: Asked) -> dict[str, Any]:
        """The batch size, on which rounding depends."""
        return {"batch_size": asked.given_batch_size}

    def evaluations(self, asked: Asked, weights: int, dataset: Size) -> int:
        """A pass over the data, a third of what its gradient takes."""
        return -(-dataset.examples // (3 * asked.batch_size(weights, dataset.examples, dataset.positions)))

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """Variables ``loss`` and ``loss_se``."""
        return mean_loss(model, data, loss_fn, asked.batch_size_of(model, data), asked.settings.device)


class GradientNorm:
    """Norm of the gradient of the mean loss over the selected weights."""

    name, per_component, at_localization, status = "gradient_norm", True, False, None

    def settings(self, asked: Asked) -> dict[str, Any]:
        """The batch size, on which rounding depends."""
        return {"batch_size": asked.given_batch_size}

    def evaluations(self, asked: Asked, weights: int, dataset: Size) -> int:
        """One pass over the data."""
        return -(-dataset.examples // asked.batch_size(weights, dataset.examples, dataset.positions))

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """Variable ``gradient_norm``; one pass over the data serves all components."""
        size = asked.batch_size_of(model, data)
        return gradient_norms(model, data, loss_fn, components, size, asked.settings.device)


class Localization:
    """The (nβ, γ) that the rules choose for each component; a study's first stage, which freezes them for the rest."""

    name, per_component, at_localization, status = "localization", True, False, "localization_status"

    def settings(self, asked: Asked) -> dict[str, Any]:
        """What the rules read."""
        read = ("n_beta", "localization", "batch_size", "max_draws", "seed", "precision")
        return {name: getattr(asked.settings, name) for name in read}

    def evaluations(self, asked: Asked, weights: int, dataset: Size) -> int:
        """A few pilot chains, and looks at the curvature between."""
        return max(min(FINDING, (asked.settings.max_draws or default_max_draws(weights)) // 10), 1)

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """Variables ``n_beta`` and ``localization``, found for each component by itself."""
        read = self.settings(asked) | {"device": asked.settings.device}
        [(dataset, values)] = data.items()
        found = [
            calibrate(model, values, loss_fn, {name: selection}, **read, burn_in=0, progress=False)
            for name, selection in components.items()
        ]
        return xr.Dataset(
            {
                name: (("component", "dataset"), [[getattr(one, name)] for one in found])
                for name in ("n_beta", "localization")
            },
            coords={"component": list(components), "dataset": [dataset]},
        )


METRICS: dict[str, Metric] = {metric.name: metric for metric in (LLC(), MeanLoss(), GradientNorm(), *CURVATURE)}
LOCALIZATION: Metric = Localization()


def get_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        OntogenyError: if there is none; the message lists what there is.
    """
    if name not in METRICS:
        raise OntogenyError(f"metrics: there is no {name!r}; expected some of {', '.join(METRICS)}.")
    return METRICS[name]
