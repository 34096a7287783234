"""Activations by layer and hook point, on every kind of model, against what the libraries themselves say."""

import pytest
import torch
from torch import nn

import ontogeny as og
from known_transformers import TOKENS, attention_only, built, gpt2
from ontogeny.features import Site
from ontogeny.features.sites import activation, locate, upstream, watched

TRANSFORMERS = ("gpt2", "gpt_neox", "llama, grouped")


def at(model, layer, hook):
    with torch.no_grad():
        return activation(model, TOKENS, locate(model, Site(layer, hook)))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_residual_streams_of_transformers_are_their_hidden_states(name):
    model = built(name)
    with torch.no_grad():
        told = model(TOKENS, output_hidden_states=True).hidden_states
    torch.testing.assert_close(at(model, 0, "resid_pre"), told[0])
    torch.testing.assert_close(at(model, 0, "resid_post"), told[1])
    torch.testing.assert_close(at(model, 1, "resid_pre"), told[1])


@pytest.mark.parametrize("name", [*TRANSFORMERS, "attention_only", "hooked"])
def test_sublayers_add_up(name):
    model = built(name)
    added = at(model, 1, "attn_out")
    if name != "attention_only":
        added = added + at(model, 1, "mlp_out")
    torch.testing.assert_close(at(model, 1, "resid_pre") + added, at(model, 1, "resid_post"))


def test_hooked_transformers_places_are_its_own():
    model = built("hooked")
    with torch.no_grad():
        _, cache = model.run_with_cache(TOKENS)
    for hook in ("resid_pre", "resid_post", "attn_out", "mlp_out"):
        torch.testing.assert_close(at(model, 1, hook), cache[f"blocks.1.hook_{hook}"])


@pytest.mark.parametrize("name", ["gpt2", "hooked", "attention_only", "llama, grouped"])
def test_what_stands_in_for_the_activation_is_read_above_and_hooks_go(name):
    model = built(name)
    with torch.no_grad():
        plain = model(TOKENS)
        with watched(model, locate(model, Site(0)), lambda hidden: hidden + 1.0):
            moved = model(TOKENS)
        again = model(TOKENS)
    plain, moved, again = (out if isinstance(out, torch.Tensor) else out.logits for out in (plain, moved, again))
    assert not torch.allclose(plain, moved) and torch.equal(plain, again)


def test_the_forward_pass_ends_at_the_site():
    model = attention_only()
    with torch.no_grad():
        model.blocks[1].attn.W_Q.fill_(torch.nan)
        model.unembed.W_U.fill_(torch.nan)
    assert bool(at(model, 0, "resid_post").isfinite().all())


def test_upstream_are_the_weights_that_a_gradient_reaches():
    model = gpt2()
    below = upstream(model, TOKENS, locate(model, Site(0, "attn_out")))
    assert set(below) == {
        "transformer.wte.weight", "transformer.wpe.weight", "transformer.h.0.ln_1.weight", "transformer.h.0.ln_1.bias",
        *(f"transformer.h.0.attn.{part}.{what}" for part in ("c_attn", "c_proj") for what in ("weight", "bias")),
    }  # fmt: skip
    assert all(".h.1." not in name for name in upstream(model, TOKENS, locate(model, Site(0))))
    model.requires_grad_(False)
    with pytest.raises(og.OntogenyError, match=r"site: no weight that can be trained lies below transformer.h.0"):
        upstream(model, TOKENS, locate(model, Site(0)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Site(-1), "layer must be the number of a layer, from 0, or the name of a submodule; got -1"),
        (lambda: Site(0, "output"), "hook of layer 0 must be one of resid_pre, .*, mlp_out; got 'output'"),
        (lambda: Site("encoder"), "hook of the submodule 'encoder' must be one of input, output; got 'resid_post'"),
        (lambda: locate(attention_only(), Site(2)), "layer 2 is not there; .* AttentionOnly go from 0 to 1"),
        (lambda: locate(attention_only(), Site(0, "mlp_out")), "layer 0 of this AttentionOnly has no mlp"),
        (
            lambda: locate(attention_only(), Site("x", "output")),
            "there is no submodule 'x'; the first there are: embed",
        ),
        (
            lambda: locate(nn.Linear(2, 2), Site(0)),
            r"not known: .*; or name a submodule, as Site\('encoder', 'output'\)",
        ),
        (lambda: locate(attention_only(), "0"), r"site must be a Site, as Site\(9, 'resid_post'\); got str"),
        (
            lambda: upstream(attention_only(), torch.zeros(2, 3), locate(attention_only(), Site(0))),
            "tokens must be an int64 or int32 tensor",
        ),
    ],
)
def test_wrong_sites(call, text):
    with pytest.raises(og.OntogenyError, match=text):
        call()


def test_a_submodules_input_and_output():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    before, after = (activation(model, x, locate(model, Site("1", hook))) for hook in ("input", "output"))
    torch.testing.assert_close(before.relu(), after)
