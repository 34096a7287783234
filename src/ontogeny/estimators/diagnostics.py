"""Convergence of the chains: R̂ and effective sample size through arviz-stats."""

from __future__ import annotations

import warnings

import numpy as np

from ontogeny.estimators.uncertainty import Array


def r_hat(values: Array) -> Array:
    """Rank-normalised split R̂ (Vehtari et al. 2021) over the last two axes (chain, draw).

    A single chain is cut in two halves that are compared as chains. NaN where it is undefined: fewer than eight draws,
    or a chain that never moved.
    """
    from arviz_stats.base.array import array_stats

    if values.shape[-2] == 1:
        half = values.shape[-1] // 2
        values = np.concatenate([values[..., :half], values[..., -half:]], axis=-2) if half else values
    if values.shape[-1] < 8:
        return np.full(values.shape[:-2], np.nan)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(array_stats.rhat(values, chain_axis=-2, draw_axis=-1), dtype=np.float64)


def bulk_ess(values: Array) -> Array:
    """Bulk effective sample size, in draws, over the last two axes (chain, draw); NaN with fewer than eight draws."""
    from arviz_stats.base.array import array_stats

    if values.shape[-1] < 8:
        return np.full(values.shape[:-2], np.nan)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(array_stats.ess(values, chain_axis=-2, draw_axis=-1, method="bulk"), dtype=np.float64)
