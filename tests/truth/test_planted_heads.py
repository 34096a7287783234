"""Heads written by hand are told for what they are, by scores, ablation, paths, context and composition."""

import numpy as np
import pytest
import torch

from ontogeny.core.rng import numpy_generator
from ontogeny.interventions import ablation_scores, path_patching_scores
from ontogeny.metrics import (
    NGram,
    attention_scores,
    composition_scores,
    in_context_learning_score,
    ngram_baselines,
    repeated_tokens,
)
from planted_heads import VOCABULARY, planted

REPEATED = repeated_tokens(range(VOCABULARY), 20, period=16, repeats=3, seed=1)


@pytest.fixture(scope="module")
def model():
    return planted()


def test_attention_scores_are_one_where_planted_and_small_elsewhere(model):
    scores = attention_scores(model, sequences=16, period=15, repeats=4, start=0)
    one = {"previous_token": "0:0", "current_token": "0:1", "prefix_matching": "1:0"}
    for name, planted_in in one.items():
        np.testing.assert_allclose(scores[name].sel(head=planted_in), 1.0, atol=1e-6)
        assert (scores[name].drop_sel(head=planted_in) < 0.2).all(), name
        assert (scores[f"{name}_se"] >= 0).all() and np.isfinite(scores[f"{name}_se"]).all()


def test_a_head_that_looks_everywhere_alike_has_the_scores_of_counting(model):
    """1:1 gives each of p + 1 tokens 1/(p + 1): the three means are exact sums."""
    scores = attention_scores(model, sequences=3, period=10, repeats=3).sel(head="1:1")
    every = 1 / np.arange(2, 31)  # queries 1 to 29
    late = np.array([(p // 10) / (p + 1) for p in range(10, 30)])
    np.testing.assert_allclose(scores["current_token"], every.mean(), rtol=1e-6)
    np.testing.assert_allclose(scores["previous_token"], every.mean(), rtol=1e-6)
    np.testing.assert_allclose(scores["prefix_matching"], late.mean(), rtol=1e-6)
    np.testing.assert_allclose(scores["prefix_matching_se"], 0.0, atol=1e-7)


def test_context_helps_through_the_induction_circuit_alone(model):
    """Late tokens are foretold, early ones are not; without either head of the circuit all are alike."""
    heads = {"induction": ["1:0"], "previous": ["0:0"], "current": ["0:1"]}
    found = in_context_learning_score(model, REPEATED, early=8, late=40, heads=heads)
    score = {name: float(found["icl_score"].sel(ablated=name)) for name in found["ablated"].values}
    assert score["none"] < -3 and score["current"] == pytest.approx(score["none"], abs=1e-6)
    assert abs(score["induction"]) < 0.2 and abs(score["previous"]) < 1.0
    late = found.sel(ablated="none")["loss_late"].item()
    assert late == pytest.approx(np.log1p((VOCABULARY - 1) * np.exp(-8.0)), rel=1e-3)


def test_ablation_finds_the_heads_that_matter(model):
    scores = ablation_scores(model, REPEATED)
    for kind in ("zero", "mean", "resample"):
        score = scores["ablation_score"].sel(ablation=kind)
        assert (score.sel(head=["0:0", "1:0"]) > 1.0).all() and (abs(score.sel(head=["0:1", "1:1"])) < 1e-6).all()


def test_the_path_goes_through_the_keys(model):
    found = path_patching_scores(model, REPEATED, ["0:0"], "1:0", through=["q", "k", "v", "qkv"])
    score = found["path_score"]
    assert score.sel(through="k") > 1.0 and score.sel(through="qkv") == pytest.approx(float(score.sel(through="k")))
    assert abs(score.sel(through=["q", "v"])).max() < 1e-6
    all_of_it = ablation_scores(model, REPEATED, ["0:0"], kinds=["mean"])["ablation_score"].item()
    assert score.sel(through="k").item() == pytest.approx(all_of_it, abs=1e-5)


def test_composition_is_of_keys(model):
    scores = composition_scores(model).sel(writer="0:0", reader="1:0")
    # W_OV moves V tokens into the part that the keys read: ‖W_OV W_QKᵀ‖ = scale·√V, norms √V and scale·√V
    assert scores["k_composition"].item() == pytest.approx(VOCABULARY**-0.5)
    assert scores["q_composition"].item() == scores["v_composition"].item() == 0.0


def test_the_bigram_model_reaches_the_entropy_of_a_markov_chain():
    """Order 2 has the chain's entropy rate, order 3 no less, order 1 that of the stationary distribution."""
    draw = numpy_generator(0, "chain")
    step = draw.dirichlet(np.full(6, 0.5), size=6)
    rows = np.zeros((3000, 40), np.int64)
    rows[:, 0] = draw.integers(6, size=3000)
    for place in range(1, 40):
        cumulative = step[rows[:, place - 1]].cumsum(1)
        rows[:, place] = (draw.random(3000)[:, None] > cumulative).sum(1).clip(max=5)
    stationary = np.linalg.matrix_power(step, 200)[0]
    rate = -(stationary[:, None] * step * np.log(step)).sum()
    found = ngram_baselines(rows[:2000], rows[2000:, 5:], 6, orders=(1, 2, 3))
    loss, se = found["loss"], found["loss_se"]
    assert abs(loss.sel(order=2) - rate) < 4 * se.sel(order=2) + 1e-3
    assert 0 < loss.sel(order=3) - loss.sel(order=2) < 5e-3  # 216 counts more to estimate
    assert abs(loss.sel(order=1) + (stationary * np.log(stationary)).sum()) < 4 * se.sel(order=1) + 1e-3


def test_probabilities_sum_to_one_for_seen_and_unseen_contexts():
    draw = numpy_generator(1, "rows")
    counted = draw.integers(5, size=(8, 6))  # tokens 5 and 6 are never seen
    model = NGram(counted, 3, 7)
    for before in ([0, 1], [5, 1], [6, 6], [4, 4]):
        rows = np.array([[*before, token] for token in range(7)])
        probabilities = model.probabilities(rows)[:, -1]
        assert probabilities.sum() == pytest.approx(1.0) and (probabilities > 0).all()
        shorter = NGram(counted, 2, 7).probabilities(rows)
        np.testing.assert_allclose(model.probabilities(rows, order=2), shorter)


def test_a_device_or_dtype_of_tokens_is_no_matter():
    rows = torch.randint(5, (4, 6), generator=torch.Generator().manual_seed(0))
    plain = ngram_baselines(rows, rows, 5, orders=[2])["loss"]
    assert plain.item() == ngram_baselines(rows.int().numpy(), rows.short(), 5, orders=[2])["loss"].item()
