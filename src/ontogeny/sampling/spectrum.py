"""What second order alone says of λ̂, where the whole spectrum of the Hessian at w* can be had."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.trees import size, tree_map
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.operators.hessian import dense_hessian, hessian_products
from ontogeny.operators.second_order import curvature_part, pull
from ontogeny.operators.vectors import flatten

MOST_WEIGHTS = 200


def second_order(
    loss: Loss,
    center: Params,
    batches: Sequence[Batch],
    n_beta: float,
    gamma: float,
    gradient: Params | None = None,
) -> tuple[float, float]:
    """(½ Σ nβh/(nβh + γ), -Σ (nβg)²/(nβh + γ)·(1 - nβh/(2(nβh + γ)))), h and g in the Hessian's eigenbasis at w*.

    Their sum is λ̂(nβ, γ) of the quadratic around w*, exactly; both are dimensionless. The first is what the Gaussian
    around w* leaves of d/2, the second what is due to w* being no minimum, and the most common reason for a negative
    λ̂. NaN above 200 sampled weights, where the loss is not finite, and where some nβh + γ is not positive, so that the
    quadratic has no posterior.

    Args:
        loss: its mean over a batch is L.
        center: w*, without a leading axis.
        batches: L is their mean; 2·d gradient evaluations of each are spent on d sampled weights.
        n_beta: nβ, 1/loss.
        gamma: γ, 1/weight².
        gradient: ∇L(w*) over all examples, with or without a leading axis of length one, where ``batches`` hold only
            some of them; the gradient of some would be counted as a slope of L.
    """
    if size(center) > MOST_WEIGHTS:
        return math.nan, math.nan
    hessian = np.mean([_hessian(loss, center, batch) for batch in batches], axis=0)
    if gradient is None:
        gradient = tree_map(lambda *g: torch.stack(g).mean(0), *(_gradient(loss, center, batch) for batch in batches))
    slope = flatten(gradient)
    if not (np.isfinite(hessian).all() and np.isfinite(slope).all()):
        return math.nan, math.nan
    h, basis = np.linalg.eigh(0.5 * (hessian + hessian.T))
    if not (n_beta * h + gamma > 0).all():
        return math.nan, math.nan
    along = (basis.T @ slope) ** 2
    return float(curvature_part(h, n_beta, gamma).sum()), float(-(pull(h, n_beta, gamma) * along).sum())


def _hessian(loss: Loss, center: Params, batch: Batch) -> np.ndarray:
    """The Hessian, float64, shape ``(d, d)``: whole where the loss batches, else by columns."""
    try:
        whole: Tensor = dense_hessian(loss, {name: v.unsqueeze(0) for name, v in center.items()}, batch)[0]
        return np.asarray(whole.detach().double().cpu().numpy())
    except Exception:  # whatever a stranger's model raises inside vmap, it means the same: column by column
        products = hessian_products(loss, center, batch, together=1)
    device = next(iter(center.values())).device
    return np.asarray(products(torch.eye(size(center), dtype=torch.float64, device=device)).cpu().numpy())


def _gradient(loss: Loss, center: Params, batch: Batch) -> Params:
    leaves = {name: value.detach().clone().requires_grad_() for name, value in center.items()}
    with torch.enable_grad():
        found = torch.autograd.grad(
            loss(leaves, batch).mean(), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
    return dict(zip(center, found, strict=True))
