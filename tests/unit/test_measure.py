"""og.measure: the same numbers as one estimate at a time; found again under their keys, and under no others."""

import copy
import json
from dataclasses import replace

import measure_work as work
import numpy as np
import pytest
import torch
import xarray as xr

import ontogeny as og
import tiny
from ontogeny.core.schema import setting
from ontogeny.execution import study as study_module
from ontogeny.execution import tasks
from ontogeny.execution.measure import measure
from ontogeny.execution.plan import plan
from ontogeny.metrics import registry
from ontogeny.sampling.calibration import Calibration
from ontogeny.sampling.settings import Settings
from ontogeny.store import read_zarr


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("measured") / "out"


@pytest.fixture(scope="module")
def results(out):
    return work.small_study(out)


@pytest.fixture
def computed(monkeypatch):
    """Which chunks were computed, by metric and step."""
    seen = []

    def compute(group, shared):
        seen.append((group.metric.name, group.step, group.dataset, *group.components))
        return tasks.compute(group, shared)

    monkeypatch.setattr(study_module, "compute", compute)
    return seen


def test_dims_and_coordinates(results, out):
    assert dict(results.sizes) == {"checkpoint": 3, "component": 2, "dataset": 2}
    assert list(results["step"].values) == [0, 10, 100] and results["step"].dims == ("checkpoint",)
    assert list(results["component"].values) == ["inner", "bias"] and list(results["dataset"].values) == [
        "train",
        "few",
    ]
    assert results["llc"].dims == ("checkpoint", "component", "dataset")
    assert results["loss"].dims == results["loss_se"].dims == ("checkpoint", "dataset")
    assert {"llc_se", "r_hat", "ess", "status", "regime", "check_virial"} <= set(results.data_vars)
    xr.testing.assert_identical(read_zarr(out / "results.zarr")[list(results.data_vars)], results)


@pytest.mark.parametrize("place", [0, 2])
def test_llc_is_that_of_estimate_llc(results, place):
    settings = {**work.FROZEN, **work.SHORT}
    settings.pop("workers")
    alone = og.estimate_llc(work.at(work.STEPS[place]), work.data(), tiny.squares, work.COMPONENTS, **settings)
    names = ["llc", "llc_se", "r_hat", "ess", "status", "regime", "check_virial", "h_max"]
    tiny.same_numbers(results.isel(checkpoint=place)[names], alone[names])
    assert (results["n_beta"] == 20.0).all() and results.attrs["localization_from"] == "the call"


def test_loss_and_gradient_against_plain_torch(results):
    for i, step in enumerate(work.STEPS):
        for name, rows in work.data().items():
            model = work.at(step).double()
            losses = tiny.squares(model, tuple(part.double() for part in rows))
            losses.mean().backward()
            here = results.isel(checkpoint=i).sel(dataset=name)
            spread = losses.std(correction=1) / len(losses) ** 0.5
            np.testing.assert_allclose(here["loss"], losses.mean().item(), rtol=1e-5)
            np.testing.assert_allclose(here["loss_se"], spread.item(), rtol=1e-5)
            whole = sum(p.grad.square().sum() for p in model.inner.parameters()) ** 0.5
            np.testing.assert_allclose(here["gradient_norm"].sel(component="inner"), whole.item(), rtol=1e-5)
            bias = abs(model.outer.bias.grad.item())
            np.testing.assert_allclose(here["gradient_norm"].sel(component="bias"), bias, rtol=1e-4)


def test_batches_change_the_loss_to_rounding_only(results, tmp_path):
    again = work.small_study(tmp_path / "out", metrics=("loss", "gradient_norm"), batch_size=7)
    for name in ("loss", "loss_se", "gradient_norm"):
        np.testing.assert_allclose(again[name], results[name], rtol=1e-5)


def test_a_mask_counts_only_its_weights(tmp_path):
    mask = torch.zeros(3, 3)
    mask[1, 2] = 1
    model, rows = work.at(0), tiny.data()
    tiny.squares(model, rows).mean().backward()
    found = work.small_study(
        tmp_path / "out",
        checkpoints=work.checkpoints([0]),
        data=rows,
        components={"inner.weight": mask},
        metrics="gradient_norm",
    )
    assert list(found["component"].values) == ["selected"] and list(found["dataset"].values) == ["data"]
    np.testing.assert_allclose(found["gradient_norm"].item(), abs(model.inner.weight.grad[1, 2].item()), rtol=1e-5)


def test_a_model_with_its_buffers_and_mode_is_left_alone(tmp_path):
    model = tiny.Regression().train()
    before = copy.deepcopy(model.state_dict())
    measure(model, work.checkpoints(), tiny.data(), tiny.squares, metrics=("loss",), out=tmp_path / "out", workers=1)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_there_is_not_computed_again(results, out, computed):
    again = work.small_study(out)
    assert computed == []
    xr.testing.assert_identical(again, results)


def test_a_further_checkpoint_computes_itself_alone(tmp_path, computed):
    settings = {"metrics": ("gradient_norm",), "data": tiny.data()}
    work.small_study(tmp_path / "out", checkpoints=work.checkpoints([0, 10]), **settings)
    computed.clear()
    found = work.small_study(tmp_path / "out", **settings)
    assert computed == [("gradient_norm", 100, "data", "inner", "bias")]
    assert list(found["step"].values) == [0, 10, 100]


def test_the_same_step_with_other_weights_is_measured_anew(tmp_path):
    """The peer's cache knew settings only, and gave one checkpoint the losses of another."""
    first = work.small_study(tmp_path / "out", checkpoints=work.checkpoints([10]), metrics=("loss",))
    other = [(10, work.weights(100))]
    second = work.small_study(tmp_path / "out", checkpoints=other, metrics=("loss",))
    assert (first["loss"] != second["loss"]).all()


def test_equal_weights_are_measured_once(tmp_path, computed):
    """Committing one chunk from two workers at a time would be one too many."""
    run = [(0, work.weights(0)), (5, work.weights(0))]
    found = work.small_study(tmp_path / "out", checkpoints=run, metrics=("loss",), data=tiny.data())
    assert computed == [("loss", 0, "data")]
    assert found["loss"].values[0] == found["loss"].values[1]


def keys(**changes):
    given = {
        "checkpoints": work.checkpoints([0]),
        "data": {"train": tiny.data()},
        "loss_fn": tiny.squares,
        "components": {"inner": "inner.*"},
        "metrics": ("llc",),
    }
    settings = {**work.FROZEN, "chains": 3, "draws": 30, "seed": 0} | changes.pop("settings", {})
    every = dict.fromkeys(Settings.__dataclass_fields__) | settings
    study = plan(
        changes.pop("model", tiny.Regression()), **(given | changes), out="nowhere", settings=Settings(**every)
    )
    return {one.chunk.key for one in study.second_stage(study.frozen([], 0))}


def half_squares(model, batch):
    return 0.25 * ((model(batch[0]) - batch[1]) ** 2).sum(-1)


class Sine(tiny.Regression):
    def forward(self, x):
        return self.outer(torch.sin(self.inner(x)))


def test_whatever_a_number_depends_on_is_in_its_key(monkeypatch):
    mask = torch.ones(3, 3)
    mask[0, 0] = 0
    x, y = tiny.data()
    changed = x.clone()
    changed[3, 1] += 1e-6
    every = [
        keys(),
        keys(checkpoints=work.checkpoints([10])),
        keys(components={"inner": "inner.weight"}),
        keys(components={"inner": {"inner.weight": mask, "inner.bias": True}}),
        keys(components={"other": "inner.*"}),
        keys(data={"train": (changed, y)}),
        keys(data={"train": (x[torch.arange(39, -1, -1)], y)}),
        keys(data={"other": (x, y)}),
        keys(loss_fn=half_squares),
        keys(model=Sine()),
        keys(metrics=("gradient_norm",)),
        *(keys(calibration=replace(CALIBRATION, friction=friction)) for friction in (0.0, 1.0)),
        *(keys(settings={name: value}) for name, value in CHANGES.items()),
    ]
    monkeypatch.setattr(tasks, "__version__", "99")
    every.append(keys())
    assert len(set.union(*every)) == sum(map(len, every)) == len(every)


CALIBRATION = Calibration("sgld", 20.0, 2.0, 1e-3, 0.0, 5, 40, 3, 900, False, 1.0, True, 0)
CHANGES = {
    "n_beta": 21.0,
    "localization": 3.0,
    "step_size": 1e-3,
    "batch_size": 7,
    "chains": 4,
    "draws": 31,
    "burn_in": 5,
    "target_se": 0.1,
    "max_draws": 900,
    "kernel": "sgld",
    "seed": 1,
    "precision": "bfloat16",
    "device": "meta",
}


def test_what_changes_no_number_is_not_in_its_key():
    x, y = tiny.data()
    rows = torch.utils.data.TensorDataset(x, y)
    whole = {"inner.weight": torch.ones(3, 3), "inner.bias": torch.ones(3)}
    model = tiny.Regression()
    model.load_state_dict(work.weights(100))  # weights come from the checkpoint
    assert keys() == keys(data={"train": rows}) == keys(components={"inner": whole}) == keys(model=model)


def test_nb_and_gamma_are_those_of_the_last_checkpoint(tmp_path, computed):
    settings = {"chains": 3, "draws": 5, "burn_in": 2, "max_draws": 2000, "progress": False}
    calibrated = og.calibrate(
        work.at(100), work.data(), tiny.squares, work.COMPONENTS, burn_in=0, max_draws=2000, progress=False
    )
    given = {"n_beta": None, "localization": None, "step_size": None, "metrics": ("llc",), **settings}
    found = work.small_study(tmp_path / "out", checkpoints=work.checkpoints([0, 100]), **given)
    for name in ("n_beta", "localization"):
        np.testing.assert_allclose(np.unique(found[name]), getattr(calibrated, name), rtol=1e-12)
    assert [one for one in computed if one[0] == "localization"] == [
        ("localization", 100, "train", "inner", "bias"),
        ("localization", 100, "few", "inner", "bias"),
    ]
    assert found.attrs["localization_from"] == "step 100"
    assert len(np.unique(found["step_size"])) > 1, "the step is each estimate's own"
    computed.clear()
    again = work.small_study(tmp_path / "out", checkpoints=work.checkpoints([0, 100]), **given)
    assert computed == []
    xr.testing.assert_identical(again, found)


LEFT_OUT = {"n_beta": None, "localization": None, "components": {"inner": "inner.*"}, "metrics": ("llc",)}
FEW = {"chains": 2, "draws": 4, "burn_in": 2, "max_draws": 900}


def only(found, name):
    """The value of a setting that is the same for all."""
    [value] = {setting(found.isel(checkpoint=i, dataset=j, component=0), name)
               for i in range(found.sizes["checkpoint"]) for j in range(found.sizes["dataset"])}  # fmt: skip
    return value


def test_what_is_added_later_is_measured_at_the_nb_and_gamma_of_the_first_call(tmp_path, computed):
    """A later checkpoint is no last one of its own, and a smaller data set brings no nβ of its own."""
    given = LEFT_OUT | FEW
    first = work.small_study(tmp_path / "out", checkpoints=work.checkpoints([0, 10]), data=tiny.data(), **given)
    computed.clear()
    more = {"data": tiny.data(), "few": tiny.data(examples=16)}
    found = work.small_study(tmp_path / "out", checkpoints=work.checkpoints(), data=more, **given)
    assert {one[:3] for one in computed} == {
        ("llc", 100, "data"), *(("llc", step, "few") for step in work.STEPS)
    }  # fmt: skip
    assert found.attrs["localization_from"] == first.attrs["localization_from"] == "step 10"
    kept = {name: only(first, name) for name in ("n_beta", "localization")}
    assert {name: only(found, name) for name in kept} == kept
    computed.clear()
    same = {name: float(f"{value:.9g}") for name, value in kept.items()}
    again = work.small_study(tmp_path / "out", data=more, **given | same)
    assert computed == []
    xr.testing.assert_identical(again, found)
    expected = work.small_study(tmp_path / "out", data=more, dry_run=True, **given)
    assert expected.attrs["chunks_done"] == expected.attrs["chunks"] == 6 and not expected.attrs["finds_gamma"]
    with pytest.raises(og.OntogenyError, match=r"holds a study with localization = .*one with 3; leave localization"):
        work.small_study(tmp_path / "out", data=more, **given | {"localization": 3.0})
    with pytest.raises(og.OntogenyError, match=r"holds a study with n_beta = 10\.8.*one with 20; leave n_beta out"):
        work.small_study(tmp_path / "out", data=more, **given | {"n_beta": 20.0, "dry_run": True})
    (tmp_path / "out" / "localization.json").write_text("half", encoding="utf-8")
    with pytest.raises(og.OntogenyError, match=r"localization\.json cannot be read; name another folder"):
        work.small_study(tmp_path / "out", data=more, **given)


def test_a_gamma_that_was_given_serves_later_calls_too(tmp_path):
    given = LEFT_OUT | FEW | {"checkpoints": work.checkpoints([0]), "data": tiny.data()}
    work.small_study(tmp_path / "out", **given | {"localization": 2.0})
    again = work.small_study(tmp_path / "out", **given)
    assert only(again, "localization") == 2.0 and again.attrs["localization_from"] == "the call"


def test_a_calibration_is_used_as_it_is(tmp_path, computed):
    calibration = og.calibrate(work.at(0), tiny.data(), tiny.squares, chains=3, max_draws=900, progress=False)
    left_out = dict.fromkeys(("n_beta", "localization", "step_size", "chains", "burn_in"))
    given = {
        "checkpoints": work.checkpoints([0]),
        "data": tiny.data(),
        "components": None,
        "metrics": "llc",
        "draws": 5,
    }
    found = work.small_study(tmp_path / "out", calibration=calibration, **left_out, **given)
    assert computed == [("llc", 0, "data", "all")]
    assert found["step_size"].item() == calibration.step_size and found.attrs["burn_in"] == calibration.burn_in
    assert json.loads(found.attrs["calibration"]) == calibration.to_dict()


def test_a_dry_run_writes_nothing_and_counts(tmp_path, capsys, computed):
    given = {"n_beta": None, "localization": None}
    expected = work.small_study(tmp_path / "out", dry_run=True, **given)
    assert not (tmp_path / "out").exists() and computed == []
    said = capsys.readouterr().out
    # 3 checkpoints × 2 data sets × (2 components × 2 metrics + loss), and (nβ, γ) for 2 data sets × 2 components
    assert expected.attrs["tasks"] == 34 and said.startswith("34 tasks (3 checkpoints, 2 components, 2 data sets)")
    smallest = 16 / np.log(16)
    assert f"nβ = {smallest:.4g} for all; γ is to be found first, at the last checkpoint" in said
    assert expected.attrs["n_beta"] == pytest.approx(smallest)
    assert list(expected["step"].values) == [0, 10, 100]


def test_a_dry_run_says_what_is_done(results, out, capsys, computed):
    expected = work.small_study(out, dry_run=True)
    assert expected.attrs["chunks"] == expected.attrs["chunks_done"] == 18 and expected.attrs["bytes_read"] == 0
    more = work.small_study(out, dry_run=True, checkpoints=work.checkpoints((*work.STEPS, 200)))
    assert more.attrs["chunks"] == 24 and more.attrs["chunks_done"] == 18
    # chains × (draws + burn-in) for 2 components on 2 data sets; their gradients; a pass for the loss, a third of that
    # and two looks at the curvature of each estimate
    assert more.attrs["gradient_evaluations"] == 4 * (3 * 35 + 2 * 60) + 4 + 2
    assert more.attrs["bytes_read"] == 4 * 16  # 16 float32 weights, once
    assert computed == [] and "found first" not in capsys.readouterr().out


def test_a_task_that_fails_is_named_and_the_others_stay(tmp_path, computed, monkeypatch):
    def check(message, **changes):
        with pytest.raises(og.OntogenyError, match=message):
            work.small_study(tmp_path / "out", metrics=("llc",), components={"inner": "inner.*"}, **changes)

    def compute(self, *args):
        if args[0].inner.bias[0].item() == 7.0:
            raise og.OntogenyError("something is wrong.")
        return plain(self, *args)

    plain = registry.LLC.compute
    monkeypatch.setattr(registry.LLC, "compute", compute)
    bad = work.weights(10) | {"inner.bias": torch.full((3,), 7.0)}
    run = [(0, work.weights(0)), (10, bad)]
    check(r"^llc at step 10, component inner, data set train: something is wrong", checkpoints=run)
    computed.clear()
    check(r"^llc at step 10", checkpoints=run)
    assert computed == [("llc", 10, "train", "inner")], "the checkpoint before it was there"


def test_an_error_of_other_code_is_named_too(tmp_path, monkeypatch):
    class Broken(registry.MeanLoss):
        name = "broken"

        def compute(self, *args):
            raise ZeroDivisionError("of all things\nand more")

    monkeypatch.setitem(registry.METRICS, "broken", Broken())
    with pytest.raises(og.OntogenyError, match=r"^broken at step 0, data set train: ZeroDivisionError: of all things$"):
        work.small_study(tmp_path / "out", metrics=("broken",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("llc", "trace")}, r"metrics: there is no 'trace'; expected some of llc, loss, gradient_norm"),
        ({"metrics": ()}, "metrics must name at least one metric"),
        ({"metrics": 5}, r"metrics must be names, as in .* got 5\."),
        ({"metrics": [["llc"]]}, r"metrics must be names, as in .* got \['llc'\]\."),
        ({"workers": "2"}, r"workers must be a whole number of at least 1; got '2'\. Leave it out"),
        ({"workers": -1}, r"workers must be a whole number of at least 1; got -1\."),
        ({"workers": True}, r"workers must be a whole number of at least 1; got True\."),
        ({"device": "cpu:0"}, r"device must be the kind alone, 'cuda' or 'cpu', .* got 'cpu:0'.*CUDA_VISIBLE_DEVICES"),
        ({"data": {}}, "data must name at least one data set"),
        ({"checkpoints": 3}, "checkpoints must be an og.Checkpoints, a folder, or pairs .* got int"),
        ({"executor": "slurm"}, "executor must be one of local, ray; got 'slurm'"),
        ({"address": "auto"}, "address = 'auto' is that of a Ray cluster, and executor is 'local'"),
        ({"loss_fn": 3}, "loss_fn must be a function .* got int"),
        ({"components": {"no": "nothing.*"}}, "'nothing.\\*' selects no weights"),
        ({"n_beta": -1.0}, "n_beta must be a positive number"),
    ],
)
def test_a_wrong_argument_is_one_sentence(tmp_path, changes, message):
    with pytest.raises(og.OntogenyError, match=message):
        work.small_study(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_another_model_is_refused(tmp_path):
    with pytest.raises(og.OntogenyError, match=r"model must be a torch\.nn\.Module"):
        measure(3, work.checkpoints(), tiny.data(), tiny.squares, out=tmp_path / "out")


def test_other_settings_in_one_folder_are_refused(results, out):
    with pytest.raises(
        og.OntogenyError, match=r"holds another study \(measure with settings.seed = 0\), .* one with 1"
    ):
        work.small_study(out, seed=1)


def test_two_workers_find_the_same_bits(results, tmp_path):
    found = work.small_study(tmp_path / "out", workers=2)
    xr.testing.assert_identical(found, results)
