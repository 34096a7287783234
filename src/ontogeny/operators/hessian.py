"""Hessian-vector products and the largest eigenvalue, for many positions at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import hessian, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ontogeny.core.types import Batch, Loss, Params


def hessian_vector_product(loss: Loss, params: Params, batch: Batch, vector: Params) -> Params:
    """H·v of the mean loss at ``params`` (no chain axis), by differentiating ∇L·v; units of v times loss/weight².

    Plain autograd, so that models which cannot be batched have a curvature too; attention runs on the kernel that can
    be differentiated twice.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    weights = list(leaves.values())
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        gradient = torch.autograd.grad(
            loss(leaves, batch).mean(), weights, create_graph=True, allow_unused=True, materialize_grads=True
        )
        slope = torch.stack([(g * v).sum() for g, v in zip(gradient, vector.values(), strict=True)]).sum()
        if not slope.requires_grad:  # a loss linear in the weights
            return {name: torch.zeros_like(value) for name, value in params.items()}
        image = torch.autograd.grad(slope, weights, allow_unused=True, materialize_grads=True)
    return dict(zip(params, image, strict=True))


def dense_hessian(loss: Loss, params: Params, batch: Batch, chunk: int = 8) -> Tensor:
    """The Hessian of the mean loss at every position of the leading axis, shape ``(positions, d, d)``.

    For models of at most a few hundred weights. Loss per weight².
    """
    names = list(params)
    positions = next(iter(params.values())).shape[0]
    flat = torch.cat([params[name].reshape(positions, -1) for name in names], dim=1)
    shapes = {name: params[name].shape[1:] for name in names}

    def mean(vector: Tensor) -> Tensor:
        out, start = {}, 0
        for name in names:
            count = shapes[name].numel()
            out[name] = vector[start : start + count].reshape(shapes[name])
            start += count
        return loss(out, batch).mean()

    return torch.cat([vmap(hessian(mean))(part) for part in flat.split(chunk)])


def largest_eigenvalue(product: Callable[[Params], Params], start: Params, tolerance: float = 1e-3) -> float:
    """The algebraically largest eigenvalue, by Lanczos (ARPACK through scipy), relative error about ``tolerance``.

    ``product`` maps v to H·v, both without a chain axis; ``start`` is where the Krylov space begins. Up to 16 weights
    the matrix is built and solved. A Ritz value is a lower bound. Units: loss/weight². NaN where a product is not
    finite.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    first = flatten(start)
    dim = first.size

    def apply(vector: np.ndarray) -> np.ndarray:
        return flatten(product(unflatten_like(vector.ravel(), start)))

    if dim <= SMALL:
        matrix = np.stack([apply(unit) for unit in np.eye(dim)])
        return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]) if np.isfinite(matrix).all() else math.nan
    image = apply(first)
    if not np.isfinite(image).all():
        return math.nan
    if not image.any():
        return 0.0
    operator = LinearOperator((dim, dim), matvec=apply, dtype=np.float64)
    try:
        return float(eigsh(operator, k=1, which="LA", v0=first, tol=tolerance, return_eigenvectors=False)[0])
    except ArpackError:  # as where the curvature is zero but for rounding
        return float(first @ image / (first @ first))


def krylov_top(product: Callable[[Params], Params], start: Params, steps: int) -> tuple[float, Params]:
    """The largest Ritz value after so many Lanczos steps from ``start``, and its vector: a lower bound, quickly.

    ``start`` must lie in the space that ``product`` maps to itself. Started from the Ritz vector of a position nearby,
    a few steps come within some per cent. Loss/weight²; NaN where a product is not finite.
    """
    basis = [flatten(start) / max(float(np.linalg.norm(flatten(start))), 1e-300)]
    images: list[np.ndarray] = []
    for _ in range(steps):
        image = flatten(product(unflatten_like(basis[-1], start)))
        if not np.isfinite(image).all():
            return math.nan, start
        images.append(image)
        rest = image.copy()
        for _ in range(2):  # once is not enough in the presence of rounding
            for vector in basis:
                rest -= (vector @ rest) * vector
        length = float(np.linalg.norm(rest))
        if length <= 1e-6 * max(float(np.linalg.norm(image)), 1e-300):
            break
        basis.append(rest / length)
    space = np.stack(basis[: len(images)])
    projected = space @ np.stack(images).T
    values, vectors = np.linalg.eigh((projected + projected.T) / 2)
    return float(values[-1]), unflatten_like(vectors[:, -1] @ space, start)


SMALL = 16


def flatten(params: Params) -> np.ndarray:
    """All weights as one float64 vector."""
    return np.concatenate([value.detach().double().cpu().numpy().ravel() for value in params.values()])


def unflatten_like(vector: np.ndarray, like: Params) -> Params:
    """Cut a vector into tensors of the shapes, dtypes and devices of ``like``."""
    pieces = np.split(vector, np.cumsum([value.numel() for value in like.values()])[:-1])
    return {
        name: torch.from_numpy(piece.reshape(value.shape)).to(value)
        for (name, value), piece in zip(like.items(), pieces, strict=True)
    }
