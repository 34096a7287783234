"""Every status and regime word provoked, by small problems through the API, and the order in which they are given."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.estimators.status import MEANINGS, STATUS_ORDER
from tiny import Linear, data, squares

REGIMES = ("localised", "prior_dominated", "unlocalised", "below_baseline")


def well(curvature, w_star=0.0, weights=8, dtype=torch.float64):
    """Return ½·h·‖w - w*‖² as a problem; ``curvature`` is a number, or one per weight."""
    h = torch.as_tensor(curvature, dtype=dtype)
    center = torch.full((weights,), w_star, dtype=dtype)
    return og.Potential(lambda w: 0.5 * (h * (w - center) ** 2).sum(), center)


def measured(problem, *rest, **settings):
    return og.estimate_llc(problem, *rest, **{"progress": False, "chains": 32, "seed": 1, "kernel": "sgld", **settings})


# κ = nβh + γ = 200 and εκ = 0.1, a step bias of 2.5 %
SOUND = {"n_beta": 100.0, "localization": 100.0, "step_size": 5e-4, "burn_in": 100, "draws": 1000}


def test_ok_and_localised():
    found = measured(well(1.0), **SOUND)
    assert found.status.item() == "ok" and found.regime.item() == "localised"
    assert float(found.llc) == pytest.approx(2.0, abs=5 * float(found.llc_se) + 0.05)
    assert float(found.localisation_ratio) == pytest.approx(1.0, rel=1e-6)


def test_diverged():
    found = measured(well(1.0), **{**SOUND, "step_size": 0.05, "draws": 20})  # unstable from εκ = 4 on
    assert found.status.item() == "diverged"
    assert np.isnan(found.llc) and int(found.chains_lost) == 32 and float(found.check_diverged) == 1.0


def test_not_mixed():
    def two_wells(w):
        return ((w**2 - 1) ** 2 + 0.02 * w).sum()

    # w* on the ridge between wells of unlike depth, 100 units of nβL high: a chain stays where it falls
    problem = og.Potential(two_wells, torch.zeros(1, dtype=torch.float64))
    found = measured(problem, n_beta=100.0, localization=1.0, step_size=1e-4, burn_in=400, draws=400)
    assert found.status.item() == "not_mixed" and float(found.check_r_hat) > 0.05
    assert float(found.llc_se) > 0.2  # the spread between chains is in the error


def test_too_few_draws_to_tell_are_not_mixed():
    assert measured(well(1.0), **{**SOUND, "draws": 5}).status.item() == "not_mixed"


def test_drifting():
    # one steep direction that mixes at once, nine flat ones that need 1/(εγ) = 1000 steps
    curvature = [1.0] + [0.0] * 9
    settings = {"n_beta": 99.0, "localization": 1.0, "step_size": 1e-3, "burn_in": 0, "draws": 400}
    found = measured(well(curvature, weights=10), **settings)
    assert found.status.item() == "drifting"
    assert float(found.check_virial) < 0.95
    longer = measured(well(curvature, weights=10), **{**settings, "burn_in": 3000, "draws": 1000})
    assert longer.status.item() == "ok"


def test_step_bias():
    found = measured(well(1.0), **{**SOUND, "step_size": 4e-3, "draws": 500})  # εκ = 0.8: λ̂ too large by 25 %
    assert found.status.item() == "step_bias"
    assert 0.1 < float(found.check_step_bias) < 0.3


def test_minibatch_noise():
    # 60 weights on two examples a step: the noise along one direction is far more than is injected along it, so that
    # compensation cannot take it all out; εκ = 0.05
    x = torch.randn(240, 60, generator=generator(0, "wide"), dtype=torch.float64)
    model = nn.Linear(60, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    settings = {"n_beta": 100.0, "localization": 100.0, "step_size": 2.5e-4, "burn_in": 300, "draws": 600}
    found = measured(model, (x, torch.zeros(240, 1)), squares, batch_size=2, **settings)
    assert found.status.item() == "minibatch_noise"
    assert float(found.check_minibatch_noise) > 0.05 > float(found.check_step_bias)
    h = torch.linalg.eigvalsh(x.T @ x / 240)
    assert float(found.llc) > 1.05 * float((0.5 * h / (h + 1)).sum())
    settings |= {"step_size": 1e-3, "kernel": "baoab"}
    whole = measured(model, (x, torch.zeros(240, 1)), squares, batch_size=240, **settings)
    assert float(whole.check_minibatch_noise) == 0.0 and whole.status.item() == "ok"


def test_minibatch_noise_that_is_compensated_is_ok():
    settings = {"n_beta": 100.0, "localization": 100.0, "step_size": 5e-4, "burn_in": 100, "draws": 1000}
    found = measured(Linear(torch.float64), data(torch.float64), squares, batch_size=4, **settings)
    assert found.status.item() == "ok" and float(found.check_minibatch_noise) < 0.05


def test_rounding():
    # weights of 4000 in float32 are 1/4096 apart; the noise of a step is √ε = 7e-4
    problem = well(1.0, w_star=4000.0, dtype=torch.float32)
    settings = {"n_beta": 1e5, "localization": 1e5, "step_size": 5e-7, "burn_in": 100, "draws": 1000, "kernel": "baoab"}
    found = measured(problem, **settings)
    assert found.status.item() == "rounding" and float(found.check_rounding) > 0.25
    double = measured(well(1.0, w_star=4000.0), **settings)
    assert double.status.item() == "ok"


def test_target_not_met():
    found = measured(well(1.0), **{**SOUND, "target_se": 1e-3})
    assert found.status.item() == "target_not_met" and float(found.check_target) > 1
    assert float(found.llc) == pytest.approx(2.0, abs=5 * float(found.llc_se) + 0.05)


def test_prior_dominated():
    found = measured(well(1.0), n_beta=1.0, localization=100.0, step_size=5e-4, burn_in=50, draws=100)
    assert found.regime.item() == "prior_dominated" and float(found.localisation_ratio) < 1


def test_published_settings_are_prior_dominated_and_can_be_ok():
    found = measured(well(1.0, weights=50), n_beta=30.0, localization=300.0, draws=1000, kernel=None)
    assert found.regime.item() == "prior_dominated" and found.status.item() == "ok"
    assert float(found.llc) == pytest.approx(0.5 * 50 * 30 / 330, rel=0.02)
    assert float(found.check_temperature) > 0.5  # and far from asymptotic


def test_unlocalised():
    found = measured(well(1.0), n_beta=100.0, localization=1e-3, step_size=1e-3, burn_in=100, draws=1000)
    assert found.regime.item() == "unlocalised" and found.status.item() == "ok"


def test_below_baseline():
    slope = og.Potential(lambda w: (0.5 * w**2 - w).sum(), torch.zeros(4, dtype=torch.float64))
    found = measured(slope, n_beta=100.0, localization=10.0, step_size=5e-4, burn_in=200, draws=200)
    assert found.regime.item() == "below_baseline" and float(found.llc) < 0


@pytest.fixture(scope="module")
def sound_draws():
    """Draws without fault, with the variables that only minibatches bring."""
    draws = og.sample(well(1.0), **SOUND, chains=32, seed=1, progress=False)
    return draws.assign(heating=0.0)


def faulty(draws, word):
    """The draws with the one fault that ``word`` names."""
    chains = draws.sizes["chain"]
    level = xr.DataArray(np.linspace(0, 0.2, chains), dims="chain")
    capped = np.zeros((chains, draws.sizes["draw"]), dtype=bool)
    capped[:, :3] = True
    return {
        "diverged": lambda: draws.assign(diverged=("chain", np.arange(chains) == 3)),
        "not_mixed": lambda: draws.assign(loss=draws["loss"] + level),
        "drifting": lambda: draws.assign(virial=0.8 * draws["virial"]),
        "step_bias": lambda: draws.assign(virial=1.3 * draws["virial"]),
        "capped": lambda: draws.assign(capped=(("chain", "draw"), capped)),
        "minibatch_noise": lambda: draws.assign(heating=1.0),
        "rounding": lambda: draws.assign(rounding=0.5),
        "target_not_met": lambda: draws,
    }[word]()


@pytest.mark.parametrize("word", STATUS_ORDER)
def test_one_fault_in_the_draws_gives_its_word(sound_draws, word):
    target = 1e-6 if word == "target_not_met" else None
    assert og.llc_from_draws(sound_draws).status.item() == "ok"
    assert og.llc_from_draws(faulty(sound_draws, word), target).status.item() == word


def test_drifts_that_were_capped_are_a_step_bias(sound_draws):
    assert og.llc_from_draws(faulty(sound_draws, "capped")).status.item() == "step_bias"


@pytest.mark.parametrize("number", range(len(STATUS_ORDER)))
def test_of_several_faults_the_worst_is_named(sound_draws, number):
    draws = sound_draws
    for word in STATUS_ORDER[number:]:
        if not (word == "step_bias" and "drifting" in STATUS_ORDER[number:]):  # one virial cannot be low and high
            draws = faulty(draws, word)
    assert og.llc_from_draws(draws, 1e-9).status.item() == STATUS_ORDER[number]


def test_words_are_given_element_by_element(sound_draws):
    two = xr.concat([sound_draws, faulty(sound_draws, "drifting")], "checkpoint")
    found = og.llc_from_draws(two)
    assert found.status.dims == ("checkpoint",) and list(found.status.values) == ["ok", "drifting"]


def test_every_word_is_described_and_says_what_to_do():
    assert set(MEANINGS) == {"ok", *STATUS_ORDER, "reweighting_failed", "not_finite", *REGIMES}
    for word in MEANINGS:
        text = og.describe_status(word)
        assert text.endswith(".") and len(text) > 40
    for word in (*STATUS_ORDER, "reweighting_failed"):
        assert any(verb in og.describe_status(word) for verb in ("take ", "give ")), word
