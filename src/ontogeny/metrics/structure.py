"""Order in matrices over tokens: translational symmetry, overlap of heads, rank.

Measures and definitions are those of "Structure Formation in Algorithmic Transformers". Every function reduces
two dims and leaves the others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ontogeny.core.errors import OntogenyError

RANK_TOLERANCE = 0.01
"""Singular values count from this share of the largest on."""

Floats = NDArray[np.float64]


def translational_symmetry(matrix: xr.DataArray, dims: tuple[str, str]) -> xr.DataArray:
    """How much more regular a matrix is along its diagonals than across them; 0 for noise, nearly 2 for the identity.

        TS = Σ (|W_ij - ½(W_{i-1,j+1} + W_{i+1,j-1})| - |W_ij - ½(W_{i-1,j-1} + W_{i+1,j+1})|) / Σ |W_ij|

    over all i, j but the first and last row and column. Where W depends on i - j alone the second part vanishes. The
    document divides by a mean of W, which can vanish; here it is the mean of |W|, under which the identity of N tokens
    has 2 - 2/(N - 2), and entries in the outermost rows can add to that. (Over the mean of W itself, trained two-head
    models that sort had anything from -1500 to 600.) Unchanged by W -> c·W. NaN for W = 0.

    >>> identity = xr.DataArray(np.eye(9), dims=("source", "output"))
    >>> float(translational_symmetry(identity, ("source", "output")))
    1.7142857142857142
    """

    def measure(w: Floats) -> Floats:
        middle = w[..., 1:-1, 1:-1]
        across = np.abs(middle - 0.5 * (w[..., :-2, 2:] + w[..., 2:, :-2])).sum((-2, -1))
        along = np.abs(middle - 0.5 * (w[..., :-2, :-2] + w[..., 2:, 2:])).sum((-2, -1))
        return _ratio(across - along, np.abs(middle).sum((-2, -1)))

    return _reduced(measure, dims, matrix)


def head_overlap(one: xr.DataArray, other: xr.DataArray, dims: tuple[str, str]) -> xr.DataArray:
    """O = 1 - Σ|A - B| / Σ(|A| + |B|): 1 for equal matrices, 0 where no entry is shared in sign. NaN if both are 0.

    >>> a = xr.DataArray([[1.0, 0.0], [0.0, 1.0]], dims=("source", "output"))
    >>> float(head_overlap(a, a, ("source", "output"))), float(head_overlap(a, -a, ("source", "output")))
    (1.0, 0.0)
    """

    def measure(a: Floats, b: Floats) -> Floats:
        difference, total = np.abs(a - b).sum((-2, -1)), (np.abs(a) + np.abs(b)).sum((-2, -1))
        return 1.0 - _ratio(difference, total)

    return _reduced(measure, dims, one, other)


def mean_overlap(circuits: xr.Dataset) -> xr.DataArray:
    """The overlap averaged over the QK and OV circuits and over all pairs of heads; NaN for one head.

    ``circuits`` as from :func:`ontogeny.metrics.circuits.full_circuits`; dims beside those of a circuit stay.
    """
    heads = list(circuits["head"].values)
    pairs = [(a, b) for number, a in enumerate(heads) for b in heads[:number]]
    found = [
        head_overlap(circuits[name].sel(head=a, drop=True), circuits[name].sel(head=b, drop=True), dims)
        for a, b in pairs
        for name, dims in CIRCUIT_DIMS.items()
    ]
    if not found:
        return xr.full_like(circuits["ov"].isel(head=0, source=0, output=0, drop=True), np.nan)
    return xr.concat(found, "pair").mean("pair")


def mean_symmetry(circuits: xr.Dataset) -> xr.DataArray:
    """The translational symmetry averaged over all heads' QK and OV circuits, QK alone where outputs are no tokens."""
    square = {name: dims for name, dims in CIRCUIT_DIMS.items() if len({circuits.sizes[dim] for dim in dims}) == 1}
    each = [translational_symmetry(circuits[name], dims).mean("head") for name, dims in square.items()]
    return sum(each[1:], each[0]) / len(each)


def matrix_rank(matrix: xr.DataArray, dims: tuple[str, str], tolerance: float = RANK_TOLERANCE) -> xr.DataArray:
    """How many singular values are more than ``tolerance`` of the largest; 0 for W = 0, NaN where W is not finite.

    Raises:
        OntogenyError: if the tolerance is not between 0 and 1.

    >>> float(matrix_rank(xr.DataArray(np.diag([1.0, 0.5, 0.001]), dims=("i", "j")), ("i", "j")))
    2.0
    """
    if not 0 <= tolerance < 1:
        raise OntogenyError(f"tolerance must be a share of the largest singular value, 0 to 1; got {tolerance}.")

    def measure(w: Floats) -> Floats:
        singular = _singular_values(w)
        counted = (singular > tolerance * singular[..., :1]).sum(-1).astype(np.float64)
        return np.where(np.isfinite(singular).all(-1), counted, np.nan)

    return _reduced(measure, dims, matrix)


def participation_ratio(matrix: xr.DataArray, dims: tuple[str, str]) -> xr.DataArray:
    """(Σσ²)²/Σσ⁴ of the singular values: a rank without a threshold. NaN for W = 0 and where W is not finite.

    >>> float(participation_ratio(xr.DataArray(np.eye(4), dims=("i", "j")), ("i", "j")))
    4.0
    """

    def measure(w: Floats) -> Floats:
        power = _singular_values(w) ** 2
        return _ratio(power.sum(-1) ** 2, (power**2).sum(-1))

    return _reduced(measure, dims, matrix)


def summed(measure: Callable[..., xr.DataArray], circuits: xr.Dataset) -> xr.DataArray:
    """A measure of one matrix, added up over the QK and OV circuits of all heads, as the document's sum of ranks."""
    both = [measure(circuits[name], dims).sum("head") for name, dims in CIRCUIT_DIMS.items()]
    return both[0] + both[1]


CIRCUIT_DIMS = {"qk": ("destination", "source"), "ov": ("source", "output")}


def _singular_values(w: Floats) -> Floats:
    """In descending order, (…, values); NaN for a matrix that is not finite."""
    finite = np.asarray(np.isfinite(w).all((-2, -1)))
    singular = np.linalg.svd(np.where(finite[..., None, None], w, 0.0), compute_uv=False)
    return np.where(finite[..., None], singular, np.nan)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=np.asarray(below) > 0)


def _reduced(measure: Callable[..., Floats], dims: tuple[str, str], *matrices: xr.DataArray) -> xr.DataArray:
    values = [matrix.astype(np.float64) for matrix in matrices]
    return xr.apply_ufunc(measure, *values, input_core_dims=[list(dims)] * len(values))
