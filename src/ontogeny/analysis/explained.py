"""How much of an indicator's course over training is explained by training time and the loss alone."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, Series, alike, errors_alike, series, variable
from ontogeny.analysis.intervals import LEVEL, MeanInterval, bootstrap_t_interval, t_interval

TRENDS = ("log_step", "loss", "both")
KNOTS = 4
"""Of each spline, at these quantiles of the regressor: as Harrell, Regression Modeling Strategies (2015), table 2.3."""
QUANTILES = (0.05, 0.35, 0.65, 0.95)
MIN_POINTS = 10  # "both" has seven coefficients
TOLD_FROM_NOISE = 2.0
"""Standard errors by which the variance over checkpoints must exceed the sampler's for its shares to mean anything."""


def explained_by_trend(llc: xr.DataArray, loss: xr.DataArray, *, se: xr.DataArray | None = None) -> xr.Dataset:
    """Share of the LLC's variance over checkpoints that log(1 + step), the loss, or both explain within each seed.

    llc, loss, se: (seed, checkpoint), same seeds and steps; se is the LLC's own standard error. The trend is a natural
    cubic spline in log(1 + step), or in the loss, with 4 knots, so three terms, or the sum of both, six; by least
    squares. A spline bends where a line or parabola cannot, and outside its knots it goes on straight, so that it can
    be asked about a seed that it was not fitted to. With n points, p terms, RSS the fit's and TSS the mean's sum of
    squares, s² the mean of se² (0 without se),

        r2 = (TSS/(n − 1) − RSS/(n − p − 1))/(TSS/(n − 1) − s²):

    the adjusted R², 0 on average for a trend that explains nothing, with the sampler's part taken off what there is to
    explain. It may leave [0, 1] by chance. r2_across asks how general the course is: the trend is fitted to the
    other seeds' points together, and predicts this seed's curve, level included:

        r2_across = 1 − (mean (x − x̂)² − s²)/(TSS/(n − 1) − s²),

    0 when the prediction is as wrong as the seed's own mean, negative when worse. Both say how much goes along with
    training time, not what causes it; anything that itself happens at a fixed time is part of the trend.

    Points where llc, loss or se is not finite are left out; seeds with fewer than 10 that stay have NaN, as have those
    whose variance is not above s² by two standard errors of a noise variance, √(2/(n − 1))·s² each.

    Returns a Dataset with dims `trend` (log_step, loss, both), `seed`: `r2`, `r2_across`; `points` (seed). By trend
    `mean`, `low`, `high`, `seeds` of r2 over the seeds with a finite one (bootstrap-t, 95 %), and `across_mean`,
    `across_low`, `across_high`, `across_seeds` of r2_across, pooled: each seed counts by what there is to explain in
    it, TSS/(n − 1) − s², since a seed that hardly varies has a share of any size (Student's t for a ratio of means).
    These intervals are approximate, since any two seeds are predicted from nearly the same others.

    Raises:
        OntogenyError: for wrong dims, other seeds or steps in loss or se, or a negative se.
    """
    rows = series(llc, "llc")
    losses = alike(loss, "loss", rows, "llc")
    errors = errors_alike(se, rows, "llc")
    cells = [_Cell(x, y, e) for x, y, e in zip(rows, losses, errors, strict=True)]
    within = np.array([cell.within() for cell in cells]).T
    across = np.array([cell.across([other for other in cells if other is not cell]) for cell in cells]).T
    dims, of = ("trend", "seed"), "the LLC's variance over checkpoints"
    return xr.Dataset(
        {
            "r2": variable(dims, within, f"share of {of} explained within the seed"),
            "r2_across": variable(dims, across, f"share of {of} predicted from the other seeds"),
            "points": variable(("seed",), [len(cell.x) for cell in cells], "checkpoints that entered", "checkpoints"),
            **_over_seeds(within, ""),
            **_over_seeds(across, "across_", np.array([cell.total - cell.noise for cell in cells])),
        },
        coords={"trend": list(TRENDS), "seed": np.array([one.seed for one in rows])},
        attrs={
            "level": LEVEL,
            "interval": "bootstrap-t over seeds; across: pooled over seeds, Student's t",
            "knots": KNOTS,
            "se_given": se is not None,
        },
    )


def natural_spline(x: Array, knots: Array) -> Array:
    """Basis of the natural cubic splines with these knots, without the constant: (points,) -> (points, knots − 1).

    First x itself, then d_k − d_{K−1} for k = 1 … K − 2, with d_k = ((x − κ_k)₊³ − (x − κ_K)₊³)/(κ_K − κ_k), over
    (κ_K − κ_1)² (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, equation 5.4). Straight
    outside [κ_1, κ_K]. With fewer than three knots only x.

    >>> natural_spline(np.array([0.0, 4.0]), np.array([0.0, 1.0, 2.0])).tolist()
    [[0.0, 0.0], [4.0, 2.25]]
    """
    if len(knots) < 3:
        return x[:, None]
    last = np.maximum(x - knots[-1], 0) ** 3
    d = [(np.maximum(x - knot, 0) ** 3 - last) / (knots[-1] - knot) for knot in knots[:-1]]
    scale = (knots[-1] - knots[0]) ** 2
    return np.column_stack([x, *[(one - d[-1]) / scale for one in d[:-1]]])


class _Cell:
    """One seed's usable points: `x` the LLC, its trends, and what there is to explain."""

    def __init__(self, llc: Series, loss: Series, se: Series) -> None:
        known = np.isfinite(llc.values) & np.isfinite(loss.values) & np.isfinite(se.values)
        self.x, self.regressors = (
            llc.values[known],
            {"log_step": np.log1p(llc.steps[known]), "loss": loss.values[known]},
        )
        n = len(self.x)
        self.noise = float((se.values[known] ** 2).mean()) if n else math.nan
        self.total = float(self.x.var(ddof=1)) if n > 1 else math.nan
        least = self.noise * (1 + TOLD_FROM_NOISE * math.sqrt(2 / (n - 1))) if n > 1 else math.nan
        rounding = 1e-20 * float((self.x**2).mean()) if n else 0.0  # of a constant, in place of a variance of zero
        self.usable = n >= MIN_POINTS and self.total > max(least, rounding)

    def within(self) -> list[float]:
        """r2 by trend."""
        if not self.usable:
            return [math.nan] * len(TRENDS)
        knots = {name: _knots(values) for name, values in self.regressors.items()}
        return [self._adjusted(design) for design in _designs(self.regressors, knots)]

    def across(self, others: list[_Cell]) -> list[float]:
        """r2_across by trend, fitted to the other cells."""
        if not self.usable or sum(len(other.x) for other in others) < MIN_POINTS:
            return [math.nan] * len(TRENDS)
        x = np.concatenate([other.x for other in others])
        pooled = {name: np.concatenate([other.regressors[name] for other in others]) for name in self.regressors}
        knots = {name: _knots(values) for name, values in pooled.items()}
        pairs = zip(_designs(pooled, knots), _designs(self.regressors, knots), strict=True)
        return [self._predicted(here @ np.linalg.lstsq(there, x, rcond=None)[0]) for there, here in pairs]

    def _adjusted(self, design: Array) -> float:
        coefficients, _, rank, _ = np.linalg.lstsq(design, self.x, rcond=None)
        left = float(((self.x - design @ coefficients) ** 2).sum()) / (len(self.x) - int(rank))
        return (self.total - left) / (self.total - self.noise)

    def _predicted(self, prediction: Array) -> float:
        wrong = float(((self.x - prediction) ** 2).mean())
        return 1 - (wrong - self.noise) / (self.total - self.noise)


def _knots(values: Array) -> Array:
    """Return the quantiles, without those that coincide because many values are the same."""
    return np.unique(np.quantile(values, QUANTILES))


def _designs(regressors: dict[str, Array], knots: dict[str, Array]) -> list[Array]:
    """Columns of the regression by trend, the constant first."""
    step, loss = (natural_spline(regressors[name], knots[name]) for name in ("log_step", "loss"))
    one = np.ones((len(step), 1))
    return [np.hstack([one, step]), np.hstack([one, loss]), np.hstack([one, step, loss])]


def _over_seeds(values: Array, prefix: str, weights: Array | None = None) -> dict[str, xr.Variable]:
    means = [bootstrap_t_interval(row) if weights is None else _pooled(row, weights) for row in values]
    what = "share explained within a seed" if not prefix else "share predicted from the other seeds"
    return {
        f"{prefix}mean": variable(("trend",), [m.mean for m in means], f"mean {what}"),
        f"{prefix}low": variable(("trend",), [m.low for m in means], "lower end of its interval"),
        f"{prefix}high": variable(("trend",), [m.high for m in means], "upper end of its interval"),
        f"{prefix}seeds": variable(("trend",), [m.n for m in means], "seeds with a finite share", "seeds"),
    }


def _pooled(values: Array, weights: Array) -> MeanInterval:
    """Σwr/Σw over seeds, with the interval of a ratio of two means: Student's t on r̄ + w(r − r̄)/w̄."""
    known = np.isfinite(values) & np.isfinite(weights)
    r, w = values[known], weights[known]
    if not len(r):
        return t_interval([])
    pooled = float((w * r).sum() / w.sum())
    return t_interval(pooled + w * (r - pooled) / w.mean())
