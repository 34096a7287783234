"""The sorting study at a tiny size: from training to the page, resumed, and with more seeds."""

import json
import shutil

import numpy as np
import pytest
import torch

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.inputs.algorithmic_tasks import CumulativeSums, SignOfSum, SortedLists, SortedPart
from ontogeny.store import Store, read_zarr
from ontogeny.studies.sorting import curvature, settings, study, train
from ontogeny.studies.sorting.settings import SortingSettings, Variant

TINY = SortingSettings(
    "quick",
    (
        Variant("1 head", "one head", 12, heads=1, numbers=6, length=3),
        Variant("2 heads", "two heads", 12, numbers=6, length=3),
        Variant("cumulative sum", "the sign of a sum", 12, heads=1, cumulative=True),
    ),
    early=3,
    linear=3,
    seeds=1,
    several=1,
    train_batch=16,
    examples=40,
    chains=2,
    draws=8,
    step_size=1e-4,
    burn_in=4,
    batch_size=8,
    fresh=50,
)


PROBES = 3


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A small preset, and little curvature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "PRESETS", {"quick": TINY})
        patch.setattr(curvature, "PROBES", PROBES)
        patch.setattr(curvature, "STEPS", 6)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study's folder."""
    out = tmp_path_factory.mktemp("sorting") / "out"
    study.run("quick", out=out, progress=False, workers=1)
    return out


def test_seeds_of_any_variant_are_never_dropped(finished, tmp_path):
    """The baseline has more seeds than the others; on the way to them again, none is lost."""
    shutil.copytree(finished, tmp_path / "out")
    store, path = Store(tmp_path / "out", TINY.identity()), tmp_path / "out" / "results.zarr"
    names = [one.name for one in TINY.variants]
    seed = {name: read_zarr(path, study.group_of(name)) for name in names}
    seeds = [seed["2 heads"].assign_coords(seed=[number]) for number in range(3)]
    study._write(store, TINY, {name: seeds if name == "2 heads" else [seed[name]] for name in names}, seeds=1)
    study._write(store, TINY, {name: [seed[name]] for name in names}, seeds=1)
    assert read_zarr(path, "2_heads").sizes["seed"] == 3 and read_zarr(path, "1_head").sizes["seed"] == 1


def test_what_a_run_leaves(finished):
    two = read_zarr(finished / "results.zarr", "2_heads")
    assert two["llc"].dims == ("seed", "checkpoint", "setting", "component")
    assert list(two["component"].values) == ["all", "0:0", "0:1"] and list(two["setting"].values) == list(
        settings.NEIGHBOURS
    )
    assert two["step"].values.tolist() == [0, 1, 3, 4, 8, 12]
    whole, last_only = two["llc"].sel(component="all"), [False] * 5 + [True]
    assert np.isfinite(whole.sel(setting="frozen")).all()
    for elsewhere in (whole.sel(setting="twice nβ"), two["llc"].sel(setting="frozen", component="0:1")):
        assert np.isfinite(elsewhere.isel(seed=0)).values.tolist() == last_only
    assert two["ov"].sizes["source"] == 6 and two["head_overlap"].notnull().all()
    assert read_zarr(finished / "results.zarr", "1_head")["head_overlap"].isnull().all()
    assert read_zarr(finished / "results.zarr", "cumulative_sum")["ov"].sizes["output"] == 3
    assert sorted(path.name for path in finished.glob("*.gif")) == [
        "circuits-1-head.gif", "circuits-2-heads.gif", "circuits-cumulative-sum.gif"
    ]  # fmt: skip


def test_curvature_is_told_at_every_checkpoint_of_the_whole_model(finished):
    two = read_zarr(finished / "results.zarr", "2_heads")
    whole, head = (two.sel(component=name, setting="frozen") for name in ("all", "0:0"))
    for name in ("hessian_trace", "hessian_trace_se", "hessian_rank"):
        assert np.isfinite(whole[name]).all() and np.isnan(head[name]).all(), name
        assert whole[name].attrs["units"] and whole[name].dims == ("seed", "checkpoint")
    assert set(whole["second_order_llc_status"].values.ravel()) <= {"ok", "no_posterior", "unresolved"}
    one = og.metrics.hessian_trace(
        train.loaded(TINY.variants[1], weights_at(finished, 5)),
        train.data_of(TINY, TINY.variants[1]),
        TINY.variants[1].loss,
        samples=32,
        probes=PROBES,
        batch_size=32,
    )
    assert float(whole["hessian_trace"][0, 5]) == pytest.approx(one["hessian_trace"].item(), rel=1e-5)


def weights_at(folder, place):
    """Flat weights of the first seed of "2 heads"."""
    store = Store(folder, TINY.identity())
    return store.load(study.training_chunk(TINY, TINY.variants[1], 0).key)["weights"].values[place]


def test_the_report_states_what_the_summary_holds(finished):
    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert summary["findings"]["2 heads"]["hessian_trace_peak"]["n"] == 1 and "Hessian trace" in page
    assert summary["second_order"]["2 heads"]["estimates"] == 6 and "beyond second order" in page
    assert summary["findings"]["2 heads"]["seeds"] == 1 and "2 heads" in page and '"frames"' in page
    assert summary["health"]["estimates"] == 3 * (6 + 4) + 1 + 2 + 1


def test_running_again_computes_nothing_and_more_seeds_keep_the_first(finished, monkeypatch):
    before = read_zarr(finished / "results.zarr", "2_heads")
    page = study.run("quick", out=finished, seeds=2, progress=False, workers=1)
    after = read_zarr(finished / "results.zarr", "2_heads")
    assert after.sizes["seed"] == 2
    np.testing.assert_array_equal(after["llc"].isel(seed=0), before["llc"].isel(seed=0))
    for name in ("train", "measure"):
        monkeypatch.setattr(study, name, lambda *_: pytest.fail("something was computed again"))
    assert study.run("quick", out=finished, progress=False, workers=1) == page


def test_a_model_comes_back_from_flat_weights():
    variant = TINY.variants[1]
    model = variant.model(3)
    again = train.loaded(variant, train.flat(model.state_dict()))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_lists_are_distinct_sorted_after_the_separator_and_uniform():
    rows = SortedLists(6, 3).rows(6000, generator(0, "rows"))
    lists, rest = rows[:, :3], rows[:, 4:]
    assert bool((rows[:, 3] == 6).all()) and bool((lists.sort(1).values == rest).all())
    assert bool((rest.diff(dim=1) > 0).all())
    counts = torch.bincount(lists[:, 0], minlength=6).double()  # each number first in one list of six
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 20.5  # χ² with 5 degrees of freedom, p = 0.001


def test_neighbours_change_places_with_the_stated_probability():
    """Numbers 0 and k: swapped with probability 0.4/k; four standard errors."""
    rows = SortedLists(3, 2, swaps=True).rows(30_000, generator(0, "noisy"))[:, 3:]
    low, high = rows.min(1).values, rows.max(1).values
    for gap in (1, 2):
        of_gap = rows[high - low == gap]
        share = float((of_gap[:, 0] > of_gap[:, 1]).double().mean())
        p = 0.4 / gap
        assert abs(share - p) < 4 * (p * (1 - p) / len(of_gap)) ** 0.5


def test_losses_are_at_the_positions_to_be_predicted():
    task, loss = SortedLists(6, 3), SortedPart(3)
    rows = task.rows(5, generator(0, "rows"))

    class Knows(torch.nn.Module):
        def forward(self, tokens):
            return 50.0 * torch.nn.functional.one_hot(torch.roll(tokens, -1, 1), 7).float()

    assert loss(Knows(), rows).shape == (5, 3) and float(loss(Knows(), rows).max()) < 1e-6
    assert bool(loss.correct(Knows(), rows).all())
    sums = CumulativeSums(2, 4)
    assert SignOfSum(2).classes(torch.tensor([[2, 1, 4, 0]])).tolist() == [[1, 0, 2, 0]]
    assert sums.rows(3, generator(0, "sums")).shape == (3, 4) and sums.vocabulary == 5


def test_a_list_longer_than_its_numbers_is_refused():
    with pytest.raises(og.OntogenyError, match=r"length must be between 2 and numbers, 5, .*; got 6"):
        SortedLists(5, 6)


def test_unknown_presets_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "PRESETS", settings.PRESETS)
    with pytest.raises(og.OntogenyError, match="preset must be one of quick, variants, full; got 'huge'"):
        study.run("huge", out=tmp_path / "out")


def test_the_baseline_has_seeds_of_its_own():
    preset = settings.PRESETS["variants"]
    counts = {one.name: preset.seeds_of(one, 1) for one in preset.variants}
    assert counts.pop(settings.BASELINE) == 5 and set(counts.values()) == {1}
    assert {preset.seeds_of(one, 7) for one in preset.variants} == {7}
