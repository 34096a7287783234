"""Lanczos runs from several starts at once, and what they say of functions of a matrix: Gauss quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ontogeny.operators.linear_operator import Operator

Floats = NDArray[np.float64]
MOST_BYTES = 2**29
"""For the Krylov bases of starts that run together."""
NOTHING = 1e-10
"""A residual so small, relative to the image, is rounding: the Krylov space is complete."""


@dataclass(frozen=True)
class Spectrum:
    """Per start v a discrete spectral measure: vᵀf(A)v ≈ ‖v‖²·Σ_j weights_j·f(nodes_j).

    Exact for polynomials of degree below twice the steps. Source: Golub and Meurant 1994; Ubaru, Chen and Saad 2017.
    """

    nodes: Floats
    """Ritz values, increasing, shape ``(starts, steps)``, loss/weight² for a Hessian."""
    weights: Floats
    """Not negative, adding up to 1, same shape."""
    squared_norms: Floats
    """‖v‖², shape ``(starts,)``."""
    bounds: Floats
    """How far from an eigenvalue the lowest and the highest node of each start can be, ``(starts, 2)``."""

    def integrate(self, function: Callable[[Floats], Floats]) -> Floats:
        """vᵀf(A)v for each start, shape ``(starts,)``."""
        seen = np.where(self.weights > 0, function(self.nodes), 0.0)
        return self.squared_norms * (self.weights * seen).sum(1)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest node with their bounds, which hold the spectrum where the ends have converged."""
        return float((self.nodes[:, 0] - self.bounds[:, 0]).min()), float((self.nodes[:, -1] + self.bounds[:, 1]).max())


@dataclass(frozen=True)
class Krylov:
    """What Lanczos leaves of each start: a tridiagonal matrix and, if asked for, the basis it is written in."""

    diagonal: Floats
    """α, shape ``(starts, steps)``."""
    beside: Floats
    """β, same shape: the last is the residual."""
    squared_norms: Floats
    basis: Tensor | None
    """Shape ``(starts, steps, d)``."""

    def eigen(self, steps: int | None = None) -> tuple[Floats, Floats]:
        """Eigenvalues and eigenvectors of the tridiagonal matrices of the first ``steps``; NaN if a product was."""
        count = steps or self.diagonal.shape[1]
        matrices = np.zeros((len(self.diagonal), count, count))
        at = np.arange(count)
        matrices[:, at, at] = self.diagonal[:, :count]
        matrices[:, at[1:], at[:-1]] = matrices[:, at[:-1], at[1:]] = self.beside[:, : count - 1]
        if not np.isfinite(matrices).all():
            return np.full(matrices.shape[:2], np.nan), np.full(matrices.shape, np.nan)
        values, vectors = np.linalg.eigh(matrices)
        return values, vectors

    def complete(self, steps: int | None = None) -> NDArray[np.int64]:
        """Of each start, after how many steps nothing new came: the zeros that follow belong to no eigenvector."""
        count = steps or self.diagonal.shape[1]
        return (np.cumprod(self.beside[:, :count] > 0, axis=1).sum(1) + 1).clip(max=count)

    def spectrum(self, steps: int | None = None) -> Spectrum:
        """Nodes and weights after all steps or the first so many."""
        count = steps or self.diagonal.shape[1]
        nodes, vectors = self.eigen(count)
        weights = vectors[:, 0, :] ** 2
        residual = np.abs(self.beside[:, count - 1, None] * vectors[:, -1, :])
        if np.isfinite(nodes).all():
            live = (vectors**2 * (np.arange(count) < self.complete(count)[:, None])[:, :, None]).sum(1) > 0.5
            lowest = np.where(live, nodes, np.inf).min(1, keepdims=True)
            nodes, weights = np.where(live, nodes, lowest), np.where(live, weights, 0.0)
            order = nodes.argsort(axis=1)
            nodes, weights, residual = (np.take_along_axis(each, order, 1) for each in (nodes, weights, residual))
        return Spectrum(nodes, weights, self.squared_norms, residual[:, [0, -1]])


def lanczos(operator: Operator, starts: Tensor, steps: int, keep: bool = False) -> Krylov:
    """So many Lanczos steps (no more than weights) from each row of ``starts``, with full reorthogonalisation.

    The starts advance together, one batched product a step; ``keep`` holds their bases.
    """
    steps = min(steps, operator.dim)
    together = max(MOST_BYTES // (8 * steps * operator.dim), 1)
    parts = [_run(operator, some, steps) for some in starts.double().split(together)]
    diagonal, beside, norms = (np.concatenate([part[n] for part in parts]) for n in range(3))
    return Krylov(diagonal, beside, norms, torch.cat([part[3] for part in parts]) if keep else None)


def _run(operator: Operator, starts: Tensor, steps: int) -> tuple[Floats, Floats, Floats, Tensor]:
    norms = starts.norm(dim=1)
    basis = starts.new_zeros((len(starts), steps, operator.dim))
    basis[:, 0] = starts / norms.clamp(min=torch.finfo(norms.dtype).tiny)[:, None]
    diagonal, beside = (starts.new_zeros((len(starts), steps)) for _ in range(2))
    for step in range(steps):
        here = basis[:, : step + 1]
        image = operator(basis[:, step])
        length = image.norm(dim=1)
        diagonal[:, step] = (image * basis[:, step]).sum(1)
        for _ in range(2):  # once is not enough in the presence of rounding
            image = image - torch.einsum("ks,ksd->kd", torch.einsum("ksd,kd->ks", here, image), here)
        rest = image.norm(dim=1)
        rest = torch.where(rest > NOTHING * length, rest, torch.zeros_like(rest))
        beside[:, step] = rest
        if step + 1 < steps:  # a complete space goes on with zeros, which have no weight
            basis[:, step + 1] = torch.where(rest[:, None] > 0, image / rest.clamp(min=1e-300)[:, None], 0.0)
    return diagonal.cpu().numpy(), beside.cpu().numpy(), norms.square().cpu().numpy(), basis


def density(spectrum: Spectrum, grid: Floats, width: float) -> tuple[Floats, Floats]:
    """Share of eigenvalues per unit on the grid, each node spread to a normal of that width, and its standard error.

    The starts must be random directions; the error is over them. Integrates to 1. Both of shape ``(grid,)``.
    """
    away = (grid[None, :, None] - spectrum.nodes[:, None, :]) / width
    bells = np.exp(-0.5 * away**2) / (width * np.sqrt(2 * np.pi))
    each = (spectrum.weights[:, None, :] * bells).sum(2)
    error = each.std(0, ddof=1) / len(each) ** 0.5 if len(each) > 1 else np.full(len(grid), np.nan)
    return each.mean(0), error
