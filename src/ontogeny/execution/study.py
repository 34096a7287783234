"""A user's study: checkpoints × components × data sets × metrics, planned, costed, run and resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.temporary_files import temporary_beside
from ontogeny.core.version import __version__
from ontogeny.execution.assemble import assemble
from ontogeny.execution.chunks import Chunk
from ontogeny.execution.cost import RESULT_BYTES, Cost, total
from ontogeny.execution.frozen import Frozen, read_frozen, write_frozen
from ontogeny.execution.tasks import Planned, Product, compute
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.components import overlaps_in_words
from ontogeny.inputs.load_weights import copied
from ontogeny.inputs.losses import LossFunction
from ontogeny.inputs.named.models import vocabulary
from ontogeny.inputs.weight_files import write_weights
from ontogeny.metrics.registry import LOCALIZATION, Asked, Metric
from ontogeny.sampling.calibration import default_n_beta
from ontogeny.store import Store, check_folder, content_key, write_zarr

WORKER_BYTES = 400_000_000
"""Python and its packages."""
COPIES_OF_WEIGHTS = 3
"""A worker's model, the checkpoint as read, and the float32 copy that is sampled around."""
COPIES_OF_CHAINS = 6
"""Position, velocity, gradient and what a step makes of them."""
COPIES_OF_LOGITS = 3
"""Logits, their softmax, and its gradient."""


@dataclass(frozen=True)
class Study:
    """Everything a study depends on; made by :func:`ontogeny.execution.plan.plan`, carried out by :meth:`run`."""

    model: nn.Module
    checkpoints: Checkpoints
    data: dict[str, Any]
    loss_fn: LossFunction
    selections: dict[str, Any]
    metrics: tuple[Metric, ...]
    asked: Asked
    out: Path
    product: Product
    identity: dict[str, Any]
    gpus: int
    data_bytes: int

    def begin(self) -> Store:
        """Make the folder, which then says what it is for, or open it.

        Raises:
            OntogenyError: if it holds something else.
        """
        return Store(self.out, self.identity)

    def run(self, executor: Callable[..., None], *, workers: int | None = None, progress: bool = True) -> xr.Dataset:
        """Compute what is not there yet, and write results.zarr once all is.

        Raises:
            OntogenyError: if a task fails; the sentence names it, and what was done stays.
        """
        store = self.begin()
        held = read_frozen(self.out, self.asked.settings)
        # a copy, since weights are loaded into it
        model = copied(self.model)
        shared = {"model": model, "data": self.data, "loss_fn": self.loss_fn, "selections": self.selections}
        with self._readable(self._finished(store, held)) as weights:
            common = {"shared": shared, "progress": progress, "workers": workers, "parts": weights, "gpus": self.gpus}
            frozen = held or self._choose(partial(executor, compute, text="choosing γ", **common), store)
            if held is None and frozen is not None:
                write_frozen(self.out, frozen)
            planned = self.second_stage(frozen)
            executor(compute, _once(planned), store, text="measuring", **common)
        found = assemble([(one, store.load(one.chunk.key)) for one in planned], list(self.selections))
        found.attrs |= self._provenance(frozen)
        write_zarr(store.folder / "results.zarr", {None: found})
        return found

    @contextmanager
    def _readable(self, finished: bool) -> Iterator[Callable[[int], dict[str, Tensor]]]:
        """A checkpoint's weights by step, from files: weights in memory would go to every worker with all others."""
        if finished or not self.checkpoints.in_memory or len(self.checkpoints) == 1:
            yield self.checkpoints.weights
            return
        folder = temporary_beside(self.out / "weights")  # a name that is tidied up after a process that was killed
        folder.mkdir(exist_ok=True)
        try:
            for step in self.checkpoints.steps:
                write_weights(folder / f"{step}.safetensors", self.checkpoints.weights(step))
            yield Checkpoints.from_folder(folder).weights
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _finished(self, store: Store, held: Frozen | None) -> bool:
        return (held is not None or not self._freezes()) and all(
            store.has(one.chunk.key) for one in self.second_stage(held)
        )

    def first_stage(self, step: int) -> list[Planned]:
        """What finds γ at a checkpoint; nothing where it is given, or no metric is measured at it."""
        if not self._freezes() or self.asked.settings.localization is not None:
            return []
        return self.product.chunks((LOCALIZATION,), self.asked, (step,))

    def _choose(self, carry_out: Callable[..., None], store: Store) -> Frozen | None:
        """(nβ, γ), found at the last checkpoint at which the loss is finite."""
        for step in reversed(self.checkpoints.steps):
            first = self.first_stage(step)
            carry_out(_once(first), store)
            found = [store.load(one.chunk.key) for one in first]
            if _all_finite(found):
                return self.frozen(found, step)
        raise OntogenyError(
            "loss_fn must be finite at w*, and at every checkpoint it is NaN or infinite; check the weights and the "
            "data."
        )

    def _chosen_so_far(self, store: Store | None) -> tuple[list[Planned], Frozen | None]:
        """The stage that :meth:`_choose` comes to next or has ended with, and what is known of (nβ, γ); no work."""
        first: list[Planned] = []
        for step in reversed(self.checkpoints.steps):
            first = self.first_stage(step)
            if first and not (store and all(store.has(one.chunk.key) for one in first)):
                return first, None
            found = [store.load(one.chunk.key) for one in first] if store else []
            if _all_finite(found):
                return first, self.frozen(found, step)
        return first, None

    def frozen(self, found: Sequence[xr.Dataset], step: int) -> Frozen | None:
        """nβ and γ as given, or the smallest nβ over data sets, and the largest γ over what was found, at that nβ.

        Where the rules choose them, γ is proportional to nβ. None: a calibration says them, no metric is measured at
        them, or γ is neither given nor found.
        """
        gamma, n_beta = self.asked.settings.localization, self._n_beta()
        if not self._freezes() or (gamma is None and not found):
            return None
        if gamma is not None:
            return Frozen(n_beta, gamma, "the call")
        largest = max(float((chunk["localization"] * n_beta / chunk["n_beta"]).max()) for chunk in found)
        return Frozen(n_beta, largest, f"step {step}")

    def second_stage(self, frozen: Frozen | None) -> list[Planned]:
        """All tasks, in chunks."""
        asked = self.asked
        if frozen is not None:
            fixed = replace(asked.settings, n_beta=frozen.n_beta, localization=frozen.localization)
            asked = replace(asked, settings=fixed)
        return self.product.chunks(self.metrics, asked, self.checkpoints.steps)

    def _freezes(self) -> bool:
        return self.asked.calibration is None and self._estimates()

    def _n_beta(self) -> float:
        return self.asked.settings.n_beta or min(default_n_beta(dataset.examples) for dataset in self.product.datasets)

    def cost(self) -> Cost:
        """What it takes, and what of it is there; nothing is written, and no weights are read for a new folder.

        Raises:
            OntogenyError: if the folder holds something else.
        """
        if not check_folder(self.out, self.identity):
            by_step = replace(self.product, digest_of=lambda step: f"step {step}")
            return replace(self, product=by_step)._cost(None)
        return self._cost(Store(self.out, self.identity))

    def _cost(self, store: Store | None) -> Cost:
        def there(planned: Sequence[Planned]) -> list[bool]:
            return [store is not None and store.has(one.chunk.key) for one in planned]

        held = read_frozen(self.out, self.asked.settings) if store else None
        first, frozen = ([], held) if held else self._chosen_so_far(store)
        known = all(there(first))
        second = self.second_stage(frozen)
        every, done = [*first, *second], [*there(first), *there(second)]
        tasks, chunks_done, evaluations, seconds = total(every, done)
        left = {one.group.step for one, finished in zip(every, done, strict=True) if not finished}
        weights = sum(value.numel() * value.element_size() for value in self.model.parameters())
        return Cost(
            tasks=tasks,
            chunks=len(every),
            chunks_done=chunks_done,
            gradient_evaluations=evaluations,
            seconds=seconds,
            checkpoints=len(self.checkpoints),
            components=len(self.selections),
            datasets=len(self.data),
            bytes_read=weights * len(left),
            until_target=self._estimates() and self.asked.settings.draws is None,
            bytes_written=RESULT_BYTES * (len(every) - chunks_done) + self._bytes_from_memory(weights),
            bytes_a_worker=WORKER_BYTES + COPIES_OF_WEIGHTS * weights + self.data_bytes + self._bytes_of_chains(),
            n_beta=frozen.n_beta if frozen else self._n_beta() if self._freezes() else None,
            finds_gamma=not known,
        )

    def _estimates(self) -> bool:
        return any(metric.at_localization for metric in self.metrics)

    def _bytes_from_memory(self, weights: int) -> int:
        """Of weights that are put into files so that each worker reads one checkpoint at a time."""
        return weights * len(self.checkpoints) if self.checkpoints.in_memory and len(self.checkpoints) > 1 else 0

    def _bytes_of_chains(self) -> int:
        """float32: of each chain its weights and a batch's logits, (batch, positions, vocabulary)."""
        weights, words = self.product.parameters, vocabulary(self.model) or 0
        chains = self.asked.chains(weights) if self._estimates() else 1
        dim = max(component.dim for component in self.product.components)
        tokens = max(
            self.asked.batch_size(weights, one.examples, one.positions) * one.positions for one in self.product.datasets
        )
        return 4 * chains * (COPIES_OF_CHAINS * dim + COPIES_OF_LOGITS * tokens * words)

    def _provenance(self, frozen: Frozen | None) -> dict[str, Any]:
        wanted, calibration = self.asked.settings, self.asked.calibration
        common = overlaps_in_words(self.model, self.selections)
        source = "the calibration" if calibration else frozen.source if frozen else "the call"
        return {
            "study": "measure",
            "study_key": content_key(self.identity),
            "ontogeny_version": __version__,
            "seed": wanted.seed,
            "localization_from": source,
            "calibration": json.dumps(None if calibration is None else calibration.to_dict()),
            "data_digests": json.dumps({dataset.name: dataset.digest for dataset in self.product.datasets}),
            **({"overlap": common} if common else {}),
        }


def _all_finite(found: Sequence[xr.Dataset]) -> bool:
    """Whether no chunk says that the loss is not finite."""
    return all("localization" in chunk for chunk in found)


def _once(planned: Sequence[Planned]) -> list[Chunk]:
    """Chunks of equal content, as of checkpoints with equal weights, are computed once."""
    return list({one.chunk.key: one.chunk for one in reversed(planned)}.values())[::-1]
