"""Gauss-Newton products: the part of the Hessian that comes through the model's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ontogeny.core.types import Batch, Params
from ontogeny.operators.linear_operator import Product
from ontogeny.operators.vectors import AT_ONCE, PullBack, cut, leaves_of, push_forward, rows_of


class Outputs(NamedTuple):
    """One forward pass, split where the model hands over to the loss."""

    output: Tensor
    """z, what the model returned, any shape."""
    losses: Tensor
    """What the loss function made of it, one value an example."""


Split = Callable[[Params, Batch], Outputs]
"""A forward pass at some weights on a batch."""


def gauss_newton_products(split: Split, params: Params, batch: Batch, together: int = AT_ONCE) -> Product:
    """v ↦ JᵀHJ·v, J = ∂z/∂w of the model's output z on the whole batch, H = ∂²L/∂z² of the mean loss.

    H comes from differentiating the loss twice, so any loss will do; for the negative log-likelihood of an exponential
    family in its natural parameters (cross-entropy in logits, squared error in the mean) the product is that of the
    Fisher matrix with targets drawn from the model at the batch's inputs. What the loss reads of the weights past z is
    not in it. Loss/weight². Source: Schraudolph 2002; Martens, arXiv:1412.1193.
    """
    leaves = leaves_of(params)
    weights = list(leaves.values())
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        output, losses = split(leaves, batch)
        (slope,) = torch.autograd.grad(losses.mean(), output, create_graph=True)
        forward, bend, back = (
            push_forward(output, weights, together),
            PullBack([slope], [output], together),
            PullBack([output], weights, together),
        )

    def product(vectors: Tensor) -> Tensor:
        (along,) = forward(cut(vectors, weights))
        return rows_of(back(bend([along])), vectors.dtype)

    return product
