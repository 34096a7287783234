"""From draws to λ̂ with its error, tests and words; reduces ``chain`` and ``draw`` and leaves other dims alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.estimators import diagnostics
from ontogeny.estimators.status import regime, status
from ontogeny.estimators.uncertainty import standard_error

SAMPLE_DIMS = ("chain", "draw")
_NEEDED = (
    "loss",
    "loss_at_center",
    "virial",
    "distance_squared",
    "capped",
    "diverged",
    "n_beta",
    "localization",
    "step_size",
    "dim",
)


def excess_loss(draws: xr.Dataset) -> xr.DataArray:
    """L_B(w) - L_B(w*) of every draw, less what the minibatch adds to first order, where that was recorded; float64."""
    paired = draws["loss"].astype(np.float64) - draws["loss_at_center"].astype(np.float64)
    return paired - draws["control"].astype(np.float64) if "control" in draws else paired


def _reduce(function: Callable[..., Any], values: xr.DataArray) -> xr.DataArray:
    """Apply a numpy function over the last two axes (chain, draw), in float64."""
    return xr.apply_ufunc(function, values.astype(np.float64), input_core_dims=[SAMPLE_DIMS])


def llc_from_draws(draws: xr.Dataset, target_se: float | None = None) -> xr.Dataset:
    """λ̂(nβ, γ) = nβ·E[L_B(w) - L_B(w*)] over (chain, draw), with standard error, R̂, ESS, tests, status and regime.

    Args:
        draws: what ``og.sample`` returns: dims ``chain`` and ``draw``, and any others, which stay.
        target_se: relative standard error asked for; a larger one gives the status "target_not_met". By default the
            one that the draws were taken for, if any.

    Returns:
        ``llc`` and ``llc_se`` (dimensionless), ``r_hat`` and ``ess`` of nβ·(L_B(w) - L_B(w*)), ``chains_lost``,
        settings, ``status``, ``regime`` and the ``check_…`` values behind them. A diverged chain is never averaged:
        then ``llc`` and ``llc_se`` are NaN and ``chains_lost`` says how many there were. With fewer than eight draws
        in all, ``llc_se`` is NaN.

        The virial E[(w - w*)·∇U] is d for the exact posterior, whatever the loss. What it has above d is the kernel's
        bias; half of that, less the part εγd/4 which belongs to γ alone with kernels of first order, estimates the bias
        of λ̂ (exact to first order in ε for quadratics). ``heating``, where measured, is the part of it that is
        minibatch noise. ``check_step_bias_bound`` is x/(1 - x), x = ε(nβ·h_max + γ)/4: the bias if every direction were
        as steep as the steepest; x² for kernels of second order, 0 for those with a Metropolis test. ``ess`` counts
        chains as independent, which they are not where they share minibatches; ``llc_se`` does not.

    Raises:
        OntogenyError: if ``draws`` lacks a dim or a variable.

    Source: Lau et al., arXiv:2308.12108, eq. for λ̂; the paired baseline and the virial test are ours.
    """
    _check(draws)
    target_se = draws.attrs.get("target_se") if target_se is None else target_se
    excess = draws["n_beta"] * excess_loss(draws)
    lost = draws["diverged"].sum("chain")
    whole = lost == 0
    llc = excess.mean(SAMPLE_DIMS, skipna=False).where(whole)
    llc_se = _reduce(standard_error, excess).where(whole)
    out = xr.Dataset(
        {
            "llc": llc,
            "llc_se": llc_se,
            "r_hat": _reduce(diagnostics.r_hat, excess).where(whole),
            "ess": _reduce(diagnostics.bulk_ess, excess).where(whole),
            "chains_lost": lost,
        }
    )
    for name in ("n_beta", "localization", "step_size", "h_max"):
        if name in draws:
            out[name] = draws[name]
    out["localisation_ratio"] = _ratio(draws).broadcast_like(llc)
    checks = _checks(draws, llc, llc_se, out["r_hat"], lost, target_se)
    out["status"] = status(checks)
    out["regime"] = regime(llc, llc_se, out["localisation_ratio"])
    out = out.merge(checks)
    out.attrs = dict(draws.attrs)
    return describe(out)


def _ratio(draws: xr.Dataset) -> xr.DataArray:
    if "h_max" not in draws:
        return xr.full_like(draws["n_beta"], np.nan, dtype=np.float64)
    gamma = draws["localization"].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return draws["n_beta"] * draws["h_max"] / gamma


def _checks(
    draws: xr.Dataset,
    llc: xr.DataArray,
    llc_se: xr.DataArray,
    r_hat: xr.DataArray,
    lost: xr.DataArray,
    target_se: float | None,
) -> xr.Dataset:
    """The value of every test behind the status, each shaped as ``llc``."""
    whole = lost == 0
    dim = draws["dim"]
    virial = (draws["virial"].astype(np.float64)).mean(SAMPLE_DIMS, skipna=False).where(whole)
    virial_se = _reduce(standard_error, draws["virial"]).where(whole)
    heating = draws.get("heating", xr.full_like(llc, np.nan))
    excess = 0.5 * (virial - draws.get("virial_expected", dim))
    scale = np.maximum(np.abs(llc), llc_se)
    step_bias = (excess - 0.5 * heating.fillna(0.0)) / scale
    target = np.abs(llc_se / llc) / target_se if target_se is not None else xr.full_like(llc, np.nan)
    rounding = draws.get("rounding", np.nan)
    return xr.Dataset(
        {
            "check_diverged": (lost / draws.sizes["chain"]).broadcast_like(llc),
            "check_r_hat": r_hat - 1,
            "check_virial": virial / dim,
            "check_virial_se": virial_se / dim,
            "check_step_bias": step_bias,
            "check_step_bias_se": 0.5 * virial_se / scale,
            "check_step_bias_bound": draws.get("step_bias_bound", xr.full_like(llc, np.nan)).broadcast_like(llc),
            "check_minibatch_noise": 0.5 * heating / scale,
            "check_capped": draws["capped"].mean(SAMPLE_DIMS).where(whole),
            "check_rounding": xr.full_like(llc, 0.0) + rounding,
            "check_target": target,
        }
    )


def _check(draws: xr.Dataset) -> None:
    if not isinstance(draws, xr.Dataset):
        raise OntogenyError(f"draws must be the xarray.Dataset that og.sample returned; got {type(draws).__name__}.")
    missing = [dim for dim in SAMPLE_DIMS if dim not in draws.dims]
    if missing:
        raise OntogenyError(
            f"draws must have the dims 'chain' and 'draw'; got {tuple(draws.dims)}. Pass what og.sample returned."
        )
    absent = [name for name in _NEEDED if name not in draws]
    if absent:
        raise OntogenyError(f"draws must hold {', '.join(_NEEDED)}; missing {', '.join(absent)}.")
    if not (draws.sizes["chain"] and draws.sizes["draw"]):
        raise OntogenyError(f"draws must hold at least one draw of one chain; its sizes are {dict(draws.sizes)}.")
