"""Where heads and layers lie, held against what the models do: ablated heads, inputs of blocks that stay."""

import copy
import types

import pytest
import torch
from torch import nn

from known_transformers import (
    GPT2_SIZES,
    GROUPS,
    HEAD_WIDTH,
    HEADS,
    LAYERS,
    MODELS,
    TOKENS,
    WIDTH,
    attention_only,
    built,
    gpt2,
    llama,
    transformer,
)
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.inputs.architecture import architecture
from ontogeny.inputs.components import resolve

ROUNDING = 1e-5
CLEARLY = 1e-3
ATTENTION = ("attn", "attention", "self_attn")
OUTPUT = ("c_proj.weight", "dense.weight", "o_proj.weight", "W_O")
OUTPUT_BIAS = ("c_proj.bias", "dense.bias", "o_proj.bias", "b_O")


@pytest.fixture(params=MODELS)
def case(request):
    """A model with no weight at its initial zero or one, so that every one of them counts."""
    name = request.param
    return types.SimpleNamespace(model=built(name), groups=GROUPS.get(name, HEADS), name=name)


def changed(model, masks, value):
    """A copy with the selected weights at ``value(weight)``."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for key, mask in masks.items():
            weight = other.get_parameter(key)
            weight.copy_(torch.where(torch.ones((), dtype=torch.bool) if mask is None else mask, value(weight), weight))
    return other


def logits(model):
    with torch.no_grad():
        out = model(TOKENS)
    return getattr(out, "logits", out)


def moved(weight):
    return weight + torch.randn(weight.shape, generator=generator(1, *weight.shape))


def heads_module(model, layer):
    """The module whose input is the heads' outputs side by side, before the output projection."""
    known = architecture(model)
    attn = next(
        module for name, module in model.get_submodule(known.blocks[layer]).named_children() if name in ATTENTION
    )
    return next(m for n, m in attn.named_children() if n in ("hook_z", "c_proj", "dense", "o_proj"))


def mixed(model, layer):
    """What each head of a layer hands to the output projection, (batch, positions, heads, head width)."""
    seen = []
    handle = heads_module(model, layer).register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    logits(model)
    handle.remove()
    return seen[0].reshape(*TOKENS.shape, HEADS, -1)


def test_zeroing_the_output_slice_is_ablating_that_head(case):
    model = case.model
    for layer in range(LAYERS):
        for head in range(HEADS):
            masks = resolve(model, f"{layer}:{head}")
            output = {key: mask for key, mask in masks.items() if key.endswith(OUTPUT)}
            assert len(output) == 1

            def ablate(module, args, head=head):
                z = args[0].clone().reshape(*TOKENS.shape, HEADS, -1)
                z[..., head, :] = 0
                return (z.reshape(args[0].shape),)

            handle = heads_module(model, layer).register_forward_pre_hook(ablate)
            ablated = logits(model)
            handle.remove()
            torch.testing.assert_close(logits(changed(model, output, torch.zeros_like)), ablated, rtol=0, atol=ROUNDING)
            assert (ablated - logits(model)).abs().max() > CLEARLY


def affected(case, layer, masks):
    """The heads of the layer whose output moves with these weights; the others must stay to rounding."""
    before, after = mixed(case.model, layer), mixed(changed(case.model, masks, moved), layer)
    distance = (after - before).abs().amax((0, 1, 3))
    assert bool(((distance > CLEARLY) | (distance < ROUNDING)).all()), distance
    return [head for head in range(HEADS) if distance[head] > CLEARLY]


def test_the_other_slices_of_a_head_move_that_head_alone_or_its_group(case):
    of_group = HEADS // case.groups
    for layer in range(LAYERS):
        for head in range(HEADS):
            group = range(head // of_group * of_group, head // of_group * of_group + of_group)
            masks = resolve(case.model, f"{layer}:{head}")
            inward = {key: mask for key, mask in masks.items() if not key.endswith(OUTPUT)}
            assert affected(case, layer, inward) == list(group)
            queries = {key: mask for key, mask in inward.items() if "W_Q" in key or "q_proj" in key}
            if queries:
                assert affected(case, layer, queries) == [head]
            keys_and_values = resolve(case.model, f"{layer}:kv{head // of_group}")
            assert affected(case, layer, keys_and_values) == list(group)
            assert not any(key.endswith(OUTPUT) for key in keys_and_values)


def size(model, masks):
    return sum(model.get_parameter(key).numel() if mask is None else int(mask.sum()) for key, mask in masks.items())


def test_heads_and_the_output_bias_make_up_the_attention(case):
    for layer in range(LAYERS):
        heads = resolve(case.model, [f"{layer}:{head}" for head in range(HEADS)])
        attention = resolve(case.model, f"{layer}:attn")
        rest = attention.keys() - heads.keys()
        assert set(heads.values()) == {None}, "heads leave no weight of a projection out"
        assert all(key.endswith(OUTPUT_BIAS) for key in rest)
        assert resolve(case.model, [f"{layer}:{head}" for head in range(HEADS)] + sorted(rest)) == attention


def test_a_head_and_a_group_have_as_many_weights_as_projections_and_biases_say(case):
    width = 6 if "wide" in case.name else HEAD_WIDTH
    attention = resolve(case.model, "0:attn")
    bias = any("b_Q" in key or key.endswith(("q_proj.bias", "c_attn.bias", "value.bias")) for key in attention)
    assert bias == (case.name not in ("llama, grouped", "llama, wide heads", "mistral"))
    one = WIDTH * width + width * bias  # of queries, keys or values
    assert size(case.model, resolve(case.model, "1:2")) == 3 * one + WIDTH * width
    assert size(case.model, resolve(case.model, "1:kv1")) == 2 * one


def test_without_its_keys_and_values_a_group_gives_nothing(case):
    of_group = HEADS // case.groups
    for layer, group in ((0, 0), (1, case.groups - 1)):
        z = mixed(changed(case.model, resolve(case.model, f"{layer}:kv{group}"), torch.zeros_like), layer)
        silent = z.abs().amax((0, 1, 3)) < ROUNDING
        assert silent.tolist() == [head // of_group == group for head in range(HEADS)]


def test_the_parts_are_disjoint_and_together_the_model(case):
    known = architecture(case.model)
    parts = [name for name in known.names() if name.endswith(("attn", "mlp"))] + ["ln", "embed", "unembed"]
    parts = [name for name in parts if name in known.names()]
    masks = [resolve(case.model, part) for part in parts]
    whole = dict.fromkeys(resolve(case.model, None))
    assert {key for one in masks for key in one} == whole.keys()
    tied = size(case.model, resolve(case.model, "unembed")) if known.aliases[known.unembed[0]] in masks[-2] else 0
    assert sum(size(case.model, one) for one in masks) == size(case.model, whole) + tied
    assert bool(tied) == (case.name in ("gpt2", "llama, tied, all biases"))
    assert ("ln" in parts) == (case.name != "attention_only without layer norm")


def inputs_of_blocks(model):
    """What enters each block, and last what leaves the last one."""
    seen, handles = [], []

    def keep(module, args, named):
        seen.append((args[0] if args else next(iter(named.values()))).clone())

    blocks = [model.get_submodule(name) for name in architecture(model).blocks]
    for block in blocks:
        handles.append(block.register_forward_pre_hook(keep, with_kwargs=True))
    handles.append(
        blocks[-1].register_forward_hook(lambda m, a, out: seen.append(out[0] if isinstance(out, tuple) else out))
    )
    logits(model)
    for handle in handles:
        handle.remove()
    return seen


def test_nothing_below_the_lowest_block_moves_and_the_block_itself_does(case):
    known = architecture(case.model)
    before = inputs_of_blocks(case.model)
    assert len(before) == LAYERS + 1
    for name, stand_in in known.aliases.items():
        lowest = known.lowest_block([name])
        after = inputs_of_blocks(changed(case.model, {stand_in: None}, moved))
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert all(same[1 : lowest + 1]), name
        if lowest < LAYERS and not name.endswith(("b_K", "k_proj.bias")):  # softmax may not see a bias of keys
            assert not same[lowest + 1], name
    assert known.lowest_block([]) == LAYERS
    first, second = (resolve(case.model, f"{layer}:attn") for layer in range(LAYERS))
    assert [known.lowest_block(one) for one in (first, second, [*second, *first])] == [0, 1, 0]
    assert known.lowest_block(resolve(case.model, "embed")) == 0


def test_lowest_blocks_of_tied_and_of_unplaced_weights():
    assert architecture(_with_extra(gpt2())).lowest_block(["lm_head.weight"]) == 0
    untied = _with_extra(gpt2(tied=False))
    assert architecture(untied).lowest_block(["lm_head.weight", "transformer.ln_f.bias"]) == LAYERS
    assert architecture(untied).lowest_block(["lm_head.weight", "extra"]) == 0
    with pytest.raises(OntogenyError, match="there is no parameter 'nope' in this gpt2 model"):
        architecture(untied).lowest_block(["nope"])


def _with_extra(model):
    model.extra = nn.Parameter(torch.zeros(2))
    return model


def test_a_weight_shared_by_two_layers_is_the_lower_ones():
    model = attention_only(layers=3)
    model.blocks[2].attn.W_O = model.blocks[1].attn.W_O
    assert architecture(model).lowest_block(["blocks.2.attn.W_O"]) == 1
    model.blocks[2] = model.blocks[1]
    assert architecture(model) is None, "a layer that is used twice has no place of its own"


def test_what_is_said_of_an_architecture():
    known = architecture(llama())
    sizes = (known.layers, known.heads, known.kv_heads, known.head_width)
    assert sizes == (LAYERS, HEADS, 2, HEAD_WIDTH)
    assert known.blocks == ("model.layers.0", "model.layers.1")
    assert known.offer() == (
        "0:0 … 1:3, 0:kv0 … 1:kv1, 0:attn … 1:attn, 0:mlp … 1:mlp, 0:ln … 1:ln, embed, unembed, ln"
    )
    assert len(known.names()) == LAYERS * (HEADS + 2 + 3) + 3
    model = llama()
    assert all(known.component(name) == resolve(model, name) for name in ("embed", "unembed", "1:mlp", "ln"))


def test_a_model_without_layers():
    known = architecture(attention_only(layers=0))
    assert known.names() == ["embed", "unembed", "ln"]
    assert known.blocks == () and known.lowest_block(["unembed.W_U"]) == 0
    assert list(known.component("embed")) == ["embed.W_E"], "positions that no layer reads have no gradient"


@pytest.mark.parametrize("tied", [True, False])
def test_half_precision_and_tied_embeddings_resolve_alike(tied):
    model = gpt2(tied)
    half = copy.deepcopy(model).to(torch.bfloat16)
    for name in ("1:3", "1:kv0", "unembed", "embed"):
        single, other = resolve(model, name), resolve(half, name)
        assert single.keys() == other.keys()
        for key, mask in single.items():
            assert (mask is None and other[key] is None) or torch.equal(mask, other[key])
    unembed = "transformer.wte.weight" if tied else "lm_head.weight"
    assert resolve(model, "unembed") == {unembed: None}


def test_other_models_are_not_guessed_at():
    layers = {"num_layers": 2, "num_heads": HEADS, "attention_types": [[["global"], 2]]}
    other = transformer("GPTNeoConfig", "GPTNeoForCausalLM", hidden_size=WIDTH, intermediate_size=8, **layers)
    assert architecture(other) is None
    with pytest.raises(OntogenyError, match=r"GPTNeoForCausalLM of model type 'gpt_neo' are not known.*gpt2, gpt_neox"):
        resolve(other, "0:1")
    assert list(resolve(other, "lm_head.*")) == ["transformer.wte.weight"]
    assert architecture(transformer("GPT2Config", "GPT2ForSequenceClassification", **GPT2_SIZES)) is None
    adapted = llama()
    adapted.model.layers[1].self_attn.q_proj = nn.Sequential(adapted.model.layers[1].self_attn.q_proj)
    assert architecture(adapted) is None
    assert architecture(nn.Linear(2, 2)) is None


@pytest.mark.parametrize("selection", [None, "0:1", "weight"])
def test_a_model_of_transformer_lens_4_gets_a_sentence(selection):
    bridge = type("TransformerBridge", (nn.Module,), {"__module__": "transformer_lens.model_bridge.bridge"})()
    bridge.weight = nn.Parameter(torch.ones(2))
    assert architecture(bridge) is None
    with pytest.raises(OntogenyError, match=r"model is a TransformerBridge, .*only HookedTransformer, of version 3\.9"):
        resolve(bridge, selection)
