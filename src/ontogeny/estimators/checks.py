"""The values of the tests behind a status, one ``check_…`` variable each."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ontogeny.estimators.series import error, mean


def checks(draws: xr.Dataset, estimate: xr.Dataset, target_se: float | None) -> xr.Dataset:
    """The value of every test, each shaped as ``estimate.llc``; ``draws`` are NaN where a chain diverged.

    ``estimate`` holds ``llc``, ``llc_se``, ``r_hat``, ``chains_lost`` and ``temperature_slope``; ``target_se`` is the
    relative standard error asked for, None for none. What the values mean is said where they are judged, in
    :func:`ontogeny.estimators.status.status`, and in :func:`ontogeny.estimators.llc.llc_from_draws`.
    """
    llc, llc_se, lost = estimate["llc"], estimate["llc_se"], estimate["chains_lost"]
    dim = draws["dim"]
    virial = mean(draws["virial"])
    virial_se = error(draws["virial"])
    heating = draws.get("heating", xr.full_like(llc, np.nan))
    excess = 0.5 * (virial - draws.get("virial_expected", dim))
    scale = abs(llc).clip(min=llc_se)
    scale = scale.where(scale > 0)
    nonzero = abs(llc).where(llc != 0)
    step_bias = (excess - 0.5 * heating.fillna(0.0)) / scale
    target = abs(llc_se / nonzero) / target_se if target_se is not None else xr.full_like(llc, np.nan)
    rounding = draws.get("rounding", np.nan)
    return xr.Dataset(
        {
            "check_diverged": (lost / draws.sizes["chain"]).broadcast_like(llc),
            "check_r_hat": estimate["r_hat"] - 1,
            "check_virial": virial / dim,
            "check_virial_se": virial_se / dim,
            "check_step_bias": step_bias,
            "check_step_bias_se": 0.5 * virial_se / scale,
            "check_step_bias_bound": draws.get("step_bias_bound", xr.full_like(llc, np.nan)).broadcast_like(llc),
            "check_minibatch_noise": 0.5 * heating / scale,
            "check_capped": mean(draws["capped"]),
            "check_rounding": xr.full_like(llc, 0.0) + rounding,
            "check_target": target,
            "check_temperature": abs(estimate["temperature_slope"]) / nonzero,
            "check_temperature_se": estimate["temperature_slope_se"] / nonzero,
        }
    )
