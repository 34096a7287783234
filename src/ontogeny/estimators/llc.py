"""From draws to λ̂ with its error, tests and words; reduces ``chain`` and ``draw`` and leaves other dims alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.estimators import diagnostics
from ontogeny.estimators.checks import checks
from ontogeny.estimators.second_moments import second_moments
from ontogeny.estimators.series import SAMPLE_DIMS, error, excess_loss, mean, reduce_samples, without_lost
from ontogeny.estimators.status import regime, status

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
ESSENTIALS = (
    "llc",
    "llc_se",
    "r_hat",
    "ess",
    "chains_lost",
    "status",
    "regime",
    "h_max",
    "localisation_ratio",
)
"""Of an estimate, what a study keeps at least: λ̂, its error, and how well and at what it was measured."""
_USED_UP = ("rounding", "virial_expected", "step_bias_bound", "heating")
"""What the ``check_…`` values are made of; everything else that is not by chain goes over to the estimate."""


def llc_from_draws(draws: xr.Dataset, target_se: float | None = None) -> xr.Dataset:
    """λ̂(nβ, γ) = nβ·E[L_B(w) - L_B(w*)] over (chain, draw), with standard error, R̂, ESS, tests, status and regime.

    Args:
        draws: what ``og.sample`` returns: dims ``chain`` and ``draw``, and any others, which stay.
        target_se: relative standard error asked for; a larger one gives the status "target_not_met". By default the
            one that the draws were taken for, if any.

    Returns:
        ``llc`` and ``llc_se`` (dimensionless), ``r_hat`` and ``ess`` of nβ·(L_B(w) - L_B(w*)), ``chains_lost``,
        ``llc_variance``, ``temperature_slope``, ``llc_extrapolated`` and the sensitivities to γ and nβ, each with its
        ``…_se`` (see :func:`ontogeny.estimators.second_moments.second_moments`), settings, ``status``, ``regime`` and
        the ``check_…`` values behind them. A diverged chain is never averaged: then ``llc`` and ``llc_se`` are NaN and
        ``chains_lost`` says how many there were. With fewer than eight draws in all, ``llc_se`` is NaN.

        The virial E[(w - w*)·∇U] is d for the exact posterior, whatever the loss. What it has above d is the kernel's
        bias; half of that, less the part εγd/4 which belongs to γ alone with kernels of first order, estimates the bias
        of λ̂ (exact to first order in ε for quadratics). ``heating``, where measured, is the part of it that is
        minibatch noise. ``check_step_bias_bound`` is x/(1 - x), x = ε(nβ·h_max + γ)/4: the bias if every direction were
        as steep as the steepest; x² for kernels of second order, which have none on quadratics and elsewhere may have
        more than this and the virial show; 0 for those with a Metropolis test. ``ess`` counts
        chains as independent, which they are not where they share minibatches; ``llc_se`` does not.

    Raises:
        OntogenyError: if ``draws`` lacks a dim or a variable.

    Source: Lau et al., arXiv:2308.12108, eq. for λ̂; the paired baseline and the virial test are ours.
    """
    _check(draws)
    target_se = draws.attrs.get("target_se") if target_se is None else target_se
    draws = without_lost(draws)
    excess = draws["n_beta"] * excess_loss(draws)
    out = xr.Dataset(
        {
            "llc": mean(excess),
            "llc_se": error(excess),
            "r_hat": reduce_samples(diagnostics.r_hat, excess),
            "ess": reduce_samples(diagnostics.bulk_ess, excess),
            "chains_lost": draws["diverged"].sum("chain"),
        }
    )
    out = out.assign(second_moments(draws).data_vars)
    settings = draws.drop_dims(SAMPLE_DIMS).drop_vars(_USED_UP, errors="ignore")
    out = out.assign(settings.data_vars)
    out["localisation_ratio"] = _ratio(draws).broadcast_like(out["llc"])
    tests = checks(draws, out, target_se)
    out["status"] = status(tests)
    out["regime"] = regime(out["llc"], out["llc_se"], out["localisation_ratio"])
    out = out.assign(tests.data_vars)
    out.attrs = dict(draws.attrs)
    return describe(out)


def _ratio(draws: xr.Dataset) -> xr.DataArray:
    if "h_max" not in draws:
        return xr.full_like(draws["n_beta"], np.nan, dtype=np.float64)
    gamma = draws["localization"].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return draws["n_beta"] * draws["h_max"] / gamma


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
