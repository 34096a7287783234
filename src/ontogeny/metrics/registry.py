"""What can be measured at a checkpoint, by name; a new metric is one class and one line in ``METRICS``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import xarray as xr
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.losses import LossFunction
from ontogeny.metrics.gradient import gradient_norms
from ontogeny.metrics.loss import mean_loss
from ontogeny.sampling.calibration import (
    Calibration,
    default_batch,
    default_chains,
    default_max_draws,
)
from ontogeny.sampling.estimate import calibrate, estimate_llc
from ontogeny.sampling.settings import Settings

FINDING = 3000
"""About what finding γ and the step takes, in gradients of one minibatch; at most a tenth of what is allowed."""


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

    def batch_size(self, weights: int, examples: int, positions: int = 1) -> int:
        """Examples a step, chosen by rule where not given."""
        frozen = None if self.calibration is None else self.calibration.batch_size
        return min(self.settings.batch_size or frozen or default_batch(weights, examples, positions), examples)


class Metric(Protocol):
    """Something measured at a checkpoint on a data set, once or once for each component."""

    name: str
    per_component: bool
    at_localization: bool
    """Whether it is measured at (nβ, γ), which a study then holds fixed."""

    def settings(self, asked: Asked) -> dict[str, Any]:
        """What its numbers depend on of the study's settings, JSON-able."""
        ...

    def evaluations(self, asked: Asked, weights: int, examples: int) -> int:
        """Gradients of one minibatch that a task takes, at most; a model of so many ``weights``, n ``examples``."""
        ...

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """Measure one data set, {name: data}, with dims component and dataset, or dataset alone; model stays as is."""
        ...


class LLC:
    """λ̂ with its error, tests and status for each component; see :func:`ontogeny.estimate_llc`."""

    name, per_component, at_localization = "llc", True, True

    def settings(self, asked: Asked) -> dict[str, Any]:
        """All of the study's settings."""
        return asked.to_dict()

    def evaluations(self, asked: Asked, weights: int, examples: int) -> int:
        """Chains × (draws + burn-in) and finding the step, where draws were given; else the bound on all that."""
        wanted, frozen = asked.settings, asked.calibration
        most = wanted.max_draws or (frozen.max_draws if frozen else default_max_draws(weights))
        if wanted.draws is None:
            return most
        chains = wanted.chains or (frozen.chains if frozen else default_chains(weights, most))
        burn_in = frozen.burn_in if frozen else wanted.burn_in
        if burn_in is None:  # it lasts until the chains have settled, at most so long
            burn_in = min(most // (3 * chains), max(20 * wanted.draws, 2000))
        finding = 0 if frozen or wanted.step_size else min(FINDING, most // 10)
        return chains * (wanted.draws + burn_in) + finding

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """One estimate for each component."""
        wanted = asdict(asked.settings)
        return estimate_llc(model, data, loss_fn, components, **wanted, progress=False, calibration=asked.calibration)


class MeanLoss:
    """Mean loss on the data set and its standard error over examples."""

    name, per_component, at_localization = "loss", False, False

    def settings(self, asked: Asked) -> dict[str, Any]:
        """The batch size, on which rounding depends."""
        return {"batch_size": asked.settings.batch_size}

    def evaluations(self, asked: Asked, weights: int, examples: int) -> int:
        """A pass over the data, a third of what its gradient takes."""
        return -(-examples // (3 * asked.batch_size(weights, examples)))

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """Variables ``loss`` and ``loss_se``."""
        return mean_loss(model, data, loss_fn, asked.settings.batch_size, asked.settings.device)


class GradientNorm:
    """Norm of the gradient of the mean loss over the selected weights."""

    name, per_component, at_localization = "gradient_norm", True, False

    def settings(self, asked: Asked) -> dict[str, Any]:
        """The batch size, on which rounding depends."""
        return {"batch_size": asked.settings.batch_size}

    def evaluations(self, asked: Asked, weights: int, examples: int) -> int:
        """One pass over the data."""
        return -(-examples // asked.batch_size(weights, examples))

    def compute(
        self, model: nn.Module, data: dict[str, Any], loss_fn: LossFunction, components: dict[str, Any], asked: Asked
    ) -> xr.Dataset:
        """Variable ``gradient_norm``; one pass over the data serves all components."""
        return gradient_norms(model, data, loss_fn, components, asked.settings.batch_size, asked.settings.device)


class Localization:
    """The (nβ, γ) that the rules choose for each component; a study's first stage, which freezes them for the rest."""

    name, per_component, at_localization = "localization", True, False

    def settings(self, asked: Asked) -> dict[str, Any]:
        """What the rules read."""
        read = ("n_beta", "localization", "batch_size", "max_draws", "seed", "precision")
        return {name: getattr(asked.settings, name) for name in read}

    def evaluations(self, asked: Asked, weights: int, examples: int) -> int:
        """A few pilot chains, and looks at the curvature between."""
        return min(FINDING, (asked.settings.max_draws or default_max_draws(weights)) // 10)

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


METRICS: dict[str, Metric] = {metric.name: metric for metric in (LLC(), MeanLoss(), GradientNorm())}
LOCALIZATION: Metric = Localization()


def get_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        OntogenyError: if there is none; the message lists what there is.
    """
    if name not in METRICS:
        raise OntogenyError(f"metrics: there is no {name!r}; expected some of {', '.join(METRICS)}.")
    return METRICS[name]
