"""Ablations and path patching, held against losses of models whose weights or activations are changed by hand."""

import numpy as np
import pytest
import torch

from known_transformers import HEADS, MODELS, VOCABULARY, attention_only, built
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.inputs.head_access import Head, HeadAccess, replace_heads
from ontogeny.inputs.language_losses import NextToken
from ontogeny.interventions import (
    LastToken,
    ablation_scores,
    bracket_sentences,
    head_means,
    path_patching_scores,
)

DATA = torch.randint(VOCABULARY, (7, 9), generator=generator(0, "interventions"))
CLOSE = {"rtol": 0, "atol": 2e-6}


def per_example(model, edits=None):
    with torch.no_grad(), HeadAccess(model).active(edits=edits or {}):
        return NextToken()(model, DATA).double().mean(1)


def z_of(model, layers=(0, 1)):
    with torch.no_grad(), HeadAccess(model).active(keep=[("z", layer) for layer in layers]) as seen:
        model(DATA)
    return {layer: seen.at["z", layer] for layer in layers}


@pytest.fixture(params=MODELS)
def model(request):
    return built(request.param)


def test_scores_are_changes_of_the_loss(model):
    found = ablation_scores(model, DATA, ["0:1", "1:2"], batch_size=3)
    z = z_of(model)
    for head in (Head(0, 1), Head(1, 2)):
        by_kind = {
            "zero": 0.0,
            "mean": z[head.layer].mean((0, 1)),
            "resample": z[head.layer].roll(1, 0),
        }
        for kind, value in by_kind.items():
            moved = per_example(model, {("z", head.layer): replace_heads([head], value)}) - per_example(model)
            one = found.sel(ablation=kind, head=str(head))
            np.testing.assert_allclose(float(one["ablation_score"]), float(moved.mean()), **CLOSE)
            np.testing.assert_allclose(float(one["ablation_score_se"]), float(moved.std() / 7**0.5), **CLOSE)
    np.testing.assert_allclose(float(found["loss"]), float(per_example(model).mean()), **CLOSE)


def test_means_are_over_examples_and_positions(model):
    means = head_means(model, DATA, batch_size=2)
    for layer, z in z_of(model).items():
        torch.testing.assert_close(means[layer], z.double().mean((0, 1)), rtol=0, atol=1e-6)


def test_several_heads_are_ablated_together():
    model = built("attention_only")
    both = ablation_scores(model, DATA, {"pair": ["0:1", "1:2"]}, kinds=["zero"])
    edits = {("z", layer): replace_heads([Head(layer, head)], 0.0) for layer, head in ((0, 1), (1, 2))}
    expected = float((per_example(model, edits) - per_example(model)).mean())
    assert list(both["head"].values) == ["pair"]
    np.testing.assert_allclose(both["ablation_score"].item(), expected, **CLOSE)


@pytest.mark.parametrize("name", ["attention_only", "attention_only without layer norm", "hooked, shortformer"])
def test_a_path_is_the_receiver_with_its_inputs_from_another_run(name):
    """Figure 6's procedure, where nothing lies between: the receiver's z of the ablated run, in a clean run."""
    model, senders = built(name), [Head(0, 0), Head(0, 3)]
    found = path_patching_scores(model, DATA, ["0:0", "0:3"], "1:2", kind="mean", batch_size=4)
    ablated = {("z", 0): replace_heads(senders, z_of(model)[0].mean((0, 1)))}
    with torch.no_grad(), HeadAccess(model).active(edits=ablated, keep=[("z", 1)]) as seen:
        model(DATA)
    z = seen.at["z", 1]
    moved = per_example(model, {("z", 1): replace_heads([Head(1, 2)], z)}) - per_example(model)
    assert abs(float(moved.mean())) > 1e-4
    np.testing.assert_allclose(found["path_score"].item(), float(moved.mean()), **CLOSE)
    np.testing.assert_allclose(found["path_score_se"].item(), float(moved.std() / 7**0.5), **CLOSE)


@pytest.mark.parametrize("way", ["q", "k", "v", "qk"])
def test_a_path_goes_through_the_inputs_it_names(way):
    """Queries, keys and values of the ablated run or of the clean one, put together by hand."""
    model = built("attention_only")
    heads, to = HeadAccess(model), Head(1, 2)
    places = [(place, 1) for place in "qkv"]
    runs = []
    for edits in ({}, {("z", 0): replace_heads([Head(0, 1)], 0.0)}):
        with torch.no_grad(), heads.active(edits=edits, keep=places) as seen:
            model(DATA)
        runs.append({place: seen.at[place, 1][:, :, to.number] for place in "qkv"})
    q, k, v = (runs[place in way][place] for place in "qkv")
    scores = torch.einsum("bqe,bke->bqk", q, k) / q.shape[-1] ** 0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    z = z_of(model)[1].clone()
    z[:, :, to.number] = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
    moved = per_example(model, {("z", 1): lambda there: z}) - per_example(model)
    found = path_patching_scores(model, DATA, ["0:1"], "1:2", through=[way], kind="zero")
    np.testing.assert_allclose(found.sel(through=way)["path_score"].item(), float(moved.mean()), **CLOSE)


def test_patching_in_what_is_there_already_changes_nothing(model):
    same = DATA[:1].expand(4, -1)
    found = path_patching_scores(model, same, ["0:0", "0:1"], "1:3", through=["q", "k", "v", "qkv"], kind="resample")
    np.testing.assert_allclose(found["path_score"].values, 0.0, **CLOSE)


def test_every_kind_of_path_moves_every_model(model):
    found = path_patching_scores(model, DATA, [f"0:{head}" for head in range(HEADS)], "1:3", through=["q", "k", "v"])
    assert (np.abs(found["path_score"].values) > 1e-6).all()


class Letters:
    """A tokenizer of words and marks; what it has not seen gets the next number."""

    def __init__(self):
        self.known = []

    def encode(self, text):
        import re

        parts = re.findall(r" ?\w+| ?[^\w\s]", text)
        self.known += [part for part in dict.fromkeys(parts) if part not in self.known]
        return [self.known.index(part) for part in parts]

    def decode(self, ids):
        return "".join(self.known[i] for i in ids)


def test_bracket_sentences_end_with_the_bracket_that_closes_the_outer_pair():
    tokenizer = Letters()
    nested = bracket_sentences(tokenizer, 20, nested=True, length=40)
    flat = bracket_sentences(tokenizer, 20, nested=False, length=40)
    assert nested.shape == flat.shape == (20, 40) and nested.dtype == torch.int64
    for rows, pairs in ((nested, 2), (flat, 1)):
        for row in rows.tolist():
            text = tokenizer.decode(row)
            assert text.endswith(")") and text.count("(") == text.count(")") == pairs
            depth = np.cumsum([(mark == "(") - (mark == ")") for mark in text])
            assert depth[-1] == 0 and depth.max() == pairs
    assert torch.equal(nested, bracket_sentences(tokenizer, 20, nested=True, length=40))
    assert len({tuple(row) for row in nested.tolist()}) == 20
    model = attention_only()
    rows = flat[:, :12] % VOCABULARY
    torch.testing.assert_close(LastToken()(model, rows), NextToken()(model, rows)[:, -1])


class OneToken(Letters):
    def encode(self, text):
        return [*super().encode(text), 0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: ablation_scores(m, DATA, kinds=["swap"]), r"kinds must be some of 'zero', 'mean', 'resample'; got"),
        (lambda m: ablation_scores(m, DATA, kinds="zero"), r"kinds must be a list of some of 'zero', 'mean'"),
        (lambda m: ablation_scores(m, DATA, {"a": "1:0"}), r"heads\['a'\] must be a list of heads; got '1:0'"),
        (lambda m: ablation_scores(m, DATA, batch_size=0), r"batch_size must be a whole number of at least 1; got 0"),
        (lambda m: ablation_scores(m, DATA[:1]), r"data must hold at least two examples, so that one can stand in"),
        (
            lambda m: ablation_scores(m, DATA, loss_fn=lambda model, batch: model(batch)),
            r"loss_fn must return one loss per example, \(batch,\), or per position.* got shape \(7, 9, 20\)",
        ),
        (lambda m: path_patching_scores(m, DATA, ["1:0"], "1:1"), r"senders must be in layers before the receiver's"),
        (lambda m: path_patching_scores(m, DATA, ["0:9"], "1:1"), r"senders: there is no head '0:9'"),
        (lambda m: path_patching_scores(m, DATA, ["0:0"], "3:1"), r"receiver: there is no head '3:1'"),
        (
            lambda m: path_patching_scores(m, DATA, ["0:0"], "1:1", through=["o"]),
            r"through must be a list of ways into the receiver, each some of the letters q, k and v",
        ),
        (lambda m: path_patching_scores(m, DATA, ["0:0"], "1:1", kind="noise"), r"kind must be some of 'zero'"),
        (lambda m: bracket_sentences(Letters(), 0, nested=True), r"examples must be a whole number of at least 1"),
        (lambda m: bracket_sentences(Letters(), 2, nested=True, length=3), r"length must be a whole number of at"),
        (lambda m: bracket_sentences(OneToken(), 2, nested=True), r"tokenizer must end these sentences with a token"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(OntogenyError, match=text):
        call(built("attention_only"))


def test_a_norm_after_attention_is_refused_for_paths():
    from known_transformers import hooked

    model = hooked(normalization_type="RMS", use_normalization_before_and_after=True)
    with pytest.raises(OntogenyError, match=r"model: its HookedTransformer normalises what attention adds"):
        path_patching_scores(model, DATA, ["0:0"], "1:1")
