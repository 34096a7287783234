"""At which training steps the LLC is measured: decided from the weights alone, before any LLC is known."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

from ontogeny.studies.superposition.measure import CheckpointChunk
from ontogeny.studies.superposition.settings import CHAINS_A_PROGRAM, SuperpositionSettings

JUMP_WINDOW = 0.06
"""Half the width of the stretch around a jump that is measured densely, as a fraction of training."""


def checkpoint_steps(settings: SuperpositionSettings, inflection: float) -> list[int]:
    """The training steps of one seed's checkpoints, increasing, ``settings.checkpoints`` of them.

    ``common_checkpoints`` are the same for every seed: a third evenly in log step, the others evenly in step.
    ``jump_checkpoints`` lie evenly within 6 % of training around ``inflection``, or, where there is no jump (NaN),
    evenly over training. All are multiples of ``record_every``; a step that is taken moves to the nearest free one.
    """
    grid, last = settings.record_every, settings.train_steps
    dense_in_log = settings.common_checkpoints // 3
    early = np.geomspace(grid, last, dense_in_log)
    even = np.linspace(0, last, settings.common_checkpoints - dense_in_log)
    if math.isnan(inflection):
        own = np.linspace(0, last, settings.jump_checkpoints + 2)[1:-1]
    else:
        own = inflection + JUMP_WINDOW * last * np.linspace(-1, 1, settings.jump_checkpoints)
    taken: set[int] = set()
    for wanted in (*even, *early, *own):
        taken.add(_nearest_free(round(wanted / grid), taken, last // grid))
    return [number * grid for number in sorted(taken)]


def _nearest_free(wanted: int, taken: set[int], last: int) -> int:
    for distance in range(last + 1):
        for candidate in (wanted + distance, wanted - distance):
            if 0 <= candidate <= last and candidate not in taken:
                return candidate
    raise ValueError("more checkpoints than recorded steps")


def chunks(
    settings: SuperpositionSettings, trajectory: xr.Dataset, inflection: xr.DataArray
) -> Iterator[CheckpointChunk]:
    """Cut all checkpoints of all seeds, in order, into chunks of equal size; the last is filled with its last task.

    Every chunk holds the same number of tasks, so that one compiled program serves all, and a chunk that is full stays
    the same when more seeds are asked for.
    """
    steps = [checkpoint_steps(settings, float(value)) for value in inflection.values]
    tasks = [(i, number, step) for i, row in enumerate(steps) for number, step in enumerate(row)]
    yield from cut(settings, trajectory, tasks)


def cut(
    settings: SuperpositionSettings, trajectory: xr.Dataset, tasks: list[tuple[int, int, int]]
) -> Iterator[CheckpointChunk]:
    """Cut (place of the seed, number of the checkpoint, step) into chunks of equal size, see `chunks`."""
    size = CHAINS_A_PROGRAM // settings.chains
    for first in range(0, len(tasks), size):
        part = tasks[first : first + size]
        part = part + [part[-1]] * (size - len(part))
        index, number, step = (np.array(column) for column in zip(*part, strict=True))
        time = step // settings.record_every
        yield CheckpointChunk(
            settings,
            seed=trajectory["seed"].values[index],
            checkpoint=number,
            step=step,
            weight=trajectory["weight"].values[index, time],
            bias=trajectory["bias"].values[index, time],
        )


def assemble(parts: list[xr.Dataset]) -> xr.Dataset:
    """All chunks as one Dataset with dims ``seed`` and ``checkpoint``, and ``step`` with both."""
    tasks = xr.concat(parts, "task", combine_attrs="override")
    order: dict[tuple[int, int], int] = {}
    for i, key in enumerate(zip(tasks.seed.values.tolist(), tasks.checkpoint.values.tolist(), strict=True)):
        order.setdefault(key, i)  # the copies that fill the last chunk differ from the first by rounding
    seeds, numbers = sorted({s for s, _ in order}), sorted({c for _, c in order})
    index = xr.DataArray(
        [[order[s, c] for c in numbers] for s in seeds],
        dims=("seed", "checkpoint"),
    )
    step = xr.DataArray(tasks["step"].values[index.values], dims=("seed", "checkpoint"))
    return (
        tasks.drop_vars(["seed", "checkpoint", "step"])
        .isel(task=index)
        .assign_coords(seed=seeds, checkpoint=numbers, step=step)
    )
