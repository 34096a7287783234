"""What many indicators have in common: a factor analysis over all seeds, checkpoints and groups."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.checks import ALONG, Array, along, variable
from ontogeny.analysis.intervals import LEVEL
from ontogeny.core.errors import OntogenyError

FEWEST_INDICATORS = 3  # below it not even one factor is determined
NULL_DRAWS = 200
NULL_LEVEL = 0.95
TOLERANCE, ITERATIONS = 1e-6, 2000  # of the log likelihood, in scikit-learn's iteration
RESAMPLED_TOLERANCE, RESAMPLED_ITERATIONS = 1e-4, 200  # from the full fit on; the loadings are then within about 0.01


class _Points(NamedTuple):
    """Complete points, unit by unit: `scores` (points, indicators), the units' `sizes`, and each unit's `group`."""

    scores: Array
    sizes: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    dropped: int


def factor_analysis(
    indicators: Mapping[str, xr.DataArray], factors: int | None = None, seed: int = 0, *, resamples: int = 400
) -> xr.Dataset:
    """Factor analysis of the indicators over all (seed, checkpoint): z = Λf + e, Var f = 1, Var e diagonal.

    indicators: (seed, checkpoint or time) each, or all with one more dim, such as `sparsity`, whose entries are stacked
    with the seeds into units; same coordinates in all. A point where any of them is not finite is left out of all.

    z are normal scores, Φ⁻¹((r − 3/8)/(n + 1/4)) of the rank r among all n points, standardised: indicators differ by
    orders of magnitude and many are skewed, and so the result depends on their order only. Ranks are over all points
    together, not within units, because differences between groups and seeds are part of what the factors should say.
    Λ: maximum likelihood (scikit-learn's FactorAnalysis) with varimax rotation, factors ordered by the variance they
    account for, each with the sign that makes its loadings' sum positive.

    factors: their number; by default by parallel analysis (Horn, Psychometrika 1965): as many leading eigenvalues of
    the correlation matrix as exceed the 95 % point of their own rank among 200 null draws, and no more than the
    Ledermann bound p + (1 − √(8p + 1))/2 for p indicators. Points of a run are not independent, so a draw does not
    permute points: for each indicator it puts the units in random order and turns each unit's series round by a random
    number of points. That breaks what indicators share, training time included, and keeps how slowly each moves.

    Intervals are approximate: units are resampled with replacement within their group, whole series each; the loadings
    of every resample are matched to those of all units by the permutation and signs that make them most alike; and on
    Fisher's scale artanh(loading) the interval is ± Student's t times the resamples' standard deviation, times √(S/(S
    − 1)) for S units a group, with 1/(1/(units − groups) + 1/(resamples − 1)) degrees of freedom. Ranks and the number
    of factors are those of all units throughout. NaN with a single unit in every group.

    Returns a Dataset: `loading`, `loading_low`, `loading_high` (indicator, factor), correlations of indicator and
    factor; `communality` (indicator) = Σ loading², the share of its variance that factors account for (close to 1, a
    Heywood case, is a sign of too many factors); `variance_share` (factor) = Σ loading²/p; `eigenvalue`,
    `eigenvalue_null` (rank), of the correlation matrix and the null's 95 % point. attrs: `units`, `points`,
    `points_dropped`, `factors`, `chosen_by` ("parallel analysis", "Ledermann bound" where that asked for more,
    or "caller"), `converged`. With no eigenvalue above
    the null there are no factors, and the dim `factor` is empty.

    Raises:
        OntogenyError: with fewer than 3 indicators, indicators of different dims or coordinates, one that is constant,
            or a number of factors outside 1 and the bound.
    """
    if len(indicators) < FEWEST_INDICATORS:
        raise OntogenyError(
            f"indicators must name at least {FEWEST_INDICATORS} variables, as in {{'llc': results['llc'], …}}; "
            f"got {list(indicators)}."
        )
    if resamples < 20:
        raise OntogenyError(f"resamples must be at least 20; got {resamples}: 400 is the default.")
    most = int(len(indicators) + (1 - math.sqrt(8 * len(indicators) + 1)) / 2 + 1e-9)
    if factors is not None and not 1 <= factors <= most:
        raise OntogenyError(
            f"factors must lie between 1 and {most}, which is all that {len(indicators)} indicators determine; "
            f"got {factors}: leave it out to have it chosen."
        )
    points = _points(indicators)
    rng = np.random.default_rng(seed)
    correlation = np.asarray(np.corrcoef(points.scores.T), dtype=np.float64)
    eigenvalue = np.linalg.eigvalsh(correlation)[::-1]
    null = _null_eigenvalues(points, rng)
    above = np.append(eigenvalue > null, False)
    wanted = int(above.argmin())
    count = factors if factors is not None else min(wanted, most)
    loading, noise, converged = _fit(correlation, count)
    order = np.argsort(-(loading**2).sum(0))
    loading = loading[:, order] * np.where(loading[:, order].sum(0) < 0, -1, 1)
    low, high = _loading_interval(points, loading, noise, rng, resamples)
    both = ("indicator", "factor")
    return xr.Dataset(
        {
            "loading": variable(both, loading, "correlation of indicator and factor"),
            "loading_low": variable(both, low, "lower end of its interval"),
            "loading_high": variable(both, high, "upper end of its interval"),
            "communality": variable(("indicator",), (loading**2).sum(1), "variance that the factors account for"),
            "variance_share": variable(("factor",), (loading**2).mean(0), "share of all variance"),
            "eigenvalue": variable(("rank",), eigenvalue, "eigenvalue of the correlation matrix"),
            "eigenvalue_null": variable(("rank",), null, "95 % point of the same without anything in common"),
        },
        coords={
            "indicator": list(indicators),
            "factor": np.arange(1, count + 1),
            "rank": np.arange(1, len(eigenvalue) + 1),
        },
        attrs={
            "units": len(points.sizes),
            "points": len(points.scores),
            "points_dropped": points.dropped,
            "factors": count,
            "chosen_by": "caller"
            if factors is not None
            else "Ledermann bound"
            if wanted > most
            else "parallel analysis",
            "converged": converged,
            "level": LEVEL,
            "interval": "bootstrap over units, Student's t on Fisher's scale; approximate",
        },
    )


def normal_scores(values: Array) -> Array:
    """Φ⁻¹((r − 3/8)/(n + 1/4)) of mid-ranks r (Blom 1958), standardised; (n,) -> (n,); the order is all that counts.

    >>> normal_scores(np.array([1.0, 10.0, 1000.0])).round(3).tolist()
    [-1.225, 0.0, 1.225]
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    scores = ndtri((rankdata(values) - 0.375) / (len(values) + 0.25))
    return np.asarray((scores - scores.mean()) / scores.std(), dtype=np.float64)


def _points(indicators: Mapping[str, xr.DataArray]) -> _Points:
    columns, first = [], next(iter(indicators))
    for name, array in indicators.items():
        extra = tuple(d for d in getattr(array, "dims", ()) if d not in ("seed", *ALONG))
        if len(extra) > 1:
            raise OntogenyError(
                f"indicator {name!r} may have one dim beside seed and checkpoint; got {array.dims}: select the others."
            )
        dim = along(array, f"indicator {name!r}", extra=extra)
        if set(array.dims) != set(indicators[first].dims) or not _same_places(array, indicators[first]):
            raise OntogenyError(
                f"indicator {name!r} must have the same dims, seeds and steps as {first!r}: select all alike."
            )
        ordered = array.transpose(*extra, "seed", dim)
        columns.append(np.asarray(ordered.values, dtype=np.float64).reshape(-1, *ordered.shape[-2:]))
    table = np.stack(columns, axis=-1)  # (group, seed, point, indicator)
    known = np.isfinite(table).all(-1)
    values = table[known]
    for name, column in zip(indicators, values.T, strict=True):
        if len(column) < 2 or np.ptp(column) == 0:
            raise OntogenyError(f"indicator {name!r} is constant over the {len(column)} complete points: leave it out.")
    sizes = known.sum(axis=2)
    some = sizes > 0
    scores = np.column_stack([normal_scores(column) for column in values.T])
    return _Points(scores, sizes[some], np.nonzero(some)[0], int((~known).sum()))


def _same_places(array: xr.DataArray, like: xr.DataArray) -> bool:
    """Whether both have the same labels along every dim, in the same order, and the same steps."""
    if any(not np.array_equal(array[dim].values, like[dim].values) for dim in array.dims):
        return False
    return np.array_equal(array["step"].values, like["step"].values, equal_nan=True)


def _null_eigenvalues(points: _Points, rng: np.random.Generator) -> Array:
    """95 % point of each ranked eigenvalue when every indicator's units are shuffled and turned round by themselves."""
    sizes = points.sizes
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    drawn = np.empty((NULL_DRAWS, points.scores.shape[1]))
    for row in drawn:
        columns = [column[_shuffled(starts, sizes, rng)] for column in points.scores.T]
        row[:] = np.linalg.eigvalsh(np.corrcoef(columns))[::-1]
    return np.asarray(np.quantile(drawn, NULL_LEVEL, axis=0))


def _shuffled(
    starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Indices of all points, the units in random order and each turned round."""
    order = rng.permutation(len(sizes))
    size, turn = sizes[order], rng.integers(sizes[order])
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(starts[order], size) + (place + np.repeat(turn, size)) % np.repeat(size, size)


def _fit(correlation: Array, count: int, noise: Array | None = None) -> tuple[Array, Array, bool]:
    """(loadings (indicators, factors), variances of e, whether the iteration ended); noise: where it starts."""
    from sklearn import config_context
    from sklearn.decomposition import FactorAnalysis

    if count == 0:
        return np.zeros((len(correlation), 0)), np.ones(len(correlation)), True
    # The likelihood depends on the correlations only: 2p points that have exactly these stand for thousands.
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0) * len(values))) @ vectors.T
    model = FactorAnalysis(
        count,
        tol=TOLERANCE if noise is None else RESAMPLED_TOLERANCE,
        max_iter=ITERATIONS if noise is None else RESAMPLED_ITERATIONS,
        rotation="varimax",
        svd_method="lapack",
        noise_variance_init=noise,
    )
    with warnings.catch_warnings(record=True) as told, config_context(assume_finite=True):
        warnings.simplefilter("always")  # its only one, that the iteration did not end, is told in attrs
        model.fit(np.concatenate([root, -root]))
    return np.asarray(model.components_.T), np.asarray(model.noise_variance_), not told


def _loading_interval(
    points: _Points, loading: Array, noise: Array, rng: np.random.Generator, resamples: int
) -> tuple[Array, Array]:
    """Ends of the loadings' intervals, from resampled units; the resamples need only each unit's sums."""
    from scipy.stats import t

    groups = [np.flatnonzero(points.group == g) for g in np.unique(points.group)]
    freedom = len(points.sizes) - len(groups)
    if freedom < 1 or loading.shape[1] == 0:
        return np.full_like(loading, np.nan), np.full_like(loading, np.nan)
    units = np.split(points.scores, np.cumsum(points.sizes)[:-1])
    sums, squares = np.stack([u.sum(0) for u in units]), np.stack([u.T @ u for u in units])
    drawn = []
    for _ in range(resamples):
        chosen = np.concatenate([group[rng.integers(len(group), size=len(group))] for group in groups])
        n, total = points.sizes[chosen].sum(), sums[chosen].sum(0)
        covariance = squares[chosen].sum(0) - np.outer(total, total) / n
        scale = np.sqrt(np.diag(covariance))
        if (scale > 0).all():  # an indicator may be constant in a few units
            drawn.append(_matched(_fit(covariance / np.outer(scale, scale), loading.shape[1], noise)[0], loading))
    if len(drawn) < 2:
        return np.full_like(loading, np.nan), np.full_like(loading, np.nan)
    spread = np.std([_fisher(one) for one in drawn], axis=0, ddof=1)
    told = 1 / (1 / freedom + 1 / (len(drawn) - 1))  # the spread is itself uncertain, from few units and few resamples
    # resampling S units of a group spreads their mean by √((S − 1)/S) of what other units would
    half = t.ppf((1 + LEVEL) / 2, told) * spread * math.sqrt(len(points.sizes) / freedom)
    return np.tanh(_fisher(loading) - half), np.tanh(_fisher(loading) + half)


def _matched(found: Array, like: Array) -> Array:
    """`found` with its factors permuted and signed so that Σ found·like is largest."""
    from scipy.optimize import linear_sum_assignment

    alike = like.T @ found
    _, order = linear_sum_assignment(-np.abs(alike))
    return np.asarray(found[:, order] * np.where(alike[np.arange(len(order)), order] < 0, -1, 1))


def _fisher(loading: Array) -> Array:
    return np.asarray(np.arctanh(np.clip(loading, -0.9999, 0.9999)))
