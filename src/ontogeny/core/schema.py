"""Names, long names and units of every measured variable: one vocabulary for API, Zarr, tables and plots."""

from __future__ import annotations

from typing import Any

import xarray as xr

VARIABLES: dict[str, tuple[str, str]] = {
    # name: (long name, units)
    "loss": ("mean loss on the data set", "loss"),
    "loss_se": ("standard error of the mean loss over examples", "loss"),
    "fresh_loss": ("mean loss on fresh lists", "nats"),
    "token_accuracy": ("share of tokens right, on fresh lists without noise", "1"),
    "token_accuracy_se": ("standard error of that", "1"),
    "list_accuracy": ("share of lists right, on fresh lists without noise", "1"),
    "list_accuracy_se": ("standard error of that", "1"),
    "qk": ("full QK circuit, W_E W_Q W_Kᵀ W_Eᵀ", "1"),
    "ov": ("full OV circuit, W_E W_V W_O W_U", "1"),
    "translational_symmetry": ("translational symmetry, mean over heads and circuits", "1"),
    "total_weight_norm": ("norm of all weights, biases and norms too", "weight"),
    "head_overlap": ("overlap of the heads' circuits, mean over pairs and circuits", "1"),
    "rank_sum": ("sum of the numerical ranks of all circuits", "1"),
    "participation_sum": ("sum of the participation ratios of all circuits", "1"),
    "llc": ("local learning coefficient λ̂(nβ, γ)", "1"),
    "llc_se": ("standard error of λ̂ (chains, autocorrelation and minibatches)", "1"),
    "llc_variance": ("variance of nβL under the local posterior, minibatch part removed", "1"),
    "llc_variance_se": ("standard error of that", "1"),
    "minibatch_variance_share": ("share of the variance of the recorded nβL_B that is the minibatch's", "1"),
    "temperature_slope": ("dλ̂/d log nβ = λ̂ - Var(nβL)", "1"),
    "temperature_slope_se": ("standard error of that", "1"),
    "llc_extrapolated": ("λ̂ + √((m - 1)·max(dλ̂/d log nβ, 0)) with m = 2 assumed, towards λ", "1"),
    "llc_extrapolated_se": ("standard error of that", "1"),
    "d_log_llc_d_log_localization": ("d log λ̂/d log γ", "1"),
    "d_log_llc_d_log_localization_se": ("standard error of that", "1"),
    "d_log_llc_d_log_n_beta": ("d log λ̂/d log nβ", "1"),
    "d_log_llc_d_log_n_beta_se": ("standard error of that", "1"),
    "second_order": ("½ Σ nβh/(nβh + γ) over the Hessian eigenvalues h at w*: λ̂ of the quadratic there", "1"),
    "descent": ("nβ·(L(w*) - L(w')), w' after a short descent from w*", "1"),
    "second_order_gradient": ("what the gradient at w* adds to that", "1"),
    "gradient_noise_share": ("minibatch noise of a move over injected noise, before compensation, a weight", "1"),
    "beta": ("inverse temperature β = nβ/n", "1/nat"),
    "wbic": ("localized WBIC: E[Σ ℓ_i] under the posterior at β around w*", "nats"),
    "wbic_se": ("standard error of that", "nats"),
    "free_energy_excess": ("E[Σ ℓ_i] - Σ ℓ_i(w*)", "nats"),
    "free_energy_excess_se": ("standard error of that", "nats"),
    "functional_variance": ("localized functional variance V = Σ_i Var[ℓ_i]", "nats²"),
    "functional_variance_se": ("standard error of that", "nats²"),
    "singular_fluctuation": ("localized singular fluctuation ν = (β/2)·V", "nats"),
    "singular_fluctuation_se": ("standard error of that", "nats"),
    "bayes_training_loss": ("localized Bayes training loss -(1/n) Σ log E[exp(-ℓ_i)]", "nats"),
    "bayes_training_loss_se": ("standard error of that", "nats"),
    "waic": ("localized WAIC at β: Bayes training loss + (β/n)·V, per example", "nats"),
    "waic_se": ("standard error of that", "nats"),
    "kish_ess": ("Kish effective number of draws of the reweighted chains", "draws"),
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
    "check_temperature": ("|dλ̂/d log nβ| relative to λ̂", "1"),
    "check_temperature_se": ("standard error of that", "1"),
    "check_reweighting": ("Kish effective number of draws over draws", "1"),
    "h_max": ("largest Hessian eigenvalue of the loss, at w* or where chains went", "loss/weight²"),
    "localisation_ratio": ("nβ·h_max/γ", "1"),
    "ablation_score": ("loss with the head ablated less the loss without", "loss"),
    "ablation_score_se": ("standard error of that over examples", "loss"),
    "path_score": ("loss with the senders ablated in what the receiver reads, less the loss without", "loss"),
    "path_score_se": ("standard error of that over examples", "loss"),
    "effective_rank": ("effective rank (Σσ²)²/Σσ⁴", "dimensions"),
    "weight_norm": ("norm of the weights ‖W‖, biases left out", "weight"),
    "gradient_norm": ("norm of the loss gradient at w* over all examples", "loss/weight"),
    "hessian_trace": ("trace of the Hessian of the loss at w*", "loss/weight²"),
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
    "control_gap": ("what the minibatch adds to first order, on its first half less on its second", "loss"),
    "warm_up": ("nβ(L_B(w) - L_B(w*)) during warm-up", "1"),
    "rounding": ("rounding error of a weight over the noise of a step", "1"),
}


def setting(dataset: xr.Dataset, name: str) -> Any:
    """A setting of one run, None if unknown: from ``attrs``, or, where runs side by side differ in it, a variable."""
    return dataset[name].item() if name in dataset.data_vars else dataset.attrs.get(name)


def describe(dataset: xr.Dataset) -> xr.Dataset:
    """Give every known variable its ``long_name`` and ``units``; the data stay as they are."""
    for name in (*dataset.data_vars, *dataset.coords):
        if name in VARIABLES:
            dataset[name].attrs["long_name"], dataset[name].attrs["units"] = VARIABLES[str(name)]
    return dataset
