"""Problems small enough for a test: linear regression, a module, and draws of known settings."""

from typing import Any

import numpy as np
import torch
from torch import nn

from ontogeny.core.rng import generator

EXAMPLES = 40
SHORT: dict[str, Any] = {
    "n_beta": 20.0,
    "localization": 2.0,
    "step_size": 1e-3,
    "chains": 3,
    "draws": 30,
    "burn_in": 5,
    "progress": False,
}
"""Settings that leave nothing to be chosen; a run takes some hundredths of a second."""


def data(dtype: torch.dtype = torch.float32, examples: int = EXAMPLES) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (x, y) of a noisy regression: x (n, 3), y (n, 1)."""
    stream = generator(0, "tiny data")
    x = torch.randn(examples, 3, generator=stream, dtype=torch.float64)
    y = x.sum(1, keepdim=True) + 0.3 * torch.randn(examples, 1, generator=stream, dtype=torch.float64)
    return x.to(dtype), y.to(dtype)


class Regression(nn.Module):
    """A layer of three hidden units and a read-out: parameters inner.weight, inner.bias, outer.weight, outer.bias."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 1)
        stream = generator(0, "tiny model")
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=stream))
        self.to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 3) to (batch, 1)."""
        return self.outer(torch.tanh(self.inner(x)))


class Linear(nn.Module):
    """One layer, read as ``inner.weight`` and ``inner.bias``."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 1)
        with torch.no_grad():
            self.inner.weight.fill_(1.0)
            self.inner.bias.zero_()
        self.to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 3) to (batch, 1)."""
        return self.inner(x)


def squares(model: nn.Module, batch: Any) -> torch.Tensor:
    """Half the squared error, one value per example."""
    return 0.5 * ((model(batch[0]) - batch[1]) ** 2).sum(-1)


def same_numbers(first: Any, second: Any, rtol: float = 0.0) -> None:
    """Every variable of two Datasets agrees, bit for bit or to ``rtol``, words exactly.

    Attributes are not compared, but where a setting is a variable of the one, of several runs, and one of the other's.
    """
    common = set(first.data_vars) & set(second.data_vars)
    for one, other in ((first, second), (second, first)):
        for name in set(one.data_vars) - common:
            assert (one[name].values == other.attrs[name]).all(), name
    for name in common:
        one, other = first[name], second[name]
        assert one.dims == other.dims, name
        if one.dtype.kind in "OUT":
            assert (one.values == other.values).all(), name
        else:
            atol = rtol * max(float(np.max(np.nan_to_num(np.abs(one.values)), initial=0.0)), 1e-30) if rtol else 0.0
            np.testing.assert_allclose(one.values, other.values, rtol=rtol, atol=atol, err_msg=str(name))
