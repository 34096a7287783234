"""Polynomial losses whose minima cross or are flat to high order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ontogeny.validation.data_versions import linear_network, monomial_regression
from ontogeny.validation.problem import Problem
from ontogeny.validation.quadrature import (
    Moments,
    average,
    disjoint,
    line,
    norm_product,
    panels,
    reach,
    residual_given,
)
from ontogeny.validation.regular_problems import at


def monomial(name: str, formula: str, *powers: int) -> Problem:
    """∏ w_i^{2k_i} at 0: λ = min 1/(2k_i), m the number of weights attaining it."""

    def loss(w: Tensor) -> Tensor:
        product = w[..., 0] ** powers[0]
        for i, power in enumerate(powers[1:], start=1):
            product = product * (w[..., i] if power == 1 else w[..., i] ** power)
        return product.square()

    highest = max(powers)
    return Problem(
        name,
        formula,
        len(powers),
        "quadrature",
        1 / (2 * highest),
        powers.count(highest),
        norm_product(1.0, *((1, power) for power in powers)),
        at(loss, [0.0] * len(powers)),
        monomial_regression(powers),
    )


def powers_sum(name: str, formula: str, powers: tuple[int, ...], repeats: int = 1) -> Problem:
    """Σ w_i^{p_i} at 0, p_i even: λ = Σ 1/p_i."""

    def moments(n_beta: float, localization: float) -> Moments:
        parts = [norm_product(1.0, (1, p / 2))(n_beta, localization) for p in powers]
        return disjoint(*((repeats, part) for part in parts))

    def loss(w: Tensor) -> Tensor:
        blocks = w.unflatten(-1, (len(powers), repeats))
        total = (blocks[..., 0, :] ** powers[0]).sum(-1)
        for i, power in enumerate(powers[1:], start=1):
            total = total + (blocks[..., i, :] ** power).sum(-1)
        return total

    dim = len(powers) * repeats
    coefficient = repeats * sum(1 / p for p in powers)
    return Problem(name, formula, dim, "quadrature", coefficient, 1, moments, at(loss, [0.0] * dim))


def radial_quartic(dim: int) -> Problem:
    """¼‖w‖⁴ at 0, where the Hessian vanishes in every direction: λ = d/4."""
    loss = at(lambda w: 0.25 * w.square().sum(-1).square(), [0.0] * dim)
    moments = norm_product(0.25, (dim, 2))
    return Problem("radial quartic", f"¼‖w‖⁴, {dim} weights", dim, "quadrature", dim / 4, 1, moments, loss)


def three_lines() -> Problem:
    """Minimal on the three axes; λ = 3/4 from the Newton polyhedron of (w₁w₂, w₂w₃, w₃w₁)."""

    def moments(n_beta: float, localization: float) -> Moments:
        u, du = panels(
            0.1 * (localization / (n_beta + localization)) ** 0.5 / localization**0.5, reach(localization), 25
        )
        a, b = u[:, None] ** 2, u[None, :] ** 2
        f = n_beta * a * b
        log_v, mean, variance = residual_given(n_beta, localization, np.sqrt(2 * (a + b)), np.zeros_like(f))
        log_weight = np.log(du[:, None] * du[None, :]) - f - 0.5 * localization * (a + b) + log_v
        return average(log_weight, mean + f, variance)

    def loss(w: Tensor) -> Tensor:
        products = w * w.roll(1, -1)
        return products.square().sum(-1)

    return Problem("three lines", "w₁²w₂² + w₂²w₃² + w₃²w₁²", 3, "quadrature", 0.75, 1, moments, at(loss, [0.0] * 3))


def chain(layers: int) -> Problem:
    """½(w₁…w_L - 1)² at (1, …, 1): smooth there, and λ = ½.

    All of the posterior counts, the far sheets with an even number of negative weights too (e^{-4γ} of it or less,
    with nearly the same λ̂).
    """
    moments = _chain_of_two if layers == 2 else _chain_of_three

    def loss(w: Tensor) -> Tensor:
        product = w[..., 0] * w[..., 1]
        for i in range(2, layers):
            product = product * w[..., i]
        return 0.5 * (product - 1).square()

    name, formula = ("chain", "½(w₁w₂ - 1)²") if layers == 2 else ("chain of three", "½(w₁w₂w₃ - 1)²")
    data = linear_network([torch.ones(1, 1)] * layers)
    return Problem(name, f"{formula} at 1", layers, "quadrature", 0.5, 1, moments, at(loss, [1.0] * layers), data)


def _chain_of_two(n_beta: float, localization: float) -> Moments:
    u, du = line(0.0, 0.1 * (localization / (n_beta + localization)) ** 0.5, 1 + reach(localization), 150)
    log_v, mean, variance = residual_given(n_beta, localization, u, u - 1)
    return average(np.log(du) - 0.5 * localization * (u - 1) ** 2 + log_v, mean, variance)


def _chain_of_three(n_beta: float, localization: float) -> Moments:
    u, du = line(0.0, 0.1 * (localization / (n_beta + localization)) ** 0.5, 1 + reach(localization), 50)
    product = u[:, None] * u[None, :]
    log_v, mean, variance = residual_given(n_beta, localization, product, product - 1)
    far = (u[:, None] - 1) ** 2 + (u[None, :] - 1) ** 2
    return average(np.log(du[:, None] * du[None, :]) - 0.5 * localization * far + log_v, mean, variance)


def singular_problems() -> tuple[Problem, ...]:
    """Crossings and flat valleys."""
    return (
        monomial("quartic", "w⁴", 2),
        monomial("sextic", "w⁶", 3),
        monomial("node", "w₁² w₂²", 1, 1),
        monomial("triple node", "w₁² w₂² w₃²", 1, 1, 1),
        monomial("steep node", "w₁² w₂⁴", 1, 2),
        monomial("quartic node", "w₁⁴ w₂⁴", 2, 2),
        powers_sum("sum", "w₁² + w₂⁴", (2, 4)),
        powers_sum("mixed powers", "Σ w_i² + u_i⁴ + v_i⁶, ten of each", (2, 4, 6), 10),
        radial_quartic(10),
        three_lines(),
        chain(2),
        chain(3),
    )
