"""Hessian-vector products of any loss, and dense Hessians of small models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import hessian, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ontogeny.core.trees import tree_map
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.operators.linear_operator import Product
from ontogeny.operators.vectors import AT_ONCE, PullBack, cut, leaves_of, rows_of


def hessian_products(loss: Loss, params: Params, batch: Batch, together: int = AT_ONCE) -> Product:
    """v ↦ H·v of the mean loss at ``params``, for many v: the gradient is computed once, and differentiated along each.

    ``together``: how many at once. Attention runs on the kernel that can be differentiated twice. Loss/weight².
    """
    weights, gradient = _gradient(loss, params, batch)
    back = PullBack(gradient, weights, together)
    return lambda vectors: rows_of(back(cut(vectors, weights)), vectors.dtype)


def hessian_vector_products(loss: Loss, params: Params, batch: Batch) -> Callable[[Params], Params]:
    """v ↦ H·v of the mean loss at ``params`` (no chain axis), one vector at a time; units of v times loss/weight².

    The gradient is computed once, here, and kept. Plain autograd, so that models which cannot be batched have a
    curvature too; attention runs on the kernel that can be differentiated twice.
    """
    weights, gradient = _gradient(loss, params, batch)
    back = PullBack(gradient, weights)

    def product(vector: Params) -> Params:
        image = back([v.detach().unsqueeze(0) for v in vector.values()])
        return {name: value[0] for name, value in zip(params, image, strict=True)}

    return product


def mean_hessian_product(
    loss: Loss, params: Params, batches: Sequence[Batch], keep: bool
) -> Callable[[Params], Params]:
    """v ↦ mean over batches of H·v, as :func:`hessian_vector_products`.

    ``keep``: hold the gradients of all batches from one v to the next; else one at a time, anew for each v.
    """
    kept = [hessian_vector_products(loss, params, batch) for batch in batches] if keep else None

    def product(vector: Params) -> Params:
        products = kept or (hessian_vector_products(loss, params, batch) for batch in batches)
        return tree_map(lambda *parts: torch.stack(parts).mean(0), *(each(vector) for each in products))

    return product


def _gradient(loss: Loss, params: Params, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """Weights as leaves, and the gradient of the mean loss in them, which can be differentiated once more."""
    leaves = leaves_of(params)
    weights = list(leaves.values())
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        gradient = torch.autograd.grad(
            loss(leaves, batch).mean(), weights, create_graph=True, allow_unused=True, materialize_grads=True
        )
    return weights, list(gradient)


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
