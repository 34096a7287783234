"""The steepest curvature at w* and where the chains are, which every step size follows from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ontogeny.core.rng import generator
from ontogeny.core.trees import chain_sum, tree_map
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.operators.hessian import dense_hessian, hessian_vector_product, largest_eigenvalue
from ontogeny.sampling.chains import Chains

DENSE = 24
"""Up to so many weights whole Hessians are cheap enough to look at many chains."""
MOST_DENSE = 128
MOST_SERIAL, MOST_LANCZOS = 8, 2


class Curvature:
    """h_max of the mean loss over ``batches`` and the sampled weights; counts what it costs.

    ``spent`` is in gradient evaluations of one of the run's minibatches, ``batches`` being ``worth`` so many and
    a Hessian-vector product two; a look at the chains of a small model costs ``allowed`` at most, or two chains.
    """

    def __init__(
        self,
        loss: Loss,
        batches: Sequence[Batch],
        masks: Params | None,
        seed: int,
        worth: float = 1.0,
        allowed: float = math.inf,
    ) -> None:
        self._loss, self._batches, self._masks, self._seed = loss, batches, masks, seed
        self._worth, self._allowed = worth, allowed
        self.spent = 0

    def at(self, position: Params, metric: Params | None = None) -> float:
        """The largest eigenvalue at one position (no chain axis), of √P·H·√P under a metric P. Loss/weight²."""
        stream = generator(self._seed, "curvature")
        first = {name: torch.randn(value.shape, generator=stream).to(value) for name, value in position.items()}

        def product(vector: Params) -> Params:
            if metric is not None:
                vector = tree_map(lambda v, p: v * p.sqrt(), vector, metric)
            images = [hessian_vector_product(self._loss, position, batch, vector) for batch in self._batches]
            self.spent += int(2 * self._worth)
            image = tree_map(lambda *parts: torch.stack(parts).mean(0), *images)
            return image if metric is None else tree_map(lambda v, p: v * p.sqrt(), image, metric)

        return largest_eigenvalue(product, first, self._masks)

    def of_chains(self, chains: Chains) -> float:
        """The largest at the chains' positions: of all of a small model, of the farthest from w* of a large one."""
        axis, metric = chains.evaluation.axis, getattr(chains.state, "metric", None)
        positions = {name: value.movedim(axis, 0) for name, value in chains.params.items()}
        distance = chain_sum(tree_map(lambda w, c: (w - c).square(), chains.params, chains.constants.center), axis)
        if not bool(distance.isfinite().all()):
            return float("nan")
        weights = sum(value[0].numel() for value in positions.values())
        farthest = distance.argsort(descending=True)
        affordable = (
            max(int(self._allowed / (2 * self._worth * weights)), 2) if math.isfinite(self._allowed) else MOST_DENSE
        )
        if weights <= DENSE and chains.evaluation.mode != "serial" and metric is None:
            return self._dense(
                {name: value[farthest[: min(affordable, MOST_DENSE)]] for name, value in positions.items()}
            )
        found = []
        for chain in farthest[: min(affordable, MOST_SERIAL) if weights <= DENSE else MOST_LANCZOS].tolist():
            at_chain = None
            if metric is not None:
                at_chain = {name: value.movedim(axis, 0)[chain] for name, value in metric.items()}
            found.append(self.at({name: value[chain] for name, value in positions.items()}, at_chain))
        return max(found)

    def _dense(self, positions: Params) -> float:
        hessians = torch.stack([dense_hessian(self._loss, positions, batch) for batch in self._batches]).mean(0)
        if self._masks is not None:
            keep = torch.cat([mask.reshape(-1) for mask in self._masks.values()]) > 0
            hessians = hessians[:, keep][:, :, keep]
        self.spent += int(2 * self._worth * hessians.shape[0] * hessians.shape[1])
        if not bool(hessians.isfinite().all()):
            return float("nan")
        return float(largest_of(hessians).max())


def largest_of(hessians: Tensor) -> Tensor:
    """The largest eigenvalue of each symmetric matrix, shape ``(positions, d, d) -> (positions,)``, in float64."""
    return torch.linalg.eigvalsh(hessians.double())[:, -1]
