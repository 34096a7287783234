"""Small classifiers and tanh networks whose posterior is an integral of at most three dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ontogeny.core.errors import OntogenyError
from ontogeny.validation.data_versions import logistic_regression, softmax_labels, tanh_regression
from ontogeny.validation.problem import Problem
from ontogeny.validation.quadrature import (
    Array,
    Exact,
    Moments,
    average,
    gaussian_given,
    line,
    panels,
    reach,
)
from ontogeny.validation.regular_problems import at

INPUTS = tuple((j + 0.5) / 4 for j in range(8))  # the tanh networks' inputs, taken with both signs


def softmax(classes: int) -> Problem:
    """Cross-entropy of a bias-only softmax under balanced labels, at 0; one direction is flat, so λ = (K-1)/2."""
    return Problem(
        f"softmax {classes}",
        f"log Σ e^b - mean b, {classes} classes, at 0",
        classes,
        "quadrature",
        (classes - 1) / 2,
        1,
        _softmax_moments(classes),
        at(lambda b: b.logsumexp(-1) - b.mean(-1), [0.0] * classes),
        softmax_labels(classes),
    )


def _softmax_moments(classes: int) -> Exact:
    """(Σ e^b)^{-nβ} = ∫ e^{nβτ} e^{-e^τ Σ e^b} dτ / Γ(nβ) sets the K biases apart: two nested integrals for any K.

    The integral over τ grows long as nβ falls, so there is no value below nβ = 0.1.
    """
    from scipy.special import digamma, polygamma

    K = classes

    def moments(n_beta: float, localization: float) -> Moments:
        if n_beta < 0.1:
            raise OntogenyError(f"n_beta must be at least 0.1 for the exact value of a softmax; got {n_beta}.")
        share = n_beta / K
        spread = (1 / n_beta + 1 / (K * localization)) ** 0.5  # τ's standard deviation, nearly
        tau = np.log(share) + spread * np.arange(-14 - 40 / (n_beta * spread), 14.01, 0.2)[:, None]
        mode = np.log(share) - tau
        for _ in range(60):
            pull = np.exp(np.minimum(tau + mode, 50.0))
            mode = mode - np.clip((localization * mode - share + pull) / (localization + pull), -1, 1)
        width = 1 / np.sqrt(localization + np.exp(tau + mode))
        b = mode + width * np.arange(-16, 16.01, 0.1)
        log_density = share * b - 0.5 * localization * b**2 - np.exp(np.minimum(tau + b, 700.0))
        top = log_density.max(1, keepdims=True)
        mass = np.exp(log_density - top)
        total = mass.sum(1, keepdims=True)
        mean_b = (mass * b).sum(1, keepdims=True) / total
        variance_b = (mass * (b - mean_b) ** 2).sum(1, keepdims=True) / total
        log_weight = n_beta * tau + K * (top + np.log(total * width))
        slope = average(log_weight, tau + mean_b - np.log(share), variance_b / K)
        mean = n_beta * (digamma(n_beta) - np.log(n_beta) - slope.mean)
        second = n_beta**2 * (slope.variance - polygamma(1, n_beta))
        return Moments(float(mean), float(second))

    return moments


def logistic() -> Problem:
    """Logistic regression on (1, ±1, ±1), a quarter or three quarters of the labels one: w* = (0, log 3, 0)."""
    rows = np.array([[1.0, x, y] for x in (-1, 1) for y in (-1, 1)])
    chance, w_star = np.array([0.25, 0.25, 0.75, 0.75]), np.array([0.0, np.log(3.0), 0.0])

    def moments(n_beta: float, localization: float) -> Moments:
        # given its four logits, at whitened distance up to 15; the Hessian at w* is 3/16 of the identity
        step = np.arange(-15, 15.01, 0.4) / (n_beta * 3 / 16 + localization) ** 0.5
        u = np.stack(np.meshgrid(step, step, step, indexing="ij"), -1).reshape(-1, 3)
        excess = np.zeros(len(u))
        for row, p in zip(rows, chance, strict=True):
            z0 = row @ w_star
            z = z0 + u @ row
            excess += 0.25 * (np.logaddexp(0, z) - np.logaddexp(0, z0) - p * (z - z0))
        return average(-n_beta * excess - 0.5 * localization * (u**2).sum(1), n_beta * excess)

    X, p = torch.as_tensor(rows).float(), torch.as_tensor(chance).float()
    return Problem(
        "logistic",
        "mean of softplus(z) - pz, z = w·(1, ±1, ±1), p = ¼, ¼, ¾, ¾",
        3,
        "quadrature",
        1.5,
        1,
        moments,
        at(lambda w: _mean_log_loss(w @ X.T.to(w.dtype), p), w_star.tolist()),
        logistic_regression(X, (1, 1, 3, 3), torch.as_tensor(w_star)),
    )


def _mean_log_loss(z: Tensor, p: Tensor) -> Tensor:
    return (functional.softplus(z) - p * z).mean(-1)


def tanh_units(units: int, truth: float) -> Problem:
    """½ mean_x (Σ a_i tanh(b_i x) - truth·tanh x)² over x = ±1/8, ±3/8 … ±15/8; w = (a, b).

    Truth 0, at 0: λ = (H + i² + i)/(4i + 2), i = ⌊√H⌋, m = 2 if i² = H. Truth 1 with one unit, at (1, 1): regular.
    Given the incoming weights b the outgoing ones are Gaussian.
    """
    i = int(units**0.5)
    known = (1.0, 1) if truth else ((units + i * i + i) / (4 * i + 2), 2 if i * i == units else 1)
    w_star = torch.full((2 * units,), float(truth))
    positive = torch.tensor(INPUTS)
    target = truth * torch.tanh(positive)

    def loss(w: Tensor) -> Tensor:
        outgoing, incoming = w[..., :units, None], w[..., units:, None]
        output = (outgoing * torch.tanh(incoming * positive)).sum(-2)
        return 0.5 * ((output - target) if truth else output).square().mean(-1)

    one = ("one tanh unit", "two tanh units")[units - 1]
    return Problem(
        one if not truth else f"{one}, truth 1",
        f"½ mean (Σ a_i tanh(b_i x) - {truth:g}·tanh x)², {units} units, 16 inputs, at {truth:g}",
        2 * units,
        "quadrature",
        *known,
        _one_tanh(truth) if units == 1 else _two_tanh,
        at(loss, w_star),
        tanh_regression(positive, w_star[:units], w_star[units:]),
    )


def _one_tanh(truth: float) -> Exact:
    x = np.array(INPUTS)

    def moments(n_beta: float, localization: float) -> Moments:
        inner = 0.1 * (min(1.0, localization) / (n_beta + localization)) ** 0.5
        b, db = line(truth, inner, reach(localization), 400 if truth else 60)
        active, target = np.tanh(b[:, None] * x), truth * np.tanh(x)
        log_a, mean, variance = gaussian_given(
            n_beta,
            localization,
            (active**2).mean(1)[:, None, None],
            (active * target).mean(1)[:, None],
            np.full_like(b, 0.5 * (target**2).mean()),
            np.array([truth]),
        )
        return average(np.log(db) + log_a - 0.5 * localization * (b - truth) ** 2, mean, variance)

    return moments


def _two_tanh(n_beta: float, localization: float) -> Moments:
    """Over b₁ ≥ b₂ ≥ 0, which the signs and the order of the units repeat eight times; b₂ = p, b₁ = p + q."""
    x = np.array(INPUTS)
    inner = 0.1 * (localization / (n_beta + localization)) ** 0.5 / max(1.0, localization**0.5)
    p, dp = panels(inner, reach(localization), 16)
    first, second = _tanh_features(p[:, None] + p[None, :], x), _tanh_features(p[:, None], x)
    H: Any = np.empty((len(p), len(p), 2, 2))
    H[..., 0, 0], H[..., 1, 1] = (first**2).mean(-1), (second**2).mean(-1)
    H[..., 0, 1] = H[..., 1, 0] = (first * second).mean(-1)
    zero = np.zeros(2)
    log_a, mean, variance = gaussian_given(
        n_beta, localization, H, np.zeros((len(p), len(p), 2)), np.zeros(H.shape[:2]), zero
    )
    square = (p[:, None] + p[None, :]) ** 2 + p[:, None] ** 2
    log_weight = np.log(dp[:, None] * dp[None, :]) + log_a - 0.5 * localization * square
    return average(log_weight, mean, variance)


def _tanh_features(b: Array, x: Array) -> Array:
    return np.tanh(b[..., None] * x)


def small_network_problems() -> tuple[Problem, ...]:
    """Classifiers and tanh networks of two to twenty weights."""
    return (softmax(3), softmax(20), logistic(), tanh_units(1, 0.0), tanh_units(2, 0.0), tanh_units(1, 1.0))
