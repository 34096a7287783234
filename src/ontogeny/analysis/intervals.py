"""Intervals for the mean of few seeds: Student's t; a percentile bootstrap is too narrow below about twenty."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ontogeny.core.errors import OntogenyError

LEVEL = 0.95
"""Of every interval for a mean over seeds."""


class MeanInterval(NamedTuple):
    """Mean, its standard error and its interval, in the values' unit; `n` values went in, `sd` is their spread."""

    mean: float
    se: float
    low: float
    high: float
    sd: float
    n: int


def t_interval(values: npt.ArrayLike, level: float = LEVEL) -> MeanInterval:
    """Mean ± t_{(1+level)/2, n−1}·sd/√n over independent seeds (sd with n − 1); exact for normal values.

    Non-finite values are left out and `n` says how many stayed: whoever calls states n beside the mean. With one value
    the error is NaN, with none the mean too.

    >>> t_interval([1.0, 2.0, 3.0])[:2]
    (2.0, 0.5773502691896258)
    """
    from scipy.stats import t

    if not 0 < level < 1:
        raise OntogenyError(f"level must lie between 0 and 1; got {level}: 0.95 is usual.")
    x = np.asarray(values, dtype=np.float64).ravel()
    x = x[np.isfinite(x)]
    n, nan = len(x), float("nan")
    if n == 0:
        return MeanInterval(nan, nan, nan, nan, nan, 0)
    mean = float(x.mean())
    if n == 1:
        return MeanInterval(mean, nan, nan, nan, nan, 1)
    sd = float(x.std(ddof=1))
    se = sd / math.sqrt(n)
    half = float(t.ppf((1 + level) / 2, n - 1)) * se
    return MeanInterval(mean, se, mean - half, mean + half, sd, n)
