"""What every analysis asks of its input: labelled series over training, one a seed, with the step of each point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.core.errors import OntogenyError

Array = npt.NDArray[np.float64]
ALONG = ("checkpoint", "time")


class Series(NamedTuple):
    """One seed's measurements along training: `steps` (strictly increasing) and `values`, both (points,)."""

    seed: int
    steps: Array
    values: Array


def along(array: xr.DataArray, name: str, *, extra: tuple[str, ...] = ()) -> str:
    """Name the dim that runs along training, "checkpoint" or "time".

    `array` must have the dims `seed`, that dim and `extra`, hold at least one point, and carry the coordinate `step`
    with dims (seed, that dim) or (that dim,); anything else is an OntogenyError that names what came.
    """
    if not isinstance(array, xr.DataArray):
        raise OntogenyError(
            f"{name} must be an xarray.DataArray; got {type(array).__name__}: pass one variable, as in results['llc']."
        )
    dim = next((d for d in ALONG if d in array.dims), "checkpoint")
    if set(array.dims) != {"seed", dim, *extra}:
        wanted = ", ".join(("seed", "checkpoint or time", *extra))
        raise OntogenyError(
            f"{name} must have the dims ({wanted}); got {array.dims}: select or expand_dims the others first."
        )
    if array.size == 0:
        raise OntogenyError(
            f"{name} is empty, shape {array.shape}; at least one seed and one point along training are needed."
        )
    if "step" not in array.coords or dim not in array["step"].dims or not set(array["step"].dims) <= {"seed", dim}:
        raise OntogenyError(
            f"{name} must carry the coordinate 'step' with dims (seed, {dim}) or ({dim},): assign_coords(step=...)."
        )
    return dim


def seeds_of(array: xr.DataArray) -> npt.NDArray[np.int64]:
    """Return the seed labels, 0..n-1 where the dim has no coordinate; repeated labels are an OntogenyError."""
    labels = np.asarray(array["seed"].values)
    whole = np.issubdtype(labels.dtype, np.number) and bool((labels == np.round(labels)).all())
    if not whole:
        raise OntogenyError(f"the coordinate 'seed' must hold whole numbers; got {labels.tolist()[:5]}: number them.")
    if len(np.unique(labels)) != len(labels):
        raise OntogenyError(f"the coordinate 'seed' must name each seed once; got {labels.tolist()}: relabel them.")
    return labels


def steps_of(array: xr.DataArray, name: str) -> Array:
    """Training steps of every point, shape (seed, points), checked to increase strictly within each seed.

    Points whose step is NaN (a shorter trajectory in a rectangular array) may only stand at the end.
    """
    steps = array["step"]
    dim = next(d for d in ALONG if d in steps.dims)
    if "seed" not in steps.dims:
        steps = steps.expand_dims(seed=array.sizes["seed"])
    result = np.asarray(steps.transpose("seed", dim).values, dtype=np.float64)
    for row, seed in zip(result, seeds_of(array), strict=True):
        known = np.isfinite(row)
        if (np.diff(row[known]) <= 0).any() or (np.diff(known.astype(int)) > 0).any():
            raise OntogenyError(
                f"the coordinate 'step' of {name} must increase strictly; seed {seed} does not: sort and drop repeats."
            )
    return result


def series(array: xr.DataArray, name: str) -> list[Series]:
    """One `Series` a seed, in the array's order, without the points whose step is NaN; values may be NaN."""
    dim = along(array, name)
    values = np.asarray(array.transpose("seed", dim).values, dtype=np.float64)
    rows = zip(seeds_of(array), steps_of(array, name), values, strict=True)
    return [Series(int(s), t[np.isfinite(t)], v[np.isfinite(t)]) for s, t, v in rows]


def alike(array: xr.DataArray, name: str, like: list[Series], of: str = "indicator") -> list[Series]:
    """The series of `array` in the order of the seeds of `like`, at the same steps; else an OntogenyError."""
    own = {one.seed: one for one in series(array, name)}
    if set(own) != {one.seed for one in like}:
        raise OntogenyError(f"{name} must hold the same seeds as {of}; got {sorted(own)}: select both alike.")
    if any(not np.array_equal(own[one.seed].steps, one.steps) for one in like):
        raise OntogenyError(f"{name} must be measured at the same steps as {of}: select the same checkpoints of both.")
    return [own[one.seed] for one in like]


def errors_alike(se: xr.DataArray | None, like: list[Series], of: str = "indicator") -> list[Series]:
    """Standard errors in the order of the seeds of `like`, at the same steps, none of them negative; None: all 0."""
    if se is None:
        return [one._replace(values=0 * one.steps) for one in like]
    errors = alike(se, "se", like, of)
    for one in errors:
        check_errors(one.values)
    return errors


def check_errors(se: Array) -> None:
    """Refuse standard errors of which one is negative."""
    if (se < 0).any():
        raise OntogenyError("se must hold standard errors, none negative; got a negative value: pass llc_se, say.")


def per_seed(value: xr.DataArray | float, like: xr.DataArray, name: str) -> Array:
    """`value` as one number a seed, in the order of `like`'s seeds; a float stands for every seed."""
    if not isinstance(value, xr.DataArray):
        if not isinstance(value, int | float | np.number):
            raise OntogenyError(
                f"{name} must be a number or a DataArray with the one dim (seed,); got {type(value).__name__}."
            )
        return np.full(like.sizes["seed"], float(value))
    if value.dims != ("seed",):
        raise OntogenyError(f"{name} must be a number or have the one dim (seed,); got {value.dims}.")
    labels, wanted = seeds_of(value).tolist(), seeds_of(like).tolist()
    missing = sorted(set(wanted) ^ set(labels))
    if missing:
        raise OntogenyError(
            f"{name} must hold the same seeds as the trajectories; only one of them has {missing}: select both alike."
        )
    return np.asarray([float(value.values[labels.index(seed)]) for seed in wanted])


def variable(dims: tuple[str, ...], values: npt.ArrayLike, long_name: str, units: str = "") -> xr.Variable:
    """Make an xarray variable with the two attributes that every table of ontogeny carries."""
    return xr.Variable(dims, np.asarray(values), {"long_name": long_name, "units": units})
