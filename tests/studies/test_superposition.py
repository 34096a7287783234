"""The superposition study from end to end, made tiny: results, summary, report, and that nothing is lost or changed."""

import dataclasses
import json
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr

import ontogeny as og
from ontogeny import __version__
from ontogeny.core.schema import VARIABLES
from ontogeny.studies.superposition import checkpoints, measure, sensitivity, settings, study

SEEDS = 2
NEIGHBOURS_TAKE = (sensitivity.BURN_IN, sensitivity.DRAWS)
TINY = dataclasses.replace(
    settings.PRESETS["quick"],
    train_steps=300,
    train_batch=32,
    learning_rate=2e-2,
    dataset_size=400,
    batch_size=50,
    n_beta=100.0,
    localization=10.0,
    step_size=5e-4,
    chains=2,
    burn_in=20,
    draws=60,
    common_checkpoints=6,
    jump_checkpoints=3,
)
MEASURED = [
    "loss",
    "llc",
    "llc_se",
    "r_hat",
    "ess",
    "chains_lost",
    "status",
    "regime",
    "effective_rank",
    "features_represented",
    "polygon",
    "features_near_zero",
    "polygon_distance",
    "h_max",
    "localisation_ratio",
    "n_beta",
    "localization",
    "step_size",
    "check_virial",
    "hessian_trace",
    "hessian_trace_se",
    "hessian_rank",
    "second_order_llc",
    "second_order_llc_se",
    "second_order_llc_curvature",
    "second_order_llc_gradient",
    "second_order_llc_status",
]


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """Small presets, small groups and chunks, and no compiler."""
    with pytest.MonkeyPatch.context() as patch:
        presets = {"quick": TINY, "full": dataclasses.replace(TINY, preset="full", chains=4)}
        patch.setattr(study, "PRESETS", presets)
        for module in (study, measure):
            patch.setattr(module, "SEEDS_A_GROUP", 1)
        patch.setattr(study, "DEFAULT_SEEDS", SEEDS)
        patch.setattr(checkpoints, "CHAINS_A_PROGRAM", 10)  # five tasks a chunk
        patch.setattr(measure, "compiler_available", lambda: False)
        patch.setattr(sensitivity, "SEEDS", 1)
        patch.setattr(sensitivity, "CHECKPOINTS", 5)  # one chunk a neighbour
        patch.setattr(sensitivity, "BURN_IN", 0.2)
        patch.setattr(sensitivity, "DRAWS", 0.6)
        yield


def run(folder, seeds=SEEDS, preset="quick"):
    return study.run(preset, seeds=seeds, out=folder, progress=False, workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of an uninterrupted run."""
    return run(tmp_path_factory.mktemp("study") / "out").parent


def opened(folder, group=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_zarr(folder / "results.zarr", group=group) as stored:
            return stored.load()


def assert_same_results(folder, other, seeds=None):
    for group in (None, "trajectory"):
        one, two = opened(folder, group), opened(other, group)
        if seeds is not None:
            one, two = one.sel(seed=seeds), two.sel(seed=seeds)
            one.attrs.pop("seeds", None), two.attrs.pop("seeds", None)
        xr.testing.assert_identical(one, two)


def test_three_files_and_nothing_half_written(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"results.zarr", "summary.json", "report.html", "study.json", "chunks"} == names
    assert not [path for path in finished.rglob("*") if path.name.endswith((".tmp", ".old"))]


def test_measurements_are_plain_xarray(finished):
    found = opened(finished)
    assert dict(found.sizes) == {"seed": SEEDS, "checkpoint": 9, "feature": 6, "other_feature": 6, "hidden": 2}
    assert found.seed.values.tolist() == [0, 1] and found.checkpoint.values.tolist() == list(range(9))
    for name in MEASURED:
        assert found[name].dims == ("seed", "checkpoint"), name
    assert found["step"].dims == ("seed", "checkpoint") and "step" in found.coords
    assert found["feature_norm"].dims == ("seed", "checkpoint", "feature")
    assert found["cosine_similarity"].dims == ("seed", "checkpoint", "feature", "other_feature")
    assert found["weight"].dims == ("seed", "checkpoint", "hidden", "feature")
    assert found["bias"].dims == ("seed", "checkpoint", "feature")
    for seed in found.seed:
        steps = found["step"].sel(seed=seed).values
        assert (np.diff(steps) > 0).all() and steps[0] == 0 and steps[-1] == TINY.train_steps
    words = {str(word) for name in ("status", "regime") for word in found[name].values.ravel()}
    assert all(og.describe_status(word) for word in words)


def test_every_variable_has_a_long_name_and_units(finished):
    for group in (None, "trajectory", "sensitivity"):
        found = opened(finished, group)
        for name in (*found.data_vars, "step"):
            assert found[name].attrs["long_name"], name
            if group != "sensitivity":
                assert found[name].attrs["units"] == VARIABLES[name][1], name


def test_attributes_hold_every_setting(finished):
    attrs = opened(finished).attrs
    for name, value in dataclasses.asdict(TINY).items():
        assert attrs[name] == value, name
    assert attrs["ontogeny_version"] == __version__ and attrs["seeds"] == SEEDS


def test_the_calibration_is_stored_and_printed(finished):
    stored = json.loads(opened(finished).attrs["calibration"])
    calibration = og.Calibration.from_dict(stored)
    assert calibration == TINY.calibration
    assert (calibration.n_beta, calibration.localization, calibration.step_size) == (100.0, 10.0, 5e-4)
    assert calibration.burn_in == TINY.burn_in and calibration.chains == TINY.chains
    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"))["calibration"]
    assert summary["values"]["n_beta"] == 100.0 and summary["values"]["friction"] == 0.0
    page = (finished / "report.html").read_text(encoding="utf-8")
    for text in summary["provenance"].values():
        assert text.partition(";")[0] in page
    assert "The calibration that every estimate of this study shares" in page


def test_neighbours_keep_the_steepest_step_and_cost_a_fifth(monkeypatch):
    for name, times in zip(("BURN_IN", "DRAWS"), NEIGHBOURS_TAKE, strict=True):
        monkeypatch.setattr(sensitivity, name, times)
    real = settings.PRESETS["quick"]
    steepest = real.step_size * (real.n_beta * real.h_max + real.localization)
    cost = 0
    for name, (times_n_beta, times_gamma) in sensitivity.NEIGHBOURS.items():
        one = sensitivity.neighbour(real, name)
        assert (one.n_beta, one.localization) == (1000.0 * times_n_beta, 100.0 * times_gamma)
        assert one.step_size * (one.n_beta * one.h_max + one.localization) == pytest.approx(steepest)
        assert one.burn_in == pytest.approx(4 * one.relaxation, abs=1)
        cost += 4 * 20 * one.chains * (one.burn_in + one.draws)
    whole = 20 * real.checkpoints * real.chains * (real.burn_in + real.draws)
    assert cost <= 0.2 * whole
    assert sensitivity.neighbour(settings.PRESETS["full"], "half_n_beta").chains == 4


def test_the_neighbours_are_measured_at_the_same_checkpoints(finished):
    found, every = opened(finished, "sensitivity"), opened(finished)
    assert dict(found.sizes) == {"setting": 5, "seed": 1, "checkpoint": 5}
    assert found["setting"].values.tolist() == ["frozen", *sensitivity.NEIGHBOURS]
    assert found["n_beta"].values.tolist() == [100.0, 50.0, 200.0, 100.0, 100.0]
    assert found["localization"].values.tolist() == [10.0, 10.0, 10.0, 5.0, 20.0]
    seed = int(found["seed"][0])
    same = every.sel(seed=seed).isel(checkpoint=found["number"].values[0])
    assert same["step"].values.tolist() == found["step"].values[0].tolist()
    np.testing.assert_array_equal(found["llc_sensitivity"].sel(setting="frozen").values[0], same["llc"].values)
    anew = found["llc_sensitivity"].isel(setting=slice(1, None))
    assert np.isfinite(anew).all() and (anew != found["llc_sensitivity"].sel(setting="frozen")).all()
    assert (found["llc_sensitivity_se"] > 0).all()


def test_textbook_seeds_come_first_and_their_jumps_are_dense(monkeypatch):
    monkeypatch.setattr(sensitivity, "SEEDS", 2)
    monkeypatch.setattr(sensitivity, "CHECKPOINTS", 20)
    real, seeds = settings.PRESETS["quick"], {"seed": range(4)}
    inflection = xr.DataArray([np.nan, 900.0, np.nan, 3000.0], dims="seed", coords=seeds)
    start = xr.DataArray([300.0, 300.0, np.nan, 300.0], dims="seed", coords=seeds)
    textbook = xr.DataArray([False, False, False, True], dims="seed", coords=seeds)
    tasks = sensitivity.chosen(real, inflection, start, textbook)
    assert sorted({place for place, _, _ in tasks}) == [0, 3]
    for place, value in ((0, np.nan), (3, 3000.0)):
        own = checkpoints.checkpoint_steps(real, value)
        chosen = [(number, step) for where, number, step in tasks if where == place]
        assert len(chosen) == len(set(chosen)) == 20 and all(own[number] == step for number, step in chosen)
        assert min(step for _, step in chosen) >= 300 and chosen[-1][1] == real.train_steps
    near = [step for place, _, step in tasks if place == 3 and abs(step - 3000) <= 0.1 * real.train_steps]
    assert len(near) == 12
    late = sensitivity.chosen(real, inflection, start + 7000, textbook)
    assert len(late) == 40 and min(step for _, _, step in late) < 7300  # too few after it: the latest before


def test_a_folder_without_neighbours_still_gives_its_report(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "results.zarr" / "sensitivity")
    page = study.report(tmp_path / "old").read_text(encoding="utf-8")
    assert "Does this hang on" not in page and "Table 1" in page


def test_the_trajectory_is_dense_and_agrees_with_the_checkpoints(finished):
    path, found = opened(finished, "trajectory"), opened(finished)
    assert dict(path.sizes) == {"seed": SEEDS, "time": 31, "hidden": 2, "feature": 6}
    assert path["step"].values.tolist() == list(range(0, 301, 10))
    for name in ("effective_rank", "loss"):
        assert path[name].dims == ("seed", "time")
    assert path["feature_norm"].dims == ("seed", "time", "feature")
    assert path["weight"].dims == ("seed", "time", "hidden", "feature")
    assert ((path.effective_rank >= 1 - 1e-9) & (path.effective_rank <= 2 + 1e-9)).all()
    time = found["step"] // TINY.record_every
    for name in ("weight", "bias", "effective_rank", "feature_norm"):
        np.testing.assert_allclose(found[name], path[name].isel(time=time).transpose(*found[name].dims), rtol=1e-6)
    assert (path["loss"].isel(time=-1) < path["loss"].isel(time=0)).all()  # something was learnt


def test_the_llc_is_measured_at_every_checkpoint(finished):
    found = opened(finished)
    assert np.isfinite(found.llc.where(found.chains_lost == 0, 0)).all()
    assert (found.llc_se.where(found.chains_lost == 0, 1) > 0).all()
    np.testing.assert_allclose(found.localisation_ratio, TINY.n_beta * found.h_max / TINY.localization)


def test_the_summary_is_strict_json_with_figures_only(finished):
    def not_json(word):
        raise AssertionError(f"{word} is not JSON")

    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"), parse_constant=not_json)
    assert summary

    def leaves(value):
        if isinstance(value, dict):
            for inner in value.values():
                yield from leaves(inner)
        elif isinstance(value, list):
            assert all(isinstance(part, int | float | str | list | dict | None) for part in value)
        else:
            yield value

    assert all(isinstance(value, int | float | str | bool | None) for value in leaves(summary))


def test_the_report_is_one_page_without_network(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert 'src="http' not in page and 'href="http://' not in page.replace("http://www.w3.org", "")


def test_a_run_repeated_does_no_work_and_changes_no_number(finished, monkeypatch):
    before = {group: opened(finished, group) for group in (None, "trajectory")}
    summary = (finished / "summary.json").read_text(encoding="utf-8")

    def again(payload):
        raise AssertionError("done twice")

    monkeypatch.setattr(measure, "train", again)
    monkeypatch.setattr(measure, "measure", again)
    assert run(finished) == finished / "report.html"
    for group, values in before.items():
        xr.testing.assert_identical(opened(finished, group), values)
    assert (finished / "summary.json").read_text(encoding="utf-8") == summary


@pytest.mark.parametrize(("phase", "after"), [("train", 1), ("measure", 2)])
def test_interrupted_and_run_again_ends_in_the_same_numbers(finished, tmp_path, monkeypatch, phase, after):
    real, calls = getattr(measure, phase), []

    def interrupted(payload):
        calls.append(payload)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(payload)

    with monkeypatch.context() as patch:
        patch.setattr(measure, phase, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "out")
    assert not (tmp_path / "out" / "results.zarr").exists()
    counted = []

    def count(payload):
        counted.append(payload)
        return real(payload)

    monkeypatch.setattr(measure, phase, count)
    run(tmp_path / "out")
    assert len(counted) == {"train": 2, "measure": 4 + 4}[phase] - after  # what was done stays done
    assert_same_results(tmp_path / "out", finished)
    texts = [(folder / "summary.json").read_text(encoding="utf-8") for folder in (tmp_path / "out", finished)]
    assert texts[0] == texts[1]


def test_more_seeds_extend_a_folder_and_change_none(finished, tmp_path):
    run(tmp_path / "out")
    run(tmp_path / "out", seeds=3)
    assert opened(tmp_path / "out").seed.values.tolist() == [0, 1, 2]
    assert opened(tmp_path / "out").attrs["seeds"] == 3
    assert_same_results(tmp_path / "out", finished, seeds=[0, 1])
    # the default number of seeds, or fewer, takes nothing away
    run(tmp_path / "out", seeds=None)
    assert opened(tmp_path / "out").seed.values.tolist() == [0, 1, 2]
    assert opened(tmp_path / "out", "trajectory").sizes["seed"] == 3


def test_seeds_at_once_are_the_seeds_one_after_another(finished, tmp_path):
    run(tmp_path / "out", seeds=1)
    assert_same_results(tmp_path / "out", finished, seeds=[0])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_preset_in_the_same_folder_is_refused(finished):
    before = contents(finished)
    with pytest.raises(og.OntogenyError, match=r"holds another study \(superposition, quick\).*superposition, full"):
        run(finished, preset="full")
    assert contents(finished) == before


def test_other_settings_under_the_same_name_are_refused(finished, monkeypatch):
    before = contents(finished)
    monkeypatch.setattr(study, "PRESETS", {"quick": dataclasses.replace(TINY, sparsity=0.3)})
    with pytest.raises(og.OntogenyError, match="holds another study"):
        run(finished)
    assert contents(finished) == before


def test_the_report_is_made_again_from_the_results(finished):
    summary = (finished / "summary.json").read_bytes()
    page = finished / "report.html"
    page.unlink()
    assert study.report(finished) == page and page.exists()
    assert (finished / "summary.json").read_bytes() == summary


def test_checkpoints_are_distinct_increasing_and_dense_around_the_jump():
    real = settings.PRESETS["full"]
    for inflection in (float("nan"), 0.0, 3000.0, 7990.0):
        steps = checkpoints.checkpoint_steps(real, inflection)
        assert len(steps) == len(set(steps)) == real.checkpoints and steps == sorted(steps)
        assert steps[0] == 0 and steps[-1] == real.train_steps
        assert all(step % real.record_every == 0 for step in steps)
    near = [s for s in checkpoints.checkpoint_steps(real, 3000.0) if abs(s - 3000) <= 0.06 * real.train_steps]
    assert len(near) >= real.jump_checkpoints
    common = set(checkpoints.checkpoint_steps(dataclasses.replace(real, jump_checkpoints=0), float("nan")))
    assert common <= set(checkpoints.checkpoint_steps(real, 3000.0))


def test_a_seed_is_trained_alike_whatever_its_group(monkeypatch):
    alone = [measure.train(measure.SeedGroup(TINY, seed)) for seed in range(3)]
    monkeypatch.setattr(measure, "SEEDS_A_GROUP", 3)
    together = measure.train(measure.SeedGroup(TINY, 0))
    for seed, one in enumerate(alone):
        xr.testing.assert_allclose(together.sel(seed=[seed]), one, rtol=1e-3, atol=1e-4)  # float32, 300 steps
    assert (abs(alone[0].weight.values - alone[1].weight.values).max((0, 2, 3))[1:] > 1e-2).all()
