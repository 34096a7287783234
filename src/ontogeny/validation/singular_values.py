"""Exact λ̂ of two-layer linear networks at zero: an ensemble of singular values, integrated by a Pfaffian."""

from __future__ import annotations

import numpy as np

from ontogeny.validation.quadrature import POINTS, Array, Exact, Moments, panels, reach


def reduced_rank(inputs: int, hidden: int, outputs: int) -> Exact:
    """L = ½‖BA‖²_F at 0, A of shape (hidden, inputs), B of shape (outputs, hidden).

    Given A, B is Gaussian, which leaves an integral over the k = min(hidden, inputs) singular values s of A, with
    x = s²:  ∏ x^{(|inputs-hidden|-1)/2} e^{-γx/2} (nβx + γ)^{-outputs/2} · ∏_{i<j} |x_i - x_j|.
    De Bruijn (1955) writes it as the Pfaffian of the skew products of any k polynomials, so that
    log Z and its derivatives in log nβ need one-dimensional integrals only, for any width.
    """
    inputs, outputs = min(inputs, outputs), max(inputs, outputs)
    k, gap = min(hidden, inputs), abs(inputs - hidden)

    def moments(n_beta: float, localization: float) -> Moments:
        inner = 0.3 * (localization / (n_beta + localization) / max(1.0, localization)) ** 0.5
        outer = reach(localization) + 2 * ((inputs + hidden) / localization) ** 0.5
        s, ds = panels(inner, outer)
        x = s**2
        log_weight = gap * np.log(s) - 0.5 * localization * x - 0.5 * outputs * np.log(n_beta * x + localization)
        share = n_beta * x / (n_beta * x + localization)
        weight = np.exp(log_weight - log_weight.max())
        first = -0.5 * outputs * share  # d log weight / d log nβ
        second = first**2 - 0.5 * outputs * share * (1 - share)  # weight'' / weight
        basis = _orthonormal(x, weight**2 * s * ds, k)  # in L²(d log s) the skew products are well conditioned
        zeroth, once, twice = (
            _skew(basis, basis, weight * a, weight * b, ds) for a, b in ((1, 1), (first, 1), (second, 1))
        )
        crossed = _skew(basis, basis, weight * first, weight * first, ds)
        A, dA = zeroth, once - once.T
        ddA = twice - twice.T + 2 * crossed
        if k % 2:
            border = [basis @ (weight * factor * ds) for factor in (1.0, first, second)]
            A, dA, ddA = (_bordered(*pair) for pair in zip((A, dA, ddA), border, strict=True))
        ratio, ratio2 = np.linalg.solve(A, dA), np.linalg.solve(A, ddA)
        mean = -0.5 * np.trace(ratio)
        curvature = 0.5 * (np.trace(ratio2) - np.trace(ratio @ ratio))
        return Moments(float(mean), float(mean + curvature))

    return moments


def _orthonormal(x: Array, mass: Array, count: int) -> Array:
    """Polynomials of degree 0 … count-1 at the nodes, orthonormal under ``mass``, by Stieltjes' recurrence."""
    rows: list[Array] = []
    new = np.ones_like(x)
    for _ in range(count):
        for _ in range(2):  # twice is enough (Kahan)
            for old in rows:
                new = new - (old * new * mass).sum() * old
        new = new / np.sqrt((new * new * mass).sum())
        rows.append(new)
        new = new * x
    return np.array(rows)


def _skew(left: Array, right: Array, left_weight: Array, right_weight: Array, ds: Array) -> Array:
    """∬ sign(y - x) left_i(x) right_j(y) dx dy over the nodes' densities, shape (k, k)."""
    a, b = left * left_weight, right * right_weight
    below = _cumulative(a, ds)  # integral up to the node
    whole = a @ ds
    return (2 * below - whole[:, None]) @ (b * ds).T


def _cumulative(values: Array, ds: Array) -> Array:
    """Integral of each row from 0 to each node, panel by panel through the interpolating polynomial."""
    unit, weight = np.polynomial.legendre.leggauss(POINTS)
    powers = np.vander(unit, increasing=True)
    upto = np.array([(unit ** (j + 1) - (-1.0) ** (j + 1)) / (j + 1) for j in range(POINTS)]).T
    within = upto @ np.linalg.inv(powers)  # integral from -1 to node i, from values at the nodes
    # in the panel's own variable the density is values·ds/weight
    scaled = (values * ds).reshape(len(values), -1, POINTS) / weight
    totals = (scaled * weight).sum(-1)
    before = np.cumsum(totals, axis=-1) - totals
    return (before[..., None] + scaled @ within.T).reshape(len(values), -1)


def _bordered(matrix: Array, border: Array) -> Array:
    """The skew matrix [[matrix, border], [-borderᵀ, 0]], for an odd number of singular values."""
    k = len(border)
    out = np.zeros((k + 1, k + 1))
    out[:k, :k], out[:k, k], out[k, :k] = matrix, border, -border
    return out
