"""Fisher matrices as products and as draws of gradients: of the data's own targets, or of targets the model draws."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ontogeny.core.types import Batch, Loss, Params
from ontogeny.operators.gauss_newton import Split
from ontogeny.operators.linear_operator import Product
from ontogeny.operators.output_law import Law, law_of
from ontogeny.operators.vectors import AT_ONCE, PullBack, cut, leaves_of, push_forward, rows_of


def empirical_fisher_products(losses: Loss, params: Params, batch: Batch, together: int = AT_ONCE) -> Product:
    """v ↦ (1/u) Σ_i g_i (g_i·v), g_i = ∇ℓ_i of the u single losses of the batch (one an example, or a position).

    No gradient of a single loss is ever computed: g_i·v is what the vector of losses does along v. Loss²/weight².
    """
    leaves = leaves_of(params)
    weights = list(leaves.values())
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        every = losses(leaves, batch).flatten()
        forward, back = push_forward(every, weights, together), PullBack([every], weights, together)

    def product(vectors: Tensor) -> Tensor:
        (along,) = forward(cut(vectors, weights))
        return rows_of(back([along / every.numel()]), vectors.dtype)

    return product


class Gradients:
    """Single losses of a batch, to take sums of their gradients: Σ_i s_i·∇ℓ_i for rows of s, ``(k, units)``."""

    def __init__(self, losses: Loss, params: Params, batch: Batch, together: int = AT_ONCE) -> None:
        leaves = leaves_of(params)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self._losses = losses(leaves, batch)
        self._back = PullBack([self._losses], list(leaves.values()), together)

    @property
    def units(self) -> int:
        """u, how many single losses there are."""
        return self._losses.numel()

    def squared_norms(self, signs: Tensor) -> Tensor:
        """‖Σ_i s_i·∇ℓ_i‖²/u, shape ``(k,)``, in loss²/weight².

        With signs ±1 at random its mean is the trace of the empirical Fisher matrix, at the price of one gradient.
        """
        cotangent = signs.reshape(-1, *self._losses.shape).to(self._losses)
        return rows_of(self._back([cotangent])).square().sum(1) / self.units


class ModelScores:
    """Gradients of -log p(y) for targets y that the model draws at a batch's inputs."""

    def __init__(self, split: Split, params: Params, batch: Batch, name: str) -> None:
        leaves = leaves_of(params)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            outputs = split(leaves, batch)
            self._law: Law = law_of(outputs.output, outputs.losses, name)
        self._back = PullBack([outputs.output], list(leaves.values()))

    def squared_norm(self, stream: torch.Generator, weights: Tensor | None = None) -> float:
        """‖Jᵀc‖² of :meth:`gradient`: its mean is the trace of JᵀHJ. Loss/weight²."""
        return float(self.gradient(stream, weights).square().sum())

    def gradient(self, stream: torch.Generator, weights: Tensor | None = None) -> Tensor:
        """Jᵀc for one draw of c with E[ccᵀ] = ∂²L/∂z², one row ``(1, d)``; its part at some weights is theirs alone.

        c is the gradient of the loss in the output with targets drawn by the model, independently by position; since
        scores of different positions are uncorrelated, one gradient of their sum serves all of them. ``weights``
        multiply the positions, shape of the output without its last axis.
        """
        cotangent = self._law.draw(stream)
        if weights is not None:
            cotangent = cotangent * weights.sqrt().unsqueeze(-1).to(cotangent)
        return rows_of(self._back([cotangent.unsqueeze(0)]))
