"""The attention-only transformer against TransformerLens with the same weights, and against what attention must do."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig

TOLERANCE = 1e-5
SMALL = {"vocabulary": 23, "context": 12, "width": 16, "heads": 4}
SHAPES = [(layers, layer_norm, "shortformer") for layers in (0, 1, 2) for layer_norm in (True, False)]
SHAPES += [(0, True, "standard"), (1, False, "standard"), (2, True, "standard")]


def tokens(batch=3, positions=10, label="tokens"):
    return torch.randint(SMALL["vocabulary"], (batch, positions), generator=generator(0, label))


def model(seed=0, **changes):
    """Weights of a trained model's size in every tensor, biases and norms too, so that nothing is hidden by a zero."""
    out = AttentionOnly(AttentionOnlyConfig(**{**SMALL, **changes}), seed)
    with torch.no_grad():
        for name, weight in out.named_parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator(seed, "more", name))
    return out


def next_token_loss(logits, batch):
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())


def hooked(config):
    """The TransformerLens model of this shape; version 3 warns that it is going to be removed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lens = pytest.importorskip("transformer_lens")
        return lens.HookedTransformer(
            lens.HookedTransformerConfig(
                n_layers=config.layers,
                d_model=config.width,
                n_ctx=config.context,
                d_head=config.head_width,
                n_heads=config.heads,
                d_vocab=config.vocabulary,
                attn_only=True,
                positional_embedding_type=config.positions,
                normalization_type="LN" if config.layer_norm else None,
                device="cpu",
            )
        )


@pytest.mark.parametrize(("layers", "layer_norm", "positions"), SHAPES)
def test_logits_and_gradients_are_those_of_transformer_lens(layers, layer_norm, positions):
    ours = model(layers=layers, layer_norm=layer_norm, positions=positions, head_width=5)
    theirs = hooked(ours.config)
    names = {name for name in theirs.state_dict() if not name.endswith(("attn.mask", "attn.IGNORE"))}
    assert names == set(ours.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=False)
    batch = tokens()
    next_token_loss(ours(batch), batch).backward()
    next_token_loss(theirs(batch), batch).backward()
    torch.testing.assert_close(ours(batch), theirs(batch), atol=TOLERANCE, rtol=TOLERANCE)
    weights, read = dict(theirs.named_parameters()), dict(ours.named_parameters())
    unread = layers == 0 and positions == "shortformer"
    assert weights.keys() - read.keys() == ({"pos_embed.W_pos"} if unread else set())
    for name, weight in read.items():
        torch.testing.assert_close(weight.grad, weights[name].grad, atol=TOLERANCE, rtol=1e-4)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_chains_batched_by_vmap_have_the_gradients_of_each_alone(layer_norm):
    net, batch = model(layer_norm=layer_norm), tokens()
    chains = [dict(model(seed, layer_norm=layer_norm).named_parameters()) for seed in range(3)]
    stacked = {name: torch.stack([chain[name].detach() for chain in chains]) for name in chains[0]}

    def loss(weights):
        return next_token_loss(functional_call(net, weights, (batch,)), batch)

    with sdpa_kernel(SDPBackend.MATH):  # torch's fused kernel cannot be batched
        gradients, losses = vmap(grad_and_value(loss))(stacked)
    for number, chain in enumerate(chains):
        value = loss(chain)
        alone = dict(zip(chain, torch.autograd.grad(value, list(chain.values())), strict=True))
        torch.testing.assert_close(losses[number], value.detach(), atol=TOLERANCE, rtol=0)
        for name in alone:
            torch.testing.assert_close(gradients[name][number], alone[name], atol=TOLERANCE, rtol=1e-4)


def test_logits_are_the_unembedded_residual_and_never_look_ahead():
    net, batch = model(), tokens()
    residual = net.residual(batch)
    assert residual.shape == (3, 10, 16)
    torch.testing.assert_close(net(batch), residual @ net.unembed.W_U + net.unembed.b_U, atol=0, rtol=0)
    changed = batch.clone()
    changed[:, 6] = (changed[:, 6] + 1) % SMALL["vocabulary"]
    before, after = net(batch), net(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert (before[:, 6:] != after[:, 6:]).any(-1).all()


def test_a_block_can_be_replaced_by_a_stored_residual():
    class Stored(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, residual, positions):
            return self.value

    net, batch = model(layer_norm=True), tokens()
    full, kept = net(batch), []
    net.blocks[0].register_forward_hook(lambda module, inputs, output: kept.append(output))
    net(batch)
    net.blocks[0] = Stored(kept[0])
    assert torch.equal(net(batch), full)


def test_hooks_see_patterns_and_heads_in_the_shapes_of_transformer_lens():
    net, batch, seen = model(), tokens(), {}
    net.blocks[1].attn.hook_pattern.register_forward_hook(lambda m, i, output: seen.update(pattern=output))
    net.blocks[1].attn.hook_z.register_forward_hook(lambda m, i, output: seen.update(z=output))
    net(batch)
    assert seen["pattern"].shape == (3, 4, 10, 10) and seen["z"].shape == (3, 10, 4, 4)
    torch.testing.assert_close(seen["pattern"].sum(-1), torch.ones(3, 4, 10))
    assert (seen["pattern"].triu(1) == 0).all()


def test_initial_weights_have_the_stated_scale_and_leave_the_global_stream_alone():
    state = torch.get_rng_state()
    net = AttentionOnly(AttentionOnlyConfig(vocabulary=200, context=64, width=64), seed=3)
    assert torch.equal(state, torch.get_rng_state())
    for name, weight in net.named_parameters():
        if name.rpartition(".")[2].startswith("W_"):
            error = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a standard deviation
            assert float(weight.detach().std()) == pytest.approx(0.8 / 8, rel=error), name
        else:
            assert bool((weight == (1.0 if name.endswith(".w") else 0.0)).all()), name


def test_the_seed_decides_and_a_layer_more_leaves_the_others_as_they_are():
    one, two, other = (
        AttentionOnly(AttentionOnlyConfig(**SMALL, layers=n), seed) for n, seed in [(1, 0), (2, 0), (2, 1)]
    )
    for name, weight in one.named_parameters():
        assert torch.equal(weight, two.get_parameter(name))
    assert not torch.equal(two.embed.W_E, other.embed.W_E)


def test_the_published_model_has_about_three_million_weights():
    config = AttentionOnlyConfig(vocabulary=5000)
    heads = 2 * (8 * (4 * 256 * 32 + 3 * 32) + 256)
    norms, embeddings = 3 * 2 * 256, 2 * 5000 * 256 + 5000 + 1024 * 256
    with torch.device("meta"):
        count = sum(weight.numel() for weight in AttentionOnly(config).parameters())
    assert count == heads + norms + embeddings  # 3.36 million


def test_the_configuration_survives_json():
    config = AttentionOnlyConfig(**SMALL, layers=1, layer_norm=False)
    assert (
        AttentionOnlyConfig.from_dict(config.to_dict())
        == config
        == AttentionOnlyConfig(**SMALL, layers=1, layer_norm=False, head_width=4)
    )
    with pytest.raises(OntogenyError, match=r"must hold 'vocabulary' and otherwise only context, .*; got 'n_layer'"):
        AttentionOnlyConfig.from_dict({"n_layer": 2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 18}, "heads must divide width; got 4 heads and a width of 18. Give head_width"),
        ({"layers": -1}, "layers must be a whole number of at least 0; got -1"),
        ({"vocabulary": 2.5}, "vocabulary must be a whole number of at least 1; got 2.5"),
        ({"head_width": 0}, "head_width must be a whole number of at least 1; got 0"),
        ({"layer_norm": "LN"}, "layer_norm must be True or False; got 'LN'"),
        ({"positions": "rotary"}, "positions must be 'shortformer' or 'standard'; got 'rotary'"),
        ({"position_start": "zero"}, "position_start must be 'normal' or 'sinusoidal'; got 'zero'"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(OntogenyError, match=message):
        AttentionOnlyConfig(**{**SMALL, **changes})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(2, 13, dtype=torch.int64), "sequences of 13 tokens are longer than the model's context of 12"),
        (torch.zeros(2, 5), r"int64 or int32 tensor of shape \(batch, positions\); got torch.float32"),
        (torch.zeros(5, dtype=torch.int64), r"got torch.int64 of shape \(5,\)"),
    ],
)
def test_impossible_tokens_are_refused(wrong, message):
    with pytest.raises(OntogenyError, match=message):
        model()(wrong)


def test_sinusoidal_positions_make_the_step_back_one_rotation():
    config = AttentionOnlyConfig(vocabulary=7, context=40, width=8, layers=1, heads=2, position_start="sinusoidal")
    vectors = AttentionOnly(config).pos_embed.W_pos.detach()
    turned = torch.linalg.lstsq(vectors[1:].double(), vectors[:-1].double())
    assert torch.allclose(vectors[1:].double() @ turned.solution, vectors[:-1].double(), atol=1e-5)
    other = AttentionOnly(replace(config, position_start="normal"))
    assert all(
        torch.equal(value, other.state_dict()[name])
        for name, value in AttentionOnly(config).state_dict().items()
        if name != "pos_embed.W_pos"
    )


def test_without_layers_positions_stay_what_nothing_reads():
    model = AttentionOnly(AttentionOnlyConfig(vocabulary=7, context=5, width=8, layers=0, position_start="sinusoidal"))
    assert not model.pos_embed.W_pos.any()
