"""Mean and variance of f = nβ·(L - L(w*)) under a local posterior: nodes, averages, Gaussian integrals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
POINTS = 12  # Gauss-Legendre nodes of a panel


class Moments(NamedTuple):
    """Mean and variance of f = nβ·(L - L(w*)) under π(w) ∝ exp(-nβ L(w) - γ/2 ‖w - w*‖²); the mean is λ̂(nβ, γ)."""

    mean: float
    variance: float


Exact = Callable[[float, float], Moments]
"""(nβ, γ) -> moments."""


def disjoint(*parts: tuple[int, Moments]) -> Moments:
    """Moments of a sum over disjoint sets of weights: (count, moments) of each kind of part; both moments add."""
    return Moments(sum(k * part.mean for k, part in parts), sum(k * part.variance for k, part in parts))


def average(log_weight: Array, mean: Array, variance: Array | float = 0.0) -> Moments:
    """Total mean and variance of f, given its mean and variance at each node and the log of the node's mass."""
    mass = np.exp(log_weight - log_weight.max())
    mass /= mass.sum()
    centre = float((mass * mean).sum())
    return Moments(centre, float((mass * (variance + (mean - centre) ** 2)).sum()))


def panels(inner: float, outer: float, count: int = 40) -> tuple[Array, Array]:
    """Nodes x in (0, outer) and weights: Gauss-Legendre panels, equal in t where x = inner·sinh t.

    Resolves what happens at the scale ``inner`` near 0 and everything up to ``outer``.
    """
    unit, weight = np.polynomial.legendre.leggauss(POINTS)
    edges = np.linspace(0.0, np.arcsinh(outer / inner), count + 1)
    half = 0.5 * np.diff(edges)[:, None]
    t = (edges[:-1, None] + half * (1 + unit)).ravel()
    return inner * np.sinh(t), (half * weight).ravel() * inner * np.cosh(t)


def line(centre: float, inner: float, outer: float, count: int = 40) -> tuple[Array, Array]:
    """The same on both sides of ``centre``: nodes in (centre - outer, centre + outer) and weights."""
    x, weight = panels(inner, outer, count)
    return np.concatenate([centre - x[::-1], centre + x]), np.concatenate([weight[::-1], weight])


def reach(localization: float) -> float:
    """A distance from w* beyond which exp(-γ/2 d²) leaves nothing of double precision."""
    return 12.0 / localization**0.5


def gaussian_given(n_beta: float, localization: float, H: Any, g: Any, c: Any, center: Any) -> tuple[Array, ...]:
    """Integrate out weights v that the loss is quadratic in, L = ½vᵀHv - gᵀv + c, v ~ N(center, I/γ).

    Args:
        n_beta: nβ.
        localization: γ.
        H: shape (..., k, k), symmetric, positive semidefinite.
        g: shape (..., k).
        c: shape (...).
        center: shape (k,), w* of these weights.

    Returns:
        log of the integral of exp(-f) over v, and f's mean and variance given the rest, each of shape (...).
    """
    H, g, c, center = (np.asarray(value, dtype=np.float64) for value in (H, g, c, center))
    k = H.shape[-1]
    kappa = n_beta * H + localization * np.eye(k)
    covariance = 1 / kappa if k == 1 else np.linalg.inv(kappa)
    # in coordinates from the centre, f = nβ(½uᵀHu - pᵀu + q): no large terms cancel near w*
    p = g - (H @ center)
    q = 0.5 * np.einsum("...i,...i", H @ center, center) - g @ center + c
    mean_u = n_beta * np.einsum("...ij,...j->...i", covariance, p)
    curved = n_beta * (H @ covariance)
    slope = n_beta * (np.einsum("...ij,...j->...i", H, mean_u) - p)
    log_integral = (
        0.5 * n_beta * np.einsum("...i,...i", p, mean_u)
        - n_beta * q
        - 0.5 * (np.linalg.slogdet(kappa)[1] - k * np.log(localization))
    )
    mean = (
        n_beta * (0.5 * np.einsum("...i,...ij,...j", mean_u, H, mean_u) - np.einsum("...i,...i", p, mean_u) + q)
    ) + 0.5 * np.einsum("...ii", curved)
    variance = 0.5 * np.einsum("...ij,...ji", curved, curved) + np.einsum("...i,...ij,...j", slope, covariance, slope)
    return log_integral, mean, variance


def residual_given(n_beta: float, localization: float, slope: Array, offset: Array) -> tuple[Array, Array, Array]:
    """The same for one weight and L = ½r², r = offset + slope·(v - v*): shapes of ``slope`` and ``offset``.

    A priori r ~ N(offset, slope²/γ); a posteriori both moments shrink by 1 + nβ·slope²/γ.
    """
    shrink = 1 + n_beta * slope**2 / localization
    mean, variance = offset / shrink, slope**2 / (localization * shrink)
    log_integral = -0.5 * (np.log(shrink) + n_beta * offset**2 / shrink)
    return (
        log_integral,
        0.5 * n_beta * (mean**2 + variance),
        0.25 * n_beta**2 * (2 * variance**2 + 4 * variance * mean**2),
    )


def quadratic(curvature: Any, gradient: Any = 0.0) -> Exact:
    """L = Σ ½h_i w_i² + g_i w_i at w* = 0: λ̂ = Σ ½nβh/κ - (nβg)²/κ·(1 - nβh/(2κ)), κ = nβh + γ > 0."""
    h = np.asarray(curvature, dtype=np.float64)
    g = np.broadcast_to(np.asarray(gradient, dtype=np.float64), h.shape)

    def moments(n_beta: float, localization: float) -> Moments:
        kappa = n_beta * h + localization
        share = n_beta * h / kappa
        pull = (n_beta * g) ** 2 / kappa
        slope = n_beta * g * localization / kappa
        mean = 0.5 * share - pull * (1 - 0.5 * share)
        return Moments(float(mean.sum()), float((0.5 * share**2 + slope**2 / kappa).sum()))

    return moments


def norm_product(coefficient: float, *factors: tuple[int, float]) -> Exact:
    """L = coefficient·∏_i (‖v_i‖²)^{p_i} at 0, each v_i of k_i weights of its own; ``factors`` are (k_i, p_i).

    log ‖v‖² has an explicit density under the localisation, so log L has the convolution of them; sums over an even
    grid of these analytic densities are exact to rounding. Monomials are k = 1; deep linear networks with a hidden
    width of one are p = 1.
    """
    step = 0.05

    def moments(n_beta: float, localization: float) -> Moments:
        flattest = min(k / (2 * p) for k, p in factors)  # mass falls off as exp(flattest·t) on the left
        lowest = -np.log1p(n_beta * coefficient) - 45 / flattest
        density, start = np.ones(1), 0
        for k, p in factors:
            highest = p * np.log((6 * k + 90) / localization)
            index = np.arange(int(np.floor(min(lowest, highest - 60) / step)), int(np.ceil(max(highest, 0) / step)))
            log_q = index * step / p
            log_density = 0.5 * k * log_q - 0.5 * localization * np.exp(log_q)
            density = np.convolve(density, np.exp(log_density - log_density.max()))
            start += int(index[0])
        f = n_beta * coefficient * np.exp((start + np.arange(len(density))) * step)
        with np.errstate(divide="ignore"):
            return average(np.log(density) - f, f)

    return moments
