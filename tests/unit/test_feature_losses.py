"""The three losses against passes written out by hand, the normal flow, many features against one, bad arguments."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import ontogeny as og
from known_transformers import TOKENS, VOCABULARY, WIDTH, attention_only, built, gpt2
from ontogeny.core.rng import generator
from ontogeny.features import (
    Behavioral,
    Functional,
    Natural,
    Site,
    calibrate_features,
    estimate_features,
    feature_baselines,
    feature_problem,
    interleaved,
    random_directions,
    sae_directions,
)
from ontogeny.features.baselines import learned_steps
from ontogeny.features.feature import FunctionFeature, Projection
from ontogeny.inputs.weight_files import write_weights
from ontogeny.sampling import evaluation
from ontogeny.sampling.calibration import Calibration

SITE = Site(0)
U = random_directions(4, WIDTH)
DATA = torch.randint(VOCABULARY, (24, 9), generator=generator(0, "data"))


def moved_copy(name):
    """The model of that name with every weight of its first layer moved."""
    import copy

    model = copy.deepcopy(built(name))
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "0." in key:
                weight += 0.1 * torch.randn(weight.shape, generator=generator(1, key))
    return model


def logits(model, tokens):
    out = model(tokens)
    return out if isinstance(out, torch.Tensor) else out.logits


def by_hand(name, feature):
    """f at w and at w*, and w*'s logits without and with f at its value at w, by plain hooks."""
    star, now = built(name), moved_copy(name)
    seen = {}

    def block(model):
        return model.blocks[0] if hasattr(model, "blocks") else model.transformer.h[0]

    def hidden(model):
        handle = block(model).register_forward_hook(
            lambda m, a, out: seen.update(h=out[0] if isinstance(out, tuple) else out)
        )
        found = logits(model, TOKENS)
        handle.remove()
        return seen["h"], found

    with torch.no_grad():
        h_now, _ = hidden(now)
        h_star, before = hidden(star)
        value, wanted = h_now @ feature, h_star @ feature
        new = h_star + (value - wanted)[..., None] * feature
        handle = block(star).register_forward_hook(lambda m, a, out: (new, *out[1:]) if isinstance(out, tuple) else new)
        after = logits(star, TOKENS)
        handle.remove()
    return now, value, wanted, before, after


@pytest.mark.parametrize("name", ["attention_only", "gpt2", "hooked"])
def test_the_three_losses_are_their_formulas(name):
    now, value, wanted, before, after = by_hand(name, U[0])
    theta = 0.7
    expected = {
        Functional(threshold=None): (value - wanted).square().mean(1),
        Functional(): (functional.relu(value - theta) - functional.relu(wanted - theta)).square().mean(1),
        Functional(gate="cut"): (value * (value > theta) - wanted * (wanted > theta)).square().mean(1),
        Behavioral(): functional.kl_div(
            after.log_softmax(-1), before.log_softmax(-1), log_target=True, reduction="none"
        ).sum(-1).mean(1),
        Natural(): functional.cross_entropy(after[:, :-1].mT, TOKENS[:, 1:], reduction="none").mean(1)
        - functional.cross_entropy(before[:, :-1].mT, TOKENS[:, 1:], reduction="none").mean(1),
    }  # fmt: skip
    for rule, losses in expected.items():
        loss = feature_problem(built(name), TOKENS, U[0], SITE, loss=rule).loss_fn
        loss.threshold = theta
        with torch.no_grad():
            torch.testing.assert_close(loss(now, TOKENS), losses, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(loss(built(name), TOKENS), torch.zeros(len(TOKENS)), rtol=0, atol=1e-5)


def test_the_threshold_is_in_standard_deviations_and_log_is_by_example():
    model, now = built("attention_only"), moved_copy("attention_only")
    plain = feature_problem(model, TOKENS, 3.0 * U[0], SITE, loss=Functional(threshold=2.0))
    with torch.no_grad():
        values = feature_problem(model, TOKENS, U[0], SITE).data.take(None).target @ U[0]
    assert plain.loss_fn.threshold == pytest.approx(2.0 * float(values.std(correction=0)), rel=1e-4)
    logged = feature_problem(model, TOKENS, U[0], SITE, loss=Functional(threshold=2.0, log=True))
    with torch.no_grad():
        torch.testing.assert_close(logged.loss_fn(now, TOKENS), torch.log1p(plain.loss_fn(now, TOKENS)))


def test_the_normal_flow_reaches_the_value_along_the_gradient():
    hidden = torch.randn(5, 7, WIDTH, generator=generator(0, "hidden"))
    value = 0.3 * torch.randn(5, 7, generator=generator(0, "value"))
    straight = Projection(U[0]).moved(hidden, value)
    linear = FunctionFeature(lambda v: v @ U[0]).moved(hidden, value)
    torch.testing.assert_close(linear, straight, rtol=1e-4, atol=1e-5)
    length = FunctionFeature(lambda v: v.square().sum(-1))  # its flow is radial
    wanted = 2.0 * hidden.square().sum(-1)
    torch.testing.assert_close(length.moved(hidden, wanted), 2**0.5 * hidden, rtol=1e-4, atol=1e-4)
    bent = FunctionFeature(lambda v: torch.tanh(v @ U[0]) + 0.3 * (v @ U[1]).square())
    further = bent.value(hidden) + 0.2 * value
    torch.testing.assert_close(bent.value(bent.moved(hidden, further)), further, rtol=1e-3, atol=1e-3)


def test_a_function_of_ones_own_is_sampled():
    problem = feature_problem(built("attention_only"), DATA, lambda v: torch.tanh(v @ U[0]), SITE, loss="behavioral")
    found = og.estimate_llc(
        *problem, n_beta=10.0, localization=10.0, step_size=1e-4, batch_size=12, chains=2, draws=4, burn_in=2,
        progress=False,
    )  # fmt: skip
    assert np.isfinite(float(found.llc)) and found.attrs["mode"] == "vmap"


FROZEN = Calibration("baoab", 10.0, 10.0, 2e-4, 8.0, 4, 12, 2, 10_000, True, 1.0, True, 0)


@pytest.mark.parametrize("kind", ["functional", "behavioral", "natural"])
def test_an_estimate_does_not_depend_on_its_company(kind):
    model = built("attention_only")
    rows, _ = interleaved(U[:2], U[2:])
    given = {"loss": kind, "calibration": FROZEN, "draws": 8, "progress": False}
    said = pytest.warns(UserWarning, match="^w\\* need not be a minimum of the natural loss")
    with said if kind == "natural" else nullcontext():
        together = estimate_features(model, DATA, rows, SITE, **given)
        by_two = estimate_features(model, DATA, rows, SITE, at_once=2, **given)
    np.testing.assert_allclose(together["llc"], by_two["llc"], rtol=2e-3)
    alone = og.estimate_llc(
        *feature_problem(model, DATA, rows[1], SITE, loss=kind), calibration=FROZEN, draws=8, progress=False
    )
    np.testing.assert_allclose(together["llc"][1], alone["llc"], rtol=5e-3)
    np.testing.assert_allclose(together["llc_se"][1], alone["llc_se"], rtol=5e-3)
    assert together.attrs["mode"] == "vmap" and together["status"].dims == ("feature",)


def test_a_selection_above_the_first_layer_cuts_the_forward_pass():
    model = gpt2()
    given = {"components": "1:mlp", "calibration": FROZEN, "draws": 6, "progress": False}
    found = estimate_features(model, DATA, U, Site(1), **given)
    alone = og.estimate_llc(
        *feature_problem(model, DATA, U[2], Site(1), components="1:mlp"), calibration=FROZEN, draws=6, progress=False
    )
    np.testing.assert_allclose(found["llc"][2], alone["llc"], rtol=5e-3)


def test_one_calibration_serves_all():
    found = calibrate_features(
        built("attention_only"), DATA, U, SITE, batch_size=12, chains=2, draws=4, max_draws=60, n_beta=10.0
    )
    assert found.n_beta == 10.0 and found.localization > 0 and found.batch_size == 12 and found.chains == 2
    assert found.n_beta * found.h_max / found.localization <= 1000 and found.burn_in <= 10


def test_baselines_are_their_formulas():
    model = built("attention_only")
    found = feature_baselines(model, DATA, U, SITE, top=(3,))
    with torch.no_grad():
        h = feature_problem(model, DATA, U[0], SITE).data.take(None).target
        p = h @ U[1]
        before = logits(model, DATA).log_softmax(-1)
        handle = model.blocks[0].register_forward_hook(
            lambda m, a, out: out + (p.mean() - out @ U[1])[..., None] * U[1]
        )
        after = logits(model, DATA).log_softmax(-1)
        handle.remove()
    active = p > p.std(correction=0)
    assert float(found["sparsity"][1]) == pytest.approx(1 - float(active.float().mean()), abs=1e-6)
    assert float(found["norm_sparsity"][1]) == pytest.approx(1 - float(active.any(1).float().mean()), abs=1e-6)
    kl = (before.exp() * (before - after)).sum(-1).mean(1)
    change = after - before
    ratio = (change.abs().sum(-1) / change.norm(dim=-1)).mean(1)
    strongest = p.amax(1).argsort(descending=True, stable=True)[:3]
    assert found["strongest"].values[1].tolist() == strongest.tolist()
    assert found["strongest_position"].values[1].tolist() == p.argmax(1)[strongest].tolist()
    mean = found.sel(ablation="mean").isel(feature=1)
    assert float(mean["ablation_kl"].sel(over="all")) == pytest.approx(float(kl.mean()), rel=1e-3)
    assert float(mean["ablation_kl"].sel(over="3")) == pytest.approx(float(kl[strongest].mean()), rel=1e-3)
    assert float(mean["ablation_l1_l2"].sel(over="all")) == pytest.approx(float(ratio.mean()), rel=1e-3)
    assert float(mean["ablation_kl_se"].sel(over="all")) == pytest.approx(float(kl.std() / 24**0.5), rel=1e-2)


def test_baselines_of_a_layer_without_positions():
    model = nn.Sequential(nn.Linear(3, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 4))
    x = torch.randn(24, 3, generator=generator(0, "inputs"))
    found = feature_baselines(model, x, U, Site("0", "output"), top=(3,))
    with torch.no_grad():
        p = model[0](x) @ U[2]
    assert float(found["sparsity"][2]) == pytest.approx(1 - float((p > p.std(correction=0)).float().mean()), abs=1e-6)
    assert found["strongest"].values[2].tolist() == p.argsort(descending=True, stable=True)[:3].tolist()


def test_chains_of_many_features_evaluate_both_halves_in_one_call(monkeypatch):
    """A trial with two chains tells whether that can be done, and must not fail for there being more features."""
    told = []
    of_parts = evaluation.parts_go_together
    monkeypatch.setattr(
        "ontogeny.sampling.around_centers.parts_go_together", lambda *given: told.append(of_parts(*given)) or told[-1]
    )
    estimate_features(built("attention_only"), DATA, U, SITE, calibration=FROZEN, draws=2, progress=False, at_once=4)
    assert told == [True]


def test_directions_from_files(tmp_path):
    rows = 2.0 * torch.randn(6, 5, generator=generator(0, "rows"))
    unit = rows / rows.norm(dim=1, keepdim=True)
    write_weights(tmp_path / "sae_weights.safetensors", {"W_dec": rows, "W_enc": rows.T.contiguous()})
    write_weights(tmp_path / "linear.safetensors", {"decoder.weight": rows.T.contiguous(), "b": rows[0]})
    write_weights(tmp_path / "bare.safetensors", {"anything": rows})
    torch.save({"W_dec": rows}, tmp_path / "sae.pt")
    for source in (tmp_path, tmp_path / "linear.safetensors", tmp_path / "bare.safetensors", tmp_path / "sae.pt", rows):
        torch.testing.assert_close(sae_directions(source, 4), unit[:4])
    assert torch.equal(random_directions(3, 5), random_directions(7, 5)[:3])
    both, kinds = interleaved(unit[:2], unit[2:4])
    assert torch.equal(both, unit[[0, 2, 1, 3]]) and kinds == ["sae", "random"] * 2


def test_a_feature_is_learned_where_it_goes_with_the_final_one_for_good():
    shared = np.array([[0.6, 0.2, 0.7, 1.0], [0.1, 0.2, 0.3, 1.0], [0.9, 0.8, 0.7, 0.6], [0.1, 0.1, 0.1, 0.2]])
    assert np.array_equal(learned_steps(shared, [0, 1, 4, 9]), [4.0, 9.0, 0.0, np.nan], equal_nan=True)


MODEL = attention_only()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Functional(gate="step"), "gate must be one of relu, cut; got 'step'"),
        (lambda: Functional(threshold="1"), "threshold must be a number of standard deviations, or None .*; got '1'"),
        (lambda: feature_problem(MODEL, DATA, U[0], SITE, loss="kl"), "loss must be one of 'functional', 'behavioral'"),
        (lambda: feature_problem(MODEL, DATA, "x", SITE), "feature must be a direction, .* or a function .*; got str"),
        (lambda: feature_problem(MODEL, DATA, U[0][:3], SITE), "width of the activation at 0:resid_post, 16; got 3"),
        (lambda: feature_problem(MODEL, DATA, lambda v: v, SITE), r"feature must map activations .* got \(24, 9, 16\)"),
        (lambda: feature_problem("model", DATA, U[0], SITE), "model must be a torch.nn.Module; got str"),
        (lambda: feature_problem(MODEL, {"labels": DATA}, U[0], SITE), "a mapping must hold input_ids"),
        (lambda: feature_problem(MODEL, DATA, U, SITE), r"feature must be one direction, .* got 4 rows"),
        (
            lambda: estimate_features(MODEL, {"input_ids": DATA, "attention_mask": DATA < 3}, U, SITE),
            "data: attention_mask leaves positions out",
        ),
        (
            lambda: estimate_features(MODEL, DATA, U[0], SITE),
            r"directions must be a tensor of shape .* got shape \(16,\)",
        ),
        (lambda: estimate_features(MODEL, DATA, U[:, :3], SITE), "directions must have the width .*, 16; got 3"),
        (lambda: estimate_features(MODEL, DATA, U * 0, SITE), "directions: row 0 is zero or not finite"),
        (lambda: estimate_features(MODEL, DATA, U, SITE, draws=0), "draws must be a whole number of at least 1; got 0"),
        (
            lambda: estimate_features(MODEL, DATA, U, SITE, calibration={}),
            "calibration must be what calibrate_features returned, an og.Calibration; got dict",
        ),
        (lambda: feature_baselines(MODEL, DATA, U, SITE, top=(99,)), "top must hold whole numbers from 1 to 24"),
        (lambda: random_directions(0, 3), "count must be a whole number of at least 1; got 0"),
        (lambda: sae_directions("/nowhere"), "source must be a folder with sae_weights.safetensors, .* is not there"),
        (lambda: sae_directions(U, 9), "count must be a whole number from 1 to 4, the features there are; got 9"),
        (lambda: interleaved(U, U[:1]), r"as many directions of one width; got \(4, 16\) and \(1, 16\)"),
    ],
)
def test_wrong_arguments(call, text):
    with pytest.raises(og.OntogenyError, match=text):
        call()
