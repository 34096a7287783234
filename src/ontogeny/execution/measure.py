"""The public entry point og.measure: one call for checkpoints × components × data sets × metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr
from torch import Tensor, nn

from ontogeny.execution.chunks import check_workers
from ontogeny.execution.executors import executor as get_executor
from ontogeny.execution.plan import plan
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.losses import LossFunction
from ontogeny.sampling.calibration import Calibration
from ontogeny.sampling.settings import Settings


def measure(
    model: nn.Module,
    checkpoints: Checkpoints | str | Path | Iterable[tuple[int, dict[str, Tensor]]],
    data: Any,
    loss_fn: LossFunction,
    components: Any = None,
    metrics: Iterable[str] = ("llc",),
    *,
    out: str | Path,
    n_beta: float | None = None,
    localization: float | None = None,
    step_size: float | None = None,
    batch_size: int | None = None,
    chains: int | None = None,
    draws: int | None = None,
    burn_in: int | None = None,
    kernel: str | None = None,
    target_se: float | None = None,
    max_draws: int | None = None,
    seed: int = 0,
    device: str | None = None,
    calibration: Calibration | None = None,
    precision: str | None = None,
    executor: str = "local",
    address: str | None = None,
    workers: int | None = None,
    progress: bool = True,
    dry_run: bool = False,
) -> xr.Dataset:
    """Measure every checkpoint of a training run, by component and data set; run again, it goes on where it was.

    Every chunk of tasks is committed to ``out`` as it ends, under a key made of everything its numbers depend on, so
    killing the process loses the chunks under way only. ``results.zarr`` is written, as a whole, when all are there:
    it holds what this call asked for. A call with further checkpoints or data sets computes those alone; one with
    other components, where they are measured together with some that are there, computes that group again.

    nβ and γ are the same for the whole study, or its numbers would not compare. Where γ is left out (and no
    ``calibration`` is given), a first stage finds it by the rules of ``estimate_llc`` at the last checkpoint, for each
    component and data set, and the largest serves all. The folder keeps both from the first call on: whatever is added
    later is measured at the same, and other values are refused.

    A worker of this machine that is killed, as for want of memory, is replaced once with all others, and the chunks
    under way begin anew; on Ray a chunk is tried four times.

    Args:
        model: any module into which the checkpoints' weights fit; its own weights are neither read nor changed, its
            code and the numbers, words and tensors that its layers hold are part of every key.
        checkpoints: an :class:`ontogeny.Checkpoints`, a folder of them, or pairs of step and state dict.
        data: as in ``estimate_llc``; a plain dict means {name: data set}; one without a name is called "data".
        loss_fn: a function of a module's top level, or an object with a method ``identity()`` that returns its
            settings: what it computes is part of every key.
        components: as in ``estimate_llc``; a single one is called by its text, None "all".
        metrics: some of "llc", "loss" (mean loss on the data set, ``loss_se`` over examples), "gradient_norm" (of
            the gradient over all examples), and of curvature "hessian_trace", "fisher_trace" (targets drawn from the
            model), "empirical_fisher_trace", "hessian_rank" (eigenvalues with nβ·h > γ) and "second_order" (what the
            quadratic at w* predicts of λ̂), each with the defaults of its function in ``og.metrics``.
        out: the folder; made if it does not exist, and refused if it holds a study with other settings.
        n_beta: nβ, as in ``estimate_llc``; by rule that of the smallest data set.
        localization: γ; by rule that of the first stage.
        step_size: as in ``estimate_llc``, as are all to ``seed``; by rule each estimate finds its own.
        batch_size: examples a step.
        chains: chains of one estimate.
        draws: exactly so many a chain; None: until ``target_se`` or ``max_draws``.
        burn_in: steps dropped at the start of each chain.
        kernel: "baoab" by rule.
        target_se: relative standard error to reach.
        max_draws: gradient evaluations of one estimate.
        seed: of all random streams.
        device: "cpu" or "cuda"; None: the GPUs, if this machine has any. "cuda": one process a GPU.
        calibration: as in ``estimate_llc``.
        precision: of estimates, as in ``estimate_llc``; "loss" and "gradient_norm" are computed in float32,
            or float64 where the model has weights in float64.
        executor: "local", this machine, or "ray".
        address: of a Ray cluster to join; None: one is started on this machine.
        workers: processes; None: one a core or GPU of this machine, or of the cluster. Each process of this machine
            imports the script that calls, so there the call must stand under ``if __name__ == "__main__":``.
        progress: show a progress bar on a terminal.
        dry_run: compute and write nothing; print the expected cost. For a folder that is there, weights whose digest no
            manifest says are read, to tell which chunks are done.

    Returns:
        A Dataset with dims ``checkpoint`` (coordinate ``step``), ``component`` and ``dataset``: the variables of
        ``estimate_llc`` and of the other metrics. Of a dry run: the coordinates, with the cost in ``attrs``.

    Raises:
        OntogenyError: one sentence on the argument at fault, or on the task that failed and why.

    """
    settings = Settings(
        n_beta, localization, step_size, batch_size, chains, draws, burn_in, target_se, max_draws, kernel, seed,
        device, precision,
    )  # fmt: skip
    run = get_executor(executor, address)
    check_workers(workers)
    study = plan(
        model, checkpoints, data, loss_fn, components, metrics, out=out, settings=settings, calibration=calibration
    )
    if not dry_run:
        return study.run(run, workers=workers, progress=progress)
    cost = study.cost()
    print(cost.describe())
    return xr.Dataset(
        coords={
            "step": ("checkpoint", list(study.checkpoints.steps)),
            "component": list(study.selections),
            "dataset": list(study.data),
        },
        attrs=asdict(cost),
    )
