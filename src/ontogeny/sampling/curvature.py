"""The steepest curvature at w* and where the chains are, which every step size follows from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ontogeny.core.rng import generator
from ontogeny.core.trees import chain_sum, size, tree_map
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.operators.eigenvalues import krylov_top, largest_eigenvalue
from ontogeny.operators.hessian import dense_hessian, mean_hessian_product
from ontogeny.sampling.chains import Chains

DENSE = 24
"""Up to so many weights whole Hessians are cheap enough to look at many chains."""
MOST_DENSE = 128
MOST_SERIAL, MOST_LANCZOS = 8, 2
LANCZOS_STEPS = 8
SETTLED = 0.02
"""Lanczos ends before that where two steps add less than this share each: the stability limit is further away."""
MOST_KEPT = 2
"""Of so many batches at most the gradient is kept from one product to the next; each holds a graph of its own."""
ARPACK_PRODUCTS = 25
"""About what convergence takes."""
TOLERANCE = 0.01


class Curvature:
    """h_max of the mean loss over ``batches`` and the sampled weights; counts what it costs.

    ``spent`` is in gradient evaluations of one of the run's minibatches, ``batches`` being ``worth`` so many and
    a Hessian-vector product two, one where the gradient is kept; a look at the chains of a small model costs
    ``allowed`` at most, or two chains, and one at w* is a few Lanczos steps where converging would cost more than
    ``most``.
    """

    def __init__(
        self,
        loss: Loss,
        batches: Sequence[Batch],
        seed: int,
        worth: float = 1.0,
        allowed: float = math.inf,
        most: float = math.inf,
    ) -> None:
        self._loss, self.batches, self._seed = loss, batches, seed
        self.worth, self._allowed, self._most = worth, allowed, most
        self._directions: dict[int, Params] = {}
        self._looks = 0
        self.spent = 0

    def at(self, position: Params, metric: Params | None = None) -> float:
        """The largest eigenvalue at one position (no chain axis), of √P·H·√P under a metric P. Loss/weight²."""
        stream = generator(self._seed, "curvature")
        first = {name: torch.randn(value.shape, generator=stream).to(value) for name, value in position.items()}
        if size(position) > DENSE and 2 * ARPACK_PRODUCTS * self.worth > self._most:
            return krylov_top(self._product(position, metric, self.batches), first, LANCZOS_STEPS, SETTLED)[0]
        return largest_eigenvalue(self._product(position, metric, self.batches), first, TOLERANCE)

    def _product(self, position: Params, metric: Params | None, batches: Sequence[Batch]) -> Callable[[Params], Params]:
        keep, once = len(batches) <= MOST_KEPT, math.ceil(self.worth * len(batches) / len(self.batches))
        mean = mean_hessian_product(self._loss, position, batches, keep)
        self.spent += once if keep else 0

        def product(vector: Params) -> Params:
            if metric is not None:
                vector = tree_map(lambda v, p: v * p.sqrt(), vector, metric)
            image = mean(vector)
            self.spent += once if keep else 2 * once
            if metric is not None:
                image = tree_map(lambda v, p: v * p.sqrt(), image, metric)
            return image

        return product

    def of_chains(self, chains: Chains) -> float:
        """The largest at the chains' positions: of all of a small model, of the farthest from w* of a large one."""
        axis, metric = chains.evaluation.axis, chains.metric
        positions = {name: value.movedim(axis, 0) for name, value in chains.positions.items()}
        distance = chain_sum(tree_map(lambda w, c: (w - c).square(), chains.positions, chains.constants.center), axis)
        if not bool(distance.isfinite().all()):
            return float("nan")
        weights = sum(value[0].numel() for value in positions.values())
        farthest = distance.argsort(descending=True)
        affordable = (
            max(int(self._allowed / (2 * self.worth * weights)), 2) if math.isfinite(self._allowed) else MOST_DENSE
        )
        if weights <= DENSE and chains.evaluation.mode != "serial" and metric is None:
            return self._dense(
                {name: value[farthest[: min(affordable, MOST_DENSE)]] for name, value in positions.items()}
            )
        if weights <= DENSE:
            looked_at = [self.at(self._chain(positions, c), self._metric_of(chains, c)) for c in
                         farthest[: min(affordable, MOST_SERIAL)].tolist()]  # fmt: skip
            return max(looked_at)
        return max(
            self._quickly(number, self._chain(positions, chain), self._metric_of(chains, chain))
            for number, chain in enumerate(farthest[:MOST_LANCZOS].tolist())
        )

    @staticmethod
    def _chain(positions: Params, chain: int) -> Params:
        return {name: value[chain] for name, value in positions.items()}

    @staticmethod
    def _metric_of(chains: Chains, chain: int) -> Params | None:
        if chains.metric is None:
            return None
        return {name: value.movedim(chains.evaluation.axis, 0)[chain] for name, value in chains.metric.items()}

    def _quickly(self, number: int, position: Params, metric: Params | None) -> float:
        """A few Lanczos steps on one batch, from the last look's vector at this place in the order and a random one."""
        weights, last = size(position), self._directions.get(number) or tree_map(torch.zeros_like, position)
        stream = generator(self._seed, "curvature of chains", number, self._looks)
        self._looks += 1
        # the steepest direction may have become another one, of which the last knows nothing
        start = tree_map(
            lambda v, old: torch.randn(v.shape, generator=stream).to(v) / weights**0.5 + old, position, last
        )
        found, self._directions[number] = krylov_top(
            self._product(position, metric, self.batches[:1]), start, LANCZOS_STEPS, SETTLED
        )
        return found

    def _dense(self, positions: Params) -> float:
        hessians = torch.stack([dense_hessian(self._loss, positions, batch) for batch in self.batches]).mean(0)
        count, columns = hessians.shape[:2]
        # counted as products are, one for each column, so that what is spent does not depend on the way
        each = 1 + columns if len(self.batches) <= MOST_KEPT else 2 * columns
        self.spent += math.ceil(self.worth) * count * each
        if not bool(hessians.isfinite().all()):
            return float("nan")
        return float(largest_of(hessians).max())


def largest_of(hessians: Tensor) -> Tensor:
    """The largest eigenvalue of each symmetric matrix, shape ``(positions, d, d) -> (positions,)``, in float64."""
    return torch.linalg.eigvalsh(hessians.double())[:, -1]
