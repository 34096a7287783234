"""og.measure with a wrong argument is one sentence, and where nothing had begun no folder; what is right is taken."""

import json
import threading

import measure_work as work
import numpy as np
import pytest
import torch

import ontogeny as og
import tiny
from ontogeny.execution.measure import measure
from ontogeny.inputs.checkpoints import Checkpoints


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calibration": "x"}, r"^calibration must be what og\.calibrate returned, an og\.Calibration; got str\.$"),
        ({"checkpoints": [1, 2]}, r"^checkpoints must be pairs of step and state dict, .*; got int for a pair\. Of a"),
        ({"checkpoints": {0: work.weights(0)}}, r"^checkpoints must be pairs .* got int .* give its items\(\)\.$"),
        ({"checkpoints": [(0, {}, 1)]}, r"^checkpoints must be pairs .* got tuple for a pair"),
        ({"components": {3: "inner.*"}}, r"^components must have text for names; got 3\. Write it as '3'\.$"),
        ({"data": {("a", 1): tiny.data()}}, r"^data must have text for names; got \('a', 1\)"),
        ({"out": 3}, r"^out must be the path of a folder, as 'measured'; got 3\.$"),
        ({"executor": ["ray"]}, r"^executor must be one of local, ray; got \['ray'\]\.$"),
    ],
)
def test_a_wrong_argument_is_one_sentence(tmp_path, changes, message):
    with pytest.raises(og.OntogenyError, match=message):
        work.small_study(**{"out": tmp_path / "out", **changes})
    assert not (tmp_path / "out").exists()


def test_what_contradicts_a_calibration_is_refused_before_anything_is_computed(tmp_path):
    calibration = og.calibrate(work.at(0), tiny.data(), tiny.squares, chains=3, max_draws=900, progress=False)
    with pytest.raises(og.OntogenyError, match=r"^n_beta = 20\.0 contradicts the calibration"):
        work.small_study(tmp_path / "out", calibration=calibration)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("attribute", "said"),
    [(threading.Lock(), "TypeError: cannot pickle"), (torch.ones(1, requires_grad=True) * 2, "RuntimeError: Only ")],
    ids=["lock", "tensor of a graph"],
)
def test_a_model_that_cannot_be_copied_is_one_sentence(tmp_path, attribute, said):
    model = tiny.Regression()
    model.kept = attribute
    with pytest.raises(og.OntogenyError, match=rf"^model cannot be copied, .*: {said}.*; leave locks and files out"):
        measure(model, work.checkpoints([0]), tiny.data(), tiny.squares, metrics="loss", out=tmp_path / "out")


@pytest.mark.parametrize("name", ["n_beta", "localization"])
@pytest.mark.parametrize("value", ["20", None, float("nan")])
def test_a_kept_number_that_is_none_is_one_sentence(tmp_path, name, value):
    given = {"checkpoints": work.checkpoints([0]), "data": tiny.data(), "metrics": ("loss",)}
    work.small_study(tmp_path / "out", **given)
    held = {**work.FROZEN, "source": "the call", name: value}
    (tmp_path / "out" / "localization.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(og.OntogenyError, match=r"localization\.json cannot be read; name another folder"):
        work.small_study(tmp_path / "out", **given)


def squares_of_three(model, batch):
    return tiny.squares(model, (batch[0], batch[1]))


def squares_of_nested(model, batch):
    (left, right), y = batch
    return tiny.squares(model, (left + right, y))


@pytest.mark.parametrize("form", ["nested", "word"])
def test_a_list_of_examples_is_data_as_it_is_for_an_estimate(tmp_path, form):
    x, y = tiny.data()
    if form == "nested":
        rows, loss_fn = [((0.25 * one, 0.75 * one), two) for one, two in zip(x, y, strict=True)], squares_of_nested
    else:
        rows, loss_fn = [(one, two, "word") for one, two in zip(x, y, strict=True)], squares_of_three
    given = {"checkpoints": work.checkpoints([10]), "metrics": ("llc", "loss"), "components": {"inner": "inner.*"}}
    found = work.small_study(tmp_path / "rows", data=rows, loss_fn=loss_fn, **given)
    expected = work.small_study(tmp_path / "tensors", data=(x, y), **given)
    for name in ("llc", "loss"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


def test_a_list_of_flat_examples_is_sent_as_tensors():
    from ontogeny.execution.plan import _datasets

    x, y = tiny.data()
    sent, _ = _datasets({"pairs": list(zip(x, y, strict=True)), "named": [{"x": one} for one in x]})
    assert torch.equal(sent["pairs"][0], x) and torch.equal(sent["pairs"][1], y) and torch.equal(sent["named"]["x"], x)


def test_a_generator_of_pairs_is_taken():
    assert Checkpoints.from_iterable((step, work.weights(step)) for step in (10, 0)).steps == (0, 10)


def test_a_dry_run_refuses_the_folder_that_a_run_refuses(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(og.OntogenyError, match="holds files that no study wrote"):
        work.small_study(tmp_path, dry_run=True)


def test_a_call_that_failed_leaves_its_folder_to_the_next(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(og.OntogenyError, match="one loss per example"):
        work.small_study(out, loss_fn=work.one_number, metrics=("llc",))
    assert work.small_study(out, metrics=("loss",)).loss.notnull().all()
