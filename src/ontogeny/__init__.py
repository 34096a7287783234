"""ontogeny: multi-metric observability for training runs. Read this file and you know the flow; importing is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.version import __version__

if TYPE_CHECKING:
    from ontogeny import analysis
    from ontogeny.estimators.description import describe_estimate
    from ontogeny.estimators.llc import llc_from_draws
    from ontogeny.estimators.reweight import reweighted
    from ontogeny.estimators.status import describe_status
    from ontogeny.inputs.losses import Potential
    from ontogeny.plots.estimate import plot_estimate
    from ontogeny.sampling import controls
    from ontogeny.sampling.calibration import Calibration
    from ontogeny.sampling.estimate import calibrate, estimate_llc, sample
    from ontogeny.sampling.watanabe import watanabe

_HOME = {
    "Potential": "ontogeny.inputs.losses",  # what is measured
    "calibrate": "ontogeny.sampling.estimate",  # -> how to sample it
    "Calibration": "ontogeny.sampling.calibration",
    "sample": "ontogeny.sampling.estimate",  # -> draws
    "llc_from_draws": "ontogeny.estimators.llc",  # draws -> numbers with errors
    "reweighted": "ontogeny.estimators.reweight",  # the same draws at another nβ or γ
    "estimate_llc": "ontogeny.sampling.estimate",  # draws and numbers in one call
    "watanabe": "ontogeny.sampling.watanabe",  # WBIC, functional variance, singular fluctuation
    "describe_status": "ontogeny.estimators.status",  # what the words beside the numbers mean
    "describe_estimate": "ontogeny.estimators.description",  # one estimate in plain sentences
    "plot_estimate": "ontogeny.plots.estimate",  # one estimate as a figure
    "controls": "ontogeny.sampling",  # a module: estimates whose answer is known
    "analysis": "ontogeny",  # a module: measurements over checkpoints and seeds -> statements
}
_MODULES = ("controls", "analysis")

__all__ = [
    "Calibration",
    "OntogenyError",
    "Potential",
    "__version__",
    "analysis",
    "calibrate",
    "controls",
    "describe_estimate",
    "describe_status",
    "estimate_llc",
    "llc_from_draws",
    "plot_estimate",
    "reweighted",
    "sample",
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
