"""Geometry of feature vectors in the plane: effective rank, norms, cosine similarities, the closest regular polygon."""

from __future__ import annotations

import numpy as np
import xarray as xr

REPRESENTED = 0.5
"""A feature counts as represented when its vector is at least this long; a fully represented one has length near 1."""


def effective_rank(weight: xr.DataArray) -> xr.DataArray:
    """Participation ratio (Σσ²)²/Σσ⁴ of the singular values of W, between 1 and the number of hidden dimensions.

    An antipodal pair plus one single feature of the same length gives exactly 9/5; a regular polygon gives 2. NaN
    where W is zero. Needs dims ``hidden`` and ``feature``; the other dims stay.
    """

    def ratio(matrix: np.ndarray) -> np.ndarray:
        power = np.linalg.svd(matrix, compute_uv=False) ** 2
        total = power.sum(-1)
        return np.divide(total**2, (power**2).sum(-1), out=np.full_like(total, np.nan), where=total > 0)

    values = weight.astype(np.float64)
    return xr.apply_ufunc(ratio, values, input_core_dims=[["hidden", "feature"]])


def feature_norm(weight: xr.DataArray) -> xr.DataArray:
    """Length ‖W_i‖ of every feature's vector; reduces ``hidden``."""
    return (weight.astype(np.float64) ** 2).sum("hidden") ** 0.5


def features_represented(norms: xr.DataArray) -> xr.DataArray:
    """How many features have a norm of at least 0.5; reduces ``feature``."""
    return (norms >= REPRESENTED).sum("feature")


def cosine_similarity(weight: xr.DataArray) -> xr.DataArray:
    """W_i·W_j/(‖W_i‖‖W_j‖) for every pair, with dims ``feature`` and ``other_feature``; NaN for a zero vector."""
    values = weight.astype(np.float64)
    length = feature_norm(values)
    unit = values / length.where(length > 0)
    return xr.dot(unit, unit.rename(feature="other_feature"), dim="hidden")


def closest_polygon(weight: xr.DataArray) -> xr.Dataset:
    """The regular k-gon, with n - k features at zero, that the feature vectors are closest to.

    For each k the k longest vectors, sorted by angle, are fitted by r·exp(i(θ + 2πj/k)), j = 0 … k-1, with r and θ by
    least squares, and the others by zero: distance² = residual/Σ‖W_i‖². k = 2 is an antipodal pair. Returns
    ``polygon`` (k), ``features_near_zero`` (n - k) and ``polygon_distance`` (relative, 0 to 1). Needs two hidden
    dimensions. The phases named so are those of Chen et al., arXiv:2310.06301.
    """

    def fit(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = matrix[..., 0, :] + 1j * matrix[..., 1, :]
        features = points.shape[-1]
        longest = np.argsort(-np.abs(points), axis=-1)
        power = (np.abs(points) ** 2).sum(-1)
        left = []
        for corners in range(1, features + 1):
            chosen = np.take_along_axis(points, longest[..., :corners], -1)
            chosen = np.take_along_axis(chosen, np.argsort(np.angle(chosen), axis=-1), -1)
            mean = (chosen * np.exp(-2j * np.pi * np.arange(corners) / corners)).mean(-1)
            left.append(power - corners * np.abs(mean) ** 2)
        share = np.stack(left, -1) / np.where(power > 0, power, 1.0)[..., None]
        best = share.argmin(-1)
        distance = np.sqrt(np.maximum(np.take_along_axis(share, best[..., None], -1)[..., 0], 0.0))
        return best + 1, distance

    core = [["hidden", "feature"]]
    corners, distance = xr.apply_ufunc(fit, weight.astype(np.float64), input_core_dims=core, output_core_dims=[[], []])
    near_zero = weight.sizes["feature"] - corners
    return xr.Dataset({"polygon": corners, "features_near_zero": near_zero, "polygon_distance": distance})
