"""The measured λ̂ against what second order predicts of it: the share explained at minima, and what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ontogeny.analysis.intervals import t_interval
from ontogeny.estimators.status import usable

STILL = 0.05
"""w* counts as a minimum where the gradient takes at most this share of the curvature's part off λ̂."""
TIMES = 1.96
"""Standard errors of the difference within which measured and predicted agree."""


def at_minimum(measured: xr.Dataset) -> xr.DataArray:
    """Where λ̂ is usable, the prediction is of status "ok" and the gradient takes next to nothing off it.

    measured: as in `against_second_order`.
    """
    small = -measured["second_order_llc_gradient"] <= STILL * measured["second_order_llc_curvature"]
    return usable(measured) & (measured["second_order_llc_status"] == "ok") & small


def against_second_order(measured: xr.Dataset) -> dict[str, Any]:
    """Count where second order says something, and state what share of λ̂ it explains where w* is a minimum.

    measured: `llc`, `llc_se`, `regime`, `chains_lost`, `second_order_llc` with `_se`, `_curvature`, `_gradient` and
    `_status`; dims checkpoint and any others, whose combinations are independent runs.

    Returns:
        `estimates` that were made; `no_posterior`, `unresolved`: predictions of these statuses; `minima`: where
        `at_minimum`. Over the runs with a minimum: `share`, the sum of the predictions over the sum of λ̂, and
        `beyond`, the mean of λ̂ less the prediction, as {mean, interval (Student t over runs), seeds, se}. `se` is that
        of the mean over runs from samplers and probes alone, as if those of all checkpoints were one: the most it can
        be. `within`: at how many minima the two differ by at most 1.96 of their standard errors. `below` and
        `below_predicted`: estimates below baseline with a prediction, and how many of these are negative too.
    """
    order = [dim for dim in measured["llc"].dims if dim != "checkpoint"]
    names = ("llc", "llc_se", "second_order_llc", "second_order_llc_se")
    llc, llc_se, predicted, predicted_se = (
        measured[name].transpose(*order, "checkpoint").values.astype(float) for name in names
    )
    good = at_minimum(measured).transpose(*order, "checkpoint").values
    words, regimes = (
        measured[name].transpose(*order, "checkpoint").values for name in ("second_order_llc_status", "regime")
    )
    error = np.hypot(llc_se, predicted_se)
    counts = good.sum(-1)
    known = counts > 0

    def total(values: np.ndarray) -> np.ndarray:
        return np.where(good, values, 0.0)[known].sum(-1)

    share = total(predicted) / total(llc)
    relative = np.hypot(total(llc_se) * share, total(predicted_se)) / total(llc)
    below = (regimes == "below_baseline") & np.isfinite(predicted)
    return {
        "estimates": int(np.isfinite(llc).sum()),
        "no_posterior": int((words == "no_posterior").sum()),
        "unresolved": int((words == "unresolved").sum()),
        "minima": int(good.sum()),
        "within": int((good & (np.abs(llc - predicted) <= TIMES * error)).sum()),
        "share": _over_runs(share, relative),
        "beyond": _over_runs(total(llc - predicted) / counts[known], total(error) / counts[known]),
        "below": int(below.sum()),
        "below_predicted": int((below & (predicted < 0)).sum()),
        "still": STILL,
        "times": TIMES,
    }


def _over_runs(values: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    found = t_interval(values)
    error = float(errors.mean()) if errors.size else float("nan")
    return {"mean": found.mean, "interval": [found.low, found.high], "seeds": found.n, "se": error}
