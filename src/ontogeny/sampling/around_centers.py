"""Chains around several w* of one loss, or around one at several (nβ, γ), in one tensor program at frozen settings.

Where a study has one calibration for all its checkpoints, there is nothing to find out for each of them, and small
models gain: of a transformer of 50,000 weights a step of 40 chains costs half of what ten steps of 4 do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ontogeny.core.trees import tree_map
from ontogeny.core.types import Batch, Params
from ontogeny.inputs.datasets import Examples
from ontogeny.sampling.calibration import Calibration
from ontogeny.sampling.chains import Chains, Record, advance, placed, start
from ontogeny.sampling.curvature import Curvature
from ontogeny.sampling.draws import diverged, label, noise_share
from ontogeny.sampling.evaluation import Mode, evaluation, parts_go_together
from ontogeny.sampling.kernels import get_kernel
from ontogeny.sampling.noise import MinibatchStream, minibatch_pair
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.sampling.preparation import full_gradient

PIECES = 20
"""Chains are advanced in so many pieces, so that a progress bar moves."""
NOISE_PAIRS = 16


class ChainsAround:
    """The chains of all centres of a posterior, ``calibration.chains`` each.

    Kernel, ε, friction, burn-in, batch and compensation are the calibration's; nβ and γ the posterior's, by centre.

    Args:
        posterior: the density around G centres.
        examples: the n examples that its loss is the mean over.
        calibration: how it is sampled.
        labels: G names; with the seed they name the noise streams.
        seed: of all streams.
        mode: how losses and gradients are evaluated.
        compile: hand the step to ``torch.compile``.
        control: subtract ∇L_B(w*) - ∇L(w*) from the gradients; w* then goes along as one more chain of each centre.
        vanishes: whether the loss is 0 at every w* on any example, as where it compares with w*'s own values; it is not
            computed there then.
    """

    def __init__(
        self,
        posterior: LocalPosterior,
        examples: Examples,
        calibration: Calibration,
        *,
        labels: Sequence[object],
        seed: int,
        mode: Mode,
        compile: bool = False,
        control: bool = False,
        vanishes: bool = False,
    ) -> None:
        self.posterior, self._examples, self._calibration, self._seed = posterior, examples, calibration, seed
        self._stream = MinibatchStream(seed, examples.count, calibration.batch_size)
        count, full = posterior.centers, calibration.batch_size >= examples.count
        self._compensate, self._quiet = (
            calibration.compensate and not full and calibration.batch_size > 1,
            calibration.compensate or full,
        )
        how, parts = evaluation(posterior.loss, mode), self._parts_at(0)
        self.chains: Chains = start(
            posterior,
            get_kernel(calibration.kernel),
            step_size=torch.full((count,), calibration.step_size),
            chains=calibration.chains,
            labels=labels,
            seed=seed,
            mode=mode,
            compile=compile,
            friction=torch.full((count,), calibration.friction),
            baseline=how.losses(placed(posterior.center, how.axis), examples.take(None))[0].detach() if full else None,
            gradient=full_gradient(how, posterior.center, examples, calibration.batch_size) if control else None,
            vanishes=vanishes and not full,
            together=len(parts) == 2 and mode == "vmap" and parts_go_together(posterior.loss, posterior.center, parts),
        )
        self._record: Record | None = None

    def _parts_at(self, step: int) -> tuple[Batch, ...]:
        """The minibatch of a step, in two halves where its noise is compensated."""
        chosen = self._stream.at(step)
        if chosen is None or not self._compensate:
            return (self._examples.take(chosen),)
        half = self._calibration.batch_size // 2
        return self._examples.take(chosen[:half]), self._examples.take(chosen[half : 2 * half])

    def take(self, draws: int, progress: Callable[[float], None] = lambda share: None) -> None:
        """Burn-in, which is dropped, and so many draws a chain."""
        burn_in, pieces = self._calibration.burn_in, []
        for part in torch.arange(burn_in + draws).tensor_split(PIECES):
            if len(part):
                pieces.append(advance(self.chains, self._parts_at, len(part)))
            progress(len(pieces) / PIECES)
        self._record = Record(*(torch.cat(values)[burn_in:] for values in zip(*pieces, strict=True)))

    def draws(self, h_max: np.ndarray) -> xr.Dataset:
        """The draws with dims center, chain and draw, for ``llc_from_draws``; ``h_max`` by centre, loss/weight²."""
        if self._record is None:
            raise ValueError("no draws were taken yet; call take first")
        posterior, each = self.posterior, self._calibration.chains
        n_beta, localization = (
            value.repeat_interleave(each) for value in (posterior.n_beta, posterior.localization)
        )  # fmt: skip
        return label(
            self._record,
            posterior,
            self.chains,
            each,
            lost=diverged(self._record, n_beta, localization, posterior.dim),
            h_max=h_max,
            noise_share=None if self._quiet else noise_share(self.chains, posterior, self._pair, each, NOISE_PAIRS),
        )

    def _pair(self, number: int) -> tuple[Batch, Batch]:
        first, second = minibatch_pair(self._seed, self._examples.count, self._calibration.batch_size, number)
        return self._examples.take(first), self._examples.take(second)

    def steepest(self, batches: Sequence[Batch]) -> np.ndarray:
        """h_max by centre: the larger of that at w* and that where its first chain stands, by a few Lanczos steps.

        Above 24 weights a lower bound, within some per cent. Loss/weight².
        """
        axis, each = self.chains.evaluation.axis, self._calibration.chains
        ends = {name: value.movedim(axis, 0)[::each] for name, value in self.chains.positions.items()}
        curvature = Curvature(self.posterior.loss, batches, self._seed, most=0.0)
        seen: dict[int, float] = {}
        found = []
        for number in range(self.posterior.centers):
            same = self._first_like(number)
            if same not in seen:
                seen[same] = curvature.at({name: value[number] for name, value in self.posterior.center.items()})
            at_end = curvature.at({name: value[number] for name, value in ends.items()})
            found.append(max(seen[same], at_end))
        return np.array(found)

    def _first_like(self, number: int) -> int:
        """The first centre that is the same w*."""
        center = self.posterior.center
        return next(
            other
            for other in range(number + 1)
            if all(torch.equal(value[other], value[number]) for value in center.values())
        )


def stacked_centers(positions: Sequence[Params]) -> Params:
    """Several w* with a leading axis of centres."""
    return tree_map(lambda *each: torch.stack(each), *positions)


def by_center(values: Sequence[float]) -> Tensor:
    """nβ or γ of each centre, float64."""
    return torch.tensor(list(values), dtype=torch.float64)
