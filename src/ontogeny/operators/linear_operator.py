"""A symmetric matrix that is known by its products alone, over the selected weights laid out in one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.trees import size
from ontogeny.core.types import Batch, Params

Product = Callable[[Tensor], Tensor]
"""Vectors as rows to their images as rows, ``(k, d) -> (k, d)``, in the dtype of the vectors."""
COLUMNS = 64
"""So many columns of a dense matrix are computed together."""


class Operator:
    """A symmetric linear map of the d selected weights."""

    def __init__(self, product: Product, params: Params) -> None:
        self._product = product
        self.dim = size(params)
        first = next(iter(params.values()))
        self.device, self.dtype = first.device, first.dtype

    def __call__(self, vectors: Tensor) -> Tensor:
        """Images of the rows of ``vectors``, shape ``(k, d)``, in their dtype."""
        return self._product(vectors)

    def dense(self) -> np.ndarray:
        """The matrix itself, ``(d, d)``, symmetric, float64; takes d products."""
        units = torch.eye(self.dim, dtype=torch.float64, device=self.device)
        matrix = torch.cat([self(some) for some in units.split(COLUMNS)])
        return ((matrix + matrix.T) / 2).cpu().numpy()

    def scipy(self) -> Any:
        """The same as a ``scipy.sparse.linalg.LinearOperator``."""
        from scipy.sparse.linalg import LinearOperator

        def apply(columns: np.ndarray) -> np.ndarray:
            rows = torch.from_numpy(np.ascontiguousarray(columns.reshape(self.dim, -1).T)).to(self.device)
            return self(rows).cpu().numpy().T.reshape(columns.shape)

        return LinearOperator((self.dim, self.dim), matvec=apply, matmat=apply, dtype=np.float64)


def averaged(make: Callable[[Batch], Product], batches: Sequence[Batch], sizes: Sequence[int]) -> Product:
    """The product of the matrix that is the mean over all examples, ``sizes`` of them in each batch.

    ``make`` is given a batch and does what all its products have in common. Of one batch that is done once and kept;
    of several it is done again for each product (of many vectors), since together they need not fit into memory.
    """
    if len(batches) == 1:
        return make(batches[0])
    shares = [count / sum(sizes) for count in sizes]

    def product(vectors: Tensor) -> Tensor:
        total = torch.zeros_like(vectors)
        for batch, share in zip(batches, shares, strict=True):
            total += share * make(batch)(vectors)
        return total

    return product
