"""Which indicator moves with the LLC within a training run, and what of that is left without training time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, Series, alike, series, variable
from ontogeny.analysis.intervals import t_interval
from ontogeny.core.errors import OntogenyError

KINDS = ("raw", "without_log_step")
WITH_LOSS = "without_log_step_and_loss"
"""The third kind, where the loss is given."""
LOG_STEP = "log_step"
MIN_POINTS = 5


def associations(
    llc: xr.DataArray, indicators: Mapping[str, xr.DataArray], loss: xr.DataArray | None = None
) -> xr.Dataset:
    """Spearman correlation of the LLC with each indicator within each seed, raw and with the trend partialled out.

    llc and every indicator: (seed, checkpoint), same seeds and steps; the indicator "log_step" is added. Checkpoints
    where either is not finite are left out (`points` says how many stayed). ρ = Pearson correlation of mid-ranks; with
    log step z partialled out ρ_xy·z = (ρ_xy − ρ_xz ρ_yz)/√((1 − ρ_xz²)(1 − ρ_yz²)), (Spearman's ranks are the same for
    step and log step). Two curves that both just grow have raw ρ near 1: the second is the one that says something. It
    takes out what is monotone in step only as far as straight lines between ranks do.

    With `loss` given, (seed, checkpoint), there is a third kind, "without_log_step_and_loss": the Pearson correlation
    of what the least-squares regression on the ranks of step and loss leaves of the ranks of LLC and indicator, over
    the checkpoints where all three are finite (`points_with_loss`).

    A ρ is NaN with fewer than 5 points, a constant indicator, or one that is itself a function of step's order
    (log_step always) or, in the third kind, of step's and the loss's (the loss itself always). Returns a Dataset with
    dims `kind` (raw, without_log_step, with loss a third), `indicator`, `seed`: `rho` (kind, indicator, seed), `points`
    and, with loss, `points_with_loss` (indicator, seed); over the seeds with a finite ρ, by (kind, indicator):
    `mean_rho`, `se`, `low`, `high` (Student t, 95 %, cut to [−1, 1]) and `seeds`, their number. Checkpoints of a run
    are not independent, so no p-value is given within a seed: seeds are the sample.
    """
    if not indicators:
        raise OntogenyError("indicators must name at least one variable, as in {'loss': results['loss']}; got none.")
    if LOG_STEP in indicators:
        raise OntogenyError(f"indicators must not contain {LOG_STEP!r}: it is added from the coordinate 'step'.")
    rows = series(llc, "llc")
    columns = {name: alike(array, f"indicator {name!r}", rows, "llc") for name, array in indicators.items()}
    columns[LOG_STEP] = [one._replace(values=np.log1p(one.steps)) for one in rows]
    pairs = [[_rho(x, y) for x, y in zip(rows, column, strict=True)] for column in columns.values()]
    rho = np.array([[[one[k] for one in column] for column in pairs] for k in range(len(KINDS))])
    points = [[int(one[2]) for one in column] for column in pairs]
    kinds, more = list(KINDS), {}
    if loss is not None:
        losses = alike(loss, "loss", rows, "llc")
        rests = [[_rho_without(*one) for one in zip(rows, column, losses, strict=True)] for column in columns.values()]
        rho = np.concatenate([rho, [[[one[0] for one in column] for column in rests]]])
        kinds.append(WITH_LOSS)
        left = [[one[1] for one in column] for column in rests]
        words = "checkpoints that entered where the loss is taken out"
        more["points_with_loss"] = variable(("indicator", "seed"), left, words, "checkpoints")
    means = [[t_interval(values) for values in kind] for kind in rho]
    dims = ("kind", "indicator")
    return xr.Dataset(
        {
            "rho": variable((*dims, "seed"), rho, "Spearman correlation with the LLC within a seed"),
            "points": variable(("indicator", "seed"), points, "checkpoints that entered", "checkpoints"),
            "mean_rho": variable(dims, [[m.mean for m in row] for row in means], "mean correlation over seeds"),
            "se": variable(dims, [[m.se for m in row] for row in means], "its standard error"),
            "low": variable(dims, [[max(m.low, -1.0) for m in row] for row in means], "lower end of its interval"),
            "high": variable(dims, [[min(m.high, 1.0) for m in row] for row in means], "upper end of its interval"),
            "seeds": variable(dims, [[m.n for m in row] for row in means], "seeds with a finite correlation", "seeds"),
            **more,
        },
        coords={"kind": kinds, "indicator": list(columns), "seed": np.array([one.seed for one in rows])},
    )


def _rho(x: Series, y: Series) -> tuple[float, float, int]:
    """(Spearman's ρ, ρ with step partialled out, points) of one seed."""
    from scipy.stats import rankdata

    both = np.isfinite(x.values) & np.isfinite(y.values)
    n = int(both.sum())
    if n < MIN_POINTS:
        return math.nan, math.nan, n
    a, b, t = (np.asarray(rankdata(values[both]), dtype=np.float64) for values in (x.values, y.values, x.steps))
    ab, at, bt = _pearson(a, b), _pearson(a, t), _pearson(b, t)
    left = (1 - at**2) * (1 - bt**2)
    return ab, (ab - at * bt) / math.sqrt(left) if left > 1e-12 else math.nan, n


def _rho_without(x: Series, y: Series, loss: Series) -> tuple[float, int]:
    """(Spearman's ρ of one seed with step and loss partialled out, points)."""
    from scipy.stats import rankdata

    every = np.isfinite(x.values) & np.isfinite(y.values) & np.isfinite(loss.values)
    n = int(every.sum())
    if n <= MIN_POINTS:  # one point more than without the loss, which takes one degree of freedom more
        return math.nan, n
    columns = (x.values, y.values, x.steps, loss.values)
    a, b, t, z = (np.asarray(rankdata(values[every]), dtype=np.float64) for values in columns)
    trend = np.stack([np.ones(n), t, z], axis=1)
    rests = [ranks - trend @ np.linalg.lstsq(trend, ranks, rcond=None)[0] for ranks in (a, b)]
    if any(float(rest @ rest) <= 1e-10 * n**3 for rest in rests):  # n³/12 is the ranks' own sum of squares
        return math.nan, n
    return _pearson(*rests), n


def _pearson(x: Array, y: Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(np.clip(x @ y / scale, -1.0, 1.0)) if scale > 0 else math.nan
