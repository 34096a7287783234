"""How far apart two curves over training are, and the curve in the middle of several: three notions of both.

    euclidean   ‖x - y‖;                                                 the mean
    dtw         dynamic time warping: √ min over paths Σ (x_i - y_j)²;   its barycentre (Petitjean et al. 2011)
    shape       1 - max_s NCC_s(x, y), in [0, 2], of curves of mean 0 and variance 1;   shape extraction

NCC_s is the cross-correlation at shift s over ‖x‖‖y‖, zeros beyond the ends (k-Shape, Paparrizos and Gravano, SIGMOD
2015). A path pairs points from (1, 1) to (T, T), each step 1 further in x, in y or in both (Sakoe and Chiba 1978).
tslearn 0.10 has the same, and brings numba, llvmlite and statsmodels; for the dozen curves that heads are, the two are
written out here, and were held against it (DTW and its barycentre, shape distance: equal to rounding).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BARYCENTRE_ITERATIONS = 30
TINY = 1e-12


class Notion(NamedTuple):
    """Distances of several curves (n, T) from one (T,), as (n,); and the middle of several, given the one so far."""

    distances: Callable[[Array, Array], Array]
    middle: Callable[[Array, Array], Array]


def euclidean(curves: Array, other: Array) -> Array:
    """‖x - y‖ of each."""
    return np.linalg.norm(curves - other, axis=1)


def mean_curve(curves: Array, before: Array) -> Array:
    """The mean; what it was before does not matter."""
    return curves.mean(0)


def _warped(curves: Array, other: Array) -> Array:
    """Least cumulated squared differences up to each pair of points, (n, T, T_other), one anti-diagonal at a time."""
    cost = (curves[:, :, None] - other[None, None, :]) ** 2
    count, rows, columns = cost.shape
    total = np.full((count, rows + 1, columns + 1), np.inf)
    total[:, 0, 0] = 0.0
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        before = np.minimum(np.minimum(total[:, i - 1, j - 1], total[:, i - 1, j]), total[:, i, j - 1])
        total[:, i, j] = cost[:, i - 1, j - 1] + before
    return total[:, 1:, 1:]


def dtw(curves: Array, other: Array) -> Array:
    """The dynamic time warping distance of each.

    >>> dtw(np.array([[0.0, 0.0, 1.0, 2.0]]), np.array([0.0, 1.0, 2.0, 2.0])).tolist()
    [0.0]
    """
    return np.sqrt(_warped(curves, other)[:, -1, -1])


def _path(total: Array) -> list[tuple[int, int]]:
    """The pairs of points along the cheapest path, from the end."""
    i, j = total.shape[0] - 1, total.shape[1] - 1
    path = [(i, j)]
    while i or j:
        steps = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        i, j = min((step for step in steps if min(step) >= 0), key=lambda step: float(total[step]))
        path.append((i, j))
    return path


def dtw_barycentre(curves: Array, before: Array) -> Array:
    """The curve with the least sum of squared DTW distances that averaging along paths comes to from ``before``."""
    middle, best = before.copy(), np.inf
    for _ in range(BARYCENTRE_ITERATIONS):
        total, count, spent = np.zeros_like(middle), np.zeros(len(middle)), 0.0
        for curve, costs in zip(curves, _warped(curves, middle), strict=True):
            for j, i in _path(costs):
                total[i] += curve[j]
                count[i] += 1
                spent += (middle[i] - curve[j]) ** 2
        if spent >= best * (1 - 1e-9):
            break
        middle, best = total / count, spent
    return middle


def standardised(curve: Array) -> Array:
    """Less its mean, over its standard deviation; a constant curve becomes 0."""
    centred = curve - curve.mean(-1, keepdims=True)
    scale = centred.std(-1, keepdims=True)
    return np.divide(centred, scale, out=np.zeros_like(centred), where=scale > TINY)


def _correlation(x: Array, y: Array) -> tuple[float, int]:
    """The largest normalised cross-correlation, and the shift of y at which it is."""
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    if scale < TINY:
        return 0.0, 0
    each = np.correlate(x, y, "full") / scale
    best = int(each.argmax())
    return float(each[best]), best - (len(y) - 1)


def shape_distance(curves: Array, other: Array) -> Array:
    """1 - max_s NCC_s of the standardised curves: 0 for one shape, whatever its scale, offset and place.

    >>> hump = np.array([0.0, 0.0, 1.0, 3.0, 1.0, 0.0, 0.0, 0.0])
    >>> shape_distance(5 * hump[None] - 2, hump).round(9).tolist()
    [0.0]
    """
    reference = standardised(other)
    return np.array([1.0 - _correlation(curve, reference)[0] for curve in standardised(curves)])


def shape_extraction(curves: Array, before: Array) -> Array:
    """The curve of mean 0 and variance 1 with the largest Σ NCC² to the curves, each shifted to fit ``before``.

    The leading eigenvector of QᵀSQ, S = Σ x xᵀ over the shifted, standardised curves, Q = 1 - 11ᵀ/T; its sign is that
    which is nearer to the curves.
    """
    reference = standardised(before)
    shifted = [_shifted(curve, _correlation(reference, curve)[1]) for curve in standardised(curves)]
    aligned = standardised(np.stack(shifted))
    length = aligned.shape[1]
    centring = np.eye(length) - 1.0 / length
    vectors = np.linalg.eigh(centring @ (aligned.T @ aligned) @ centring)[1]
    middle = vectors[:, -1]
    return standardised(middle if np.sum(aligned @ middle) >= 0 else -middle)


def _shifted(curve: Array, by: int) -> Array:
    out = np.zeros_like(curve)
    if by >= 0:
        out[by:] = curve[: len(curve) - by]
    else:
        out[:by] = curve[-by:]
    return out


NOTIONS = {
    "euclidean": Notion(euclidean, mean_curve),
    "dtw": Notion(dtw, dtw_barycentre),
    "shape": Notion(shape_distance, shape_extraction),
}
