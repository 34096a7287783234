"""The feature-targeted study at a tiny size: from text to the page, resumed; the path of ``full`` on a random GPT-2."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.weight_files import write_weights
from ontogeny.report.feature_targeted import claims
from ontogeny.store import read_zarr, write_zarr
from ontogeny.studies.feature_targeted import materials, study
from ontogeny.studies.feature_targeted.settings import PRESETS, Curvature, FeatureTargetedSettings, TrainedModel

TINY = FeatureTargetedSettings(
    "quick",
    layer=0,
    hook="resid_post",
    features=3,
    sequences=24,
    positions=8,
    trained=TrainedModel(
        "installed:docs?packages=json,typer",
        300,
        width=8,
        layers=2,
        heads=2,
        blocks=60,
        steps=4,
        batch_size=4,
        followed=2,
    ),
    latents=12,
    active=4,
    sae_steps=150,
    sae_sequences=60,
    top=(4, 2),
    chains=2,
    draws=4,
    batch_size=8,
    max_draws=60,
    developed=2,
    curvature=Curvature(directions=2, sequences=16, probes=3, steps=6, batch_size=8),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study's folder."""
    out = tmp_path_factory.mktemp("features") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "PRESETS", {"quick": TINY})
        patch.setattr(materials, "SAMPLE_CHARACTERS", 20_000)
        study.run("quick", out=out, progress=False, workers=1)
    return out


def test_what_a_run_leaves(finished):
    for loss in ("functional", "behavioral"):
        one = read_zarr(finished / "results.zarr", loss)
        assert one["llc"].dims == ("feature",) and list(one["kind"].values) == ["sae", "random"] * 3
        assert np.isfinite(one["llc"]).all() and set(one["status"].values) and one["llc"].attrs["units"] == "1"
    table = read_zarr(finished / "results.zarr", "baselines")
    assert table["ablation_kl"].dims == ("ablation", "over", "feature")
    assert list(table["over"].values) == ["all", "4", "2"]
    assert bool((table["ablation_kl"] >= -1e-6).all()) and table["text"].shape == (6, 3)
    curved = read_zarr(finished / "results.zarr", "curvature")
    assert curved["second_order_llc"].sizes == {"loss": 2, "feature": 4}
    assert list(curved["kind"].values) == ["sae", "random"] * 2 and curved.attrs == {}
    assert set(curved["second_order_llc_status"].values.ravel()) <= {"ok", "unresolved"}
    assert (abs(curved["second_order_llc_gradient"]) <= 1e-3 * curved["second_order_llc_curvature"]).all()
    along = read_zarr(finished / "results.zarr", "development")
    assert along["step"].values[-1] == 4 and along["llc"].sizes == {"feature": 2, "checkpoint": len(along["step"])}
    np.testing.assert_allclose(along["r_squared"].isel(checkpoint=-1), 1.0, rtol=1e-5)
    last = read_zarr(finished / "results.zarr", "functional")["llc"].values[:4:2]
    np.testing.assert_allclose(along["llc"].isel(checkpoint=-1), last, rtol=1e-3)


def test_the_report_states_what_the_summary_holds(finished):
    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert summary["health"]["estimates"] == 12 and summary["directions"] == {"sae": 3, "random": 3}
    assert "functional LLC" in summary["metrics"] and len(summary["metrics"]) == 4 + 2 * 2 * 3
    assert set(summary["second_order"]) == {"functional", "behavioral"}
    assert summary["second_order"]["functional"]["sae"]["estimates"] == 2
    assert "what remains lies beyond second order" in page and "predicts too little" in page
    assert "explains" in page and "δ" in page and "Features over training" in page
    rows = claims.rows(summary)
    assert any("functional LLC of SAE features" in row for row in rows)
    assert {row.split(" | ")[-1].removesuffix(" |") for row in rows} <= {"agrees", "disagrees", "cannot be told"}
    assert claims.rows(claims.excerpt(summary)) == rows


def test_running_again_computes_nothing(finished, monkeypatch):
    monkeypatch.setattr(study, "PRESETS", {"quick": TINY})
    for name in ("calibrate", "estimate", "curvature", "baselines", "follow"):
        monkeypatch.setattr(study, name, lambda *_: pytest.fail("something was computed again"))
    monkeypatch.setattr(materials, "train_sparse_autoencoder", lambda *_: pytest.fail("it was trained again"))
    assert study.run("quick", out=finished, progress=False, workers=1) == finished / "report.html"


def test_results_without_curvature_are_reported(finished, tmp_path):
    """Results of an earlier version."""
    parts = {name: read_zarr(finished / "results.zarr", name) for name in ("functional", "behavioral", "baselines")}
    parts = {None: read_zarr(finished / "results.zarr"), **parts}
    settings = json.loads(parts[None].attrs["settings"])
    del settings["curvature"]
    parts[None].attrs["settings"] = json.dumps(settings | {"developed": 0})
    write_zarr(tmp_path / "results.zarr", parts)
    assert "beyond second order" not in study.report(tmp_path).read_text(encoding="utf-8")


def test_the_path_of_full_on_a_random_gpt2(tmp_path, monkeypatch):
    """A folder as sae-lens writes it, a transformers model, tokens in a file: what ``full`` has from a hub."""
    pytest.importorskip("transformers")
    from known_transformers import gpt2

    with torch.random.fork_rng():
        torch.manual_seed(0)
        gpt2().save_pretrained(tmp_path / "model")
        rows = torch.randint(20, (10, 16))
        write_weights(tmp_path / "model" / "tokens.safetensors", {"input_ids": rows})
        write_weights(tmp_path / "sae_weights.safetensors", {"W_dec": 3.0 * torch.randn(9, 16)})
    (tmp_path / "model" / "vocab.json").write_text(json.dumps([f"<{i}>" for i in range(20)]))
    small = replace(
        PRESETS["full"], layer=1, features=2, sequences=16, positions=8, model=str(tmp_path / "model"),
        tokens="tokens.safetensors", text="", sae=str(tmp_path), top=(2,), chains=2, draws=4, batch_size=8,
        max_draws=60, device=None, curvature=Curvature(directions=1, sequences=8, probes=2, steps=4, batch_size=8),
    )  # fmt: skip
    monkeypatch.setattr(study, "PRESETS", {"full": small})
    page = study.run("full", out=tmp_path / "out", progress=False, workers=1)
    found = read_zarr(tmp_path / "out" / "results.zarr", "behavioral")
    assert found.sizes["feature"] == 4 and np.isfinite(found["llc"]).all()
    assert "3 attention layers" not in page.read_text(encoding="utf-8")


def test_a_bad_autoencoder_stops_the_study_with_a_sentence(tmp_path, finished):
    bad = materials.Materials(TINY, tmp_path)
    bad.quality_file.parent.mkdir()
    bad.quality_file.write_text(json.dumps({"good": False, "said": "the sparse autoencoder explains 0.50"}))
    assert bad.quality == {"good": False, "said": "the sparse autoencoder explains 0.50"}
    for name in ("text", "model"):
        (tmp_path / name).symlink_to(finished / name)
    with pytest.raises(og.OntogenyError, match=r"explains 0\.50"):
        bad.make(progress=False)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"preset": "huge"}, "preset must be one of quick, pretrained, full; got 'huge'"),
        ({"seeds": 2}, "seeds must be 1: this study has one model, and its directions are many; got 2"),
    ],
)
def test_wrong_calls(tmp_path, given, text):
    with pytest.raises(og.OntogenyError, match=text):
        study.run(out=tmp_path / "out", **given)


def test_chunks_go_to_the_executor_asked_for(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "PRESETS", {"quick": TINY})
    with pytest.raises(OntogenyError, match="far enough"):
        study.run("quick", out=tmp_path / "out", progress=False, workers=2, executor="ray", address="10.0.0.1:6379")
    [(chunks, given)] = asked
    assert chunks > 0
    assert (given["workers"], given["address"]) == (2, "10.0.0.1:6379")
