"""The toy model of superposition at its critical points for one active feature: k-gons of six features in a plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ontogeny.core.rng import generator
from ontogeny.inputs.superposition import Superposition
from ontogeny.validation.data_versions import Version, need

if TYPE_CHECKING:
    from ontogeny.validation.problem import DataVersion

FEATURES = 6
NODES = 64
"""Midpoints of [0, 1] that stand for the active feature's value; the loss is a finite sum and exactly repeatable."""


def polygon_data(nodes: int = NODES) -> Tensor:
    """Every input, shape (6·nodes, 6): one feature at one midpoint, the others 0; all equally likely."""
    values = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    return torch.cat([values[:, None] * torch.eye(FEATURES, dtype=torch.float64)[i] for i in range(FEATURES)])


def polygon_loss(nodes: int = NODES) -> Callable[[Tensor], Tensor]:
    """Mean over ``polygon_data`` of ‖x - ReLU(WᵀWx + b)‖², W of shape (2, 6).

    The weights are flat, (..., 18): W row by row, then b. Shared sums keep it at 36·nodes ReLUs per evaluation.
    """
    values = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    target = values[:, None, None] * torch.eye(FEATURES, dtype=torch.float64)  # (node, active i, output j)

    def loss(w: Tensor) -> Tensor:
        W = w[..., : 2 * FEATURES].unflatten(-1, (2, FEATURES))
        bias = w[..., 2 * FEATURES :]
        gram = (W.mT @ W)[..., None, :, :]  # symmetric, so the same for input i and output j
        x, y = values.to(w)[:, None, None], target.to(w)
        return (torch.relu(x * gram + bias[..., None, None, :]) - y).square().mean(-3).sum((-2, -1)) / FEATURES

    return loss


@lru_cache(maxsize=8)
def polygon(corners: int, spare_bias: float | None = None) -> Tensor:
    """The critical point with ``corners`` features on a regular polygon, shape (18,), float64.

    Radius and bias minimise the loss among regular polygons (Chen et al. 2023, arXiv:2310.06301). The other features
    have zero weights and the bias ``spare_bias``.
    """
    from scipy.optimize import fmin

    loss = polygon_loss()
    angle = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    circle = torch.stack([angle.cos(), angle.sin()])

    def assemble(radius: float, bias: float) -> Tensor:
        spare = FEATURES - corners
        W = torch.cat([radius * circle, torch.zeros(2, spare, dtype=torch.float64)], 1)
        biases = [
            torch.full((corners,), bias, dtype=torch.float64),
            torch.full((spare,), spare_bias or 0.0, dtype=torch.float64),
        ]
        return torch.cat([W.flatten(), *biases])

    def height(point: Any) -> float:
        return float(loss(assemble(point[0], point[1])))

    radius, bias = fmin(height, (1.17, -0.28) if corners == 5 else (1.32, -0.62), xtol=1e-12, ftol=1e-16, disp=False)
    return assemble(radius, bias)


def reconstruction(model: nn.Module, batch: Any) -> Tensor:
    """‖x - model(x)‖², one value per example."""
    (inputs,) = batch
    return (inputs - model(inputs)).square().sum(-1)


def polygon_version(corners: int, spare_bias: float | None) -> DataVersion:
    """``polygon_data`` repeated to the number of examples, a multiple of 384; there are no labels to be noisy."""

    def make(examples: int, seed: int, label_noise: float) -> Version:
        rows = polygon_data()
        need(examples, len(rows), len(rows))
        order = torch.randperm(examples, generator=generator(seed, "polygon"))
        point = polygon(corners, spare_bias)
        model = Superposition(point[: 2 * FEATURES].reshape(2, FEATURES).clone(), point[2 * FEATURES :].clone())
        return model, (rows.repeat(examples // len(rows), 1)[order],), reconstruction

    return make
