"""Selections of weights: names, unions, random subsets and overlaps, counted by hand; refusals say what there is."""

import copy

import pytest
import torch
from torch import nn

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.architecture import architecture
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.components import by_name, in_words, overlaps, resolve

HEAD = 4 * 16 * 4 + 3 * 4
"""Weights of one head: W_Q, W_K, W_V, W_O of 16 × 4, and three biases of 4."""


def model(**others):
    return AttentionOnly(AttentionOnlyConfig(vocabulary=20, context=12, width=16, heads=4, **others))


def grouped():
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20,
            hidden_size=16,
            intermediate_size=8,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)
        self.decode.weight = self.encode.weight


def size(net, selection):
    masks = resolve(net, selection)
    return sum(net.get_parameter(name).numel() if mask is None else int(mask.sum()) for name, mask in masks.items())


def assert_same(first, second):
    assert list(first) == list(second)
    for name, mask in first.items():
        assert (mask is None) == (second[name] is None), name
        assert mask is None or torch.equal(mask, second[name]), name


def test_a_head_is_its_slices():
    masks = resolve(model(), "1:3")
    assert list(masks) == [f"blocks.1.attn.{name}" for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")]
    assert all(mask[3].all() and not mask[:3].any() for mask in masks.values())


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        ("0:1", HEAD),
        (["1:1", "1:2"], 2 * HEAD),
        (["1:1", "1:1"], HEAD),
        (["1:1", "0:1", "1:attn"], 5 * HEAD + 16),
        (["1:1", "blocks.1.attn.W_Q"], HEAD + 3 * 64),
        (["1:1", {"blocks.1.attn.W_Q": torch.ones(4, 16, 4), "blocks.0.attn.b_O": torch.arange(16) < 5}], HEAD + 197),
        (["0:ln", ["1:1", "embed"]], 32 + HEAD + 32 * 16),
        ("ln", 3 * 32),
        ("unembed", 17 * 20),
        ("0:kv2", 2 * 16 * 4 + 2 * 4),
    ],
    ids=repr,
)
def test_selections_count_every_weight_once(selection, count):
    assert size(model(), selection) == count


def test_the_same_weights_resolve_to_the_same_masks():
    net = model()
    whole = resolve(net, "blocks.1.attn.*")
    assert set(whole.values()) == {None}
    heads = ["1:3", "1:0", "1:2", "1:1"]
    assert_same(resolve(net, "1:attn"), whole)
    assert_same(resolve(net, [*heads, "blocks.1.attn.b_O"]), whole)
    assert_same(resolve(net, ["1:attn", "1:2"]), whole)
    assert_same(resolve(net, {name: torch.ones_like(net.get_parameter(name)) for name in reversed(whole)}), whole)
    empty = {"blocks.0.attn.b_O": torch.zeros(16, dtype=torch.bool)}
    assert_same(resolve(net, {**empty, "unembed.b_U": None}), {"unembed.b_U": None})


def test_refinement_by_name_takes_unions_and_lists():
    net = model()
    assert by_name(net, ["0:1", "1:1"]) == {"0:1": "0:1", "1:1": "1:1"}
    assert by_name(net, {"induction": ["1:1", "1:2"]}) == {"induction": ["1:1", "1:2"]}
    assert by_name(net, "1:1") is None
    masks = {"unembed.b_U": torch.ones(20)}
    assert by_name(net, {"mine": masks, "1:1": "1:1"}) == {"mine": masks, "1:1": "1:1"}
    with pytest.raises(
        OntogenyError, match=r"a dict among them has no name .*; use \{name: selection\}, as \{'mine': "
    ):
        by_name(net, ["1:1", masks])


def next_token(net, tokens):
    logits = net(tokens)[:, :-1]
    return nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")


def test_estimates_are_refined_by_component():
    tokens = torch.randint(20, (12, 6), generator=torch.Generator().manual_seed(0))
    settings = {"n_beta": 5.0, "localization": 50.0, "step_size": 1e-3, "chains": 2, "draws": 3, "burn_in": 2}
    selections = {"head": "1:1", "both": ["0:2", "1:1"], "control": f"random:{HEAD}:3"}
    draws = og.sample(model(), tokens, next_token, components=selections, progress=False, **settings)
    assert draws["dim"].values.tolist() == [HEAD, 2 * HEAD, HEAD]


def random_set(net, text):
    masks = resolve(net, text)
    return {
        (name, i)
        for name, mask in masks.items()
        for i in range(net.get_parameter(name).numel())
        if mask is None or bool(mask.flatten()[i])
    }


def test_random_subsets_have_their_size_and_their_seed():
    net = model()
    for count in (1, 40, HEAD, size(net, None) - 1, size(net, None)):
        assert size(net, f"random:{count}") == count
    first, again, other = (random_set(net, text) for text in ("random:50:7", "random:50:7", "random:50:8"))
    assert first == again and len(first & other) < 25
    assert random_set(net, "random:50") == random_set(net, "random:50:0")
    before = torch.get_rng_state()
    resolve(net, "random:50")
    assert torch.equal(before, torch.get_rng_state())


def test_every_weight_is_as_likely_to_be_drawn():
    """400 draws of 9 of 12 weights: each is drawn 300 times, ± 4·√(400·¾·¼) = 35."""
    net = Tied()  # 9 + 3 weights, the tied ones once
    drawn = [random_set(net, f"random:9:{seed}") for seed in range(400)]
    counts = {weight: sum(weight in one for one in drawn) for one in drawn for weight in one}
    assert len(counts) == 12
    assert all(abs(count - 300) < 35 for count in counts.values()), counts


def test_random_subsets_inside_a_component():
    net = model()
    inside = random_set(net, "1:2")
    part = random_set(net, "random:30:1@1:2")
    assert len(part) == 30 and part < inside
    assert random_set(net, f"random:{HEAD}@1:2") == inside
    assert random_set(net, "random:20@*.W_U") < random_set(net, "*.W_U")


def test_random_subsets_pass_over_frozen_weights():
    net = Tied()
    net.decode.bias.requires_grad_(False)
    assert random_set(net, "random:9") == {("encode.weight", i) for i in range(9)}
    with pytest.raises(OntogenyError, match="'random:10' draws 10 weights of 9 trainable ones; draw from 1 to 9"):
        resolve(net, "random:10")
    with pytest.raises(OntogenyError, match="draws 0 weights of 9"):
        resolve(net, "random:0")


def test_overlaps_are_counted():
    shared_keys_and_values = 2 * 4 * 16
    net = grouped()
    selections = {"a": "1:0", "b": "1:1", "c": "1:2", "group": "1:kv0", "all": "1:attn", "low": ["0:0", "0:1"]}
    assert overlaps(net, selections) == {
        ("a", "b"): shared_keys_and_values,
        ("a", "group"): shared_keys_and_values,
        ("a", "all"): 4 * shared_keys_and_values // 2,
        ("b", "group"): shared_keys_and_values,
        ("b", "all"): 4 * shared_keys_and_values // 2,
        ("c", "all"): 4 * shared_keys_and_values // 2,
        ("group", "all"): shared_keys_and_values,
    }
    assert overlaps(net, {"all": "1:attn", "q": "*.1.*.q_proj.weight"}) == {("all", "q"): 256}
    assert overlaps(Tied(), {"in": "encode.*", "out": "decode.*"}) == {("in", "out"): 9}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2:0", "asks for layer 2, and layers go from 0 to 1"),
        ("2:attn", "asks for layer 2"),
        ("1:4", "asks for head 4, and heads go from 0 to 3"),
        ("1:kv2", "asks for key-value group 2, and groups go from 0 to 1"),
    ],
)
def test_what_is_out_of_range_is_told_what_there_is(text, why):
    there = "has 0:0 … 1:3, 0:kv0 … 1:kv1, 0:attn … 1:attn, 0:mlp … 1:mlp, 0:ln … 1:ln, embed, unembed, ln"
    with pytest.raises(OntogenyError, match=rf"components: '{text}' {why}.*\. This llama model {there}"):
        resolve(grouped(), ["0:0", text])


def test_parts_that_a_model_does_not_have():
    bare = model(layer_norm=False)
    for name in ("0:mlp", "0:ln", "ln"):
        with pytest.raises(
            OntogenyError, match=f"'{name}' selects no weights. This AttentionOnly has 0:0 … 1:3, 0:kv0"
        ):
            resolve(bare, name)
    with pytest.raises(
        OntogenyError, match=r"'0:0' asks for layer 0, and there are no layers\. This AttentionOnly has e"
    ):
        resolve(model(layers=0), "0:0")


@pytest.mark.parametrize("text", ["1:q", "-1:0", "1:", "heads", "random:few", "1:3:4"])
def test_misspelt_names_are_told_what_there_is(text):
    offer = r"The components are: 0:0 … 1:3, .*random:COUNT\. The parameters are: embed.W_E"
    with pytest.raises(OntogenyError, match=rf"components: '{text}' selects no weights\. {offer}"):
        resolve(model(), text)


@pytest.mark.parametrize("text", ["1:3", "1:attn", "embed", "ln"])
def test_names_on_a_model_whose_heads_are_not_known(text):
    net = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(
        OntogenyError, match=rf"'{text}' selects no weights: the heads and layers of a Sequential are not"
    ):
        resolve(net, text)
    with pytest.raises(OntogenyError, match=r"use globs over parameter names\. The parameters are: 0\.weight, 0\.bias"):
        resolve(net, text)


def test_a_parameter_that_is_called_like_a_component_is_still_a_parameter():
    net = nn.Module()
    net.embed = nn.Parameter(torch.zeros(3))
    assert resolve(net, "embed") == {"embed": None}


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        ([], r"selects no weights: got \[\]"),
        (["1:1", []], r"selects no weights: got \[\]"),
        (["1:1", 3], "selects no weights: got 3; expected the name of a component"),
        ([1, 0], r"selects no weights: got \[1, 0\]"),
        (["1:1", {"nope": None}], "there is no parameter 'nope'. The components are: 0:0 … 1:3"),
        ({0: torch.ones(1, 2)}, "there is no parameter 0. The components are: 0:0"),
        ("blocks.1.atn.W_Q", "selects no weights. Did you mean 'blocks.1.attn.W_Q'[?] The components are: 0:0"),
        (
            ["1:1", {"unembed.b_U": torch.ones(3)}],
            r"the parameter's shape \(20,\); got \(3,\)\. The components are: 0:0 …",
        ),
        (
            {"unembed.b_U": [[1, 0], [1]]},
            r"\['unembed.b_U'\]: the mask must be an array of 0 and 1 .*\(20,\); got list \(",
        ),
        ({"unembed.b_U": "1:1"}, r"the mask must be an array of 0 and 1 of the parameter's shape \(20,\); got str \("),
        (["1:1", "embed.W_E", "embed.W_E"], r" names 'embed.W_E' twice; name each parameter once\. The components are"),
        ({"unembed.b_U": torch.zeros(20)}, "every mask is empty. The components are: 0:0 … 1:3"),
    ],
    ids=repr,
)
def test_selections_that_are_refused(selection, why):
    with pytest.raises(OntogenyError, match=rf"components.*{why}"):
        resolve(model(), selection)


TWICE = "components names one tied weight twice, as"
NAMES = r"The parameters are: encode\.weight, decode\.weight, decode\.bias\."


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (
            ["encode.weight", "decode.weight"],
            rf"{TWICE} 'encode\.weight' and 'decode\.weight'; name it once: .*{NAMES}",
        ),
        (["encode.*", "decode.*"], rf"{TWICE} 'encode\.weight' \(in 'encode\.\*'\) and 'decode\.weight' \(in 'decode"),
        (["decode.bias", ["encode.*"], {"decode.weight": None}], rf"{TWICE} 'encode\.weight' and 'decode\.weight'"),
        ({"encode.weight": None, "decode.weight": None}, rf"{TWICE} 'encode\.weight' and 'decode\.weight'.*{NAMES}"),
        (["encode.weight", "random:9@decode.weight"], TWICE),
        (["encode.weight"] * 2, r"components names 'encode\.weight' twice; name each parameter once\."),
    ],
    ids=repr,
)
def test_a_tied_weight_named_twice(selection, said):
    with pytest.raises(OntogenyError, match=said):
        resolve(Tied(), selection)


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        ("*code.weight", 9),
        (["*code.weight", "decode.weight"], 9),
        (["encode.*", "*.weight", "decode.bias"], 12),
        (["decode.*", "random:12"], 12),
    ],
    ids=repr,
)
def test_a_glob_over_both_names_of_a_tied_weight_is_one_naming(selection, count):
    assert size(Tied(), selection) == count


def test_tied_embeddings_are_one_component_under_two_names():
    net = grouped()
    assert size(net, ["embed", "unembed"]) == 2 * 20 * 16
    net.lm_head.weight = net.model.embed_tokens.weight
    assert_same(resolve(net, "embed"), resolve(net, "unembed"))
    said = rf"{TWICE} 'model\.embed_tokens\.weight' \(in 'embed'\) and 'lm_head\.weight' \(in 'unembed'\).* 0:0 … 1:3"
    with pytest.raises(OntogenyError, match=said):
        resolve(net, ["1:0", "embed", "unembed"])
    assert size(net, ["1:attn", "1:0", "1:1", "unembed"]) == size(net, "1:attn") + 320


def test_resolving_leaves_the_model_as_it_was():
    net = model()
    before = copy.deepcopy(net.state_dict())
    for name in architecture(net).names():
        resolve(net, name)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_words_for_many_components_are_lists():
    heads = [f"{layer}:{head}" for layer in range(2) for head in range(4)]
    assert list(by_name(model(layers=2), "heads")) == heads
    assert list(by_name(model(layers=2), ["embed", "layers"])) == ["embed", "0:attn", "1:attn"]
    with pytest.raises(OntogenyError, match=r"^components: 'heads' cannot be told: "):
        by_name(nn.Linear(2, 2), "heads")


def test_an_empty_union_is_named():
    with pytest.raises(OntogenyError, match=r"^components selects no weights for 'u': got \[\]\. The components are: "):
        by_name(model(), {"u": [], "v": "1:0"})


def test_a_selection_in_words():
    mask = torch.ones(2, dtype=torch.bool)
    words = [in_words(one) for one in (None, "1:0", ["1:0", "1:1"], {"a": mask, "b": None}, ["1:0", {"a": mask}])]
    assert words == ["all", "1:0", "1:0, 1:1", "masks of a, b", "1:0, masks of a"]
