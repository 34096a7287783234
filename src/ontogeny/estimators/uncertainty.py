"""Standard errors of means over (chain, draw), honest also when chains share their minibatches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def autocorrelation_time(series: Array) -> Array:
    """Integrated autocorrelation time τ = 1 + 2·Σ ρ_t along the last axis, in draws; at least 1.

    Window: the first M with M ≥ 5·τ(M) (Sokal 1989). A constant series has τ = 1. Shape ``(..., draws) -> (...)``.
    """
    draws = series.shape[-1]
    centred = series - series.mean(-1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * draws, axis=-1)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), axis=-1)[..., :draws]
    variance = covariance[..., :1]
    rho = np.divide(covariance, variance, out=np.zeros_like(covariance), where=variance > 0)
    rho[..., 0] = 1.0
    tau = 2.0 * np.cumsum(rho, axis=-1) - 1.0
    enough = np.arange(draws) >= 5.0 * tau
    window = np.where(enough.any(-1), enough.argmax(-1), draws - 1)
    return np.asarray(np.maximum(np.take_along_axis(tau, window[..., None], -1)[..., 0], 1.0))


def batch_means_error(series: Array) -> Array:
    """Standard error of the mean of one correlated series by batch means, blocks of at least five τ.

    Where fewer than eight such blocks fit, √(τ·var/T) with var inflated by 1/(1 - τ/T), which a short run calls for.
    Shape ``(..., draws) -> (...)``.
    """
    draws = series.shape[-1]
    tau = autocorrelation_time(series)
    out = np.empty(tau.shape)
    for index in np.ndindex(tau.shape):
        values, block = series[index], int(np.ceil(5 * tau[index]))
        blocks = draws // block
        if blocks >= 8:
            means = values[draws - blocks * block :].reshape(blocks, block).mean(-1)
            out[index] = means.std(ddof=1) / np.sqrt(blocks)
        else:
            share = min(tau[index] / draws, 0.9)
            out[index] = np.sqrt(values.var() * share / (1.0 - share))
    return out


def standard_error(values: Array) -> Array:
    """Standard error of the mean over the last two axes (chain, draw).

    The larger of (a) the spread of the chain means over √chains and (b) the batch-means error of the series averaged
    over chains. (a) alone misses what chains have in common, the minibatches they share; (b) alone misses chains that
    sit at different levels. With one chain (b) alone; NaN with fewer than eight values, which show no spread worth the
    name. Shape ``(..., chains, draws) -> (...)``; units of ``values``.
    """
    chains, draws = values.shape[-2:]
    if chains * draws < 8 or draws < 2:
        return np.full(values.shape[:-2], np.nan)
    common = batch_means_error(values.mean(-2))
    if chains < 2:
        return common
    between = values.mean(-1).std(-1, ddof=1) / np.sqrt(chains)
    return np.maximum(common, between)
