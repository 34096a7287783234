"""Hessian-vector products and the largest eigenvalue, for many positions at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import hessian, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ontogeny.core.trees import tree_map
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


def dense_hessian(loss: Loss, params: Params, batch: Batch, chunk: int = 64) -> Tensor:
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


def largest_eigenvalue(
    product: Callable[[Params], Params], start: Params, masks: Params | None = None, iterations: int = 30
) -> float:
    """The algebraically largest eigenvalue by power iteration, as the Rayleigh quotient vᵀHv of a unit vector v.

    ``product`` maps v to H·v, both without a chain axis; ``masks`` restrict H to the sampled weights. Where the
    eigenvalue of largest magnitude is negative, the iteration is repeated on H shifted by it. A lower bound, within a
    few percent after 30 iterations unless the two largest are nearly equal. Units: loss/weight².
    """
    value = _power_iteration(product, start, masks, 0.0, iterations)
    return value if value >= 0 else _power_iteration(product, start, masks, -value, iterations)


def _power_iteration(
    product: Callable[[Params], Params], start: Params, masks: Params | None, shift: float, iterations: int
) -> float:
    def masked(vector: Params) -> Params:
        return vector if masks is None else tree_map(torch.mul, vector, masks)

    def inner(left: Params, right: Params) -> float:
        return sum(float((left[name] * right[name]).sum()) for name in left)

    vector, value = masked(start), 0.0
    for _ in range(iterations):
        length = inner(vector, vector) ** 0.5
        if not length > 0:
            return 0.0
        vector = {name: v / length for name, v in vector.items()}
        image = masked(product(vector))
        value = inner(vector, image)
        vector = {name: image[name] + shift * v for name, v in vector.items()}
    return value
