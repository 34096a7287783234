"""Head scores on every kind of transformer, composition against TransformerLens, and what bad arguments are told."""

import numpy as np
import pytest
import torch

from known_transformers import HEADS, LAYERS, MODELS, VOCABULARY, attention_only, built, hooked
from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.components import resolve
from ontogeny.metrics import (
    NGram,
    attention_scores,
    composition_scores,
    in_context_learning_score,
    ngram_baselines,
    repeated_tokens,
)

ROWS = repeated_tokens(range(VOCABULARY), 5, period=6, repeats=2)


@pytest.mark.parametrize("name", MODELS)
def test_scores_of_every_transformer(name):
    model = built(name)
    scores = attention_scores(model, sequences=6, period=4, repeats=3, batch_size=4)
    again = attention_scores(model, sequences=6, period=4, repeats=3, batch_size=6)
    assert scores.sizes == {"head": LAYERS * HEADS} and scores["previous_token"].attrs["units"] == "1"
    for variable in scores.data_vars:
        np.testing.assert_allclose(scores[variable], again[variable], atol=1e-6)
        assert (scores[variable] > 0).all() and (scores[variable] < 1).all()
    found = in_context_learning_score(model, ROWS, early=2, late=12, heads=["0:0"])
    assert list(found["ablated"].values) == ["none", "0:0"] and found.icl_score[0] != found.icl_score[1]
    np.testing.assert_allclose(found["icl_score"], found["loss_late"] - found["loss_early"], atol=1e-12)
    composed = composition_scores(model)
    assert set(composed.sizes.values()) == {LAYERS * HEADS}
    inside = composed.isel(writer=slice(HEADS), reader=slice(HEADS, None))
    for variable in composed.data_vars:
        assert (inside[variable] > 0).all() and (inside[variable] < 1).all()
        assert composed[variable].count() == HEADS * HEADS


def test_a_model_without_heads_has_scores_of_none():
    bigram = attention_only(layers=0)
    assert attention_scores(bigram, period=4, repeats=2).sizes == {"head": 0}
    assert set(composition_scores(bigram).sizes.values()) == {0}
    found = in_context_learning_score(bigram, ROWS, early=2, late=12)
    assert found.sizes == {"ablated": 1}


@pytest.mark.parametrize("groups", [None, 2])
def test_composition_is_that_of_transformer_lens(groups):
    model = hooked(groups, normalization_type=None)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    found = composition_scores(model)
    for mode in "QKV":
        theirs = model.all_composition_scores(mode).reshape(LAYERS * HEADS, LAYERS * HEADS).detach()
        ours = np.nan_to_num(found[f"{mode.lower()}_composition"].values)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6, err_msg=mode)


def test_composition_reads_other_weights_and_folds_norms():
    model = built("attention_only")
    state = {name: 2 * value if name.endswith("W_O") else value for name, value in model.state_dict().items()}
    plain, scaled = composition_scores(model), composition_scores(model, state)
    for variable in plain.data_vars:
        np.testing.assert_allclose(plain[variable], scaled[variable])  # scores do not depend on scale
    folded = composition_scores(model, fold_norms=True)
    assert abs(folded["k_composition"] - plain["k_composition"]).max() > 1e-3
    bare = built("attention_only without layer norm")
    np.testing.assert_array_equal(
        composition_scores(bare)["q_composition"], composition_scores(bare, fold_norms=True)["q_composition"]
    )


def test_a_head_that_writes_nothing_has_no_composition():
    model = hooked(attn_only=True)
    with torch.no_grad():
        for name, mask in resolve(model, "0:1").items():
            if name.endswith("W_O"):
                model.get_parameter(name).mul_(~mask)
    assert composition_scores(model)["v_composition"].sel(writer="0:1").isnull().all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: attention_scores(m, period=1), r"period must be a whole number of at least 2; got 1"),
        (lambda m: attention_scores(m, period=25), r"tokens must hold at least 25 different ids, so that a period"),
        (lambda m: attention_scores(m, period=4, batch_size=0), r"batch_size must be a whole number of at least 1"),
        (lambda m: repeated_tokens([1, 2, 3], 0), r"sequences must be a whole number of at least 1; got 0"),
        (
            lambda m: in_context_learning_score(m, ROWS, early=9, late=3),
            r"early and late must be at least 2 and in this order; got 9 and 3",
        ),
        (
            lambda m: in_context_learning_score(m, ROWS),
            r"late must be within the rows of data, 12 tokens long; got 500. For a context of 128 give early=10",
        ),
        (
            lambda m: in_context_learning_score(m, ROWS, early=2, late=9, heads={"none": ["0:0"]}),
            r"heads: the name 'none' is that of the model as it is",
        ),
        (lambda m: NGram(ROWS, 0, 20), r"n must be a whole number of at least 1; got 0"),
        (lambda m: NGram(ROWS, 13, 20), r"n must be at most the length of a row of tokens, 12; got 13"),
        (lambda m: NGram(ROWS.float(), 2, 20), r"tokens must be whole numbers of shape \(rows, positions\).*float32"),
        (lambda m: ngram_baselines(ROWS, ROWS, 5), r"data must be between 0 and vocabulary - 1 = 4; got 0 to 19"),
        (lambda m: ngram_baselines(ROWS, ROWS, 20, orders=[0, 2]), r"orders must be whole numbers of at least 1; got"),
        (lambda m: NGram(ROWS, 2, 20).losses(ROWS, 3), r"order must be from 1 to n = 2; got 3"),
        (lambda m: ngram_baselines(ROWS, ROWS, 20, orders=[]), r"orders must hold at least one whole number"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(OntogenyError, match=text):
        call(built("attention_only"))
