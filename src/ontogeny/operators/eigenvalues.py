"""Eigenvalues at the ends of a spectrum, by Lanczos."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from ontogeny.core.types import Params
from ontogeny.operators.lanczos import lanczos
from ontogeny.operators.linear_operator import Operator
from ontogeny.operators.vectors import flatten, unflatten_like

SMALL = 16
"""Up to so many weights the matrix is built and solved."""
FIRST_STEPS = 10
"""Lanczos steps that tell the spectrum's scale."""
UNCONVERGED = 50
"""Lanczos steps where ARPACK's restarts do not converge: a bound from below, within some per cent."""


def largest_eigenvalue(product: Callable[[Params], Params], start: Params, tolerance: float = 1e-3) -> float:
    """The algebraically largest eigenvalue, by Lanczos (ARPACK through scipy), relative error about ``tolerance``.

    ``product`` maps v to H·v, both without a chain axis; ``start`` is where the Krylov space begins. Up to 16 weights
    the matrix is built and solved. A Ritz value is a lower bound. Units: loss/weight². NaN where a product is not
    finite.
    """
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    first = flatten(start)
    dim = first.size

    def apply(vector: np.ndarray) -> np.ndarray:
        return flatten(product(unflatten_like(vector.ravel(), start)))

    if dim <= SMALL:
        matrix = np.stack([apply(unit) for unit in np.eye(dim)])
        return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]) if np.isfinite(matrix).all() else math.nan
    image = apply(first)
    if not np.isfinite(image).all():
        return math.nan
    if not image.any():
        return 0.0
    operator = LinearOperator((dim, dim), matvec=apply, dtype=np.float64)
    try:
        return float(eigsh(operator, k=1, which="LA", v0=first, tol=tolerance, return_eigenvectors=False)[0])
    except ArpackNoConvergence:
        return krylov_top(product, start, UNCONVERGED)[0]
    except ArpackError:  # as where the curvature is zero but for rounding
        return float(first @ image / (first @ first))


def krylov_top(
    product: Callable[[Params], Params], start: Params, steps: int, settled: float = 0.0
) -> tuple[float, Params]:
    """The largest Ritz value after at most so many Lanczos steps from ``start``, and its vector: a lower bound.

    ``start`` must lie in the space that ``product`` maps to itself. Started from the Ritz vector of a position nearby,
    a few steps come within some per cent. Ends where two steps one after the other raised the value by less than its
    share ``settled``, which a start within another eigenvector would make them do too early. Loss/weight²; NaN where a
    product is not finite.
    """
    basis = [flatten(start) / max(float(np.linalg.norm(flatten(start))), 1e-300)]
    projected = np.zeros((steps, steps))
    tops: list[float] = []
    for step in range(steps):
        image = flatten(product(unflatten_like(basis[-1], start)))
        if not np.isfinite(image).all():
            return math.nan, start
        rest = image.copy()
        for again in range(2):  # once is not enough in the presence of rounding
            for row, vector in enumerate(basis):
                part = float(vector @ rest)
                rest -= part * vector
                if not again:
                    projected[row, step] = projected[step, row] = part
        values, vectors = np.linalg.eigh(projected[: step + 1, : step + 1])
        tops.append(float(values[-1]))
        length = float(np.linalg.norm(rest))
        if length <= 1e-6 * max(float(np.linalg.norm(image)), 1e-300) or _stands(tops, settled):
            break
        basis.append(rest / length)
    top = sum(part * vector for part, vector in zip(vectors[:, -1], basis, strict=False))
    return tops[-1], unflatten_like(top, start)


def _stands(tops: list[float], settled: float) -> bool:
    """Whether each of the last two steps raised the value by less than this share of it."""
    return len(tops) > 2 and all(after - before < settled * abs(after) for before, after in pairwise(tops[-3:]))


def extreme_eigenvalues(
    operator: Operator, start: np.ndarray, tolerance: float = 1e-3, exact: bool = False
) -> tuple[float, float]:
    """The algebraically smallest and largest eigenvalue, by ARPACK, to about ``tolerance`` of the larger |eigenvalue|.

    ``start``, shape ``(d,)``, is where the Krylov space begins. ``exact``: from the whole matrix, as always up to 16
    weights. Loss/weight². NaN where a product is not finite, or where ARPACK does not converge, as on a curvature that
    is zero but for rounding.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    if exact or operator.dim <= SMALL:
        matrix = operator.dense()
        if not np.isfinite(matrix).all():
            return math.nan, math.nan
        values = np.linalg.eigvalsh(matrix)
        return float(values[0]), float(values[-1])
    first = torch.from_numpy(start).to(operator.device).reshape(1, -1)
    nodes = lanczos(operator, first, FIRST_STEPS).spectrum().nodes
    if not np.isfinite(nodes).all():
        return math.nan, math.nan
    if not nodes.any():
        return 0.0, 0.0
    # ARPACK's tolerance is relative to each end, and one of them can be as good as zero: shifted, neither is
    shift, plain = 2.0 * float(np.abs(nodes).max()), operator.scipy()
    shifted = LinearOperator(plain.shape, matvec=lambda v: plain.matvec(v) + shift * v, dtype=np.float64)
    try:
        low, high = eigsh(shifted, k=2, which="BE", v0=start, tol=tolerance / 3, return_eigenvectors=False)
    except ArpackError:
        return math.nan, math.nan
    return float(min(low, high)) - shift, float(max(low, high)) - shift
