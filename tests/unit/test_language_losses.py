"""Next-token cross-entropy and divergence from a reference: values, gradients, batching, refusals."""

import math

import pytest
import torch
from made_modules import made
from torch.func import functional_call, grad_and_value, vmap

import ontogeny as og
from ontogeny.core.differentiation import at_most_once
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.execution.identity import loss_identity
from ontogeny.inputs import unembedding
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.language_losses import DivergenceFrom, NextToken, split
from ontogeny.inputs.unembedding import next_token_losses

TOKENS = torch.randint(11, (5, 6), generator=generator(0, "tokens"))


def model(layers=2, vocabulary=11, seed=0):
    config = AttentionOnlyConfig(vocabulary=vocabulary, context=6, width=8, layers=layers, heads=2)
    return AttentionOnly(config, seed=seed).double()


def by_hand(logits, tokens):
    """-log p of every next token, summed over the vocabulary one by one."""
    out = torch.empty(tokens.shape[0], tokens.shape[1] - 1, dtype=logits.dtype)
    for row in range(tokens.shape[0]):
        for place in range(tokens.shape[1] - 1):
            scores = logits[row, place]
            out[row, place] = math.log(sum(math.exp(s) for s in scores.tolist())) - scores[tokens[row, place + 1]]
    return out


def test_next_token_by_hand():
    net = model()
    found = NextToken()(net, TOKENS)
    torch.testing.assert_close(found, by_hand(net(TOKENS), TOKENS))
    with at_most_once():
        torch.testing.assert_close(NextToken()(net, TOKENS), found)
    torch.testing.assert_close(NextToken()(net, {"input_ids": TOKENS}), found)
    torch.testing.assert_close(NextToken()(net, (TOKENS,)), found)


@pytest.mark.parametrize("pieces", [2**19, 40])
@pytest.mark.parametrize("batched", [(True, False, False), (False, True, False), (True, True, True)])
def test_the_gradient_of_the_pieces(batched, pieces, monkeypatch):
    """Of all three arguments, for three chains at once, whichever of them differ between chains."""
    monkeypatch.setattr(unembedding, "LOGITS_AT_ONCE", pieces)
    stream = generator(0, "unembedding")
    shapes = [(10, 6), (6, 11), (11,)]
    values = [
        torch.randn((3, *shape) if one else shape, generator=stream, dtype=torch.float64)
        for shape, one in zip(shapes, batched, strict=True)
    ]
    targets = torch.randint(11, (10,), generator=stream)
    weight = torch.rand(10, generator=stream, dtype=torch.float64)

    def ours(hidden, unembed, bias):
        return (weight * next_token_losses(hidden, unembed, bias, targets)).sum()

    def plain(hidden, unembed, bias):
        logits = hidden @ unembed + bias
        return (weight * torch.nn.functional.cross_entropy(logits, targets, reduction="none")).sum()

    dims = tuple(0 if one else None for one in batched)
    for arguments in (0, (0, 1, 2)):
        found, expected = (vmap(grad_and_value(f, argnums=arguments), in_dims=dims)(*values) for f in (ours, plain))
        torch.testing.assert_close(found, expected)


def test_the_short_way_gives_the_same_gradient():
    net = model()
    weights = {name: value.detach() for name, value in net.named_parameters()}

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, tokens):
            return NextToken()(self.net, tokens).mean()

    def loss(params):
        return functional_call(Mean(), {f"net.{name}": value for name, value in params.items()}, (TOKENS,))

    plain = grad_and_value(loss)(weights)
    with at_most_once():
        assert split(net) is not None
        torch.testing.assert_close(grad_and_value(loss)(weights), plain)


def test_what_a_subclass_or_a_hook_does_counts_while_sampling():
    class Sharper(AttentionOnly):
        def forward(self, tokens):
            return 3.0 * super().forward(tokens)

    sharper, hooked = Sharper(model().config).double(), model()
    handle = hooked.unembed.register_forward_hook(lambda module, given, out: 0.0 * out)
    for net in (sharper, hooked):
        plain = NextToken()(net, TOKENS)
        with at_most_once():
            torch.testing.assert_close(NextToken()(net, TOKENS), plain)
    handle.remove()
    assert split(hooked) is not None


def test_divergence_by_hand():
    reference, net = model(1, seed=1), model(2)
    p, q = reference(TOKENS)[:, :-1].softmax(-1), net(TOKENS)[:, :-1].softmax(-1)
    found = DivergenceFrom(reference)(net, TOKENS)
    torch.testing.assert_close(found, (p * (p / q).log()).sum(-1))
    assert (found > 0).all()


def test_a_model_diverges_from_itself_by_nothing_and_has_its_minimum_there():
    net = model()
    leaves = list(net.parameters())
    losses = DivergenceFrom(model())(net, TOKENS)
    torch.testing.assert_close(losses, torch.zeros_like(losses), atol=1e-12, rtol=0)
    slopes = torch.autograd.grad(losses.mean(), leaves)
    assert all(float(slope.abs().max()) < 1e-12 for slope in slopes)
    assert loss_identity(DivergenceFrom(model())) == loss_identity(DivergenceFrom(model()))
    assert loss_identity(DivergenceFrom(model())) != loss_identity(DivergenceFrom(model(seed=1)))


@pytest.mark.parametrize("component", [None, "1:attn"])
def test_the_measured_model_may_be_its_own_reference(component):
    net = model()
    run = {"n_beta": 10.0, "localization": 50.0, "draws": 40, "burn_in": 20, "chains": 2, "progress": False}
    run["step_size"] = 1e-3  # by rule, pilots would look for it
    own, other = (
        og.estimate_llc(net, TOKENS, DivergenceFrom(reference), component, **run) for reference in (net, model())
    )
    assert float(own.llc) == pytest.approx(float(other.llc), rel=1e-9) and float(own.llc) > 1e-3


def test_the_reference_is_left_as_it_is_and_other_vocabularies_are_refused():
    reference = model(0).train()
    reference.embed.eval()
    DivergenceFrom(reference)(model(), TOKENS)
    assert reference.training and not reference.embed.training and reference.embed.W_E.requires_grad
    with pytest.raises(OntogenyError, match="reference must have the model's vocabulary, 11 tokens; it has 12"):
        DivergenceFrom(model(1, vocabulary=12))(model(), TOKENS)
    with pytest.raises(OntogenyError, match=r"reference must be a torch.nn.Module.*got str"):
        DivergenceFrom("gpt2")


def test_references_with_other_settings_are_others():
    one, two = (
        AttentionOnly(AttentionOnlyConfig(vocabulary=11, context=6, width=8, layers=0, heads=heads)) for heads in (1, 2)
    )
    two.load_state_dict(one.state_dict())
    assert loss_identity(DivergenceFrom(one)) != loss_identity(DivergenceFrom(two))


def test_references_with_other_code_are_others():
    source = "class Model(nn.Embedding):\n    def forward(self, x):\n        return {} * super().forward(x)\n"
    references = [made(source.format(by), nn=torch.nn).Model(11, 11) for by in (1, 3, 1)]
    for reference in references[1:]:
        reference.load_state_dict(references[0].state_dict())
    told = [loss_identity(DivergenceFrom(reference)) for reference in references]
    assert told[0] == told[2] != told[1]


def test_where_a_reference_was_saved_is_no_part_of_it(tmp_path):
    import transformers

    config = transformers.GPT2Config(vocab_size=11, n_embd=4, n_layer=1, n_head=1, n_positions=6)
    first, told = transformers.GPT2LMHeadModel(config), []
    for place in ("here", "there"):
        first.save_pretrained(tmp_path / place)
        reference = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / place)
        told.append(loss_identity(DivergenceFrom(reference)))
    assert told[0] == told[1] == loss_identity(DivergenceFrom(first))


@pytest.mark.parametrize("batch", [torch.zeros(3, 4), torch.zeros(4, dtype=torch.long), TOKENS[:, :1], {"x": TOKENS}])
def test_what_is_no_batch_of_tokens(batch):
    with pytest.raises(OntogenyError, match="data must be token ids, whole numbers of shape"):
        NextToken()(model(), batch)


def test_padding_is_refused():
    mask = torch.ones_like(TOKENS)
    NextToken()(model(), {"input_ids": TOKENS, "attention_mask": mask, "labels": TOKENS})
    mask[0, -1] = 0
    with pytest.raises(OntogenyError, match="attention_mask and labels that leave positions out are not supported"):
        NextToken()(model(), {"input_ids": TOKENS, "attention_mask": mask})


def test_an_estimate_by_weights_and_data_with_a_reference():
    net, reference = model(), model(1, seed=1)
    found = og.estimate_llc(
        net,
        {"a": TOKENS, "b": TOKENS.flip(1)},
        DivergenceFrom(reference),
        {"head": "1:0", "control": "random:20"},
        n_beta=10.0,
        localization=50.0,
        step_size=1e-3,
        draws=30,
        burn_in=10,
        chains=2,
        progress=False,
    )
    assert dict(found["llc"].sizes) == {"component": 2, "dataset": 2} and bool(found["llc"].notnull().all())


def test_a_model_without_layers_can_be_measured_whole():
    run = {"n_beta": 10.0, "localization": 50.0, "draws": 5, "burn_in": 2, "chains": 2, "progress": False}
    run["step_size"] = 1e-3
    assert float(og.estimate_llc(model(0), TOKENS, NextToken(), **run).llc) != 0.0


@pytest.mark.parametrize(
    ("data", "token"),
    [
        (TOKENS + 1, "11"),
        ((TOKENS + 1).numpy(), "11"),
        ({"input_ids": TOKENS - 100}, "-"),
        ({"input_ids": (TOKENS + 1).numpy()}, "11"),
        ((TOKENS + 1,), "11"),
    ],
)
@pytest.mark.parametrize("loss", [NextToken(), DivergenceFrom(model(1))])
def test_tokens_beyond_the_vocabulary(data, token, loss):
    with pytest.raises(OntogenyError, match=rf"vocabulary, 0 to 10; token {token}.*is among them\. Encode the text"):
        og.estimate_llc(model(), data, loss, draws=2, progress=False)
