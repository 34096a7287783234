"""The toy model of superposition (Elhage et al. 2022): n sparse features through two hidden dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ontogeny.core.types import Batch, Params

HIDDEN = 2


class Superposition(nn.Module):
    """x̂ = ReLU(WᵀWx + b), W of shape (2, n), b of shape (n,)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``x`` of shape (batch, n) through the two hidden dimensions."""
        return torch.relu(x @ self.weight.T @ self.weight + self.bias)


class SuperpositionLoss:
    """Importance-weighted squared error Σ_i importance_i·(x_i - x̂_i)², one value per example; params "weight", "bias".

    Called plainly it is the textbook expression; ``stacked`` is the same arithmetic broadcast over a trailing chain
    axis, so that thousands of chains, or the seeds of a training run, are one vectorised loop.
    """

    def __init__(self, importance: Tensor) -> None:
        self.importance = importance

    def __call__(self, params: Params, batch: Batch) -> Tensor:
        """Shape ``(batch,)``."""
        weight = params["weight"]
        output = torch.relu(batch @ weight.T @ weight + params["bias"])
        return (self.importance.to(output) * (batch - output) ** 2).sum(-1)

    def stacked(self, params: Params, batch: Batch) -> Tensor:
        """Shape ``(batch, chains)``. ``batch`` is (batch, n), shared, or (batch, n, chains), one a chain."""
        x = batch if batch.dim() == 3 else batch[:, :, None]  # (batch, n, chains or 1)
        form = self._by_feature if torch.compiler.is_compiling() else self._by_tensor
        return form(params["weight"], params["bias"], x)

    def _by_tensor(self, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        hidden = (x[:, None] * weight).sum(2)  # (batch, 2, chains)
        output = torch.relu((hidden[:, :, None] * weight).sum(1) + bias)  # (batch, n, chains)
        return (self.importance.to(output)[:, None] * (output - x) ** 2).sum(1)

    def _by_feature(self, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        """The same sums written out: no loop over features is left, and the compiler keeps everything in registers."""
        features, units = range(bias.shape[0]), range(HIDDEN)
        hidden = [sum((x[:, i] * weight[k, i] for i in features), torch.zeros(())) for k in units]  # (batch, chains)
        total = torch.zeros(())
        for i in features:
            output = torch.relu(sum((hidden[k] * weight[k, i] for k in units), bias[i]))
            total = total + self.importance[i].to(output) * (output - x[:, i]) ** 2
        return total


def importances(features: int, decay: float) -> Tensor:
    """decay^i for feature i = 0 … n-1, shape (n,)."""
    return decay ** torch.arange(features, dtype=torch.float64)


def sparse_features(shape: tuple[int, ...], sparsity: float, stream: torch.Generator) -> Tensor:
    """Features uniform on [0, 1], each zero with probability ``sparsity`` (S), float32."""
    values = torch.rand(shape, generator=stream)
    return values * (torch.rand(shape, generator=stream) >= sparsity)
