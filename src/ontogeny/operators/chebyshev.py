"""How many eigenvalues lie above a threshold, by Chebyshev polynomials of the step function (Ubaru and Saad 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ontogeny.operators.linear_operator import Operator

Floats = NDArray[np.float64]
OUTSIDE = 1.001
"""A moment above so many times its bound says that an eigenvalue is outside the range."""


@dataclass(frozen=True)
class Moments:
    """vᵀT_k(Â)v for random directions v, Â the matrix with its range mapped to [-1, 1]; they serve every threshold."""

    span: tuple[float, float]
    """Where the eigenvalues are, loss/weight²."""
    values: Floats
    """Shape ``(probes, degree + 1)``."""

    @property
    def inside(self) -> bool:
        """Whether no moment is beyond its bound ‖v‖², as one is where an eigenvalue is outside the range."""
        return bool((np.abs(self.values) <= OUTSIDE * self.values[:, :1]).all())

    def above(self, threshold: float) -> Floats:
        """About how many eigenvalues are above the threshold, from each probe, shape ``(probes,)``."""
        return self.values @ step_coefficients(_place(threshold, self.span), self.values.shape[1] - 1)

    def counted(self, eigenvalue: float, threshold: float) -> float:
        """p at an eigenvalue: as what part of one it is counted, 0 to 1."""
        place = np.clip(_place(eigenvalue, self.span), -1.0, 1.0)
        coefficients = step_coefficients(_place(threshold, self.span), self.values.shape[1] - 1)
        return float(np.polynomial.chebyshev.chebval(place, coefficients))

    def resolution(self, threshold: float) -> float:
        """Over which width in loss/weight² the polynomial rises from 0.1 to 0.9: eigenvalues there count in part."""
        degree = self.values.shape[1] - 1
        at = np.cos(np.linspace(np.pi, 0, 20 * degree + 1))
        rise = np.polynomial.chebyshev.chebval(at, step_coefficients(_place(threshold, self.span), degree))
        within = at[(rise > 0.1) & (rise < 0.9)]
        return float(np.ptp(within)) * (self.span[1] - self.span[0]) / 2 if len(within) else 0.0


def moments(operator: Operator, vectors: torch.Tensor, degree: int, span: tuple[float, float]) -> Moments:
    """Moments up to ``degree`` of each row of ``vectors`` with half as many products.

    T_2k = 2T_k² - 1 and T_2k+1 = 2T_k·T_k+1 - T_1, so the vectors T_k·v up to half the degree give all.
    """
    low, high = span
    middle, half = (high + low) / 2, (high - low) / 2
    before, now = vectors, (operator(vectors) - middle * vectors) / half
    zeroth, first = vectors.square().sum(1), (vectors * now).sum(1)
    found = [zeroth, first]
    while len(found) <= degree:
        found.append(2 * now.square().sum(1) - zeroth)
        if len(found) <= degree:
            before, now = now, 2 * (operator(now) - middle * now) / half - before
            found.append(2 * (before * now).sum(1) - first)
    return Moments(span, torch.stack(found[: degree + 1], 1).cpu().numpy())


def step_coefficients(threshold: float, degree: int) -> Floats:
    """Chebyshev coefficients of the step at ``threshold`` in [-1, 1], damped by Jackson's factors against ripples.

    c_0 = arccos(t)/π, c_k = 2·sin(k·arccos t)/(kπ); shape ``(degree + 1,)``.

    >>> c = step_coefficients(0.0, 200)
    >>> [round(float(np.polynomial.chebyshev.chebval(x, c)), 3) for x in (-0.5, 0.0, 0.5)]
    [0.0, 0.5, 1.0]
    """
    angle, k = np.arccos(np.clip(threshold, -1.0, 1.0)), np.arange(1, degree + 1)
    plain = np.concatenate([[angle / np.pi], 2 * np.sin(k * angle) / (k * np.pi)])
    a, order = np.pi / (degree + 2), np.arange(degree + 1)
    damping = (1 - order / (degree + 2)) * np.cos(order * a) + np.sin(order * a) / (np.tan(a) * (degree + 2))
    return plain * damping


def _place(value: float, span: tuple[float, float]) -> float:
    return (2 * value - span[1] - span[0]) / (span[1] - span[0])
