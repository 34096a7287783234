"""The spectrum of a sample's Hessian, whole where that takes no more products, else by Lanczos from random probes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.metrics.curvature.problems import Sampled
from ontogeny.operators.lanczos import Floats, Spectrum, lanczos
from ontogeny.operators.linear_operator import Operator
from ontogeny.operators.trace import rademacher

MOST_DENSE = 2000
"""Weights; a larger matrix is not decomposed, however many products are allowed."""


@dataclass(frozen=True)
class Spectra:
    """The spectral measure of random probes, of every eigenvalue where ``exact``, and of one start beside them."""

    random: Spectrum
    """Exact: one start, all eigenvalues with equal weight."""
    start: Spectrum | None
    exact: bool
    shorter: Spectrum
    """The same with a quarter of the steps left out, for what the number of steps matters."""
    start_shorter: Spectrum | None
    without: tuple[Spectra, ...] = ()
    """Exact, of a part of all examples: the same without one group of the sample, for each group."""
    share: float = 1.0
    """Of all examples, those in the sample."""
    vectors: Floats | None = None
    """Exact: the eigenvectors as columns."""

    @property
    def finite(self) -> bool:
        """Whether all products were."""
        both = [self.random] if self.start is None else [self.random, self.start]
        return all(bool(np.isfinite(one.nodes).all() and np.isfinite(one.squared_norms).all()) for one in both)

    @property
    def ends(self) -> tuple[float, float]:
        """Bounds of the spectrum; exact where it is, NaN where a product was not finite."""
        if not self.finite:
            return math.nan, math.nan
        if self.exact or self.start is None:
            return self.random.ends
        (low, high), (other_low, other_high) = self.random.ends, self.start.ends
        return min(low, other_low), max(high, other_high)

    @property
    def lowest(self) -> float:
        """The lowest node: no more than a bound from above of the least eigenvalue, unless exact."""
        each = [self.random] if self.start is None else [self.random, self.start]
        return min(float(one.nodes[:, 0].min()) for one in each)

    def total(self, function: Callable[[Floats], Floats]) -> tuple[float, float]:
        """Σ_i f(h_i) over all eigenvalues, and its standard error: probes, and what the last steps changed.

        Exact: the choice of examples.
        """
        if self.exact:
            return self.sum_of(function), float(self.jackknife(lambda one: one.sum_of(function)))
        each = self.random.integrate(function)
        probes = float(each.std(ddof=1)) / len(each) ** 0.5 if len(each) > 1 else math.nan
        steps = float(each.mean() - self.shorter.integrate(function).mean())
        return float(each.mean()), math.hypot(probes, steps)

    def sum_of(self, function: Callable[[Floats], Floats]) -> float:
        """Σ_i f(h_i) over all eigenvalues of a whole matrix, without an error."""
        return float(function(self.random.nodes).sum())

    def along(self, function: Callable[[Floats], Floats]) -> tuple[float, float]:
        """gᵀf(H)g for the start g, and what the last steps changed; the start's length is in it.

        Exact: the error is that of the choice of examples for H, g the same.
        """
        assert self.start_shorter is not None
        value = self.quadratic_form(function)
        if self.exact:
            return value, float(self.jackknife(lambda one: one.quadratic_form(function)))
        return value, abs(value - float(self.start_shorter.integrate(function)[0]))

    def quadratic_form(self, function: Callable[[Floats], Floats]) -> float:
        """gᵀf(H)g for the start g, without an error."""
        assert self.start is not None
        return float(self.start.integrate(function)[0])

    def jackknife(self, statistic: Callable[[Spectra], Any]) -> Any:
        """What the choice of examples adds to the error of a number or array, where the matrix is whole.

        √((1 - share)·(G - 1)/G·Σ_g (θ_g - θ̄)²), θ_g without group g. 0 where all examples are in the sample, NaN where
        it is of one group.
        """
        if self.share == 1.0:
            return 0.0 * np.asarray(statistic(self))
        if len(self.without) < 2:
            return np.nan * np.asarray(statistic(self))
        each = np.array([statistic(one) for one in self.without])
        count = len(each)
        return np.sqrt((1 - self.share) * (count - 1) * each.var(0))


def spectra(
    sampled: Sampled,
    operator: Operator,
    probes: int,
    steps: int,
    start: Tensor | None = None,
    exact: bool | None = None,
) -> Spectra:
    """Lanczos from ``probes`` Rademacher vectors (and from ``start``), or the whole matrix.

    ``exact`` None: whole where it takes no more products.
    """
    if exact is None:
        exact = operator.dim <= min(probes * steps, MOST_DENSE)
    if exact:
        return _whole(sampled, operator, start)
    vectors = rademacher(probes, operator.dim, sampled.stream("probes of the spectrum")).to(operator.device)
    if start is not None:
        vectors = torch.cat([vectors, start])
    run = lanczos(operator, vectors, steps)
    made = run.diagonal.shape[1]
    both = [run.spectrum(), run.spectrum(max(made - made // 4, 1))]
    long, short = (_rows(one, slice(0, probes)) for one in both)
    if start is None:
        return Spectra(long, None, False, short, None)
    return Spectra(long, _rows(both[0], slice(probes, None)), False, short, _rows(both[1], slice(probes, None)))


def _rows(spectrum: Spectrum, which: slice) -> Spectrum:
    return Spectrum(*(getattr(spectrum, name)[which] for name in ("nodes", "weights", "squared_norms", "bounds")))


def _whole(sampled: Sampled, operator: Operator, start: Tensor | None) -> Spectra:
    if sampled.share == 1.0:
        return _of_matrix(operator.dense(), start)
    parts = [(size, size * one.dense()) for size, one in sampled.hessians_of_groups()]
    total, count = np.sum([matrix for _, matrix in parts], axis=0), sum(sampled.sizes)
    without: tuple[Spectra, ...] = ()
    if len(parts) > 1:
        rest = (_of_matrix((total - matrix) / (count - size), start) for size, matrix in parts)
        without = tuple(replace(one, vectors=None) for one in rest)
    return replace(_of_matrix(total / count, start), without=without, share=sampled.share)


def _of_matrix(matrix: Floats, start: Tensor | None) -> Spectra:
    if not np.isfinite(matrix).all():
        matrix = np.full_like(matrix, np.nan)
        values, vectors = matrix[0], matrix
    else:
        values, vectors = np.linalg.eigh(matrix)
    dim = len(matrix)
    every = Spectrum(values[None], np.full((1, dim), 1 / dim), np.array([float(dim)]), np.zeros((1, 2)))
    if start is None:
        return Spectra(every, None, True, every, None, vectors=vectors)
    squares = (start.cpu().numpy() @ vectors) ** 2
    norm = squares.sum(1)
    along = Spectrum(values[None], squares / np.maximum(norm, 1e-300)[:, None], norm, np.zeros((1, 2)))
    return Spectra(every, along, True, every, along, vectors=vectors)
