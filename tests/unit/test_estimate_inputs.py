"""What og.estimate_llc accepts, and what it leaves alone: data, selections of weights, models of every kind."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.datasets import as_examples
from tiny import EXAMPLES, SHORT, Linear, Regression, data, same_numbers, squares

ROUNDING = 1e-6
MINIBATCH = {**SHORT, "batch_size": 8}


class Rows(torch.utils.data.Dataset):
    """A map-style data set; ``pack`` makes an example of (x, y)."""

    def __init__(self, pack):
        self.x, self.y = data()
        self.pack = pack

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, i):
        return self.pack(self.x[i], self.y[i])


def from_dict(model, batch):
    assert batch["x"].shape[1:] == (3,) and batch["x"].dtype == torch.float32
    return squares(model, (batch["x"], batch["y"]))


def from_one(model, batch):
    return squares(model, (batch[:, :3], batch[:, 3:]))


KINDS = {
    "tuple": (data(), squares),
    "list": (list(data()), squares),
    "tensor": (torch.cat(data(), 1), from_one),
    "data set of tuples": (Rows(lambda x, y: (x, y)), squares),
    "data set of dicts": (Rows(lambda x, y: {"x": x, "y": y}), from_dict),
    "rows of lists of numbers": (Rows(lambda x, y: {"x": x.tolist(), "y": y.tolist()}), from_dict),
    "rows of arrays": (Rows(lambda x, y: {"x": x.numpy(), "y": y.numpy()}), from_dict),
    "tuple of arrays": (tuple(part.numpy() for part in data()), squares),
    "list of arrays": ([part.numpy() for part in data()], squares),
    "tensor and array": ((data()[0], data()[1].double().numpy()), squares),
    "array": (torch.cat(data(), 1).numpy(), from_one),
    "pandas": (pd.DataFrame(torch.cat(data(), 1).numpy()), from_one),
    "TensorDataset": (torch.utils.data.TensorDataset(*data()), squares),
}


@pytest.mark.parametrize("settings", [SHORT, MINIBATCH], ids=["full", "minibatch"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same_draws(kind, settings):
    rows, loss_fn = KINDS[kind]
    found = og.sample(Linear(), rows, loss_fn, **settings)
    same_numbers(found, og.sample(Linear(), data(), squares, **settings), rtol=ROUNDING)


def read_only(array):
    array.flags.writeable = False
    return array


ARRAYS = {
    "float64": (np.linspace(0, 1, 6), torch.float32),
    "float16": (np.linspace(0, 1, 6, dtype=np.float16), torch.float32),
    "int64": (np.arange(6), torch.int64),
    "uint8": (np.arange(6, dtype=np.uint8), torch.uint8),
    "uint16, as token files have": (np.arange(6, dtype=np.uint16), torch.int64),
    "bool": (np.arange(6) > 3, torch.bool),
    "big-endian": (np.arange(6, dtype=">f8"), torch.float32),
    "reversed": (np.arange(6.0)[::-1], torch.float32),
    "pandas, index out of order": (pd.Series(np.arange(6.0), index=[3, 1, 2, 0, 5, 4]), torch.float32),
    "read-only": (read_only(np.arange(6.0)), torch.float32),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_follow_the_dtype_rules_of_tensors(kind):
    array, expected = ARRAYS[kind]
    both = as_examples((array, torch.arange(6)), dtype=torch.float32)
    assert both.count == 6
    for index in (None, torch.tensor([4, 1])):
        first, second = both.take(index)
        rows = np.arange(6) if index is None else index.numpy()
        assert first.dtype == expected and second.dtype == torch.int64
        np.testing.assert_allclose(first.numpy(), np.asarray(array)[rows].astype(float), rtol=1e-3)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((np.zeros((4, 2)), ["a", "b", "c", "d"]), r"data\[1\] must be a tensor or an array.*got list.*numpy.asarray"),
        ((torch.zeros(4, 2), None), r"data\[1\] must be a tensor or an array.*got NoneType"),
        ((np.zeros((4, 2)), np.array(["a", "b", "c", "d"])), r"data\[1\] must hold numbers.*dtype <U1.*astype"),
        (pd.DataFrame({"x": [0.1, 0.2], "y": ["no", "yes"]}), "data must hold numbers.*dtype object"),
        (np.array([{}, {}]), "data must hold numbers.*dtype object.*map-style"),
        ([np.zeros((4, 2)), np.zeros(3)], "one row per example each; their lengths are 4, 3"),
        ((np.zeros((4, 2)), np.array([0, 1, np.nan, 1])), r"data\[1\] must hold no NaN; 1 of 4"),
        ((np.zeros((0, 2)), np.zeros(0)), r"data\[0\] must have at least one example"),
    ],
    ids=str,
)
def test_arrays_that_are_refused(rows, said):
    with pytest.raises(og.OntogenyError, match=said):
        as_examples(rows)


def test_a_list_of_numbers_is_a_data_set_of_numbers():
    for rows in ([1.0, 2.0, 3.0], list(np.arange(1.0, 4.0))):
        assert as_examples(rows, dtype=torch.float32).take(None).tolist() == [1, 2, 3]


def test_swapped_arguments_of_a_potential_print_no_tensor():
    with pytest.raises(og.OntogenyError, match=r"^function must be a callable of the weights.*got Tensor.$"):
        og.Potential(torch.zeros(500, 30), torch.zeros(3))


def test_rows_with_tokens_labels_and_text():
    class Tokens(torch.utils.data.Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return {"input_ids": [i % 5, 1, (2 * i) % 5, 3], "label": i % 2, "text": f"row {i}"}

    seen = {}

    def loss_fn(model, batch):
        seen.update(batch)
        out = model(batch["input_ids"])
        return nn.functional.cross_entropy(out.mean(1), batch["label"], reduction="none")

    found = og.estimate_llc(nn.Embedding(5, 2), Tokens(), loss_fn, **SHORT)
    assert np.isfinite(found.llc)
    assert seen["input_ids"].shape == (12, 4) and seen["label"].shape == (12,)
    assert seen["input_ids"].dtype == seen["label"].dtype == torch.int64
    assert seen["text"][3] == "row 3"


def test_a_plain_dict_means_named_data_sets_even_with_one_name():
    found = og.estimate_llc(Linear(), {"train": data()}, squares, **SHORT)
    assert found.llc.dims == ("dataset",) and list(found.dataset.values) == ["train"]


def dim(draws):
    return draws["dim"].values.tolist()


def test_selections_sample_as_many_weights_as_they_name():
    half = torch.tensor([[True, False, True]])
    selections = {
        "all": None,
        "glob": "inner.*",
        "one": "inner.weight",
        "union": ["inner.bias", "inner.weight"],
        "mask": {"inner.weight": half},
        "mask and whole": {"inner.weight": half.float(), "inner.bias": None},
    }
    draws = og.sample(Linear(), data(), squares, components=selections, **SHORT)
    assert dim(draws) == [4, 4, 3, 4, 2, 3]
    for name, selection in selections.items():
        alone = og.sample(Linear(), data(), squares, components={name: selection}, **SHORT)
        same_numbers(alone, draws.sel(component=[name]))
        if name != "union":  # a bare list refines by weights
            bare = og.sample(Linear(), data(), squares, components=selection, **SHORT)
            assert dim(bare) == dim(draws.sel(component=name)), name


def test_selections_of_the_same_weights_have_the_same_draws():
    def found(selection, model=None):
        return og.sample(model or Linear(), data(), squares, components={"name": selection}, **SHORT)

    everything = found(None)
    ones = {"inner.weight": torch.ones(1, 3), "inner.bias": torch.ones(1)}
    for selection in ("*", "inner.*", ["inner.weight", "inner.bias"], ones):
        same_numbers(found(selection), everything, rtol=ROUNDING)
    only_weight = found("*.weight")
    same_numbers(found({"inner.weight": torch.ones(1, 3, dtype=torch.bool)}), only_weight, rtol=ROUNDING)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x)).sum(1, keepdim=True)


def test_a_tied_weight_is_sampled_once_under_all_its_names():
    torch.manual_seed(0)
    model = Tied()
    draws = og.sample(model, data(), squares, **SHORT)
    assert dim(draws) == 9
    named = [og.sample(model, data(), squares, components=glob, **SHORT) for glob in ("encode.*", "decode.*", "*")]
    for other in named:
        same_numbers(other, draws)
    # the loss follows both uses: W·W, whose Hessian at the same W differs from that of W·(a fixed W)
    loose = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        for layer in loose:
            layer.weight.copy_(model.encode.weight)
    untied = og.sample(
        loose,
        data(),
        lambda m, b: 0.5 * ((m(b[0]).sum(1, keepdim=True) - b[1]) ** 2).sum(-1),
        components="0.*",
        **SHORT,
    )
    assert not np.allclose(untied["loss"].values[:, 5:], draws["loss"].values[:, 5:], rtol=1e-3)


class Restless(nn.Module):
    """Dropout, batch norm, a counter and a running mean that move with every call, in whatever mode."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.drop = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.outer = nn.Linear(4, 1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        self.calls += 1
        self.seen.add_(x.mean(0))
        return self.outer(self.drop(torch.relu(self.norm(self.inner(x)))))


def everything_about(model):
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "identity": {name: id(value) for name, value in (*model.named_parameters(), *model.named_buffers())},
        "pointers": {name: value.data_ptr() for name, value in model.state_dict().items()},
        "grad": {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "needs": {name: p.requires_grad for name, p in model.named_parameters()},
        "mode": {name: module.training for name, module in model.named_modules()},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
        "python": torch.tensor(random.getstate()[1]),
        "grad mode": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
    }


def assert_same(before, after):
    for key, value in before.items():
        if isinstance(value, dict):
            assert value.keys() == after[key].keys()
            assert_same(value, after[key])
        elif isinstance(value, torch.Tensor | np.ndarray):
            assert value.shape == after[key].shape and bool((value == after[key]).all()), key
        else:
            assert value == after[key], key


@pytest.mark.parametrize("function", [og.estimate_llc, og.sample])
def test_a_model_in_training_is_left_as_it_was(function):
    torch.manual_seed(3)
    model = Restless().train()
    model.norm.eval()  # modes that differ by submodule
    model.outer.bias.requires_grad_(False)
    squares(model, data()).sum().backward()
    before = everything_about(model)
    function(model, data(), squares, components="inner.*", **MINIBATCH)
    assert_same(before, everything_about(model))


def test_a_model_is_left_as_it_was_when_its_loss_fails():
    model = Restless().train()
    before = everything_about(model)

    def broken(model, batch):
        torch.rand(3)
        raise RuntimeError("mine")

    with pytest.raises(OntogenyError, match="RuntimeError: mine"):
        og.estimate_llc(model, data(), broken, **SHORT)
    assert_same(before, everything_about(model))


def test_the_model_runs_in_evaluation_mode():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    training, still = (og.sample(model.train(mode), data(), squares, **SHORT) for mode in (True, False))
    same_numbers(training, still)
    at_w_star = squares(model.eval(), data()).mean().item()
    assert float(training["loss_at_center"][0, 0]) == pytest.approx(at_w_star, rel=1e-6)


def test_the_data_are_left_as_they_were():
    x, y = data()
    kept = x.clone(), y.clone()
    og.estimate_llc(Linear(), (x, y), squares, **MINIBATCH)
    assert torch.equal(x, kept[0]) and torch.equal(y, kept[1])


def test_a_half_precision_model_is_sampled_in_float32():
    model = Regression(torch.bfloat16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    draws = og.sample(model, data(torch.bfloat16), squares, **SHORT)
    assert draws["loss"].dtype == np.float32
    wide = Regression()
    wide.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    same_numbers(draws, og.sample(wide, tuple(part.bfloat16().float() for part in data()), squares, **SHORT))
    assert all(
        torch.equal(before[name], value) and value.dtype == torch.bfloat16 for name, value in model.state_dict().items()
    )


def test_a_float64_model_is_sampled_in_float64():
    draws = og.sample(Regression(torch.float64), data(), squares, **SHORT)
    assert draws["loss"].dtype == np.float64
    assert np.isfinite(og.llc_from_draws(draws).llc)


class Branching(Regression):
    """The same function, with control flow that depends on the weights, so that it cannot be batched."""

    def forward(self, x):
        if self.inner.weight.abs().sum().item() > 1e6:
            return 0 * super().forward(x)
        return super().forward(x)


@pytest.mark.parametrize("batch_size", [EXAMPLES, 8])
def test_a_model_that_cannot_be_batched_runs_serially_with_the_same_numbers(batch_size):
    settings = {**SHORT, "draws": 100, "batch_size": batch_size, "components": {"all": None, "in": "inner.*"}}
    rows = data(torch.float64)
    batched, serial = (
        og.estimate_llc(kind(torch.float64), rows, squares, **settings) for kind in (Regression, Branching)
    )
    assert batched.attrs["mode"] == "vmap" and serial.attrs["mode"] == "serial"
    np.testing.assert_allclose(serial.llc, batched.llc, rtol=1e-9)
    same_numbers(serial, batched, rtol=1e-7)


def test_calibration_needs_no_batching_either():
    rows, calibrated = data(torch.float64), {"draws": 50, "progress": False, "chains": 2, "burn_in": 10}
    batched, serial = (og.estimate_llc(k(torch.float64), rows, squares, **calibrated) for k in (Regression, Branching))
    np.testing.assert_allclose(serial.llc, batched.llc, rtol=1e-9)


class Attention(nn.Module):
    """An encoder layer, which in evaluation mode without gradients would take torch's fused path."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        hidden = self.layer(x)
        return self.attention(hidden, hidden, hidden)[0]


def test_torchs_own_attention_is_sampled():
    torch.manual_seed(0)
    model = Attention().double()
    x = torch.randn(12, 5, 4, dtype=torch.float64)

    def next_position(model, batch):
        return ((model(batch)[:, :-1] - batch[:, 1:]) ** 2).mean(-1)

    settings = {**SHORT, "components": {"attention": "attention.*", "layer": "layer.self_attn.*", "all": None}}
    draws = og.sample(model, x, next_position, **settings)
    found = og.llc_from_draws(draws)
    assert np.isfinite(found.llc).all() and (found.chains_lost == 0).all()
    at_w_star = next_position(model.eval(), x).mean().item()
    np.testing.assert_allclose(draws["loss_at_center"].values, at_w_star, rtol=1e-9)
    assert torch.backends.mha.get_fastpath_enabled()  # the caller's switches, too, are as they were
    assert torch.backends.cuda.flash_sdp_enabled()


@pytest.mark.parametrize("mask", [None, nn.Transformer.generate_square_subsequent_mask(5)], ids=["open", "causal"])
def test_torchs_own_encoder_layer_is_batched_over_chains(mask):
    """Without dropout its attention would run on a fused kernel that vmap can only loop over."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    x = torch.randn(12, 5, 4)

    def reconstruction(model, batch):
        return ((model(batch, src_mask=mask, is_causal=mask is not None) - batch) ** 2).mean(-1)

    draws = og.sample(layer, x, reconstruction, **SHORT)
    assert draws.attrs["mode"] == "vmap"
    at_w_star = reconstruction(layer.eval(), x).mean().item()
    np.testing.assert_allclose(draws["loss_at_center"].values, at_w_star, rtol=1e-5)
