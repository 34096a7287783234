"""The results of chunks, side by side: dims checkpoint, component and dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import VARIABLES, describe
from ontogeny.execution.tasks import Planned
from ontogeny.metrics.registry import Metric
from ontogeny.sampling.spectrum import MOST_WEIGHTS


def assemble(parts: Sequence[tuple[Planned, xr.Dataset]], components: Sequence[str]) -> xr.Dataset:
    """Put every chunk in its place, in the order of checkpoints and data sets in which they come.

    What was the same for all tasks of a metric stays in ``attrs``; what was not is a variable.
    """
    # which components overlap is a matter of all of them, and a chunk knows its own only
    parts = [(planned, _without(chunk, "overlap")) for planned, chunk in parts]
    metrics = dict.fromkeys(planned.group.metric.name for planned, _ in parts)
    found = [
        _of_metric([part for part in parts if part[0].group.metric.name == metric], components) for metric in metrics
    ]
    merged = xr.merge(found, compat="no_conflicts", join="exact", combine_attrs="drop_conflicts")
    steps = list(dict.fromkeys(planned.group.step for planned, _ in parts))
    merged = merged.assign_coords(step=("checkpoint", steps))
    order = [dim for dim in ("checkpoint", "component", "dataset") if dim in merged.dims]
    known = [name for name in VARIABLES if name in merged.data_vars]
    names = [*known, *(name for name in merged.data_vars if name not in VARIABLES)]
    if "second_order" in names and not bool((merged["dim"] <= MOST_WEIGHTS).any()):
        # an estimate has it of few weights only; what the metric of that name finds is called second_order_llc
        names = [name for name in names if name not in ("second_order", "second_order_gradient")]
    return describe(merged[names].transpose(*order, ...))


def _of_metric(parts: Sequence[tuple[Planned, xr.Dataset]], components: Sequence[str]) -> xr.Dataset:
    filled = _filled([chunk for _, chunk in parts], parts[0][0].group.metric)
    parts = [(planned, chunk) for (planned, _), chunk in zip(parts, filled, strict=True)]
    apart = _apart(filled)
    rows: dict[int, dict[str, list[xr.Dataset]]] = {}
    for planned, chunk in parts:
        group = planned.group
        rows.setdefault(group.step, {}).setdefault(group.dataset, []).append(_with_variables(chunk, apart))
    by_component = parts[0][0].group.metric.per_component
    checkpoints = [
        _concat(
            [
                _concat(chunks, "component").sel(component=list(components)) if by_component else chunks[0]
                for chunks in row.values()
            ],
            "dataset",
        )
        for row in rows.values()
    ]
    return _concat(checkpoints, pd.RangeIndex(len(checkpoints), name="checkpoint"))


def _filled(chunks: Sequence[xr.Dataset], metric: Metric) -> list[xr.Dataset]:
    """Chunks that hold a status word alone, with NaN and no words for everything that others have.

    Raises:
        OntogenyError: if all of them are such.
    """

    def is_word(chunk: xr.Dataset) -> bool:
        return set(chunk.data_vars) == {metric.status}

    full = [chunk for chunk in chunks if not is_word(chunk)]
    if not full:
        raise OntogenyError(
            f"loss_fn must be finite at w*, and for {metric.name} it is NaN or infinite at every checkpoint; check the "
            "weights and the data."
        )
    variables = {str(name): chunk[name] for chunk in reversed(full) for name in chunk.data_vars}
    settings = {
        name: value for name, value in full[0].attrs.items() if all(chunk.attrs.get(name) == value for chunk in full)
    }
    return [_like(chunk, variables).assign_attrs(settings) if is_word(chunk) else chunk for chunk in chunks]


def _like(chunk: xr.Dataset, variables: dict[str, xr.DataArray]) -> xr.Dataset:
    missing = {}
    for name, values in variables.items():
        if name not in chunk:
            shape = tuple(chunk.sizes.get(dim, values.sizes[dim]) for dim in values.dims)
            missing[name] = (values.dims, np.full(shape, "" if values.dtype.kind in "OUT" else np.nan))
    return chunk.assign(missing)


def _without(chunk: xr.Dataset, setting: str) -> xr.Dataset:
    out = chunk.copy()
    out.attrs.pop(setting, None)
    return out


def _apart(chunks: Sequence[xr.Dataset]) -> set[str]:
    """Settings that are a variable of some chunk, or not the same in all."""
    names = {str(name) for chunk in chunks for name in chunk.attrs}
    first = chunks[0].attrs
    return {
        name
        for name in names
        if any(name in chunk.data_vars or chunk.attrs.get(name) != first.get(name) for chunk in chunks)
    }


def _with_variables(chunk: xr.Dataset, names: set[str]) -> xr.Dataset:
    dims = [dim for dim in ("component", "dataset") if dim in chunk.dims]
    shape = tuple(chunk.sizes[dim] for dim in dims)
    missing = {name: (dims, np.full(shape, _value(chunk.attrs.get(name)))) for name in names - set(chunk.data_vars)}
    out = chunk.assign(missing)
    out.attrs = {name: value for name, value in chunk.attrs.items() if name not in names}
    words = {name: values.astype(object) for name, values in out.data_vars.items() if values.dtype.kind in "OUT"}
    return out.assign(words)


def _value(value: Any) -> Any:
    return np.nan if value is None else np.array(value, dtype=object) if isinstance(value, str) else value


def _concat(parts: list[xr.Dataset], dim: Any) -> xr.Dataset:
    return xr.concat(
        parts, dim, data_vars="all", coords="minimal", compat="override", join="exact", combine_attrs="drop_conflicts"
    )
