"""The series that every estimator averages: one value per chain and draw, less what is known to be noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.estimators.uncertainty import standard_error

SAMPLE_DIMS = ("chain", "draw")


def excess_loss(draws: xr.Dataset) -> xr.DataArray:
    """L_B(w) - L_B(w*) of every draw, less what the minibatch adds to first order, where that was recorded; float64."""
    paired = paired_loss(draws)
    return paired - draws["control"].astype(np.float64) if "control" in draws else paired


def paired_loss(draws: xr.Dataset) -> xr.DataArray:
    """L_B(w) - L_B(w*) of every draw, all on its own minibatch; float64."""
    return draws["loss"].astype(np.float64) - draws["loss_at_center"].astype(np.float64)


def without_lost(draws: xr.Dataset) -> xr.Dataset:
    """The draws, with NaN in place of every one where a chain diverged: infinities would only bring warnings."""
    whole = draws["diverged"].sum("chain") == 0
    varying = [name for name, values in draws.data_vars.items() if set(SAMPLE_DIMS) <= set(values.dims)]
    return draws.assign({name: draws[name].astype(np.float64).where(whole) for name in varying})


def reduce_samples(function: Callable[..., Any], values: xr.DataArray) -> xr.DataArray:
    """Apply a numpy function over the last two axes (chain, draw), in float64."""
    return xr.apply_ufunc(function, values.astype(np.float64), input_core_dims=[SAMPLE_DIMS])


def mean(values: xr.DataArray) -> xr.DataArray:
    """Mean over (chain, draw); NaN if any value is."""
    return values.mean(SAMPLE_DIMS, skipna=False)


def error(values: xr.DataArray) -> xr.DataArray:
    """Standard error of that mean, see :func:`ontogeny.estimators.uncertainty.standard_error`."""
    return reduce_samples(standard_error, values)


def centred(values: xr.DataArray) -> xr.DataArray:
    """Values less their mean over (chain, draw)."""
    return values - mean(values)
