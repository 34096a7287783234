"""ontogeny: multi-metric observability for training runs. Read this file and you know the flow; importing is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.version import __version__

if TYPE_CHECKING:
    from ontogeny import analysis, features, interventions, metrics
    from ontogeny.estimators.description import describe_estimate
    from ontogeny.estimators.llc import llc_from_draws
    from ontogeny.estimators.reweight import reweighted
    from ontogeny.estimators.status import describe_status
    from ontogeny.execution.measure import measure
    from ontogeny.inputs import text
    from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
    from ontogeny.inputs.checkpoints import Checkpoints
    from ontogeny.inputs.language_losses import DivergenceFrom, NextToken
    from ontogeny.inputs.losses import Potential
    from ontogeny.plots.estimate import plot_estimate
    from ontogeny.sampling import controls
    from ontogeny.sampling.calibration import Calibration
    from ontogeny.sampling.estimate import calibrate, estimate_llc, sample
    from ontogeny.sampling.watanabe import watanabe
    from ontogeny.training.language_model import LanguageTraining, train_language_model

_HOME = {
    "text": "ontogeny.inputs",  # a module: named sources -> rows of tokens
    "AttentionOnlyConfig": "ontogeny.inputs.attention_only",
    "AttentionOnly": "ontogeny.inputs.attention_only",  # a transformer small enough to be read
    "LanguageTraining": "ontogeny.training.language_model",
    "train_language_model": "ontogeny.training.language_model",  # model and tokens -> checkpoints
    "Checkpoints": "ontogeny.inputs.checkpoints",  # a training run, ours or anybody's
    "NextToken": "ontogeny.inputs.language_losses",  # what a language model is measured by
    "DivergenceFrom": "ontogeny.inputs.language_losses",
    "Potential": "ontogeny.inputs.losses",  # a loss of the weights alone, in place of model, data and loss
    "calibrate": "ontogeny.sampling.estimate",  # -> how to sample it
    "Calibration": "ontogeny.sampling.calibration",
    "sample": "ontogeny.sampling.estimate",  # -> draws
    "llc_from_draws": "ontogeny.estimators.llc",  # draws -> numbers with errors
    "reweighted": "ontogeny.estimators.reweight",  # the same draws at another nβ or γ
    "estimate_llc": "ontogeny.sampling.estimate",  # draws and numbers in one call
    "measure": "ontogeny.execution.measure",  # checkpoints × components × data sets × metrics, resumable
    "interventions": "ontogeny",  # a module: heads ablated, everywhere or on one path
    "metrics": "ontogeny",  # a module: what attention heads are, do and compute together
    "features": "ontogeny",  # a module: LLCs of the computation of one feature, of many at once
    "watanabe": "ontogeny.sampling.watanabe",  # WBIC, functional variance, singular fluctuation
    "describe_status": "ontogeny.estimators.status",  # what the words beside the numbers mean
    "describe_estimate": "ontogeny.estimators.description",  # one estimate in plain sentences
    "plot_estimate": "ontogeny.plots.estimate",  # one estimate as a figure
    "controls": "ontogeny.sampling",  # a module: estimates whose answer is known
    "analysis": "ontogeny",  # a module: measurements over checkpoints and seeds -> statements
}
_MODULES = ("text", "controls", "interventions", "metrics", "features", "analysis")

__all__ = [
    "AttentionOnly",
    "AttentionOnlyConfig",
    "Calibration",
    "Checkpoints",
    "DivergenceFrom",
    "LanguageTraining",
    "NextToken",
    "OntogenyError",
    "Potential",
    "__version__",
    "analysis",
    "calibrate",
    "controls",
    "describe_estimate",
    "describe_status",
    "estimate_llc",
    "features",
    "interventions",
    "llc_from_draws",
    "measure",
    "metrics",
    "plot_estimate",
    "reweighted",
    "sample",
    "text",
    "train_language_model",
    "watanabe",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import ontogeny`` itself loads neither torch nor plots."""
    if name in _HOME:
        from importlib import import_module

        home = _HOME[name]
        return import_module(f"{home}.{name}") if name in _MODULES else getattr(import_module(home), name)
    raise AttributeError(f"module 'ontogeny' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
