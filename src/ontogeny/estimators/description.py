"""One estimate in a paragraph of plain words."""

from __future__ import annotations

import math

import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import setting
from ontogeny.estimators.status import BIAS_LIMIT, CAPPED_LIMIT, MEANINGS

TEMPERATURE_LIMIT = 0.05
"""|dλ̂/d log nβ|/λ̂ above which λ̂ is not called asymptotic."""

DESCENT_LIMIT = 0.1
"""nβ·(loss at w* less loss after a short descent) from which on w* is called no minimum."""


def describe_estimate(estimate: xr.Dataset) -> str:
    """λ̂ ± its standard error, status, regime, temperature, γ, minibatches, caps and cost, in plain sentences.

    Args:
        estimate: one estimate of ``og.estimate_llc``, ``og.llc_from_draws`` or ``og.reweighted``, without dims.

    Raises:
        OntogenyError: if it has dims, or is no estimate.
    """
    if not isinstance(estimate, xr.Dataset) or "llc" not in estimate or "status" not in estimate:
        raise OntogenyError(
            f"estimate must be the xarray.Dataset that og.estimate_llc returned; got {type(estimate).__name__}"
            f"{' without llc and status' if isinstance(estimate, xr.Dataset) else ''}."
        )
    if estimate["llc"].dims:
        one = ", ".join(f"{dim}=0" for dim in estimate["llc"].dims)
        raise OntogenyError(
            f"estimate must be a single one; it has the dims {tuple(estimate['llc'].dims)}. Choose one, as with "
            f"estimate.isel({one})."
        )
    if estimate["status"].item() == "not_finite":  # nothing else is known
        return f"Status not_finite: {MEANINGS['not_finite']}"
    words = [f"Status {estimate['status'].item()}: {MEANINGS[estimate['status'].item()]}"]
    word = estimate["regime"].item()
    if word:
        ratio = _number(estimate, "localisation_ratio")
        at = f" (nβ·h_max/γ = {ratio:.3g})" if math.isfinite(ratio) else ""
        # where w* is no minimum, that comes before anything about the sampler
        words.insert(0 if word == "below_baseline" else 1, f"Regime {word}{at}: {MEANINGS[word]}")
    sentences = [_value(estimate), *words]
    sentences += [_temperature(estimate), _localization(estimate), _second_order(estimate)]
    sentences.append(_descent(estimate))
    sentences += [_minibatches(estimate), _caps(estimate), _cost(estimate)]
    return " ".join(sentence for sentence in sentences if sentence)


def _number(estimate: xr.Dataset, name: str) -> float:
    return float(estimate[name]) if name in estimate else math.nan


def _with_error(value: float, error: float) -> str:
    """A number to the second digit of its error."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.4g} (without a standard error)"
    places = max(1 - math.floor(math.log10(error)), 0)
    return f"{value:.{places}f} ± {error:.{places}f}" if places < 12 else f"{value:.4g} ± {error:.2g}"


def _value(estimate: xr.Dataset) -> str:
    n_beta, gamma, llc = (_number(estimate, name) for name in ("n_beta", "localization", "llc"))
    at = f"λ̂(nβ = {n_beta:.4g}, γ = {gamma:.4g})"
    if math.isnan(llc):
        lost = int(estimate["chains_lost"])
        return f"{at} is not given" + (f", since {lost} chains diverged." if lost else ".")
    return f"{at} = {_with_error(llc, _number(estimate, 'llc_se'))}."


def _temperature(estimate: xr.Dataset) -> str:
    share, error = _number(estimate, "d_log_llc_d_log_n_beta"), _number(estimate, "d_log_llc_d_log_n_beta_se")
    if not math.isfinite(share) or not math.isfinite(error):
        return ""
    slope = f"d log λ̂/d log nβ is {_with_error(share, error)}"
    if abs(share) > TEMPERATURE_LIMIT:
        text = f"The temperature is not asymptotic: {slope}, so λ̂ is not to be read as the learning coefficient λ"
        if share > 0 and estimate["regime"].item() == "localised":
            towards = _with_error(_number(estimate, "llc_extrapolated"), _number(estimate, "llc_extrapolated_se"))
            m = estimate["llc_extrapolated"].attrs.get("multiplicity_assumed", 2)
            text += f"; extrapolated with multiplicity m = {m} assumed it would be {towards}"
        return text + "."
    if error > TEMPERATURE_LIMIT:
        return f"Whether the temperature is asymptotic cannot be told: {slope}."
    return f"λ̂ hardly depends on the temperature here: {slope}."


def _localization(estimate: xr.Dataset) -> str:
    share, error = (_number(estimate, f"d_log_llc_d_log_localization{end}") for end in ("", "_se"))
    if not math.isfinite(share):
        return ""
    return f"d log λ̂/d log γ is {_with_error(share, error)}: γ doubled multiplies λ̂ by about {2.0**share:.3g}."


def _descent(estimate: xr.Dataset) -> str:
    fall = _number(estimate, "descent")
    if not fall > DESCENT_LIMIT:
        return ""
    return (
        f"w* is no minimum of this loss on these data: twenty steps of gradient descent take nβ·L down by {fall:.3g}, "
        "and λ̂ is low by about as much; train further, or measure on the data that the model was trained on."
    )


def _second_order(estimate: xr.Dataset) -> str:
    value, gradient = _number(estimate, "second_order"), _number(estimate, "second_order_gradient")
    if not math.isfinite(value):
        return ""
    text = f"The quadratic around w* alone would give {value:.4g}"
    matters = math.isfinite(gradient) and abs(gradient) > 0.01 * abs(value)
    return text + (f", and {value + gradient:.4g} with the gradient that is left at w*." if matters else ".")


def _minibatches(estimate: xr.Dataset) -> str:
    bias, share = _number(estimate, "check_minibatch_noise"), _number(estimate, "minibatch_variance_share")
    noise, said = _number(estimate, "gradient_noise_share"), []
    if share == 0 and not bias > 0:
        return "Every step saw the full batch."
    if math.isfinite(share):
        said.append(f"{share:.0%} of the variance of the recorded nβL is theirs")
    if math.isfinite(noise):
        said.append(f"their noise is {noise:.2g} of a move's injected noise before compensation")
    if math.isfinite(bias):
        said.append(f"noise that was not compensated biases λ̂ by about {bias:.1%}{_too_much(bias > BIAS_LIMIT)}")
    elif said:
        said.append("how much their noise biases λ̂ was not measured")
    return f"Minibatches: {'; '.join(said)}." if said else ""


def _too_much(really: bool) -> str:
    return ", too much" if really else ""


def _caps(estimate: xr.Dataset) -> str:
    share = _number(estimate, "check_capped")
    if not share > 0:
        return "No drift was capped." if share == 0 else ""
    return f"Drifts were capped in {share:.2g} of the steps{_too_much(share > CAPPED_LIMIT)}."


def _cost(estimate: xr.Dataset) -> str:
    spent, kernel, chains, draws = (
        setting(estimate, name) for name in ("gradient_evaluations", "kernel", "chains", "draws")
    )
    if spent is None:
        return ""
    how = f" with {chains} chain{'s' if chains > 1 else ''} of {draws} draws" if chains and draws else ""
    alone = " One chain cannot show whether chains agree: take several." if chains == 1 else ""
    return f"It took {spent:,} gradient evaluations{how}{f' of {kernel}' if kernel else ''}.{alone}"
