"""What the second moments of the draws say: the variance of nβL, the temperature slope, and sensitivities."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ontogeny.estimators.series import SAMPLE_DIMS, centred, error, excess_loss, mean, paired_loss

ASSUMED_MULTIPLICITY = 2
"""m of ``llc_extrapolated``. With m = 1 the extrapolation is λ̂ itself; the true m is not known from the chains."""


def second_moments(draws: xr.Dataset) -> xr.Dataset:
    """Var_π[nβL] and what follows from it, each with its standard error; reduces ``chain`` and ``draw``.

    With x = nβ(L_B(w) - L_B(w*)) on the draw's minibatch and y the same on the minibatch's first half less that on its
    second, the halves are independent given w, so that their covariance has no batch part:

    - ``llc_variance`` = Var(x) - E[y²]/4 = Var_π[nβL]. It needs no baseline, and equals λ̂ where the loss is quadratic
      and γ does not matter. ``minibatch_variance_share`` = E[y²]/4/Var(x) is what was taken away. Where the draws hold
      ``control_gap``, the control variate's difference between the halves, it is taken out of x and y beforehand.
    - ``temperature_slope`` = dλ̂/d log nβ = λ̂ - Var_π[nβL].
    - ``llc_extrapolated`` = λ̂ + √((m - 1)·max(temperature_slope, 0)) with m = 2 assumed, since
      λ̂ = λ - (m - 1)/log(nβ) + …; towards λ, the local learning coefficient, where that law has set in.
    - ``d_log_llc_d_log_localization`` = -(γ/2)·Cov(nβL, ‖w - w*‖²)/λ̂.
    - ``d_log_llc_d_log_n_beta`` = temperature_slope/λ̂.

    NaN where a draw is. Errors: standard error of the mean of the series of centred products (of the linearised ratio,
    for the last two). That leaves out the error of the sample mean itself, which is of second order: Var is too small
    by llc_se², a share of about 2/ess. With an odd minibatch that is not cut in two for compensation a share 1/b of the
    batch part too much is subtracted. NaN also where minibatches were used and their halves were not told apart (one
    example each).

    Source: λ̂'s expansion in log nβ, Watanabe (2013), JMLR 14:867; the halves and the errors are ours.
    """
    n_beta, gamma = draws["n_beta"], draws["localization"].astype(np.float64)
    excess = n_beta * excess_loss(draws)
    llc = mean(excess)
    x, y = _halves(draws)
    square, batch = centred(x) ** 2, 0.25 * y**2
    variance = square - batch
    slope = excess - variance
    slope_mean, slope_se = mean(slope), error(slope)
    nonzero = llc.where(llc != 0)
    pull = -0.5 * gamma * centred(excess) * centred(draws["distance_squared"])
    extrapolation = ((ASSUMED_MULTIPLICITY - 1) * slope_mean.clip(min=0.0)) ** 0.5
    root = slope_mean.clip(min=slope_se) ** 0.5  # the square root's slope has no end at zero
    factor = 0.5 * (ASSUMED_MULTIPLICITY - 1) ** 0.5 / root.where(root > 0)
    total = mean(square)
    out = {
        "llc_variance": mean(variance),
        "llc_variance_se": error(variance),
        "minibatch_variance_share": mean(batch) / total.where(total > 0),
        "temperature_slope": slope_mean,
        "temperature_slope_se": slope_se,
        "llc_extrapolated": llc + extrapolation,
        "llc_extrapolated_se": error(excess + factor.fillna(0.0) * slope).where(slope_se.notnull()),
    }
    for name, series in (("localization", pull), ("n_beta", slope)):
        ratio = mean(series) / nonzero
        out[f"d_log_llc_d_log_{name}"] = ratio
        out[f"d_log_llc_d_log_{name}_se"] = error(series - ratio.fillna(0.0) * excess) / abs(nonzero)
    found = xr.Dataset(out)
    found["llc_extrapolated"].attrs["multiplicity_assumed"] = ASSUMED_MULTIPLICITY
    return found


def _halves(draws: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """nβ·(excess loss) and its difference between the minibatch's halves, NaN where there were no halves."""
    n_beta, paired = draws["n_beta"], paired_loss(draws)
    gap = draws["gap"] if "gap" in draws else xr.zeros_like(paired)
    if "control_gap" in draws:
        known = draws["control_gap"].notnull().all(SAMPLE_DIMS)
        paired = excess_loss(draws).where(known, paired)
        gap = gap - draws["control_gap"].where(known, 0.0)
    at_center = draws["loss_at_center"]
    full = (at_center == at_center.isel(dict.fromkeys(SAMPLE_DIMS, 0))).all(SAMPLE_DIMS)
    told_apart = full | (gap != 0).any(SAMPLE_DIMS)
    return n_beta * paired, n_beta * gap.where(told_apart)
