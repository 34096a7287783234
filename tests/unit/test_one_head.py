"""One head apart from the others of its layer: the same losses, gradients and draws, and less to compute."""

import pytest
import torch

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.inputs import losses
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.components import resolve
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.one_head import one_head
from ontogeny.inputs.slices import slice_of

TOKENS = torch.randint(13, (22, 6), generator=generator(0, "tokens"))
RUN = {"n_beta": 20.0, "localization": 10.0, "step_size": 1e-3, "chains": 3, "burn_in": 2, "draws": 6, "batch_size": 8}


def model(layers=2):
    config = AttentionOnlyConfig(vocabulary=13, context=6, width=8, layers=layers, heads=4)
    net = AttentionOnly(config).double()
    with torch.no_grad():
        for parameter in net.parameters():  # biases too
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator(1), dtype=torch.float64)
    return net


def slices(net, component):
    return {name: slice_of(mask) for name, mask in resolve(net, component).items()}


@pytest.mark.parametrize(
    ("component", "found"),
    [("0:0", (0, 0)), ("1:3", (1, 3)), ("1:attn", None), (["1:2", "1:3"], None), (["0:1", "1:1"], None),
     ("blocks.1.attn.W_Q", None), ("random:20", None)],
)  # fmt: skip
def test_which_selections_are_one_head(component, found):
    net = model()
    assert one_head(net, slices(net, component)) == found


def test_part_of_a_head_is_none_and_neither_is_a_head_with_a_hook():
    net = model()
    masks = resolve(net, "1:3")
    half = {**masks, "blocks.1.attn.W_Q": masks["blocks.1.attn.W_Q"].clone()}
    half["blocks.1.attn.W_Q"][3, :4] = False
    assert one_head(net, {name: slice_of(mask) for name, mask in half.items()}) is None
    net.blocks[1].attn.hook_z.register_forward_hook(lambda module, given, out: 0 * out)
    assert one_head(net, slices(net, "1:3")) is None and one_head(net, slices(net, "0:3")) == (0, 3)


@pytest.mark.parametrize("component", ["0:0", "0:3", "1:2"])
def test_the_same_numbers_as_with_all_heads(component, monkeypatch):
    apart = og.sample(model(), TOKENS, NextToken(), component, **RUN, progress=False)
    monkeypatch.setattr(losses, "one_head", lambda *_: None)
    together = og.sample(model(), TOKENS, NextToken(), component, **RUN, progress=False)
    for name in ("loss", "loss_at_center", "virial", "distance_squared", "control"):
        one, other = torch.tensor(apart[name].values), torch.tensor(together[name].values)
        assert float(one.std()) > 0 and torch.allclose(one, other, rtol=1e-8, atol=1e-11), name


def test_the_model_is_left_as_it_was():
    net = model()
    before = dict(net.named_modules())
    og.sample(net, TOKENS, NextToken(), ["0:0", "1:1"], **RUN, progress=False)
    assert dict(net.named_modules()) == before
    assert all("forward" not in module.__dict__ for module in net.modules())
