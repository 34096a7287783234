"""Full circuits against TransformerLens, against the model's own forward pass, and for every known architecture."""

import numpy as np
import pytest
import test_architectures as models
import torch

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.metrics.circuits import full_circuits, sum_of_heads


@pytest.fixture(params=models.MODELS)
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = models.MODELS[request.param]()
    with torch.no_grad():
        for name, weight in found.named_parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator(0, name))
    return found


def test_ov_is_what_a_head_adds_to_logits(model):
    """Attention of head 1 of the first layer held at the token itself: its output is linear in the normed token."""
    from ontogeny.inputs.architecture import architecture

    known = architecture(model)
    circuits = full_circuits(model)
    assert circuits["ov"].sizes == {"head": known.layers * known.heads, "source": 20, "output": 20}
    weights = dict(model.named_parameters())
    weights = {name: weights[alias].detach().double() for name, alias in known.aliases.items()}
    embed = weights[known.embed[0]]
    gain = weights[known.parts[0].attn_norm[0]] if known.parts[0].attn_norm else torch.ones(embed.shape[1])
    read = (embed - embed.mean(1, keepdim=True) if known.centred and known.parts[0].attn_norm else embed) * gain
    value = read @ known.head_matrix(weights, 0, 1, "v")
    written = value @ known.head_matrix(weights, 0, 1, "o").T
    name = next(one for one in known.unembed if weights[one].dim() == 2)
    unembed = weights[name] if name.endswith("W_U") else weights[name].T
    final = written - written.mean(1, keepdim=True) if known.centred and known.final_ln else written
    logits = (final * weights[known.final_ln[0]] if known.final_ln else final) @ unembed
    np.testing.assert_allclose(circuits["ov"].sel(head="0:1").values, logits.numpy(), rtol=1e-9, atol=1e-9)


def test_head_matrices_are_those_of_the_components(model):
    """What a head's mask selects is, read another way, what its matrices hold."""
    from ontogeny.inputs.architecture import architecture
    from ontogeny.inputs.components import resolve

    known = architecture(model)
    weights = {name: model.get_parameter(alias).detach() for name, alias in known.aliases.items()}
    masks = resolve(model, "1:2")
    held = torch.cat([known.head_matrix(weights, 1, 2, of).flatten() for of in "qkvo"]).sort().values
    selected = torch.cat(
        [
            (model.get_parameter(name) if mask is None else model.get_parameter(name)[mask]).detach().flatten()
            for name, mask in masks.items()
            if model.get_parameter(name).dim() > 1 and "b_" not in name
        ]
    )
    torch.testing.assert_close(held, selected.sort().values, rtol=0, atol=0)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_circuits_are_those_of_transformer_lens(layer_norm):
    import test_attention_only as ours

    model = ours.model(layers=1, layer_norm=layer_norm, positions="standard")
    theirs = ours.hooked(model.config)
    theirs.load_state_dict(model.state_dict(), strict=False)
    if layer_norm:
        theirs.process_weights_(fold_ln=True, center_writing_weights=False, center_unembed=False)
    qk = theirs.W_E @ theirs.W_Q[0] @ theirs.W_K[0].transpose(1, 2) @ theirs.W_E.T
    ov = theirs.W_E @ theirs.W_V[0] @ theirs.W_O[0] @ theirs.W_U
    found = full_circuits(model)
    np.testing.assert_allclose(found["qk"].values, qk.detach().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["ov"].values, ov.detach().numpy(), rtol=1e-4, atol=1e-4)


SMALL = {"vocabulary": 9, "context": 6, "width": 8, "layers": 1, "heads": 3, "head_width": 4}


def test_some_heads_some_tokens_and_the_weights_of_a_checkpoint():
    model, other = (AttentionOnly(AttentionOnlyConfig(**SMALL), seed) for seed in (0, 1))
    some = full_circuits(model, heads=["0:2"], tokens=[1, 5], weights=other.state_dict())
    whole = full_circuits(other).sel(head=["0:2"], source=[1, 5], destination=[1, 5], output=[1, 5])
    np.testing.assert_allclose(some["ov"], whole["ov"])
    np.testing.assert_allclose(some["qk"], whole["qk"])
    every = full_circuits(other)
    np.testing.assert_allclose(sum_of_heads(every, "0:1"), every["ov"].sel(head=["0:0", "0:2"]).sum("head"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heads": ["0:3"]}, r"heads: there is no '0:3'; this AttentionOnly has heads 0:0 to 0:2"),
        ({"heads": []}, r"heads: it names none; this AttentionOnly has heads 0:0 to 0:2"),
        ({"tokens": [9]}, r"tokens must be between 0 and 8; got 9"),
        ({"weights": {}}, r"weights: there is no 'embed.W_E'; give a state dict of this model"),
    ],
)
def test_what_is_not_there_is_refused(given, message):
    with pytest.raises(og.OntogenyError, match=message):
        full_circuits(AttentionOnly(AttentionOnlyConfig(**SMALL)), **given)


def test_a_sum_without_a_head_that_is_not_there_is_refused():
    circuits = full_circuits(AttentionOnly(AttentionOnlyConfig(**SMALL)))
    with pytest.raises(og.OntogenyError, match=r"head: there is no '9:9' among the circuits' heads, 0:0, 0:1, 0:2"):
        sum_of_heads(circuits, "9:9")


def test_a_module_that_is_no_transformer_is_refused():
    with pytest.raises(og.OntogenyError, match=r"model: the heads and layers of a Linear are not known"):
        full_circuits(torch.nn.Linear(2, 2))
