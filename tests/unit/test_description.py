"""og.describe_estimate: one paragraph that says no more than was measured."""

import pytest
import torch

import ontogeny as og
from tiny import SHORT, Linear, data, squares


def well(h, weights=8):
    return og.Potential(lambda w: 0.5 * h * (w**2).sum(), torch.zeros(weights, dtype=torch.float64))


def measured(problem, *rest, **settings):
    return og.estimate_llc(problem, *rest, **{"progress": False, "chains": 32, "draws": 1000, "seed": 1, **settings})


def test_an_asymptotic_one():
    text = og.describe_estimate(measured(well(10.0), n_beta=1000.0, localization=10.0, draws=2500, burn_in=400))
    assert text.startswith("λ̂(nβ = 1000, γ = 10) = ")
    for part in (" ± ", "Status ok:", "Regime localised (nβ·h_max/γ = 1e+03):", "Every step saw the full batch.",
                 "No drift was capped.", "gradient evaluations with 32 chains of 2500 draws of baoab."):  # fmt: skip
        assert part in text, part
    assert "not asymptotic" not in text and "learning coefficient λ" not in text
    assert "λ̂ hardly depends on the temperature here" in text


def test_a_localised_one_that_is_not_asymptotic_says_so():
    found = measured(well(1.0), n_beta=100.0, localization=50.0)  # d log λ̂/d log nβ = 1/3
    text = og.describe_estimate(found)
    assert found.regime.item() == "localised" and found.status.item() == "ok"
    assert float(found.check_temperature) > 0.05
    assert "The temperature is not asymptotic" in text and "is not to be read as the learning coefficient λ" in text
    assert "multiplicity m = 2 assumed" in text
    assert "γ doubled multiplies λ̂ by about" in text


def test_a_prior_dominated_one_is_not_extrapolated():
    text = og.describe_estimate(measured(well(1.0), n_beta=30.0, localization=300.0))
    assert "Regime prior_dominated" in text and "multiplicity" not in text and "not asymptotic" in text


def test_a_short_one_says_that_it_cannot_tell():
    text = og.describe_estimate(measured(well(10.0), n_beta=1000.0, localization=1.0, draws=20, chains=4, burn_in=50))
    assert "Whether the temperature is asymptotic cannot be told" in text or "not asymptotic" in text


def test_minibatches_are_mentioned():
    text = og.describe_estimate(og.estimate_llc(Linear(), data(), squares, **{**SHORT, "batch_size": 8}))
    assert "Minibatches: " in text and "of the variance of the recorded nβL is theirs" in text


def test_a_diverged_one_gives_no_number():
    text = og.describe_estimate(
        measured(well(1.0), **{"n_beta": 100.0, "localization": 10.0, "step_size": 0.5, "burn_in": 5, "draws": 20})
    )
    assert "is not given, since 32 chains diverged." in text and "Status diverged:" in text and "nan" not in text


def test_a_reweighted_one():
    draws = og.sample(well(1.0), n_beta=100.0, localization=10.0, chains=32, draws=500, progress=False)
    text = og.describe_estimate(og.reweighted(draws, localization=12.0))
    assert text.startswith("λ̂(nβ = 100, γ = 12) = ") and "nan" not in text
    assert "Status reweighting_failed:" in og.describe_estimate(og.reweighted(draws, n_beta=1e5))


def test_what_is_refused():
    found = og.estimate_llc(Linear(), {"a": data(), "b": data()}, squares, **SHORT)
    with pytest.raises(og.OntogenyError, match=r"must be a single one; it has the dims .* estimate.isel\(dataset=0\)"):
        og.describe_estimate(found)
    assert og.describe_estimate(found.isel(dataset=0)).startswith("λ̂")
    with pytest.raises(og.OntogenyError, match=r"estimate must be the xarray.Dataset .* got float"):
        og.describe_estimate(1.0)


def test_no_minimum_comes_before_what_to_do_about_the_sampler():
    potential = og.Potential(lambda w: (w**2).sum(), torch.full((2,), 3.0))
    found = og.estimate_llc(potential, n_beta=100.0, localization=1.0, draws=300, max_draws=20_000, progress=False)
    text = og.describe_estimate(found)
    assert text.index("Regime below_baseline") < text.index("Status")
