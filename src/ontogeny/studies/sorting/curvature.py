"""Curvature of the whole model at a checkpoint, beside its λ̂: Hessian trace and rank, and the second-order prediction.

32 lists and 10 probes at every checkpoint, the same ones, so that differences along training are better known than the
numbers; the gradient is of all lists. Of the source's 100 × 50 that is a sixteenth, and a few per cent of the trace.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import xarray as xr

from ontogeny.core.version import __version__
from ontogeny.execution.chunks import Chunk
from ontogeny.metrics.curvature import hessian_trace
from ontogeny.metrics.curvature.problems import Arguments, Numbers, Sampled
from ontogeny.metrics.curvature.rank import rank_by_lanczos
from ontogeny.metrics.curvature.second_order import predicted
from ontogeny.metrics.curvature.spectra import spectra
from ontogeny.store import content_key
from ontogeny.studies.sorting.settings import SortingSettings, Variant
from ontogeny.studies.sorting.train import data_of, loaded

SAMPLES, PROBES = 32, 10
STEPS = 20
"""Of Lanczos: so many products a probe."""
MEASURED = ("hessian_trace", "hessian_rank", "second_order_llc", "second_order_llc_status")
"""Of these a report is made; results of earlier versions lack them."""
KEPT = (
    "hessian_trace",
    "hessian_trace_se",
    "hessian_trace_status",
    "hessian_rank",
    "hessian_rank_se",
    "hessian_rank_status",
    "hessian_min",
    "hessian_max",
    "second_order_llc",
    "second_order_llc_se",
    "second_order_llc_curvature",
    "second_order_llc_gradient",
    "second_order_llc_status",
)
READ = ("examples", "n_beta", "localization", "seed")
"""Settings that they hang on, given the weights."""


class Curved(NamedTuple):
    """One checkpoint; ``weights`` flat, in the order of the model's state dict."""

    settings: SortingSettings
    variant: Variant
    weights: np.ndarray


def curvature_chunk(settings: SortingSettings, variant: Variant, weights: np.ndarray, said: str) -> Chunk:
    """The chunk of a checkpoint under its content key, which says nothing of how λ̂ is sampled."""
    depends = {name: getattr(settings, name) for name in READ}
    budget = {"samples": SAMPLES, "probes": PROBES, "steps": STEPS}
    key = content_key("sorting, curvature", __version__, depends, budget, asdict(variant), weights)
    return Chunk(key, Curved(settings, variant, weights), said)


def measure_curvature(task: Curved) -> xr.Dataset:
    """Everything of ``KEPT`` at the frozen (nβ, γ), dim ``row``, of one.

    Rank and prediction come of the same Lanczos runs; polynomials for the rank would cost three times as much.
    """
    settings, variant = task.settings, task.variant
    n_beta, gamma = settings.n_beta, settings.localization
    around = (loaded(variant, task.weights), data_of(settings, variant), variant.loss)

    def one(sampled: Sampled) -> Numbers:
        found = spectra(sampled, sampled.hessian(), PROBES, STEPS, sampled.gradient())
        ends = dict(zip(("hessian_min", "hessian_max"), found.ends, strict=True))
        return predicted(found, n_beta, gamma) | rank_by_lanczos(found, gamma / n_beta) | ends

    trace = hessian_trace(*around, samples=SAMPLES, probes=PROBES, batch_size=SAMPLES, seed=settings.seed)
    others = Arguments(*around, None, SAMPLES, SAMPLES, settings.seed, None).measure(one)
    found = xr.merge([trace, others], combine_attrs="drop")
    return found[list(KEPT)].reset_coords(drop=True).squeeze(drop=True).expand_dims("row")
