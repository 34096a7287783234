"""The words for how well λ̂ was measured (status) and for what was measured (regime), with their tests."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ontogeny.core.errors import OntogenyError

MEANINGS: dict[str, str] = {
    "ok": "No test found fault with this estimate: λ̂(nβ, γ) is known within its standard error and biases of at most "
    "5 % each from the finite step and from minibatches, as far as this run can tell.",
    "diverged": "At least one chain left the neighbourhood of w* or became infinite, so no average is given; "
    "take a smaller step_size, or leave it out to have it chosen; where it was, the loss falls without end or is not "
    "finite near w*, and a larger localization keeps the chains away from there.",
    "not_finite": "The loss at w*, or a product with its Hessian, is NaN or infinite, so there is no number; look at "
    "the weights and the data.",
    "not_mixed": "The chains sit at different levels (R̂ above 1.05), or are too short or too still to tell; give more "
    "draws and a longer burn_in, or a larger localization.",
    "drifting": "The virial E[(w - w*)·∇U] is well below the number of weights, so flat directions have not reached "
    "their spread; give a longer burn_in, a larger step_size or a larger localization.",
    "step_bias": "The finite step biases λ̂ by more than 5 %, or drifts were capped in more than one step in 10,000; "
    "take a smaller step_size.",
    "minibatch_noise": "Minibatch noise heats the chains and biases λ̂ by more than 5 %; "
    "take a larger batch_size or a smaller step_size.",
    "rounding": "A step moves the weights by little more than the rounding of their dtype; "
    "take a larger step_size or float64 weights.",
    "target_not_met": "The standard error is larger than target_se asked for, and is reported as it is; "
    "give a larger max_draws.",
    "reweighting_failed": "The draws hardly overlap with the posterior asked for (Kish's effective number is below "
    "10 % of the draws, or below 100), so no average is given; take values closer to those of the draws, or sample "
    "anew.",
    "localised": "The loss shapes the posterior along its steepest directions and γ bounds the others.",
    "prior_dominated": "nβ·h_max is below γ: the Gaussian around w* decides even along the steepest direction, and λ̂ "
    "is nβ times a smoothed excess loss; an ordinal summary, no learning coefficient.",
    "unlocalised": "nβ·h_max is more than 10,000 times γ: flat directions are hardly bounded and take very long to "
    "mix; take a larger localization.",
    "below_baseline": "λ̂ is negative beyond its error: the posterior found lower loss than w* has, so w* is not a "
    "minimum of this loss on these data.",
}

STATUS_ORDER = (
    "diverged",
    "not_mixed",
    "drifting",
    "step_bias",
    "minibatch_noise",
    "rounding",
    "target_not_met",
)
"""Worst first; an estimate gets the first that applies, else "ok"."""

R_HAT_LIMIT = 1.05
BIAS_LIMIT = 0.05
VIRIAL_LIMIT = 0.95
CAPPED_LIMIT = 1e-4
ROUNDING_LIMIT = 0.25
UNLOCALISED_RATIO = 1e4
BELOW_BY = 1e-3
"""A λ̂ that is less than this below zero is zero for any use: chains that hardly move leave rounding."""


CURVATURE_MEANINGS = {
    "no_posterior": "Some nβh + γ is not positive: the quadratic at w* has no posterior, and second order predicts "
    "nothing; give a larger localization, or take w* as what it is, no minimum.",
    "unresolved": "The number is there, but its error is large or unknown, or the polynomial or the Lanczos steps "
    "cannot tell eigenvalues near the threshold apart; give more probes, steps or a higher degree.",
    "out_of_range": "An eigenvalue lies outside the range of the polynomial; give a wider span.",
    "no_error": "One example or probe tells no error; give more samples or probes.",
    "low_weights": "Importance weights leave few sequences in effect; draw them anew at this checkpoint.",
}
"""What the statuses of curvature mean."""


def describe_status(word: str) -> str:
    """What a status or regime word means and what to do about it, in a sentence or two.

    Raises:
        OntogenyError: for any other word; the message lists the words.

    >>> describe_status("ok").startswith("No test found fault")
    True
    """
    known = MEANINGS | CURVATURE_MEANINGS
    if not isinstance(word, str) or word not in known:
        raise OntogenyError(f"word must be a status or regime ({', '.join(known)}); got {word!r}.")
    return known[word]


def status(checks: xr.Dataset) -> xr.DataArray:
    """The worst word that applies, from the ``check_…`` variables; NaN, not measured, passes but for R̂."""
    low_virial = checks["check_virial"] + 3 * checks["check_virial_se"]
    tests = {
        "diverged": checks["check_diverged"] > 0,
        "not_mixed": ~(checks["check_r_hat"] <= R_HAT_LIMIT - 1),  # NaN, undefined, is no sign of mixing
        "drifting": (low_virial < 1) & (checks["check_virial"] < VIRIAL_LIMIT),
        "step_bias": _biased_by_the_step(checks) | (checks["check_capped"] > CAPPED_LIMIT),
        "minibatch_noise": checks["check_minibatch_noise"] > BIAS_LIMIT,
        "rounding": checks["check_rounding"] > ROUNDING_LIMIT,
        "target_not_met": checks["check_target"] > 1,
    }
    dims = checks["check_virial"].dims
    conditions = [tests[word].broadcast_like(checks["check_virial"]).values for word in STATUS_ORDER]
    words = np.select(conditions, STATUS_ORDER, default="ok").astype(object)
    return xr.DataArray(words, dims=dims, coords=checks["check_virial"].coords)


def _biased_by_the_step(checks: xr.Dataset) -> xr.DataArray:
    """Whether the virial's estimate of the step bias passes the limit, and is no accident.

    No accident: it does so by three standard errors, or the steepest curvature met allows a bias so large.
    """
    estimate, error = checks["check_step_bias"], checks["check_step_bias_se"]
    return (estimate - 3 * error > BIAS_LIMIT) | (
        (estimate > BIAS_LIMIT) & (checks["check_step_bias_bound"] > BIAS_LIMIT)
    )


def usable(measurements: xr.Dataset) -> xr.DataArray:
    """Where λ̂ is a statement about a minimum: finite, no chain lost, and not below the baseline."""
    finite = xr.apply_ufunc(np.isfinite, measurements["llc"])
    return finite & (measurements["chains_lost"] == 0) & (measurements["regime"] != "below_baseline")


def regime(llc: xr.DataArray, llc_se: xr.DataArray, localisation_ratio: xr.DataArray) -> xr.DataArray:
    """What was measured, from λ̂ ± its error and nβ·h_max/γ; "" where neither says anything."""
    ratio = localisation_ratio.broadcast_like(llc)
    below = (llc < -3 * llc_se) & (llc < -BELOW_BY)
    conditions = [below.values, (ratio < 1).values, (ratio > UNLOCALISED_RATIO).values, (ratio >= 1).values]
    words = np.select(conditions, ["below_baseline", "prior_dominated", "unlocalised", "localised"], default="")
    return xr.DataArray(words.astype(object), dims=llc.dims, coords=llc.coords)
