"""A user's study: checkpoints × components × data sets × metrics, planned, costed, run and resumed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from torch import nn

from ontogeny.core.version import __version__
from ontogeny.execution.assemble import assemble
from ontogeny.execution.chunks import Chunk
from ontogeny.execution.cost import RESULT_BYTES, Cost, total
from ontogeny.execution.tasks import Planned, Product, compute
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.losses import LossFunction
from ontogeny.metrics.registry import LOCALIZATION, Asked, Metric
from ontogeny.sampling.calibration import default_chains, default_max_draws, default_n_beta
from ontogeny.store import Store, content_key, write_zarr

WORKER_BYTES = 400_000_000
"""Python and its packages."""
COPIES_OF_WEIGHTS = 3
"""A worker's model, the checkpoint as read, and the float32 copy that is sampled around."""
COPIES_OF_CHAINS = 6
"""Position, velocity, gradient and what a step makes of them."""


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

    def run(self, executor: Callable[..., None], *, workers: int | None = None, progress: bool = True) -> xr.Dataset:
        """Compute what is not there yet, and write results.zarr once all is.

        Raises:
            OntogenyError: if a task fails; the sentence names it, and what was done stays.
        """
        store = Store(self.out, self.identity)
        common = {"progress": progress, "workers": workers, "parts": self.checkpoints.weights, "gpus": self.gpus}
        # a copy, since weights are loaded into it
        model = copy.deepcopy(self.model).cpu()
        shared = {"model": model, "data": self.data, "loss_fn": self.loss_fn, "selections": self.selections}
        first = self.first_stage()
        executor(compute, _once(first), store, text="choosing γ", shared=shared, **common)
        asked = self.frozen([store.load(one.chunk.key) for one in first])
        planned = self.second_stage(asked)
        executor(compute, _once(planned), store, text="measuring", shared=shared, **common)
        found = assemble([(one, store.load(one.chunk.key)) for one in planned], list(self.selections))
        found.attrs |= self._provenance(asked, bool(first))
        write_zarr(store.folder / "results.zarr", {None: found})
        return found

    def first_stage(self) -> list[Planned]:
        """What finds (nβ, γ) at the last checkpoint; nothing where they are given, or no metric is measured at them."""
        wanted, last = self.asked.settings, self.checkpoints.steps[-1]
        given = self.asked.calibration is not None or wanted.localization is not None
        if given or not any(metric.at_localization for metric in self.metrics):
            return []
        return self.product.chunks((LOCALIZATION,), self.asked, (last,))

    def frozen(self, found: Sequence[xr.Dataset]) -> Asked:
        """The settings with nβ and γ fixed: the smallest nβ over data sets, and the largest γ over all, at that nβ.

        Where the rules choose them, γ is proportional to nβ.
        """
        if self.asked.calibration is not None:
            return self.asked
        wanted = self.asked.settings
        n_beta = wanted.n_beta or min(default_n_beta(dataset.examples) for dataset in self.product.datasets)
        gamma = wanted.localization
        if gamma is None and found:
            gamma = max(float((chunk["localization"] * n_beta / chunk["n_beta"]).max()) for chunk in found)
        return replace(self.asked, settings=replace(wanted, n_beta=n_beta, localization=gamma))

    def second_stage(self, asked: Asked) -> list[Planned]:
        """All tasks, in chunks."""
        return self.product.chunks(self.metrics, asked, self.checkpoints.steps)

    def cost(self) -> Cost:
        """What it takes, and what of it is there; nothing is written."""
        store = Store(self.out, self.identity) if (self.out / "study.json").exists() else None

        def there(planned: Sequence[Planned]) -> list[bool]:
            return [store is not None and store.has(one.chunk.key) for one in planned]

        first = self.first_stage()
        known = all(there(first))
        asked = self.frozen([store.load(one.chunk.key) for one in first] if store and known else [])
        second = self.second_stage(asked)
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
            bytes_written=RESULT_BYTES * (len(every) - chunks_done),
            bytes_a_worker=WORKER_BYTES + COPIES_OF_WEIGHTS * weights + self.data_bytes + self._bytes_of_chains(),
            found_first="" if known else "γ is" if self.asked.settings.n_beta else "nβ and γ are",
        )

    def _bytes_of_chains(self) -> int:
        wanted, frozen = self.asked.settings, self.asked.calibration
        dim = max(component.dim for component in self.product.components)
        weights = self.product.parameters
        by_rule = default_chains(weights, wanted.max_draws or default_max_draws(weights))
        chains = wanted.chains or (frozen.chains if frozen else by_rule)
        return 4 * COPIES_OF_CHAINS * chains * dim

    def _provenance(self, asked: Asked, found: bool) -> dict[str, Any]:
        wanted = asked.settings
        source = (
            "the calibration" if asked.calibration else f"step {self.checkpoints.steps[-1]}" if found else "the call"
        )
        return {
            "study": "measure",
            "study_key": content_key(self.identity),
            "ontogeny_version": __version__,
            "seed": wanted.seed,
            "localization_from": source,
            "calibration": json.dumps(None if asked.calibration is None else asked.calibration.to_dict()),
            "data_digests": json.dumps({dataset.name: dataset.digest for dataset in self.product.datasets}),
        }


def _once(planned: Sequence[Planned]) -> list[Chunk]:
    """Chunks of equal content, as of checkpoints with equal weights, are computed once."""
    return list({one.chunk.key: one.chunk for one in reversed(planned)}.values())[::-1]
