"""The forward pass below the lowest sampled block: once for each example, for all chains, steps and components."""

import warnings
from collections import Counter

import pytest
import torch

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.inputs import shared_forward
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.language_losses import NextToken
from ontogeny.sampling.problem import build

TOKENS = torch.randint(13, (22, 6), generator=generator(0, "tokens"))
RUN = {"n_beta": 20.0, "localization": 10.0, "step_size": 1e-4, "chains": 3, "burn_in": 2, "draws": 6, "batch_size": 8}


def attention_only():
    return AttentionOnly(AttentionOnlyConfig(vocabulary=13, context=6, width=8, layers=3, heads=2)).double()


def gpt2():
    import transformers

    config = transformers.GPT2Config(
        vocab_size=13, n_positions=6, n_embd=8, n_layer=3, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.GPT2LMHeadModel(config).double().eval()


def llama():
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=13,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=6,
    )
    return transformers.LlamaForCausalLM(config).double().eval()


def hooked():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformer_lens

        config = transformer_lens.HookedTransformerConfig(
            n_layers=3, d_model=8, n_ctx=6, d_head=4, d_vocab=13, act_fn="gelu", seed=0, dtype=torch.float64
        )
        return transformer_lens.HookedTransformer(config)


MODELS = [attention_only, gpt2, llama, hooked]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("component", ["1:1", "2:attn", "2:0"])
def test_the_cut_changes_no_number(make, component, monkeypatch):
    model = make()
    cut = og.sample(model, TOKENS, NextToken(), component, **RUN, progress=False)
    monkeypatch.setattr(shared_forward, "lowest_sampled", lambda *_: ((), 0))
    whole = og.sample(model, TOKENS, NextToken(), component, **RUN, progress=False)
    for name in ("loss", "loss_at_center", "virial", "distance_squared"):
        assert (cut[name].std() > 0) and torch.allclose(
            torch.tensor(cut[name].values), torch.tensor(whole[name].values), rtol=1e-7, atol=1e-10
        ), name


def counted(model, blocks):
    """How many examples each block has seen, by number of the block."""
    seen = Counter()
    for number, block in enumerate(blocks):
        plain = type(block).forward

        class Counting(type(block)):
            def forward(self, hidden, *args, number=number, plain=plain, **named):
                seen[number] += hidden.shape[-3]
                return plain(self, hidden, *args, **named)

        block.__class__ = Counting
    return seen


def test_below_the_lowest_block_every_example_is_seen_once():
    model = attention_only()
    seen = counted(model, model.blocks)
    components = ["2:0", "2:1", "2:attn"]
    og.estimate_llc(model, TOKENS, NextToken(), components, **RUN, progress=False)
    trial = shared_forward.GROUP  # the first examples once more, whole, to see that the cut gives the same losses
    checks = len(components) * RUN["batch_size"]  # every component's inputs are checked on a whole model beforehand
    assert 0 < seen[0] <= len(TOKENS) + trial * 2 + checks * 2
    assert seen[0] == seen[1]
    assert seen[2] > len(components) * RUN["draws"] * RUN["batch_size"]


def test_components_of_other_blocks_begin_elsewhere():
    model = attention_only()
    seen = counted(model, model.blocks)
    build(model, TOKENS, NextToken(), "1:0", None, None).examples.take(torch.arange(4))
    below = Counter(seen)
    problem = build(model, TOKENS, NextToken(), "1:0", None, None)
    seen.clear()
    problem.loss(problem.center, problem.examples.take(torch.arange(4)))
    assert seen[0] == 0 and seen[1] == 4 and seen[2] == 4 and below[0] > 0


def test_more_than_fits_is_computed_for_each_minibatch(monkeypatch):
    model = attention_only()
    kept = og.sample(model, TOKENS, NextToken(), "2:0", **RUN, progress=False)
    monkeypatch.setattr(shared_forward, "MOST_BYTES", 100)
    again = og.sample(model, TOKENS, NextToken(), "2:0", **RUN, progress=False)
    assert torch.allclose(torch.tensor(kept["loss"].values), torch.tensor(again["loss"].values), rtol=1e-7)


def test_the_model_is_left_as_it_was():
    model = attention_only()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    forwards = [type(block).forward for block in model.blocks]
    og.sample(model, TOKENS, NextToken(), "2:0", **RUN, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all("forward" not in block.__dict__ for block in model.blocks)
    assert [type(block).forward for block in model.blocks] == forwards


def test_a_loss_that_reads_blocks_below_the_cut_is_not_cut():
    """It would see what the skipped blocks hand on; the trial finds that the losses differ, and nothing is shared."""

    def reads_below(model, batch):
        seen = []
        handle = model.blocks[0].register_forward_hook(lambda module, given, out: seen.append(out))
        losses = NextToken()(model, batch)
        handle.remove()
        return losses + seen[0].square().mean((1, 2))[:, None]

    problem = build(attention_only(), TOKENS, reads_below, "2:0", None, None)
    assert isinstance(problem.examples.take(torch.arange(4)), torch.Tensor)


def test_a_loss_that_fails_speaks_for_itself():
    def wrong(model, batch):
        raise ValueError("no such column")

    with pytest.raises(OntogenyError, match=r"loss_fn\(model, batch\) fails on the first batch.*no such column"):
        og.sample(attention_only(), TOKENS, wrong, "2:0", **RUN, progress=False)


def test_texts_cut_to_their_longest_in_each_batch():
    """What enters the block then has another length from batch to batch, and is computed for each."""
    tokens = TOKENS.clone()
    tokens[4:, 4:] = 0  # 0 ends a text

    def trimmed(model, batch):
        longest = int((batch != 0).sum(1).max())
        return NextToken()(model, batch[:, : max(longest, 2)]).mean(1)

    run = {**RUN, "batch_size": 2}
    found = [og.sample(attention_only(), tokens, trimmed, component, **run, progress=False) for component in ("2:0",)]
    assert bool(found[0]["loss"].notnull().all())


def test_finished_runs_leave_memory(monkeypatch):
    import gc
    import weakref

    from ontogeny.sampling import preparation

    alive, most = [], []
    plain = preparation.center_table

    def watched(*arguments):
        table = plain(*arguments)
        alive.append(weakref.ref(table))
        most.append(sum(one() is not None for one in alive))
        return table

    # what libraries set up at first use may hold the frames of that use
    og.sample(attention_only(), TOKENS, NextToken(), "2:0", **RUN, progress=False)
    monkeypatch.setattr(preparation, "center_table", watched)
    gc.disable()
    try:
        og.estimate_llc(attention_only(), TOKENS, NextToken(), ["2:0", "2:1", "1:0", "1:1"], **RUN, progress=False)
        og.sample(attention_only(), TOKENS, NextToken(), ["2:0", "2:1", "1:0", "1:1"], **RUN, progress=False)
    finally:
        gc.enable()
    assert len(most) == 8 and max(most) <= 2
