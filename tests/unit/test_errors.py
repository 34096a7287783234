"""Every mistake a user can make gets one sentence: the argument, what came, what was expected, the way out."""

import re

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import cross_entropy

import ontogeny as og
from ontogeny.store import Store
from ontogeny.studies.superposition import study

X = torch.linspace(-1, 1, 60).reshape(20, 3)
Y = X.sum(1, keepdim=True)
SHORT = {"n_beta": 10.0, "localization": 1.0, "step_size": 1e-3, "chains": 2, "draws": 4, "burn_in": 0}


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)

    def forward(self, x):
        return self.inner(x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x))


class WithUnused(Linear):
    def __init__(self):
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(2))


class Rows(torch.utils.data.Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i]


def squares(model, batch):
    x, y = batch
    return ((model(x) - y) ** 2).sum(-1)


def size(model, batch):
    return model(batch).square().sum(-1)


def refused(model=None, data=(X, Y), loss_fn=squares, **arguments):
    """The text with which ``og.estimate_llc`` refuses, checked for being one sentence for a person."""
    model = Linear() if model is None else model
    with pytest.raises(og.OntogenyError) as caught:
        og.estimate_llc(model, data, loss_fn, **{**SHORT, "progress": False, **arguments})
    text = str(caught.value)
    assert_plain(text)
    return text


def assert_plain(text):
    assert "\n" not in text and "Traceback" not in text and "Error:" not in text and "tensor(" not in text
    assert text.endswith(".") and 20 < len(text) < 420, text


def says(text, *patterns):
    for pattern in patterns:
        assert re.search(pattern, text), f"{pattern!r} is not in {text!r}"


def test_a_loss_that_returns_a_scalar():
    text = refused(loss_fn=lambda m, b: squares(m, b).mean())
    says(text, r"loss_fn must return one loss per example, shape \(20,\)", r"got shape \(\)", "reduction='none'")


def test_a_cross_entropy_that_was_left_at_its_default_reduction():
    labels = torch.arange(20) % 3
    text = refused(nn.Linear(3, 3), (X, labels), lambda m, b: cross_entropy(m(b[0]), b[1]))
    says(text, "loss_fn", r"got shape \(\)", "reduction='none'")


@pytest.mark.parametrize(
    ("loss_fn", "came"),
    [
        (lambda m, b: None, "NoneType"),
        (lambda m, b: 3.0, "float"),
        (lambda m, b: squares(m, b)[:7], r"shape \(7,\)"),
        (lambda m, b: (squares(m, b),), "tuple"),
    ],
    ids=["nothing", "a number", "too few", "a tuple"],
)
def test_a_loss_that_returns_something_else(loss_fn, came):
    says(refused(loss_fn=loss_fn), "loss_fn must return one loss per example", f"got {came}")


def test_a_loss_that_is_no_function():
    says(refused(loss_fn=3), "loss_fn must be", "got int|got 3")


def test_a_loss_that_is_not_finite_at_w_star():
    model = Linear()
    model.inner.weight.data[0, 0] = float("nan")
    text = refused(model)
    says(text, r"loss_fn must be finite at w\*", "20 of 20 losses", "NaN or infinite", "Check the model's weights")


def test_an_infinite_value_in_the_data_shows_in_the_loss():
    x = X.clone()
    x[7, 1] = float("inf")
    says(refused(data=(x, Y)), r"loss_fn must be finite at w\*", "1 of 20 losses", "the data")


@pytest.mark.parametrize("selection", ["nope.*", ["nope.*"], {"first": "nope.*"}, {"first": ["inner.*", "nope.*"]}])
def test_a_selection_that_matches_nothing(selection):
    says(refused(components=selection), "components", "'nope.*' selects no weights", "inner.weight, inner.bias")


@pytest.mark.parametrize("selection", [{}, [], {"first": {}}, {"first": []}], ids=repr)
def test_an_empty_selection(selection):
    says(refused(components=selection), "components selects no weights", "inner.weight, inner.bias")


def test_masks_that_select_nothing():
    masks = {"inner.weight": torch.zeros(1, 3), "inner.bias": torch.zeros(1, dtype=torch.bool)}
    says(refused(components=masks), "components selects no weights", "every mask is empty", "inner.weight")


def test_a_model_without_parameters():
    says(refused(nn.ReLU(), X, size), "model|components", "no parameters|no weights")


def test_a_mask_of_the_wrong_shape():
    text = refused(components={"inner.weight": torch.ones(3)})
    says(text, r"components\['inner.weight'\]", r"the parameter's shape \(1, 3\)", r"got \(3,\)")


@pytest.mark.parametrize("value", [0.5, float("nan"), 2.0])
def test_a_mask_of_other_numbers(value):
    says(refused(components={"inner.weight": torch.full((1, 3), value)}), "components", "only 0 and 1")


def test_a_mask_for_no_parameter():
    text = refused(components={"outer.weight": torch.ones(1, 3)})
    says(text, "components: there is no parameter 'outer.weight'", "inner.weight, inner.bias")


@pytest.mark.parametrize("mask", [np.ones((1, 2)), [[1, 0]]], ids=["numpy", "list"])
def test_a_mask_that_is_no_tensor_is_read_as_one(mask):
    says(refused(components={"inner.weight": mask}), r"components\['inner.weight'\]", r"got \(1, 2\)")


@pytest.mark.parametrize("selection", [3, 2.5, {"first": 3}, ["inner.*", 3]], ids=repr)
def test_a_selection_of_the_wrong_type(selection):
    says(refused(components=selection), "components", "got (int|float|3)")


def test_masks_and_globs_in_one_dict():
    says(refused(components={"inner.weight": torch.ones(1, 3), "b": "inner.bias"}), "components", "mask|selection")


def test_a_tied_weight_named_twice():
    text = refused(Tied(), (X, X), components={"encode.weight": True, "decode.weight": torch.ones(3, 3)})
    says(text, "components names one tied weight twice", "'encode.weight' and 'decode.weight'", "name it once")


def test_a_parameter_without_gradient():
    model = Linear()
    model.inner.bias.requires_grad_(False)
    text = refused(model)
    says(text, "'inner.bias' has requires_grad=False", r"requires_grad_\(True\)", "leave it out through components")
    og.estimate_llc(model, (X, Y), squares, components="inner.weight", **SHORT, progress=False)


def test_a_parameter_that_the_loss_does_not_use():
    text = refused(WithUnused())
    says(text, "components: the loss does not depend on spare", "leave it out of components")
    og.estimate_llc(WithUnused(), (X, Y), squares, components="inner.*", **SHORT, progress=False)


def test_a_loss_cut_off_from_the_weights():
    text = refused(loss_fn=lambda m, b: squares(m, b).detach())
    says(text, "loss_fn must be differentiable", "use a loss that has one")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n_beta", -1.0, "a positive number"),
        ("n_beta", 0, "a positive number"),
        ("n_beta", float("nan"), "a positive number"),
        ("n_beta", float("inf"), "a positive number"),
        ("localization", -0.1, "zero or a positive number"),
        ("step_size", 0.0, "a positive number"),
        ("target_se", 0.0, "a positive number"),
        ("chains", 0, "positive"),
        ("chains", -2, "positive"),
        ("draws", 0, "positive"),
        ("batch_size", 0, "positive"),
        ("burn_in", -1, "zero or a positive"),
        ("max_draws", 0, "positive"),
    ],
)
def test_a_number_out_of_range(name, value, expected):
    says(refused(**{name: value}), f"^{name} must be .*{expected}", f"got {value}", "leave it out to have it chosen")


@pytest.mark.parametrize("name", ["n_beta", "localization", "step_size", "target_se", "chains", "draws", "batch_size"])
@pytest.mark.parametrize("value", ["30", [30]], ids=["text", "list"])
def test_a_number_that_is_none(name, value):
    says(refused(**{name: value}), f"^{name} must be", f"got {re.escape(repr(value))}")


@pytest.mark.parametrize("name", ["chains", "draws", "burn_in", "batch_size", "max_draws"])
def test_a_count_that_is_not_whole(name):
    says(refused(**{name: 2.5}), f"^{name} must be", "whole number|integer", "got 2.5")


@pytest.mark.parametrize("seed", [1.5, "1", None, [1]], ids=repr)
def test_a_seed_that_is_not_whole(seed):
    says(refused(seed=seed), "^seed must be", "whole number|integer", f"got {re.escape(repr(seed))}")


@pytest.mark.parametrize("kernel", ["hmc2", "", 3, []], ids=repr)
def test_an_unknown_kernel(kernel):
    says(refused(kernel=kernel), "kernel must be one of .*sgld", f"got {re.escape(repr(kernel))}")


@pytest.mark.parametrize("device", ["nonsense", "meta9:x", 3.5], ids=repr)
def test_an_unknown_device(device):
    says(refused(device=device), "device", re.escape(repr(device)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_device_that_is_not_there():
    says(refused(device="cuda"), "device", "'cuda'")


def test_a_data_set_smaller_than_a_batch():
    text = refused(batch_size=21)
    says(text, "batch_size must be between 1 and the number of examples in data, 20", "got 21", "Leave it out")


def test_nan_in_the_data():
    x = X.clone()
    x[3, 1] = float("nan")
    says(refused(data=(x, Y)), r"data\[0\] must hold no NaN", "1 of 60 values", "Drop those examples")
    says(refused(data={"train": (X, Y), "other": (x, Y)}), r"data\[0\] must hold no NaN")
    says(refused(data=x, loss_fn=size), "^data must hold no NaN")


def test_nan_in_a_map_style_data_set():
    x = X.clone()
    x[-1, 1] = float("nan")
    says(refused(data=Rows(x), loss_fn=size, batch_size=4), "data", "NaN")


@pytest.mark.parametrize(
    "data", [X[:0], Rows(X[:0]), (), [], torch.tensor(3.0)], ids=["tensor", "data set", "tuple", "list", "scalar"]
)
def test_data_without_examples(data):
    says(refused(data=data, loss_fn=size), "data must have at least one example")


def test_no_data_sets_in_a_dict():
    says(refused(data={}), "data", "empty|at least one")


def test_data_of_unequal_length():
    says(refused(data=(X, Y[:5])), "data: its tensors", "20, 5")


@pytest.mark.parametrize(
    "data", ["text", iter([X]), 3, torch.utils.data.DataLoader(Rows(X))], ids=lambda d: type(d).__name__
)
def test_data_of_the_wrong_type(data):
    says(
        refused(data=data, loss_fn=size),
        "data must be a tensor, a tuple or mapping of tensors",
        f"got {type(data).__name__}",
    )


def test_data_or_loss_left_out():
    says(refused(data=None), "data must be given", "got None", "Potential")
    says(refused(loss_fn=None), "loss_fn must be given", "got None", "Potential")


def test_a_model_that_is_no_module():
    says(refused(lambda x: x), "model must be a torch.nn.Module or an og.Potential", "got function")


def well(w):
    return (w**2).sum()


def potential(function=well, w_star=None, **arguments):
    with pytest.raises(og.OntogenyError) as caught:
        problem = og.Potential(function, torch.zeros(2) if w_star is None else w_star)
        og.estimate_llc(problem, **{**SHORT, "progress": False, **arguments})
    assert_plain(str(caught.value))
    return str(caught.value)


def test_a_potential_without_n_beta():
    says(potential(n_beta=None), "n_beta must be given for a Potential", "got None")


@pytest.mark.parametrize(
    "given",
    [{"batch_size": 3}, {"data": X}, {"loss_fn": size}, {"components": "w"}],
    ids=lambda given: next(iter(given)),
)
def test_arguments_that_a_potential_has_no_use_for(given):
    says(potential(**given), f"{next(iter(given))} .*Potential")


def test_a_potential_that_is_not_finite():
    says(potential(lambda w: (w / 0 * 0).sum()), "model: the Potential must be finite at w_star", "NaN or infinite")


@pytest.mark.parametrize(
    "function", [lambda w: w**2, lambda w: 3.0, lambda w: None, 3], ids=["vector", "float", "nothing", "no function"]
)
def test_a_potential_that_returns_no_scalar_tensor(function):
    says(potential(function), "function", "scalar|callable")


def test_a_potential_that_does_not_depend_on_the_weights():
    says(potential(lambda w: torch.tensor(1.0)), "does not depend on")


@pytest.mark.parametrize("w_star", [[0.0, 0.0], 0.0, {"a": [0.0]}, {}, torch.zeros(0)], ids=repr)
def test_a_potential_around_no_weights(w_star):
    says(potential(w_star=w_star), "w_star")


def test_a_loss_without_curvature_leaves_nothing_to_choose_by():
    text = potential(lambda w: w.sum(), localization=None, step_size=None)
    says(text, "step_size and localization cannot be chosen", "no curvature", "give both")


def test_draws_without_chains():
    draws = og.sample(Linear(), (X, Y), squares, **SHORT, progress=False)
    with pytest.raises(og.OntogenyError, match=r"dims 'chain' and 'draw'.*Pass what og.sample returned"):
        og.llc_from_draws(draws.isel(chain=0))
    with pytest.raises(og.OntogenyError, match="missing virial"):
        og.llc_from_draws(draws.drop_vars("virial"))
    with pytest.raises(og.OntogenyError, match="missing step_size"):
        og.llc_from_draws(draws.drop_vars("step_size"))
    with pytest.raises(og.OntogenyError, match="draws must"):
        og.llc_from_draws(3)
    with pytest.raises(og.OntogenyError, match="draws must"):
        og.llc_from_draws(draws.isel(draw=slice(0, 0)))


def test_an_unknown_status_word():
    with pytest.raises(og.OntogenyError, match=r"word must be a status or regime \(ok, diverged.*got 'fine'"):
        og.describe_status("fine")


def test_a_folder_that_holds_another_study(tmp_path):
    Store(tmp_path / "out", {"study": "superposition", "preset": "quick"}).save("a", xr.Dataset({"llc": 1.0}))
    with pytest.raises(og.OntogenyError, match=r"out: .* holds another study \(superposition, quick\)") as caught:
        Store(tmp_path / "out", {"study": "superposition", "preset": "full"})
    assert_plain(str(caught.value))


def test_a_folder_of_other_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(og.OntogenyError, match="holds files that no study wrote; name an empty or a new folder"):
        study.run("quick", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_study_called_wrongly(tmp_path):
    with pytest.raises(og.OntogenyError, match="preset must be one of quick, full; got 'huge'"):
        study.run("huge", out=tmp_path / "out")
    with pytest.raises(og.OntogenyError, match="seeds must be at least 1; got 0"):
        study.run("quick", seeds=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_errors_are_value_errors():
    assert issubclass(og.OntogenyError, ValueError)
