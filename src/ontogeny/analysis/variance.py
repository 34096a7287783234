"""How much of an indicator's spread lies between groups, between checkpoints, between seeds and in the sampler."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.checks import Array, along, check_errors, seeds_of, steps_of, variable
from ontogeny.analysis.intervals import LEVEL
from ontogeny.core.errors import OntogenyError

SOURCES = ("group", "checkpoint", "group:checkpoint", "seed", "seed:checkpoint", "sampler")
OF = ("values", "increments")
FEWEST_SEEDS = 3  # two must stay when the jackknife leaves one out
FEWEST_CHECKPOINTS = {"values": 2, "increments": 3}

MEANINGS = {
    "group": "between the groups' averages over training",
    "checkpoint": "along training, common to all groups",
    "group:checkpoint": "along training, different from group to group",
    "seed": "between the averages of a group's seeds over training",
    "seed:checkpoint": "along training, different from seed to seed, beyond the sampler",
    "sampler": "the chains' own error, mean of se²",
}


class _Table(NamedTuple):
    """Complete cells: `values` and `noise`, each value's squared standard error, (group, seed, point).

    `shared`: 1ᵀΣ1/C, the squared error of a seed's sum over its C points, over C; (group, seed).
    """

    values: Array
    noise: Array
    shared: Array


def variance_components(
    indicator: xr.DataArray,
    se: xr.DataArray | None,
    group: str = "sparsity",
    *,
    of: str = "values",
    level: float = LEVEL,
) -> xr.Dataset:
    """Split an indicator's variance by group, checkpoint, seed and sampler, by the method of moments.

    indicator, se: (group, seed, checkpoint), `group` the name of the group's dim; the same steps for every seed. of:
    "values", or "increments" for the changes between consecutive checkpoints, which is what drift is made of. The
    model, with seeds nested in groups (a seed of one group has nothing to do with that seed of another) and
    checkpoints crossed with both, every term with mean 0 and a variance of its own:

        x_gsc = μ + G_g + C_c + (GC)_gc + S_s(g) + (SC)_sc(g) + e_gsc,      Var e_gsc = se_gsc².

    With G groups, S seeds in each, C checkpoints, the mean squares MS of the balanced analysis of variance (Searle,
    Casella and McCulloch, Variance Components, 1992, chapter 4), and a and b the sampler's exact parts in them:

        seed:checkpoint = MS_SC − b                      seed = (MS_S − a − (MS_SC − b))/C
        group:checkpoint = (MS_GC − MS_SC)/S             checkpoint = (MS_C − MS_GC)/(G·S)
        group = (MS_G − MS_GC − MS_S + MS_SC)/(S·C)      sampler = mean se²

    For values a = b = mean se²; an increment's se² is se_i² + se_{i+1}², and neighbouring increments share an error
    with opposite signs, so that it all but cancels in a seed's average: a = mean(se_1² + se_C²)/C, b = mean over seeds
    of (Σ se² − a_s)/(C − 1). Components are unbiased, and may come out negative where there is little or nothing.

    `se`, `low`, `high` are the delete-one jackknife over seeds: seed i is left out of every group at once, which keeps
    the design balanced, and is right too where seed i of all groups shares its initial weights; Student's t with S − 1
    degrees of freedom. They say how the figure would vary with other seeds, for these groups and these checkpoints.

    A cell that is not finite (in indicator or se) makes its row incomplete: seeds (in all groups) and checkpoints are
    dropped, one at a time, always the one with the largest part of its cells missing, until nothing is missing.

    What the split does not see: in real runs the (SC) of neighbouring checkpoints are alike, where the model has them
    independent; what they have in common over a whole run is counted as `seed`. Changes that the next checkpoint takes
    back, as in increments of a scatter around a level, make `seed` too low instead. Sampler errors common to seeds or
    checkpoints (the same minibatches) are in `sampler` but spread nothing; then `seed:checkpoint` is too low, by as
    much.

    Returns a Dataset with dim `source` (group, checkpoint, group:checkpoint, seed, seed:checkpoint, sampler), in the
    indicator's unit squared: `variance`, `se`, `low`, `high`; `share` of the sum of the components, a negative one
    counted as 0, with `share_low`, `share_high` (same jackknife, cut to [0, 1]; what is negative with all seeds stays
    out of the sum in every part of it); `meaning`. With se None `sampler` is
    NaN and its part stays in seed:checkpoint. attrs: `groups`, `seeds`, `checkpoints` that entered, `seeds_dropped`,
    `checkpoints_dropped`, `group`, `of`.

    Raises:
        OntogenyError: for wrong dims, an unknown `of`, a negative se, or where fewer than 2 groups, 3 seeds or 2
            checkpoints (3 for increments) are complete.
    """
    from scipy.stats import t

    if of not in OF:
        raise OntogenyError(f"of must be one of {OF}; got {of!r}.")
    if not 0 < level < 1:
        raise OntogenyError(f"level must lie between 0 and 1; got {level}: 0.95 is usual.")
    values = _cells(indicator, "indicator", group)
    noise = np.zeros_like(values) if se is None else _noise(se, indicator, group)
    seeds, points = _complete(np.isfinite(values) & np.isfinite(noise))
    groups, kept = len(values), (int(seeds.sum()), int(points.sum()))
    if groups < 2 or kept[0] < FEWEST_SEEDS or kept[1] < FEWEST_CHECKPOINTS[of]:
        raise OntogenyError(
            f"variance_components needs at least 2 groups, {FEWEST_SEEDS} seeds and {FEWEST_CHECKPOINTS[of]} "
            f"checkpoints without missing values for {of}; got {groups}, {kept[0]} and {kept[1]}: leave out the seeds "
            "or checkpoints with most of them."
        )
    table = _table(values[:, seeds][:, :, points], noise[:, seeds][:, :, points], of)
    n = kept[0]
    variance = _components(table)
    left_out = np.array([_components(_Table(*(np.delete(part, i, axis=1) for part in table))) for i in range(n)])
    counted = variance > 0
    share, shares = _shares(variance, counted), _shares(left_out, counted)
    wide = float(t.ppf((1 + level) / 2, n - 1))
    error, share_error = _jackknife(left_out), _jackknife(shares)
    if se is None:
        for column in (variance, error, share, share_error):
            column[SOURCES.index("sampler")] = math.nan
    of_what, unit = indicator.attrs.get("long_name", indicator.name or "indicator"), indicator.attrs.get("units", "")
    square = f"({unit})²" if unit else ""
    columns: dict[str, tuple[npt.ArrayLike, str, str]] = {
        "variance": (variance, f"variance of {of} of {of_what}", square),
        "se": (error, "its standard error", square),
        "low": (variance - wide * error, "lower end of its interval", square),
        "high": (variance + wide * error, "upper end of its interval", square),
        "share": (np.maximum(share, 0), "share of the sum of the components", ""),
        "share_low": (np.clip(share - wide * share_error, 0, 1), "lower end of the share's interval", ""),
        "share_high": (np.clip(share + wide * share_error, 0, 1), "upper end of the share's interval", ""),
        "meaning": ([MEANINGS[source] for source in SOURCES], "what the component is", ""),
    }
    return xr.Dataset(
        {name: variable(("source",), *column) for name, column in columns.items()},
        coords={"source": list(SOURCES)},
        attrs={
            "group": group,
            "of": of,
            "groups": groups,
            "seeds": n,
            "checkpoints": kept[1],
            "seeds_dropped": int((~seeds).sum()),
            "checkpoints_dropped": int((~points).sum()),
            "level": level,
            "interval": "jackknife over seeds, Student's t",
        },
    )


def _cells(array: xr.DataArray, name: str, group: str) -> Array:
    """(group, seed, point), checked to have one grid of steps."""
    dim = along(array, name, extra=(group,))
    seeds_of(array)
    steps = steps_of(array, name)
    if not (steps == steps[0]).all():
        raise OntogenyError(f"{name} must have the same steps for every seed: interpolate it to common checkpoints.")
    return np.asarray(array.transpose(group, "seed", dim).values, dtype=np.float64)


def _noise(se: xr.DataArray, indicator: xr.DataArray, group: str) -> Array:
    """Squared standard errors in the indicator's order of groups and seeds."""
    errors = _cells(se, "se", group)
    if any(not np.array_equal(se[name].values, indicator[name].values) for name in (group, "seed", "step")):
        raise OntogenyError(
            f"se must have the same {group}, seeds and steps as indicator, in the same order; select both alike."
        )
    check_errors(errors)
    return errors**2


def _complete(known: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which seeds and which points to keep so that every cell of (group, seed, point) is known."""
    seeds, points = np.ones(known.shape[1], dtype=bool), np.ones(known.shape[2], dtype=bool)
    while seeds.any() and points.any():
        missing = ~known[:, seeds][:, :, points]
        if not missing.any():
            break
        by_seed, by_point = missing.mean((0, 2)), missing.mean((0, 1))
        if by_seed.max() > by_point.max():
            seeds[np.flatnonzero(seeds)[by_seed.argmax()]] = False
        else:
            points[np.flatnonzero(points)[by_point.argmax()]] = False
    return seeds, points


def _table(values: Array, noise: Array, of: str) -> _Table:
    if of == "values":
        return _Table(values, noise, noise.mean(2))
    steps = values.shape[2] - 1
    return _Table(np.diff(values, axis=2), noise[..., 1:] + noise[..., :-1], (noise[..., 0] + noise[..., -1]) / steps)


def _components(table: _Table) -> Array:
    """Variance by source, in the order of SOURCES."""
    x = table.values
    n_groups, n_seeds, n_points = x.shape
    by_group_point, by_seed = x.mean(1), x.mean(2)
    by_group, by_point, all_mean = by_seed.mean(1), by_group_point.mean(0), x.mean()
    rest = x - by_seed[:, :, None] - by_group_point[:, None, :] + by_group[:, None, None]
    crossed = by_group_point - by_group[:, None] - by_point + all_mean
    ms_group = n_seeds * n_points * ((by_group - all_mean) ** 2).sum() / (n_groups - 1)
    ms_point = n_groups * n_seeds * ((by_point - all_mean) ** 2).sum() / (n_points - 1)
    ms_crossed = n_seeds * (crossed**2).sum() / ((n_groups - 1) * (n_points - 1))
    ms_seed = n_points * ((by_seed - by_group[:, None]) ** 2).sum() / (n_groups * (n_seeds - 1))
    ms_rest = (rest**2).sum() / (n_groups * (n_seeds - 1) * (n_points - 1))
    in_seed = table.shared.mean()
    in_rest = (table.noise.sum(2) - table.shared).mean() / (n_points - 1)
    return np.array(
        [
            (ms_group - ms_crossed - ms_seed + ms_rest) / (n_seeds * n_points),
            (ms_point - ms_crossed) / (n_groups * n_seeds),
            (ms_crossed - ms_rest) / n_seeds,
            (ms_seed - in_seed - (ms_rest - in_rest)) / n_points,
            ms_rest - in_rest,
            table.noise.mean(),
        ]
    )


def _shares(variance: Array, counted: npt.NDArray[np.bool_]) -> Array:
    """variance (…, source) over the sum of the sources that are counted; NaN where that is not positive."""
    total = variance[..., counted].sum(-1, keepdims=True)
    return np.divide(variance, total, out=np.full_like(variance, math.nan), where=total > 0)


def _jackknife(left_out: Array) -> Array:
    """√((n − 1)/n·Σ (θ_(i) − mean θ_(i))²), along the first axis."""
    n = len(left_out)
    return np.asarray(np.sqrt((n - 1) / n * ((left_out - left_out.mean(0)) ** 2).sum(0)))
