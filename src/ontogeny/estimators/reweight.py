"""λ̂ at another temperature or localization from the same chains, by importance weights."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.estimators.series import SAMPLE_DIMS, error, excess_loss, without_lost
from ontogeny.estimators.status import regime, status

LEAST_SHARE, LEAST_DRAWS = 0.1, 100
"""Kish's effective number of draws must be at least this share of the draws, and at least so many."""


def reweighted(draws: xr.Dataset, n_beta: float | None = None, localization: float | None = None) -> xr.Dataset:
    """λ̂(nβ', γ') from draws at (nβ, γ): nβ'·Σ v (L(w) - L(w*)) / Σ v with log v = log π'(w) - log π(w).

    log v = -(nβ' - nβ)·(L(w) - L(w*)) - (γ' - γ)/2·‖w - w*‖² + const.

    Args:
        draws: what ``og.sample`` returned; dims other than ``chain`` and ``draw`` stay.
        n_beta: nβ' in 1/loss, None for that of the draws. Another one needs full-batch draws.
        localization: γ' in 1/weight², None for that of the draws.

    Returns:
        ``llc``; ``llc_se``, the larger of the jackknife over chains and of the standard error of the linearised ratio;
        ``kish_ess`` = (Σv)²/Σv², in draws, and ``check_reweighting``, that over the number of draws; ``n_beta``,
        ``localization``, ``regime`` at (nβ', γ'); ``status`` and ``check_…`` of the draws. Where ``kish_ess`` is below
        10 % of the draws or below 100, ``llc`` is NaN and ``status`` "reweighting_failed". What biases the draws, such
        as their step, biases this too.

    Raises:
        OntogenyError: if nothing or no number is asked for, or another nβ' of minibatch draws.

    Source: importance sampling, self-normalised; effective number: Kish (1965).
    """
    base = llc_from_draws(draws)
    _check_arguments(n_beta, localization)
    old_n_beta, old_gamma = (draws[name].astype(np.float64) for name in ("n_beta", "localization"))
    new_n_beta = old_n_beta if n_beta is None else xr.full_like(old_n_beta, float(n_beta))
    new_gamma = old_gamma if localization is None else xr.full_like(old_gamma, float(localization))
    if bool((new_n_beta != old_n_beta).any()) and not _full_batch(draws):
        raise OntogenyError(
            f"n_beta = {n_beta} cannot be reached from draws that saw minibatches, whose noise would enter the "
            "weights; sample with batch_size = the number of examples, or change localization alone."
        )
    whole = base["chains_lost"] == 0
    draws = without_lost(draws)
    loss = excess_loss(draws)
    log_weight = -0.5 * (new_gamma - old_gamma) * draws["distance_squared"]
    if n_beta is not None:
        log_weight = log_weight - (new_n_beta - old_n_beta) * loss
    weight: xr.DataArray = xr.apply_ufunc(np.exp, log_weight - log_weight.max(SAMPLE_DIMS, skipna=False))
    excess = new_n_beta * loss
    total = weight.sum(SAMPLE_DIMS, skipna=False)
    kish = total**2 / (weight**2).sum(SAMPLE_DIMS, skipna=False)
    count = draws.sizes["chain"] * draws.sizes["draw"]
    failed = whole & ~(kish >= max(LEAST_SHARE * count, LEAST_DRAWS))
    llc = (weight * excess).sum(SAMPLE_DIMS, skipna=False) / total
    llc_se = _error(weight, excess, llc, total / count)
    kept = whole & ~failed
    out = base[[name for name in base.data_vars if str(name).startswith("check_")]]
    out = out.drop_vars([name for name in out.data_vars if "temperature" in str(name)]).assign(
        llc=llc.where(kept),
        llc_se=llc_se.where(kept),
        kish_ess=kish,
        check_reweighting=kish / count,
        chains_lost=base["chains_lost"],
        n_beta=new_n_beta,
        localization=new_gamma,
    )
    if "target_se" in draws.attrs:
        out["check_target"] = abs(out["llc_se"] / out["llc"].where(llc != 0)) / draws.attrs["target_se"]
    words = status(out)
    out["status"] = words.where(~failed.broadcast_like(words), "reweighting_failed")
    out["localisation_ratio"] = _ratio(draws, new_n_beta, new_gamma).broadcast_like(out["llc"])
    out["regime"] = regime(out["llc"], out["llc_se"], out["localisation_ratio"])
    out.attrs = {name: value for name, value in draws.attrs.items() if name not in ("n_beta", "localization")}
    return describe(out)


def _error(weight: xr.DataArray, excess: xr.DataArray, llc: xr.DataArray, scale: xr.DataArray) -> xr.DataArray:
    """The larger of the linearised ratio's standard error and the jackknife over chains."""
    linear = error(weight * (excess - llc) / scale)
    chains = weight.sizes["chain"]
    if chains < 2:
        return linear
    masses, sums = weight.sum("draw", skipna=False), (weight * excess).sum("draw", skipna=False)
    left = masses.sum("chain", skipna=False) - masses
    without = (sums.sum("chain", skipna=False) - sums) / left.where(left > 0)
    spread = ((without - without.mean("chain", skipna=False)) ** 2).sum("chain", skipna=False)
    return linear.clip(min=((chains - 1) / chains * spread) ** 0.5)


def _full_batch(draws: xr.Dataset) -> bool:
    """Whether every draw saw the same data: then L(w*) is one number."""
    at_center = draws["loss_at_center"]
    return bool((at_center.max(SAMPLE_DIMS) == at_center.min(SAMPLE_DIMS)).all())


def _ratio(draws: xr.Dataset, n_beta: xr.DataArray, gamma: xr.DataArray) -> xr.DataArray:
    if "h_max" not in draws:
        return xr.full_like(n_beta, np.nan)
    return n_beta * draws["h_max"] / gamma.where(gamma > 0)


def _check_arguments(n_beta: object, localization: object) -> None:
    if n_beta is None and localization is None:
        raise OntogenyError("n_beta or localization must be given, the value to reweight to; both are None.")
    for name, value in (("n_beta", n_beta), ("localization", localization)):
        if value is None:
            continue
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
        if not (math.isfinite(number) and (number > 0 or (number == 0 and name == "localization"))):
            expected = "a positive number" if name == "n_beta" else "zero or a positive number"
            raise OntogenyError(f"{name} must be {expected}, got {value!r}; leave it out to keep that of the draws.")
