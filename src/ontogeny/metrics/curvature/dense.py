"""The same numbers for many positions of a small model at once, from whole matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ontogeny.core.errors import OntogenyError
from ontogeny.metrics.curvature.problems import check_positive
from ontogeny.operators.lanczos import Floats
from ontogeny.operators.second_order import curvature_part, pull


def curvature_of_dense(hessians: Any, gradients: Any, n_beta: float, localization: float) -> dict[str, Floats]:
    """Trace, ends, rank and second-order prediction from Hessians and gradients at many positions; all exact.

    For models of some hundred weights in batches, as a study's seeds: ``operators.hessian.dense_hessian`` makes the
    matrices. Definitions and units are those of the functions that go by products.

    Args:
        hessians: shape ``(positions, d, d)``, loss/weight².
        gradients: of the mean loss over all examples, ``(positions, d)``, loss/weight, weights in the same order.
        n_beta: nβ, 1/loss.
        localization: γ, 1/weight².

    Returns:
        By name, each of shape ``(positions,)``: ``hessian_trace``, ``hessian_min``, ``hessian_max``, ``hessian_rank``
        (of nβ·h > γ), ``second_order_llc`` and its parts ``_curvature`` and ``_gradient``, which are NaN where some
        nβh + γ is not positive. All are NaN where a matrix is not finite.

    Raises:
        OntogenyError: if the shapes do not fit, or nβ or γ is not above 0.

    >>> found = curvature_of_dense(np.diag([3.0, 1.0])[None], np.zeros((1, 2)), n_beta=10.0, localization=10.0)
    >>> {name: float(found[name][0]) for name in ("hessian_trace", "hessian_rank", "second_order_llc")}
    {'hessian_trace': 4.0, 'hessian_rank': 1.0, 'second_order_llc': 0.625}
    """
    check_positive(n_beta=n_beta, localization=localization)
    matrices, slopes = np.asarray(hessians, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or slopes.shape != matrices.shape[:2]:
        raise OntogenyError(
            "hessians must be of shape (positions, d, d) and gradients (positions, d); got "
            f"{matrices.shape} and {slopes.shape}."
        )
    finite = np.asarray(np.isfinite(matrices).all((1, 2)))
    h, vectors = np.linalg.eigh(np.where(finite[:, None, None], matrices, 0.0))
    h = np.where(finite[:, None], h, np.nan)
    along = np.einsum("pij,pi->pj", vectors, slopes)
    found = {
        "hessian_trace": h.sum(1),
        "hessian_min": h[:, 0],
        "hessian_max": h[:, -1],
        "hessian_rank": np.where(finite, (n_beta * h > localization).sum(1), np.nan),
    }
    defined = np.where((n_beta * h + localization > 0).all(1, keepdims=True), h, np.nan)
    found["second_order_llc_curvature"] = curvature_part(defined, n_beta, localization).sum(1)
    found["second_order_llc_gradient"] = -(pull(defined, n_beta, localization) * along**2).sum(1)
    found["second_order_llc"] = found["second_order_llc_curvature"] + found["second_order_llc_gradient"]
    return found
