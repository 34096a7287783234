"""Quadratic wells of several spectra, and smooth or kinked wells that are not quadratic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.rng import generator
from ontogeny.validation.data_versions import Version, linear_regression
from ontogeny.validation.problem import Problem
from ontogeny.validation.quadrature import (
    Array,
    Exact,
    Moments,
    average,
    line,
    panels,
    quadratic,
    reach,
    residual_given,
)


def at(loss: Callable[[Tensor], Tensor], w_star: Sequence[float] | Tensor) -> Callable[[], tuple[Any, Tensor]]:
    """A ``build`` for a loss that needs no set-up."""
    return lambda: (loss, torch.as_tensor(w_star, dtype=torch.float32))


def rotation(dim: int, label: str) -> Tensor:
    """A fixed random orthogonal matrix, float64."""
    q, r = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator(0, "rotation", label)))
    return q * r.diagonal().sign()


def quadratic_well(name: str, formula: str, curvature: Array, *, rotated: bool = False) -> Problem:
    """½wᵀHw at 0, H = Q diag(h) Qᵀ; λ = ½ of the number of nonzero h."""

    def build() -> tuple[Any, Tensor]:
        half = torch.as_tensor(0.5 * curvature).float()
        if not rotated:
            return (lambda w: (half * w * w).sum(-1)), torch.zeros(len(half))
        Q = rotation(len(half), name).float()  # not H itself, whose rounding would drown the smallest h

        def loss(w: Tensor) -> Tensor:
            u = w @ Q.to(w.dtype)
            return (half * u * u).sum(-1)

        return loss, torch.zeros(len(half))

    used = curvature > 0
    exact = quadratic(curvature)

    def data(examples: int, seed: int, label_noise: float) -> Version:
        root = torch.as_tensor(curvature, dtype=torch.float64).sqrt().diag()[:, used.nonzero()[0]]
        return linear_regression(rotation(len(root), name) @ root if rotated else root)(examples, seed, label_noise)

    return Problem(name, formula, len(curvature), "closed form", int(used.sum()) / 2, 1, exact, build, data)


def tilted_well() -> Problem:
    """A quadratic started off its minimum, where λ̂ is negative."""
    h, g = np.logspace(-1, 1, 10), np.full(10, 0.05)
    half, slope = torch.as_tensor(0.5 * h).float(), torch.as_tensor(g).float()
    return Problem(
        "tilted",
        "Σ ½h_i w_i² + 0.05 w_i, h = logspace(-1, 1, 10), at 0, which is no minimum",
        10,
        "closed form",
        None,
        None,
        quadratic(h, g),
        at(lambda w: (w * (half * w + slope)).sum(-1), [0.0] * 10),
    )


def uneven_well() -> Problem:
    """Curvature 1 on one side of each weight, 0.01 on the other, as a ReLU's kink leaves it."""
    steep, shallow, dim = 1.0, 0.01, 8

    def moments(n_beta: float, localization: float) -> Moments:
        kappa = n_beta * np.array([steep, shallow]) + localization
        share = 1 - localization / kappa
        one = average(-0.5 * np.log(kappa), 0.5 * share, 0.5 * share**2)
        return Moments(dim * one.mean, dim * one.variance)

    def loss(w: Tensor) -> Tensor:
        return 0.5 * steep * w.relu().square().sum(-1) + 0.5 * shallow * (-w).relu().square().sum(-1)

    formula = "Σ ½h(w_i) w_i², h = 1 where w_i > 0, else 0.01; 8 weights"
    return Problem("uneven", formula, dim, "closed form", dim / 2, 1, moments, at(loss, [0.0] * dim))


def double_well() -> Problem:
    """(w² - 16)²/128 at 4: curvature 1, barrier 2; the other well lies 8 away and has no mass at γ ≥ 1."""

    def moments(n_beta: float, localization: float) -> Moments:
        inner = 0.3 / (n_beta + localization) ** 0.5
        (inside, d_inside), (outside, d_outside) = panels(inner, 4.0), panels(inner, 4.0 + reach(localization))
        right, d_right = np.concatenate([4 - inside, 4 + outside]), np.concatenate([d_inside, d_outside])
        w, dw = np.concatenate([-right, right]), np.concatenate([d_right, d_right])
        f = n_beta * (w**2 - 16) ** 2 / 128
        return average(np.log(dw) - f - 0.5 * localization * (w - 4) ** 2, f)

    loss = at(lambda w: (w.square() - 16).square().sum(-1) / 128, [4.0])
    return Problem("double well", "(w² - 16)²/128 at 4", 1, "quadrature", 0.5, 1, moments, loss)


def banana() -> Problem:
    """Rosenbrock's valley, moved to its minimum."""

    def moments(n_beta: float, localization: float) -> Moments:
        u, du = line(0.0, 0.3 / (n_beta + localization) ** 0.5, reach(localization))
        log_v, mean, variance = residual_given(n_beta, localization, np.full_like(u, 20**0.5), -(20**0.5) * u**2)
        f = 0.5 * n_beta * u**2
        return average(np.log(du) - f - 0.5 * localization * u**2 + log_v, mean + f, variance)

    def loss(w: Tensor) -> Tensor:
        u, v = w[..., 0], w[..., 1]
        return 0.5 * u.square() + 10 * (v - u.square()).square()

    return Problem("banana", "½w₁² + 10(w₂ - w₁²)²", 2, "quadrature", 1.0, 1, moments, at(loss, [0.0, 0.0]))


def sphere(dim: int) -> Problem:
    """(‖w‖² - 1)²/8 at a point of the unit sphere; the whole sphere is minimal, so λ = ½."""
    w_star = torch.eye(dim)[0]
    return Problem(
        f"sphere {dim}",
        f"(‖w‖² - 1)²/8, {dim} weights, at a point of the sphere",
        dim,
        "quadrature",
        0.5,
        1,
        _sphere_moments(dim),
        at(lambda w: (w.square().sum(-1) - 1).square() / 8, w_star),
    )


def _sphere_moments(dim: int) -> Exact:
    """In polar coordinates the angle gives a Bessel function of the radius."""
    from scipy.special import ive

    def moments(n_beta: float, localization: float) -> Moments:
        inner = 0.3 / (n_beta + localization) ** 0.5
        (inside, d_inside), (outside, d_outside) = panels(inner, 1.0, 60), panels(inner, 1 + reach(localization), 60)
        r, dr = np.concatenate([1 - inside, 1 + outside]), np.concatenate([d_inside, d_outside])
        f, order = n_beta * (r**2 - 1) ** 2 / 8, dim / 2 - 1
        angle = np.log(ive(order, localization * r)) - order * np.log(r)
        return average(np.log(dr) - f - 0.5 * localization * (r - 1) ** 2 + (dim - 1) * np.log(r) + angle, f)

    return moments


def regular_problems() -> tuple[Problem, ...]:
    """Wells with one scale per weight, or a smooth set of minima."""
    power = 100 * np.arange(1, 201.0) ** -2
    flat = np.concatenate([np.logspace(-1, 2, 20), np.zeros(20)])
    return (
        quadratic_well("quadratic", "½ Σ h_i w_i², h = logspace(-2, 2, 10)", np.logspace(-2, 2, 10)),
        quadratic_well("isotropic", "½‖w‖², 100 weights", np.ones(100)),
        quadratic_well(
            "ill-conditioned", "½wᵀHw, h = logspace(-3, 2, 20), rotated", np.logspace(-3, 2, 20), rotated=True
        ),
        quadratic_well("half flat", "½wᵀHw, h = logspace(-1, 2, 20) and 20 zeros, rotated", flat, rotated=True),
        quadratic_well("power law", "½ Σ h_i w_i², h_i = 100/i², i = 1 … 200", power),
        tilted_well(),
        uneven_well(),
        double_well(),
        banana(),
        sphere(2),
        sphere(10),
    )
