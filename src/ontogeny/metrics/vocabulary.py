"""Who of the heads copies which tokens: regions of the vocabulary, anti-states, and triangles of the QK circuit.

Circuits are those of :func:`ontogeny.metrics.circuits.full_circuits`; dims beside those of a circuit stay. Each row is
taken less its mean, which the softmax over sources (QK) or outputs (OV) does not see.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

SHORTEST = 2
"""Tokens in a row from which on they count as a region."""
OPPOSED = -0.8
"""Cosine with the sum of the others from which on a head counts as their anti-state."""
LEAST = 0.25
"""Of the largest diagonal entry of any head: a token that no head copies more than that belongs to none."""


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values - values.mean(-1, keepdims=True)


def owners(ov: xr.DataArray) -> xr.DataArray:
    """The number of the head that copies each token most, -1 where none does; dim ``source``.

    A head copies token i by its OV_ii; whoever has the largest owns it if that is at least a quarter of the largest
    OV_jj of all tokens and heads.
    """

    def own(values: NDArray[np.float64]) -> NDArray[np.int64]:
        diagonal = np.diagonal(_centred(values), axis1=-2, axis2=-1)  # (…, head, token)
        best = diagonal.max(-2)
        return np.where(best >= LEAST * best.max(-1, keepdims=True), diagonal.argmax(-2), -1)

    return xr.apply_ufunc(
        own, ov, input_core_dims=[["head", "source", "output"]], output_core_dims=[["source"]]
    ).assign_coords(source=ov["source"])


def regions(ov: xr.DataArray) -> xr.DataArray:
    """How many contiguous regions of the vocabulary each head owns, at least two tokens long; dim ``head``.

    Of a model that knows nothing there are some too, by chance: hold them against those before training. NaN where the
    circuits of any head are not finite.
    """
    owned = owners(ov)
    heads = ov.sizes["head"]

    def count(values: NDArray[np.int64]) -> NDArray[np.int64]:
        flat = values.reshape(-1, values.shape[-1])
        found = np.zeros((len(flat), heads), dtype=np.int64)
        for row, of_row in zip(flat, found, strict=True):
            for head, first, last in _runs(row):
                of_row[head] += last - first >= SHORTEST
        return found.reshape(*values.shape[:-1], heads)

    counted = xr.apply_ufunc(count, owned, input_core_dims=[["source"]], output_core_dims=[["head"]])
    counted = counted.assign_coords(head=ov["head"])
    finite = xr.apply_ufunc(np.isfinite, ov).all(["head", "source", "output"])
    return counted if bool(finite.all()) else counted.where(finite)


def _runs(row: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(head, first token, one past the last) of every stretch with one owner, but those with none."""
    edges = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
    return [(int(row[a]), a, b) for a, b in pairwise(edges) if row[a] >= 0]


def opposition(ov: xr.DataArray) -> xr.DataArray:
    """Cosine between each head's OV circuit and the sum of the other heads'; dim ``head``, NaN for one head.

    Of the circuits less the mean of each row, which no softmax over outputs sees; so a constant added changes nothing.
    An anti-state, a head whose OV is about minus what the others do together, has -1.
    """

    def cosine(values: NDArray[np.float64]) -> NDArray[np.float64]:
        values = _centred(values)
        others = values.sum(-3, keepdims=True) - values
        product = (values * others).sum((-2, -1))
        norms = np.sqrt((values**2).sum((-2, -1)) * (others**2).sum((-2, -1)))
        return np.divide(product, norms, out=np.full_like(product, np.nan), where=norms > 0)

    found = xr.apply_ufunc(
        cosine, ov.astype(np.float64), input_core_dims=[["head", "source", "output"]], output_core_dims=[["head"]]
    )
    return found.assign_coords(head=ov["head"])


def anti_states(ov: xr.DataArray) -> xr.DataArray:
    """How many heads oppose the sum of the others (cosine of -0.8 or less); reduces all circuit dims, NaN for one head.

    Of two heads either both do or none: which is the state is told by whose diagonal is positive.
    """
    against = opposition(ov)
    return (against <= OPPOSED).sum("head").where(against.notnull().any("head"))


def crystallization(qk: xr.DataArray, owned: xr.DataArray) -> xr.DataArray:
    """The share of a head's positive attention above the diagonal that lies in triangles over its own regions.

        Σ max(C_ij, 0) over i < j in one region / Σ max(C_ij, 0) over all i < j, the mean over heads that own any

    with C_ij = QK_ij less the mean of row i, which no softmax sees. ``owned`` is what :func:`owners` returns, of one
    checkpoint, such as the last, so that regions stay the same along training. A head without attention above the
    diagonal has NaN, and the mean leaves it out, as it does a head that owns everything. What it is without any order
    is :func:`crystallization_by_chance`.
    """
    inside, above = _triangles(owned)

    def share(values: NDArray[np.float64]) -> NDArray[np.float64]:
        positive = np.maximum(_centred(values), 0.0)
        parts = []
        for head, mask in inside.items():
            of_head = positive[..., head, :, :]
            total = of_head[..., above].sum(-1)
            parts.append(
                np.divide(of_head[..., mask & above].sum(-1), total, out=np.full_like(total, np.nan), where=total > 0)
            )
        return np.nanmean(parts, axis=0) if parts else np.full(values.shape[:-3], np.nan)

    return xr.apply_ufunc(share, qk.astype(np.float64), input_core_dims=[["head", "destination", "source"]])


def crystallization_by_chance(owned: xr.DataArray) -> float:
    """What :func:`crystallization` is of attention that knows nothing of regions: the triangles' share of all i < j.

    The mean over the same heads; NaN where none owns a region.
    """
    inside, above = _triangles(owned)
    shares = [float(mask[above].mean()) for mask in inside.values()]
    return float(np.mean(shares)) if shares else float("nan")


def _triangles(owned: xr.DataArray) -> tuple[dict[int, NDArray[np.bool_]], NDArray[np.bool_]]:
    """By head the squares over its regions, but of a head that owns everything; and what lies above the diagonal."""
    row = owned.values.astype(np.int64)
    above = np.triu(np.ones((len(row), len(row)), dtype=bool), 1)
    inside: dict[int, NDArray[np.bool_]] = {}
    for head, first, last in _runs(row):
        if last - first >= SHORTEST:
            mask = inside.setdefault(head, np.zeros((len(row), len(row)), dtype=bool))
            mask[first:last, first:last] = True
    return {head: mask for head, mask in inside.items() if not mask[above].all()}, above
