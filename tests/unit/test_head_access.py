"""Heads seen and replaced in every known transformer, held against eager attention and against ablated weights."""

import copy

import pytest
import torch
from torch import nn

from known_transformers import HEAD_WIDTH, HEADS, LAYERS, MODELS, TOKENS, attention_only, built, gpt2
from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.components import resolve
from ontogeny.inputs.head_access import Head, HeadAccess, by_layer, replace_heads
from ontogeny.inputs.one_layer import OneLayerConfig, OneLayerTransformer

OUTPUT = ("c_proj.weight", "dense.weight", "o_proj.weight", "W_O")
ROUNDING = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(params=MODELS)
def heads(request):
    return HeadAccess(built(request.param))


def logits(model):
    with torch.no_grad():
        out = model(TOKENS)
    return getattr(out, "logits", out)


def test_patterns_are_those_of_eager_attention(heads):
    model, plain = heads.model, logits(heads.model)
    with heads.active(patterns=range(LAYERS)) as seen:
        torch.testing.assert_close(logits(model), plain, **ROUNDING)
    if hasattr(model, "run_with_cache"):
        _, cache = model.run_with_cache(TOKENS)
        expected = [cache["pattern", layer] for layer in range(LAYERS)]
    elif hasattr(model, "set_attn_implementation"):
        eager = copy.deepcopy(model)
        eager.set_attn_implementation("eager")
        with torch.no_grad():
            expected = eager(TOKENS, output_attentions=True).attentions
    else:
        expected = [seen.patterns[0]]  # held against TransformerLens in test_attention_only
    for layer, pattern in enumerate(expected):
        torch.testing.assert_close(seen.patterns[layer], pattern, **ROUNDING)
    for pattern in seen.patterns.values():
        assert pattern.shape == (*TOKENS.shape[:1], HEADS, TOKENS.shape[1], TOKENS.shape[1])
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        assert pattern.triu(1).abs().max() == 0


def test_the_pattern_mixes_the_values_into_z(heads):
    with torch.no_grad(), heads.active(patterns=[1], keep=[("v", 1), ("z", 1)]) as seen:
        heads.model(TOKENS)
    values = seen.at["v", 1][:, :, [heads.group(head) for head in range(HEADS)]]
    mixed = torch.einsum("bhqk,bkhe->bqhe", seen.patterns[1], values)
    torch.testing.assert_close(mixed, seen.at["z", 1], **ROUNDING)


def test_replacing_a_head_by_itself_changes_nothing(heads):
    plain = logits(heads.model)
    places = [(place, layer) for place in "qkvz" for layer in range(LAYERS)]
    with torch.no_grad(), heads.active(keep=places) as seen:
        heads.model(TOKENS)
    kept = dict(seen.at)
    with heads.active(edits={place: lambda there, place=place: kept[place] for place in places}):
        assert torch.equal(logits(heads.model), plain)
    assert torch.equal(logits(heads.model), plain)


def test_zeroing_a_head_is_ablating_its_output_slice(heads):
    for name in heads.names:
        head = heads.head(name)
        masks = {key: mask for key, mask in resolve(heads.model, name).items() if key.endswith(OUTPUT)}
        ablated = copy.deepcopy(heads.model)
        with torch.no_grad():
            for key, mask in masks.items():
                weight = ablated.get_parameter(key)
                weight.mul_(~mask)
        with heads.active(edits={("z", head.layer): replace_heads([head], 0.0)}):
            torch.testing.assert_close(logits(heads.model), logits(ablated), **ROUNDING)


def test_each_of_queries_keys_and_values_reaches_what_it_should(heads):
    """Other queries or keys move the pattern and not the values; other values move z and not the pattern."""
    watched = {"patterns": [0], "keep": [("v", 0), ("z", 0)]}
    with torch.no_grad(), heads.active(**watched) as plain:
        heads.model(TOKENS)
    for place, pattern_moves in (("q", True), ("k", True), ("v", False)):
        edit = replace_heads([Head(0, 0)], lambda there: 2 * there + 0.3)
        with torch.no_grad(), heads.active(**watched, edits={(place, 0): edit}) as seen:
            heads.model(TOKENS)
        assert ((seen.patterns[0] - plain.patterns[0])[:, 0].abs().max() > 1e-4) == pattern_moves, place
        assert torch.equal(seen.at["v", 0], plain.at["v", 0]) == pattern_moves
        assert (seen.at["z", 0] - plain.at["z", 0])[:, :, 0].abs().max() > 1e-4


def test_the_output_matrix_maps_z_to_what_the_head_writes(heads):
    head, block = Head(1, 2), heads.model.get_submodule(heads.known.blocks[1])
    attention = heads._attention(1)
    written = []

    def keep(module, args, out):
        written.append(out[0] if isinstance(out, tuple) else out)

    handle = attention.register_forward_hook(keep)
    with heads.active(keep=[("z", 1)]) as seen:
        logits(heads.model)
        z = seen.at["z", 1][:, :, head.number]
        with heads.active(edits={("z", 1): replace_heads([head], 0.0)}):
            logits(heads.model)
    handle.remove()
    assert block is not attention
    torch.testing.assert_close(written[0] - written[1], z @ heads.output_matrix(head), **ROUNDING)


def test_what_enters_a_layer_can_be_replaced(heads):
    plain = logits(heads.model)
    with heads.active(entering={1: lambda residual: residual}):
        assert torch.equal(logits(heads.model), plain)
    with heads.active(entering={1: lambda residual: residual.flip(0)}):
        assert (logits(heads.model) - plain).abs().max() > 1e-3


def test_hooks_and_settings_are_gone_after_an_error():
    model = gpt2()
    heads = HeadAccess(model)
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError, match="stop"), heads.active(patterns=[0], keep=[("z", 0)]):
        assert model.config._attn_implementation == "eager"
        raise RuntimeError("stop")
    assert model.config._attn_implementation == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_names_and_layers():
    heads = HeadAccess(attention_only())
    assert heads.names[:5] == ["0:0", "0:1", "0:2", "0:3", "1:0"] and str(heads.head("1:2")) == "1:2"
    assert heads.chosen(["1:2", "0:1"]) == [Head(1, 2), Head(0, 1)] and len(heads.chosen(None)) == LAYERS * HEADS
    assert by_layer([Head(1, 2), Head(0, 1), Head(1, 0)]) == {0: [Head(0, 1)], 1: [Head(1, 2), Head(1, 0)]}
    assert heads.output_matrix(Head(0, 0)).shape[0] == HEAD_WIDTH


def test_a_transformer_with_outputs_of_its_own():
    model = OneLayerTransformer(OneLayerConfig(20, outputs=3, context=9, width=16, heads=2, head_width=8, mlp_width=8))
    heads = HeadAccess(model)
    with torch.no_grad(), heads.active(patterns=[0], keep=[("q", 0), ("z", 0)]) as seen:
        assert model(TOKENS).shape == (*TOKENS.shape, 3)
    assert seen.patterns[0].shape == (3, 2, 9, 9) and seen.at["z", 0].shape == (*TOKENS.shape, 2, 8)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["2:0"], r"heads: there is no head '2:0'; the heads of this AttentionOnly go from 0:0 to 1:3, layer before"),
        ("1:0", r"heads must be a list of heads; got '1:0'. Write \['1:0'\]."),
        ([], "heads must name at least one head, each once; got "),
        (["0:1", "0:1"], r"heads must name at least one head, each once; got \['0:1', '0:1'\]."),
    ],
)
def test_wrong_names_say_what_there_is(names, text):
    with pytest.raises(OntogenyError, match=text):
        HeadAccess(attention_only()).chosen(names)


def test_an_unknown_model_is_refused():
    with pytest.raises(OntogenyError, match="model: the heads and layers of a Linear are not known"):
        HeadAccess(nn.Linear(2, 2))
