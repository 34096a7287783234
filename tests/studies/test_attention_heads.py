"""The attention-heads study at a tiny size: from text to the page, resumed, and with more seeds."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import numpy_generator
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.text import load_blocks
from ontogeny.metrics.curvature import fisher_trace, second_order_llc
from ontogeny.store import read_zarr
from ontogeny.studies.attention_heads import one_seed, study
from ontogeny.studies.attention_heads.settings import (
    PRESETS,
    AttentionHeadsSettings,
    Behaviour,
    Curvature,
    Model,
    Sampler,
    Training,
)

WORDS = "the|a|red|blue|house|river|runs|sleeps|and then|because|many|years|ago|(see below)|[1]|in|on|at|said"
CODE = "def|return|for|in|if|else|(|)|:|=|x|y|i|n|range|print|None|self|.|import"


def write_text(folder, words, files, seed):
    folder.mkdir()
    draw = numpy_generator(seed, "words")
    for number in range(files):
        lines = [" ".join(draw.choice(words.split("|"), 12)) + "." for _ in range(60)]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Settings of a study on made-up text, two layers of three heads."""
    texts = tmp_path_factory.mktemp("texts")
    write_text(texts / "prose", WORDS, 40, 0)
    write_text(texts / "code", CODE, 40, 1)
    return AttentionHeadsSettings(
        "quick",
        Model(vocabulary=300, context=40, width=16, layers=2, heads=2),
        Training(rows=60, steps=12, batch_size=4, early=4, linear=4),
        (Sampler("paper", draws=4),),
        checkpoints=3,
        seeds=1,
        behaviour=Behaviour(
            sequences=4, rows=8, brackets=6, in_context=20, most=12, shown=2, probes=2, trace_rows=4, early=4, late=30
        ),
        curvature=Curvature(fisher_rows=4, draws=2, rows=5, probes=2, steps=3),
        examples=12,
        mixture=f"0.8*dir:{texts}/prose + 0.2*dir:{texts}/code",
        datasets={"code": f"dir:{texts}/code"},
        tokenizer_characters=20_000,
    )


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The study's folder."""
    out = tmp_path_factory.mktemp("heads") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "PRESETS", {"quick": tiny})
        study.run("quick", out=out, progress=False, workers=1)
    return out


def test_what_a_run_leaves(finished):
    heads = read_zarr(finished / "results.zarr", "heads")
    assert set(heads["llc"].dims) == {"setting", "seed", "checkpoint", "component", "dataset"}
    assert list(heads["component"].values) == ["0:0", "0:1", "1:0", "1:1", "both induction heads"]
    measured = heads["llc"].notnull().isel(setting=0, seed=0).all("checkpoint")
    assert bool(measured.sel(dataset=["text", "code"]).all())
    assert not bool(measured.sel(dataset="one-layer model", component="both induction heads"))
    behaviour = read_zarr(finished / "results.zarr", "behaviour")
    assert behaviour["path_score"].sizes["through"] == 4 and behaviour["step"].values[-1] == 12
    contexts = read_zarr(finished / "results.zarr", "contexts")
    assert len(json.loads(str(contexts["card"].isel(seed=0, when=1, head=0).item()))) <= 2


def test_curvature_is_what_the_library_says_of_each_head(finished, tiny):
    curved = read_zarr(finished / "results.zarr", "curvature").isel(seed=0, setting=0)
    assert set(curved["fisher_trace"].dims) == {"checkpoint", "head"}
    assert bool((curved["fisher_trace"] > 0).all()) and bool((curved["fisher_trace_status"] == "ok").all())
    last = Checkpoints.from_folder(finished / "training" / "seed-0")
    model = AttentionOnly(tiny.model.config(), 0)
    model.load_state_dict(last.weights(12))
    rows = load_blocks(finished / "text" / "training", "held_out").take(torch.arange(12))
    heads = {head: head for head in tiny.heads}
    fisher = fisher_trace(model, rows, og.NextToken(), heads, samples=4, probes=2, seed=tiny.seed).isel(dataset=0)
    for name in ("fisher_trace", "fisher_trace_se"):
        np.testing.assert_allclose(curved[name].isel(checkpoint=-1).values, fisher[name].values, rtol=1e-3)
    for head in ("0:1", "1:0"):
        found = second_order_llc(
            model, rows, og.NextToken(), head, n_beta=30.0, localization=200.0, samples=5, probes=2, steps=3,
            batch_size=5, seed=tiny.seed,
        ).squeeze()  # fmt: skip
        here = curved.sel(head=head).isel(checkpoint=-1)
        for name in ("curvature", "gradient"):
            expected = float(found[f"second_order_llc_{name}"])
            assert float(here[f"second_order_llc_{name}"]) == pytest.approx(expected, rel=1e-3), (head, name)
        assert float(here["hessian_rank"]) == 0.0 and float(here["hessian_max"]) < 200 / 30


def test_a_folder_without_curvature_is_told_from_one_with_it_by_its_results_alone(finished, tiny, monkeypatch):
    assert "curvature" not in tiny.identity()
    attrs = read_zarr(finished / "results.zarr").attrs
    without = {name: value for name, value in json.loads(attrs["settings"]).items() if name != "curvature"}
    monkeypatch.setattr(study, "read_zarr", lambda *_: xr.Dataset(attrs={**attrs, "settings": json.dumps(without)}))
    with pytest.raises(og.OntogenyError, match="did not measure curvature, which the report states: `ontogeny run"):
        study.report(finished)


def test_the_page_and_the_summary_are_there(finished):
    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert summary["seeds"] == 1 and len(summary["types"][0]) == 4 and "1:1" in page
    made = 3 * ((4 + 1) * 2 + 4 + 2 + 2)  # heads and a pair on two data sets, on the one-layer model; the whole model
    assert summary["health"]["estimates"] == made
    assert {claim["verdict"] for claim in summary["claims"]["paper"].values()} <= {
        "agrees", "disagrees", "cannot be told"
    }  # fmt: skip


def test_running_again_computes_nothing_and_more_seeds_keep_the_first(finished, tiny, monkeypatch):
    monkeypatch.setattr(study, "PRESETS", {"quick": tiny})
    before = read_zarr(finished / "results.zarr", "heads")
    page = study.run("quick", out=finished, seeds=2, progress=False, workers=1)
    after = read_zarr(finished / "results.zarr", "heads")
    assert after.sizes["seed"] == 2
    np.testing.assert_array_equal(after["llc"].isel(seed=0), before["llc"].isel(seed=0))
    monkeypatch.setattr("ontogeny.store.Store.save", lambda *_: pytest.fail("something was computed again"))
    assert study.run("quick", out=finished, progress=False, workers=1) == page


def test_other_text_is_another_study(tiny):
    changed = study.on_text(tiny, "dir:elsewhere", {"code": "", "stories": "file:stories.json"})
    assert changed.mixture == "dir:elsewhere" and changed.datasets == {"stories": "file:stories.json"}
    assert changed.identity() != tiny.identity()


@pytest.mark.parametrize(
    ("datasets", "says"),
    [
        ({"text": "file:a.txt"}, "datasets: 'text' is what the study calls held-out text"),
        ({"training": "file:a.txt"}, "datasets: 'training' is what the study calls the text that is trained on"),
        ({"a b": "file:a.txt", "a_b": "file:b.txt"}, "datasets: a b, a_b would share a folder"),
    ],
)
def test_names_that_the_study_uses_itself_are_refused(tiny, datasets, says):
    with pytest.raises(og.OntogenyError, match=says):
        study.on_text(tiny, None, datasets)


def test_unknown_presets_are_refused(tmp_path):
    with pytest.raises(og.OntogenyError, match="preset must be one of quick, cpu, full; got 'huge'"):
        study.run("huge", out=tmp_path / "out")


def test_the_pair_is_chosen_by_order_and_the_receiver_by_what_its_ablation_costs():
    heads = ["0:0", "0:1", "1:0", "1:1", "1:2"]
    last = xr.Dataset(
        {
            "prefix_matching": ("head", [0.9, 0.0, 0.2, 0.1, 0.3]),
            "bracket_score": (("sentences", "head"), [[9, 9, 9, 9, 9.0], [0.0, 0.1, 0.5, 0.7, 0.2]]),
        },
        coords={"head": heads, "sentences": ["unnested", "nested"]},
    )
    assert one_seed.looks_like_induction(last) == ("1:0", "1:2")
    kinds = ["multigram", "previous-token", "multigram", "induction", "multigram"]
    types = xr.Dataset({"type": ("head", kinds)}, coords={"head": heads})
    assert one_seed.path_of(types, last) == (("0:0",), "1:0")
    nobody = xr.Dataset({"type": ("head", ["induction"] * 5)}, coords={"head": heads})
    assert one_seed.path_of(nobody, last) == ((), "")


def test_presets_have_no_more_checkpoints_than_are_kept():
    for preset in PRESETS.values():
        kept = preset.training.of_seed(0).checkpoints
        assert preset.checkpoints <= len(kept) and preset.training.steps in kept
        assert preset.behaviour.late < preset.model.context and "code" in preset.datasets


def test_chunks_go_to_the_executor_asked_for(tiny, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "PRESETS", {"quick": tiny})
    with pytest.raises(OntogenyError, match="far enough"):
        study.run("quick", out=tmp_path / "out", progress=False, workers=2, executor="ray", address="10.0.0.1:6379")
    [(chunks, given)] = asked
    assert chunks == tiny.checkpoints
    assert (given["workers"], given["address"]) == (2, "10.0.0.1:6379")
