"""Names, long names and units of every measured variable: one vocabulary for API, Zarr, tables and plots."""

from __future__ import annotations

import xarray as xr

VARIABLES: dict[str, tuple[str, str]] = {
    # name: (long name, units)
    "loss": ("mean loss on the data set", "loss"),
    "llc": ("local learning coefficient λ̂(nβ, γ)", "1"),
    "llc_se": ("standard error of λ̂ (chains, autocorrelation and minibatches)", "1"),
    "r_hat": ("rank-normalised split R̂ of nβ(L_B(w) - L_B(w*))", "1"),
    "ess": ("bulk effective sample size of nβ(L_B(w) - L_B(w*))", "draws"),
    "chains_lost": ("diverged chains", "chains"),
    "n_beta": ("inverse temperature nβ", "1/loss"),
    "localization": ("localization γ", "1/weight²"),
    "step_size": ("step size ε", "weight²"),
    "status": ("how well λ̂ was measured", ""),
    "regime": ("what was measured", ""),
    "check_diverged": ("share of chains that diverged", "1"),
    "check_r_hat": ("R̂ - 1", "1"),
    "check_virial": ("virial E[(w - w*)·∇U] over the number of weights", "1"),
    "check_virial_se": ("standard error of the virial ratio", "1"),
    "check_step_bias": ("bias of λ̂ from the finite step, relative to λ̂", "1"),
    "check_step_bias_se": ("standard error of that", "1"),
    "check_step_bias_bound": ("largest step bias that the curvature allows, relative to λ̂", "1"),
    "check_minibatch_noise": ("bias of λ̂ from minibatch noise, relative to λ̂", "1"),
    "check_capped": ("share of steps whose drift was capped", "1"),
    "check_rounding": ("rounding error of a weight over the noise of a step", "1"),
    "check_target": ("relative standard error over the target", "1"),
    "h_max": ("largest Hessian eigenvalue of the loss, at w* or where chains went", "loss/weight²"),
    "localisation_ratio": ("nβ·h_max/γ", "1"),
    "effective_rank": ("effective rank (Σσ²)²/Σσ⁴", "dimensions"),
    "feature_norm": ("length of the feature vector", "weight"),
    "features_represented": ("features represented", "features"),
    "cosine_similarity": ("cosine similarity of two feature vectors", "1"),
    "polygon": ("corners of the closest regular polygon", "corners"),
    "features_near_zero": ("features near zero", "features"),
    "polygon_distance": ("relative distance from that polygon", "1"),
    "weight": ("weights W", "weight"),
    "bias": ("biases b", "weight"),
    "step": ("training step", "steps"),
    "virial": ("(w - w*)·∇U of the draw", "1"),
    "loss_at_center": ("loss of w* on the minibatch of the draw", "loss"),
    "distance_squared": ("‖w - w*‖²", "weight²"),
    "diverged": ("the chain diverged", ""),
    "capped": ("drift capped", ""),
    "dim": ("number of sampled weights d", "weights"),
    "gap": ("L(w) - L(w*) on the first half of the minibatch less that on the second", "loss"),
    "control": ("(∇L_B(w*) - ∇L(w*))·(w - w*), what the minibatch adds to first order", "loss"),
    "heating": ("minibatch noise not compensated, in units of injected noise, summed over weights", "weights"),
    "virial_expected": ("virial expected of the kernel on flat directions", "weights"),
    "step_bias_bound": ("largest step bias that the curvature allows, relative to λ̂", "1"),
    "warm_up": ("nβ(L_B(w) - L_B(w*)) during warm-up", "1"),
    "rounding": ("rounding error of a weight over the noise of a step", "1"),
}


def describe(dataset: xr.Dataset) -> xr.Dataset:
    """Give every known variable its ``long_name`` and ``units``; the data stay as they are."""
    for name in (*dataset.data_vars, *dataset.coords):
        if name in VARIABLES:
            dataset[name].attrs["long_name"], dataset[name].attrs["units"] = VARIABLES[str(name)]
    return dataset
