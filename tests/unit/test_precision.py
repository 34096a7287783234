"""The forward pass in bfloat16 with sampled weights in float32, and chains evaluated in pieces."""

import warnings

import measure_work
import pytest
import torch

import ontogeny as og
import tiny
from ontogeny.core.differentiation import at_most_once
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.execution.plan import plan
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.components import resolve
from ontogeny.inputs.language_losses import DivergenceFrom, NextToken
from ontogeny.inputs.losses import ModuleLoss, undisturbed
from ontogeny.sampling.at_center import center_table
from ontogeny.sampling.evaluation import chains_at_once, choose_mode, evaluation
from ontogeny.sampling.problem import build
from ontogeny.sampling.settings import Settings

CPU = torch.device("cpu")
TOKENS = torch.randint(13, (64, 6), generator=generator(0, "tokens"))
RUN = {
    "n_beta": 20.0,
    "localization": 10.0,
    "step_size": 2e-2,
    "chains": 4,
    "draws": 24,
    "burn_in": 4,
    "batch_size": 32,
    "progress": False,
}
BFLOAT16 = 2.0**-8
"""The largest relative error of rounding to bfloat16."""


def model(**others):
    return AttentionOnly(AttentionOnlyConfig(vocabulary=13, context=6, width=16, layers=2, heads=2, **others))


def gpt2(dtype):
    import transformers

    config = transformers.GPT2Config(vocab_size=13, n_positions=6, n_embd=8, n_layer=2, n_head=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return transformers.GPT2LMHeadModel(config).to(dtype).eval()


def test_the_estimate_is_that_of_float32_within_its_error():
    longer = RUN | {"step_size": 1e-2, "burn_in": 20, "draws": 60}
    full, low = (
        og.estimate_llc(model(), TOKENS, NextToken(), "1:0", **longer, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert (full.attrs["precision"], low.attrs["precision"]) == ("float32", "bfloat16")
    assert full.attrs["mode"] == low.attrs["mode"] == "vmap"
    assert abs(float(full.llc)) > 4 * float(full.llc_se)
    assert abs(float(low.llc - full.llc)) < 0.2 * float(full.llc_se)  # the noise of both is the same
    assert float(low.llc) != float(full.llc)


def test_small_steps_are_not_rounded_away():
    """ε = 1e-10: steps of 1e-5 on weights of 0.2, whose neighbours in bfloat16 are 1e-3 away."""
    short = RUN | {"step_size": 1e-10, "burn_in": 0, "kernel": "sgld", "draws": 50}
    full, low = (
        og.sample(model(), TOKENS, NextToken(), "1:0", **short, precision=precision).distance_squared[:, -1].values
        for precision in ("float32", "bfloat16")
    )
    dim = sum(int(mask.sum()) for mask in resolve(model(), "1:0").values())
    assert (abs(low / (49 * 1e-10 * dim) - 1) < 0.2).all()  # a random walk of 49 steps; 5 standard errors
    assert (abs(low / full - 1) < 1e-3).all()


@pytest.mark.parametrize("precision", [None, "float32", "bfloat16"])
def test_what_is_kept_in_which_dtype(precision):
    seen = {}

    def watched(swapped, tokens):
        seen.update({name: value.dtype for name, value in swapped.named_parameters()})
        return NextToken()(swapped, tokens)

    loss = build(model(), TOKENS, watched, "1:0", None, None, precision=precision).loss
    with undisturbed(model()):
        values = loss(loss.center, TOKENS)
    sampled = set(resolve(model(), "1:0"))
    matrices = {f"blocks.0.attn.{part}" for part in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")} | {"unembed.W_U"}
    narrow = {name for name, dtype in seen.items() if dtype == torch.bfloat16}
    assert narrow == (matrices if precision == "bfloat16" else set()) and not matrices & sampled
    assert {seen[name] for name in seen.keys() - narrow} == {torch.float32} == {values.dtype}
    assert all(value.dtype == torch.float32 for value in loss.center.values())


@pytest.mark.parametrize("loss_fn", [NextToken(), DivergenceFrom(model(layer_norm=False))])
def test_losses_are_those_of_float32_to_rounding(loss_fn):
    masks, low = resolve(model(), "1:attn"), {}
    for precision in (None, "bfloat16"):
        loss = ModuleLoss(model(), loss_fn, masks, torch.float32, CPU, precision=precision)
        with undisturbed(None):
            low[precision] = torch.stack([loss(loss.center, TOKENS), once(loss, loss.center)])
    # some ten products, one after the other, of numbers about 1
    torch.testing.assert_close(low["bfloat16"], low[None], rtol=0, atol=10 * BFLOAT16 * 0.5)
    assert not torch.equal(low["bfloat16"], low[None])
    torch.testing.assert_close(low["bfloat16"][0], low["bfloat16"][1], rtol=1e-5, atol=1e-6)


def once(loss, params):
    with at_most_once():
        return loss(params, TOKENS)


def test_logits_in_float32_make_the_difference_of_losses_sharper():
    def rounded(model, tokens):
        return torch.nn.functional.cross_entropy(model(tokens)[:, :-1].mT, tokens[:, 1:], reduction="none")

    def excess(loss_fn, precision):
        masks = resolve(confident, "1:attn")
        loss = ModuleLoss(confident, loss_fn, masks, torch.float32, CPU, precision=precision)
        stream = generator(0, "move")
        moved = {name: value + 0.01 * torch.randn(value.shape, generator=stream) for name, value in loss.center.items()}
        with undisturbed(None), torch.no_grad():
            return loss(moved, TOKENS) - loss(loss.center, TOKENS)

    confident = model()
    with torch.no_grad():
        confident.unembed.W_U.mul_(10.0)  # as trained models' are: what rounding makes of large logits is large
    exact = excess(NextToken(), None)
    error = {loss_fn: (excess(loss_fn, "bfloat16") - exact).std() for loss_fn in (rounded, NextToken())}
    ours, plain = sorted(error.values())
    assert error[rounded] == plain > 1.2 * ours > 0


def test_a_bfloat16_model_is_sampled_in_float32_unless_told_otherwise():
    narrow = gpt2(torch.bfloat16)
    assert {value.dtype for value in narrow.parameters()} == {torch.bfloat16}
    wide = gpt2(torch.bfloat16).float()
    found, same, low = (
        og.estimate_llc(one, TOKENS, NextToken(), "1:attn", **RUN, precision=precision)
        for one, precision in ((narrow, None), (wide, None), (narrow, "bfloat16"))
    )
    tiny.same_numbers(found, same)
    assert found.attrs["precision"] == "float32" and found.attrs["mode"] == low.attrs["mode"] == "vmap"
    assert abs(float(low.llc - found.llc)) < float(found.llc_se)
    assert {value.dtype for value in narrow.parameters()} == {torch.bfloat16}


def test_float32_can_be_asked_for_of_weights_in_float64():
    asked = {**RUN, "draws": 5, "burn_in": 0}
    given = {
        precision: og.sample(model().double(), TOKENS, NextToken(), "1:0", **asked, precision=precision)
        for precision in (None, "float32")
    }
    assert [one.attrs["precision"] for one in given.values()] == ["float64", "float32"]
    assert [one.loss.dtype for one in given.values()] == ["float64", "float32"]
    well = og.Potential(lambda w: (w**2).sum(), torch.zeros(2, dtype=torch.float64))
    assert build(well, None, None, None, 1.0, None, precision="float32").center["w"].dtype == torch.float32


def test_minibatches_are_compared_with_the_table_at_w_star():
    """Coarse as it is, the gradient at w* by example agrees with the plain one, so that no step evaluates w*."""
    problem = build(model(), TOKENS, NextToken(), "1:0", None, None, precision="bfloat16")
    with undisturbed(None):
        assert center_table(problem.loss, problem.center, problem.examples, 32, "vmap") is not None


def test_the_other_calls_take_it_too():
    short = {**RUN, "draws": 6, "burn_in": 2, "precision": "bfloat16"}
    found = og.watanabe(model(), TOKENS, NextToken(), "1:0", **short)
    assert bool(found.wbic.notnull()) and found.attrs["precision"] == "bfloat16"
    del short["draws"]
    assert og.calibrate(model(), TOKENS, NextToken(), "1:0", **short).n_beta == RUN["n_beta"]


def test_it_is_part_of_every_key():
    def keys(precision):
        settings = Settings(
            20.0, 2.0, 1e-3, None, 3, 30, 5, None, None, None, 0, "cpu", precision=precision,
        )  # fmt: skip
        study = plan(
            tiny.Regression(), measure_work.checkpoints([0]), tiny.data(), tiny.squares, ["inner.*"], out="nowhere",
            settings=settings,
        )  # fmt: skip
        return {one.chunk.key for one in study.second_stage(None)}

    assert len({*keys(None), *keys("bfloat16")}) == 2 * len(keys(None))


def test_what_is_refused():
    with pytest.raises(OntogenyError, match=r"precision must be 'float32' or 'bfloat16'; got 'fp16'. Leave it out"):
        og.sample(model(), TOKENS, NextToken(), precision="fp16")
    with pytest.raises(OntogenyError, match=r"precision = 'bfloat16' is for .*; a Potential is computed in the dtype"):
        og.sample(og.Potential(torch.sum, torch.zeros(2)), n_beta=1.0, precision="bfloat16")


@pytest.mark.parametrize("most", [1, 2, 4, 5, 100])
def test_chains_in_pieces_have_the_same_losses_and_gradients(most):
    calls = []

    def counted(model, batch):
        calls.append(1)
        return tiny.squares(model, batch)

    loss = build(tiny.Regression(), tiny.data(), counted, None, None, None).loss
    stream = generator(0, "chains")
    params = {name: value + torch.randn((5, *value.shape), generator=stream) for name, value in loss.center.items()}
    whole, batch = evaluation(loss, "vmap"), tiny.data()
    gradient, losses = whole.gradients(params, batch)
    loss.chains_at_once = most
    calls.clear()
    again, values = evaluation(loss, "vmap").gradients(params, batch)
    assert len(calls) == -(-5 // min(most, 5))
    torch.testing.assert_close((again, values), (gradient, losses), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(evaluation(loss, "vmap").losses(params, batch), losses, rtol=1e-5, atol=1e-6)


def test_how_many_chains_fit():
    assert chains_at_once(1e9, 80e9) == 32  # a quarter stays free, and it is a power of two
    assert chains_at_once(1e9, 1e8) == 1
    assert chains_at_once(0.0, 8e9) > 10**6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_memory_is_measured():
    problem = build(model(), TOKENS, NextToken(), "1:0", None, "cuda", precision="bfloat16")
    stack = {name: value.unsqueeze(0) for name, value in problem.center.items()}
    with undisturbed(None):
        assert choose_mode(problem.loss, stack, problem.examples.head(8)) == "vmap"
    assert problem.loss.chains_at_once >= 1
