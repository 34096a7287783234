"""The sparsity sweep from end to end, made tiny: what is measured where, and that a run resumes and reports."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.superposition import SuperpositionLoss, importances
from ontogeny.studies.sparsity_sweep import settings, study
from ontogeny.studies.superposition import checkpoints, measure
from ontogeny.studies.superposition import study as superposition

SEEDS = 4
TINY = dataclasses.replace(
    settings.PRESETS["quick"],
    train_steps=600,
    train_batch=32,
    learning_rate=2e-2,
    dataset_size=400,
    batch_size=50,
    n_beta=100.0,
    localization=10.0,
    step_size=1e-3,
    friction=6.0,
    chains=2,
    burn_in=20,
    draws=60,
    common_checkpoints=10,
)


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A small preset, small groups and chunks, and no compiler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "PRESETS", {"quick": TINY})
        for module in (superposition, measure, study):
            patch.setattr(module, "SEEDS_A_GROUP", 1)
        patch.setattr(study, "DEFAULT_SEEDS", SEEDS)
        patch.setattr(checkpoints, "CHAINS_A_PROGRAM", 40)  # two seeds a chunk
        patch.setattr(measure, "compiler_available", lambda: False)
        yield


def run(folder, seeds=SEEDS):
    return study.run("quick", seeds=seeds, out=folder, progress=False, workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of an uninterrupted run."""
    return run(tmp_path_factory.mktemp("study") / "out").parent


def opened(folder, group=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_zarr(folder / "results.zarr", group=group) as stored:
            return stored.load()


def test_every_indicator_is_measured_at_every_sparsity(finished):
    found = opened(finished)
    assert found.sizes["sparsity"] == 4 and found.sizes["seed"] == SEEDS and found.sizes["checkpoint"] == 10
    assert found["step"].dims == ("checkpoint",) and found["step"].values[[0, -1]].tolist() == [0, TINY.train_steps]
    for name in ("llc", "llc_se", "loss", "effective_rank", "weight_norm", "gradient_norm", "hessian_trace", "h_max"):
        assert found[name].dims == ("sparsity", "seed", "checkpoint"), name
        assert found[name].attrs["long_name"] and "units" in found[name].attrs, name
        assert np.isfinite(found[name]).all(), name


def test_norm_gradient_and_curvature_are_those_of_the_stored_weights(finished):
    one = opened(finished).sel(sparsity=0.5, seed=1).isel(checkpoint=5)
    loss = SuperpositionLoss(importances(6, TINY.importance_decay).float())
    data = measure.dataset(TINY.at(0.5))
    weight = torch.tensor(one["weight"].values, requires_grad=True)
    bias = torch.tensor(one["bias"].values, requires_grad=True)
    mean = loss({"weight": weight, "bias": bias}, data).mean()
    gradient = torch.autograd.grad(mean, (weight, bias))
    assert float(one["loss"]) == pytest.approx(mean.item(), rel=1e-5)
    assert float(one["gradient_norm"]) == pytest.approx(sum(g.square().sum() for g in gradient).sqrt().item(), rel=1e-4)
    assert float(one["weight_norm"]) == pytest.approx(weight.detach().norm().item(), rel=1e-6)

    def flat(vector):
        return loss({"weight": vector[:12].view(2, 6), "bias": vector[12:]}, data).mean()

    hessian = torch.func.hessian(flat)(torch.cat([weight.detach().flatten(), bias.detach()]))
    assert float(one["hessian_trace"]) == pytest.approx(hessian.trace().item(), rel=1e-4)
    h = torch.linalg.eigvalsh(hessian.double()).numpy()
    assert int(one["hessian_rank"]) == (TINY.n_beta * h > TINY.localization).sum()
    if str(one["second_order_llc_status"].item()) == "ok":
        curved = (0.5 * TINY.n_beta * h / (TINY.n_beta * h + TINY.localization)).sum()
        assert float(one["second_order_llc_curvature"]) == pytest.approx(curved, rel=1e-3)
    assert float(one["h_max"]) >= torch.linalg.eigvalsh(hessian)[-1].item() * (1 - 1e-4)


def test_every_setting_is_measured_and_the_frozen_one_is_the_study_itself(finished):
    found, every = opened(finished, "neighbours"), opened(finished)
    names = ["frozen", *settings.NEIGHBOURS, "equal_curvature"]
    assert found["setting"].values.tolist() == names
    assert found["n_beta"].sel(sparsity=0.3).values[:5].tolist() == [100.0, 50.0, 200.0, 100.0, 100.0]
    assert found["localization"].sel(sparsity=0.3).values.tolist() == [10.0, 10.0, 10.0, 5.0, 20.0, 10.0]
    np.testing.assert_array_equal(found["llc"].sel(setting="frozen"), every["llc"])
    equal = found["n_beta"].sel(setting="equal_curvature")
    assert float(equal.sel(sparsity=0.7)) == 100.0 and (np.diff(equal) != 0).all()


def test_second_order_is_told_at_every_setting_and_stated(finished):
    found = opened(finished, "neighbours")
    known = found["second_order_llc_status"] == "ok"
    assert known.any(("sparsity", "seed", "checkpoint")).all() and found["second_order_llc_gradient"].max() <= 0
    once, twice = (found["hessian_rank"].sel(setting=name) for name in ("half_n_beta", "twice_n_beta"))
    assert (once <= twice).all() and bool((once < twice).any())
    stated = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    assert stated["second_order"].keys() == set(found["setting"].values.tolist())
    assert {"hessian_trace", "hessian_rank"} <= stated["drifts"].keys() & stated["detections"].keys()


def test_settings_keep_the_steepest_step():
    real = settings.PRESETS["quick"]
    for factors in settings.NEIGHBOURS.values():
        one = real.scaled(*factors)
        steepest = one.step_size * (one.n_beta * one.h_max + one.localization)
        assert steepest == pytest.approx(real.step_size * (real.n_beta * real.h_max + real.localization))
        assert one.friction == pytest.approx(2 * one.localization**0.5)
        assert one.calibration.friction == one.friction and one.calibration.compensate


def test_more_seeds_resume_the_folder_and_change_nothing(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "report", lambda folder: folder / "report.html")  # made of the same measurements
    few = run(tmp_path / "out", seeds=3).parent
    before = {path.name for path in (few / "chunks").iterdir()}
    run(few, seeds=SEEDS)
    assert before < {path.name for path in (few / "chunks").iterdir()}
    for group in (None, "neighbours", "trajectory"):
        xr.testing.assert_identical(opened(few, group), opened(finished, group))


@pytest.mark.parametrize("seeds", [2, 0, True, 2.5])
def test_too_few_seeds_are_refused_before_anything_is_done(seeds, tmp_path):
    with pytest.raises(OntogenyError, match=r"^seeds must be at least 3, since every interval is over seeds; got"):
        run(tmp_path / "out", seeds=seeds)
    assert not (tmp_path / "out").exists()


def test_the_summary_is_plain_json(finished):
    text = (finished / "summary.json").read_text(encoding="utf-8")
    assert "NaN" not in text and json.loads(text)
    assert "<html" in (finished / "report.html").read_text(encoding="utf-8")
