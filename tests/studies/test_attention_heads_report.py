"""The attention-heads report on made-up measurements in which it is known what every statement should say."""

import dataclasses
import json
import re

import numpy as np
import pytest
import xarray as xr

from ontogeny.report.attention_heads import summarise, write_attention_heads_report
from ontogeny.report.attention_heads.claims import excerpt, rows
from ontogeny.report.attention_heads.effects import EVERY, SOME, TYPICAL, above, correlation, equal, plainly, verdict
from ontogeny.report.attention_heads.statements import STATEMENTS
from ontogeny.report.attention_heads.text import conclusions
from ontogeny.studies.attention_heads.settings import PRESETS

STEPS = np.array([0, 30, 100, 300, 600, 1000, 1700, 2450])
HEADS = [f"{layer}:{head}" for layer in (0, 1) for head in range(8)]
KINDS = (
    ["previous-token", "current-token", *(["multigram"] * 6), *(["multigram"] * 6), "induction", "induction"]
)  # fmt: skip
DATASETS = ["text", "code", "docs", "zero-layer model", "one-layer model"]
TIME = np.log1p(STEPS) / np.log1p(STEPS[-1])


def curves(kind, number):
    """wrLLC over training: one shape a type, a size a head; multigram heads with more multigrams are larger."""
    if kind == "multigram":
        return (4 + number) * np.sin(np.pi * TIME**2 * 0.8)
    if kind == "induction":
        return 6.0 / (1 + np.exp(-30 * (TIME - 0.85)))
    return 3.0 * TIME if kind == "previous-token" else 3.0 * np.exp(-20 * (TIME - 0.6) ** 2)


def estimates(dims, llc, coords):
    """λ̂ with an error of 0.02, all of it well measured."""
    same = {
        "llc_se": 0.02, "r_hat": 1.0, "ess": 100.0, "chains_lost": 0, "n_beta": 30.0, "localization": 200.0,
        "step_size": 1e-3, "h_max": 20.0, "localisation_ratio": 3.0,
    }  # fmt: skip
    out = xr.Dataset({"llc": (dims, llc), **{name: (dims, np.full(llc.shape, value)) for name, value in same.items()}})
    for name, word in (("status", "ok"), ("regime", "localised")):
        out[name] = (dims, np.full(llc.shape, word, dtype=object))
    return out.assign_coords(coords)


def made_up(seeds=2):
    """The groups of results.zarr."""
    random = np.random.default_rng(0)
    time = {"step": ("checkpoint", STEPS)}
    multigrams = np.array([10 * (number % 8) + 5 if kind == "multigram" else 3 for number, kind in enumerate(KINDS)])
    of_text = np.stack([curves(kind, number % 8) for number, kind in enumerate(KINDS)])
    of_code = np.stack(
        [c * (1.5 if k == "induction" and h == "1:6" else 1.1 if k == "induction" else 0.6)
         for c, k, h in zip(of_text, KINDS, HEADS, strict=True)]
    )  # fmt: skip
    of_one_layer = of_text * np.where(STEPS < 500, 1.0, 0.5)
    components = [*HEADS, "both induction heads"]
    values = np.full((1, seeds, 8, len(components), 3), np.nan)
    for place, one in enumerate((of_text, of_code, of_one_layer)):
        values[0, :, :, :16, place] = one.T
    values[0, :, :, 16, :2] = 12 * TIME[:, None]
    values += 0.01 * random.standard_normal(values.shape)
    heads = estimates(
        ("setting", "seed", "checkpoint", "component", "dataset"), values,
        {"setting": ["paper"], "seed": range(seeds), "component": components,
         "dataset": ["text", "code", "one-layer model"], **time},
    )  # fmt: skip
    for word in ("status", "regime"):
        heads[word] = heads[word].where(heads["llc"].notnull(), "")
    shape = np.array([5, 20, 60, 50, 40, 45, 60, 61.0])
    whole = np.stack([shape, shape[::-1].copy(), shape + 5, shape * 0.5, shape * 0.8], -1)
    whole = whole + 0.01 * random.standard_normal((1, seeds, *whole.shape))
    all_weights = estimates(
        ("setting", "seed", "checkpoint", "dataset"), whole,
        {"setting": ["paper"], "seed": range(seeds), "dataset": DATASETS, **time},
    )  # fmt: skip
    loss = 7 * np.exp(-1.2 * TIME) + np.zeros((1, seeds, 5, 1))
    all_weights["loss"] = (("setting", "seed", "dataset", "checkpoint"), loss)
    all_weights["loss_se"] = all_weights["loss"] * 0 + 0.01
    return {
        "behaviour": behaviour(seeds, time),
        "curvature": curvature(of_text, seeds, time),
        "heads": heads,
        "whole": all_weights,
        "contexts": contexts(seeds, multigrams),
        "training": xr.Dataset(
            {
                "training_loss": (("seed", "kept"), np.tile(7 * np.exp(-1.2 * TIME), (seeds, 1))),
                "tokens": (("seed", "kept"), np.tile(STEPS * 4096.0, (seeds, 1))),
                "baseline_loss": (("seed", "dataset", "order"), np.tile([6.0, 4.0, 3.5, 3.4], (seeds, 3, 1))),
            },
            coords={"kept_step": ("kept", STEPS), "dataset": DATASETS[:3], "order": [1, 2, 3, 4], "seed": range(seeds)},
        ),
    }


def behaviour(seeds, time):
    """Scores that say the types; the ICL score of each induction head's ablation falls where the other's λ̂ peaks."""
    of = np.array(KINDS)[:, None]
    late = 1 / (1 + np.exp(-30 * (TIME - 0.85)))

    def by_head(values):
        return ("seed", "checkpoint", "head"), np.broadcast_to(np.asarray(values).T, (seeds, 8, 16)).copy()

    pairs = np.full((seeds, 8, 16, 16), np.nan)
    pairs[:, :, :8, 8:] = (0.3 - 0.2 * np.sin(np.pi * TIME**2))[None, :, None, None]
    icl = np.broadcast_to((-0.4 * late)[None, :, None], (seeds, 8, 17))
    resample = np.stack([curves(kind, number % 8)[-1] for number, kind in enumerate(KINDS)])
    ablated = np.broadcast_to(resample[None, None, None] * 0.01, (seeds, 8, 3, 16)).copy()
    out = {
        "previous_token": by_head(np.where(of == "previous-token", 0.9 * TIME, 0.05)),
        "current_token": by_head(np.where(of == "current-token", 0.8 * TIME, 0.05)),
        "prefix_matching": by_head(np.where(of == "induction", 0.9 * late, 0.02)),
        "icl_score": (("seed", "checkpoint", "ablated"), icl.copy()),
        **{f"{name}_composition": (("seed", "checkpoint", "writer", "reader"), pairs) for name in "qkv"},
        "ablation_score": (("seed", "checkpoint", "ablation", "head"), ablated),
        "bracket_score": (("seed", "checkpoint", "sentences", "head"), ablated[:, :, :2]),
        "bracket_loss": (("seed", "checkpoint", "sentences"), np.ones((seeds, 8, 2))),
        "path_score": (("seed", "checkpoint", "sentences", "through"), np.ones((seeds, 8, 2, 4)) * 0.1),
        "hessian_trace": (
            ("seed", "checkpoint", "trace_dataset", "head"), np.broadcast_to(resample, (seeds, 8, 2, 16)).copy()
        ),
        "loss": (("seed", "checkpoint"), np.tile(7 * np.exp(-1.2 * TIME), (seeds, 1))),
    }  # fmt: skip
    out |= {f"{name}_se": (dims, np.full(np.shape(values), 0.01)) for name, (dims, values) in out.items()}
    out |= {
        "receiver": ("seed", ["1:2"] * seeds),
        "senders": ("seed", ["0:2 0:3"] * seeds),
        "pair": ("seed", ["1:6 1:7"] * seeds),
    }
    names = {
        "head": HEADS, "writer": HEADS, "reader": HEADS, "ablated": ["none", *HEADS], "seed": range(seeds),
        "ablation": ["zero", "mean", "resample"], "sentences": ["unnested", "nested"],
        "through": ["q", "k", "v", "qkv"], "trace_dataset": ["text", "code"], **time,
    }  # fmt: skip
    return xr.Dataset(out, coords=names)


def curvature(llc, seeds, time):
    """Second order explains four fifths of the wrLLC, with nothing taken off; at the first step there is none."""
    by_head = ("seed", "checkpoint", "head")
    values = np.broadcast_to(llc.T, (seeds, 8, 16)).copy()
    predicted = 0.8 * values
    predicted[:, 0] = np.nan
    out = {"fisher_trace": (by_head, values + 1), "hessian_min": (by_head, -values), "hessian_max": (by_head, values)}
    known = {"hessian_rank": 2 * values, "second_order_llc": predicted, "second_order_llc_curvature": predicted}
    out |= {name: (("setting", *by_head), one[None]) for name, one in known.items()}
    out["second_order_llc_gradient"] = (("setting", *by_head), np.where(np.isnan(predicted), np.nan, 0.0)[None])
    out |= {
        f"{name}_se": (dims, one * 0 + 0.01) for name, (dims, one) in out.items() if not name.startswith("hessian_m")
    }
    words = np.full((1, seeds, 8, 16), "ok", dtype=object)
    out |= {f"{name}_status": (("setting", *by_head), words.copy()) for name in ("hessian_rank", "second_order_llc")}
    out["second_order_llc_status"][1][:, :, 0] = "no_posterior"
    out["fisher_trace_status"] = (by_head, words[0])
    return xr.Dataset(out, coords={"head": HEADS, "setting": ["paper"], "seed": range(seeds), **time})


def contexts(seeds, multigrams):
    """Two tokens a card; everything is an n-gram."""
    patterns = ["induction", "dyck", "skip_ngram", "ngram", "unexplained"]
    share = np.tile([0.1, 0.1, 0.1, 0.6, 0.1], (seeds, 2, 16, 1))
    token = {
        "texts": ["<b>", " ago", "\n", "x"], "attention": [0.1, 0.7, 0.2, 0.0], "position": 2, "increase": 1.5,
        "pattern": "ngram", "multigram": [" ago", "\n", "x"],
    }  # fmt: skip
    moved = {
        "multigram": [" years", " ago"], "pattern": "ngram", "left": ["0:2"], "joined": ["1:0"], "tokens_before": 4,
        "tokens_after": 7,
    }  # fmt: skip
    dims = ("seed", "when", "head")
    return xr.Dataset(
        {
            "share": ((*dims, "pattern"), share),
            "share_se": ((*dims, "pattern"), share * 0.05),
            "multigrams": (dims, np.tile(multigrams, (seeds, 2, 1))),
            "type": (dims, np.tile(np.array(KINDS, dtype=object), (seeds, 2, 1))),
            "pattern_of_head": (dims, np.full((seeds, 2, 16), "ngram", dtype=object)),
            "card": (dims, np.full((seeds, 2, 16), json.dumps([token, token]), dtype=object)),
            "migrations": ("seed", [json.dumps([moved])] * seeds),
            "migrated": ("seed", [1] * seeds),
        },
        coords={
            "head": HEADS, "pattern": patterns, "when": ["early", "last"], "seed": range(seeds),
            "step": ("when", STEPS[[3, 7]]),
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def summary():
    return summarise(made_up(), dataclasses.asdict(PRESETS["quick"]))


EXPECTED = {
    "clusters": "agrees",
    "multigrams": "agrees",
    "induction_code": "agrees",
    "one_layer": "agrees",
    "pair_equal": "agrees",
    "pair_code": "agrees",
    "multigram_code": "agrees",
    "icl": "cannot be told",  # λ̂ of these heads peaks at the last checkpoint
    "shifted": "agrees",
    "three_types": "agrees",
    "decreasing": "cannot be told",  # both runs have a decreasing stage
    "k_composition": "agrees",
    "resample": "agrees",
    "trace": "agrees",
}


def test_statements_are_decided_as_the_measurements_were_made(summary):
    claims = summary["claims"]["paper"]
    assert list(claims) == list(STATEMENTS)
    assert {name: claim["verdict"] for name, claim in claims.items()} == EXPECTED
    json.dumps(summary, allow_nan=False)


def test_what_a_run_cannot_tell_comes_with_the_effect_it_would_have_detected(summary):
    weak = above(0.01, 0.02, "a difference")
    assert weak.holds is None and weak.detectable == pytest.approx(2.8016 * 0.02)
    assert above(-1.0, 0.02, "").holds is False and above(1.0, 0.02, "", least=2.0).holds is False
    assert equal(0.01, 0.01, 0.5, "").holds is True and equal(0.6, 0.01, 0.5, "").holds is False
    assert equal(0.5, 0.1, 0.5, "").holds is None and equal(0.5, 0.1, 0.5, "").detectable > 0.5
    assert above(np.nan, 0.1, "").holds is None
    few = correlation([1, 2, 3, 4, 5, 6], [2, 1, 5, 3, 6, 4], "six heads")
    assert few.holds is None and few.detectable > abs(few.value)
    assert verdict([weak, above(1.0, 0.1, "")]) == "agrees" and verdict([weak]) == "cannot be told"
    both = [plainly(True, 1, ""), plainly(False, 1, "")]
    assert [verdict(both, of) for of in (TYPICAL, EVERY, SOME)] == ["cannot be told", "disagrees", "agrees"]
    assert verdict([both[0], weak], EVERY) == verdict([both[1]], SOME) == "cannot be told"
    one = rows(excerpt(summary))
    assert len(one) == len(STATEMENTS) and all(line.count("|") == 5 for line in one)


def reversed_effects():
    """The same measurements with every effect turned round."""
    out = made_up()
    heads, whole, acts = out["heads"], out["whole"], out["behaviour"]
    induction, multigram = (np.array([kind == word for kind in KINDS]) for word in ("induction", "multigram"))
    values = heads["llc"].values  # setting, seed, checkpoint, component, dataset
    of_text = values[..., :16, 0].copy()
    values[..., 15, 0] = 2 * of_text[..., 14]
    values[..., :16, 1] = of_text * np.where(induction, 0.5, 1.5)
    values[..., 15, 1] = values[..., 14, 1]
    values[..., :16, 2] = of_text * np.where(STEPS < 500, 0.5, 1.0)[:, None]
    turned = np.array([20 * number for number in range(8, 0, -1)] * 2)
    out["contexts"]["multigrams"] = out["contexts"]["multigrams"] * 0 + np.where(multigram, turned, 3)
    whole["llc"].loc[{"dataset": "docs"}] = 3 * whole["llc"].sel(dataset="text")
    out["contexts"]["type"] = out["contexts"]["type"].copy()
    out["contexts"]["type"].loc[{"head": "0:1", "seed": 1}] = "multigram"  # the only current-token head of that seed
    whole["llc"].loc[{"dataset": "text", "seed": 0}] = np.array([5, 10, 20, 30, 40, 45, 50, 55.0])
    acts["k_composition"] = acts["k_composition"] * 0 + xr.DataArray(0.3 - 0.2 * TIME, dims="checkpoint")
    for name in ("ablation_score", "hessian_trace"):
        acts[name] = -acts[name]
    return out


REVERSED = {
    "clusters": "agrees",  # curves and types are what they were
    "multigrams": "disagrees",
    "induction_code": "disagrees",
    "one_layer": "disagrees",
    "pair_equal": "disagrees",
    "pair_code": "disagrees",
    "multigram_code": "disagrees",
    "icl": "cannot be told",
    "shifted": "disagrees",
    "three_types": "disagrees",
    "decreasing": "agrees",  # one of two runs rises all along
    "k_composition": "disagrees",
    "resample": "disagrees",
    "trace": "disagrees",
}


def test_statements_are_refuted_where_the_measurements_were_turned_round():
    claims = summarise(reversed_effects(), dataclasses.asdict(PRESETS["quick"]))["claims"]["paper"]
    assert {name: claim["verdict"] for name, claim in claims.items()} == REVERSED


def without_code():
    out = made_up(1)
    kept = {"heads": ["text", "one-layer model"], "whole": [name for name in DATASETS if name != "code"]}
    out |= {name: out[name].sel(dataset=names) for name, names in kept.items()}
    out["training"] = out["training"].sel(dataset=["text", "docs"])
    out["behaviour"] = out["behaviour"].sel(trace_dataset=["text"])
    return out


def of_one_type():
    out = made_up(1)
    out["contexts"]["type"] = xr.full_like(out["contexts"]["type"], "other")
    return out


def below_baseline_early():
    out = made_up(1)
    out["heads"]["regime"] = out["heads"]["regime"].copy()
    out["heads"]["regime"].loc[{"checkpoint": [0, 1]}] = "below_baseline"
    out["heads"]["chains_lost"].loc[{"component": "0:2", "checkpoint": 4}] = 1
    return out


def hardly_usable():
    out = made_up(1)
    for name in ("heads", "whole"):
        out[name]["regime"] = out[name]["regime"].copy()
        out[name]["regime"].loc[{"checkpoint": list(range(6))}] = "below_baseline"
    return out


@pytest.mark.parametrize("measured", [without_code, of_one_type, below_baseline_early, hardly_usable])
def test_a_run_that_lacks_something_has_a_page_all_the_same(measured, tmp_path):
    found = summarise(measured(), dataclasses.asdict(PRESETS["quick"]))
    json.dumps(found, allow_nan=False)
    write_attention_heads_report(tmp_path / "report.html", measured(), found)
    clusters = found["clusters"]["paper"]
    if measured is below_baseline_early:
        assert all(one["checkpoints_left_out"] == 2 for one in clusters)
        assert "0:2" not in next(one["heads"] for one in clusters if one["layer"] == 0)
        assert "0:3" in next(one["heads"] for one in clusters if one["layer"] == 0)
    elif measured is hardly_usable:
        assert not clusters and found["claims"]["paper"]["clusters"]["verdict"] == "cannot be told"
    elif measured is of_one_type:
        assert found["claims"]["paper"]["three_types"]["verdict"] == "disagrees"
        assert found["claims"]["paper"]["clusters"]["verdict"] == "cannot be told"
    else:
        assert found["claims"]["paper"]["induction_code"]["verdict"] == "cannot be told"


def test_stages_clusters_and_types_are_in_the_summary(summary):
    assert [stage["direction"] for stage in summary["stages"]["paper"]["0"]] == ["rising", "falling", "rising"]
    found = {(one["layer"], one["count"]): one for one in summary["clusters"]["paper"]}
    assert set(found) == {(0, 3), (0, 4), (1, 2), (1, 4)}
    coarse = found[1, 2]
    assert coarse["types"]["rand_index"] == 1.0 and coarse["types"]["p_value"] < 0.1
    assert coarse["transfer"][0]["seed"] == 1 and len(coarse["transfer"]) == 2
    assert summary["types"][0]["1:6"]["type"] == "induction" and summary["formed"][0]["prefix_matching"] is not None
    assert summary["migrations"][1]["found"] == 1


def test_second_order_is_told_by_head_at_minima_alone(summary):
    told = summary["second_order"]["paper"]
    assert told["no_posterior"] == 2 * 16 and told["heads"] == 16
    assert told["median"] == pytest.approx(0.8, abs=0.01) and told["lowest"] > 0.75
    assert told["by_head"]["1:6"]["share"]["seeds"] == 2
    last = summary["curvature"]["paper"][0]["1:6"]
    assert last["second_order_llc_status"] == "ok" and last["fisher_trace"][1] == 0.01
    assert [one["fisher_trace"]["value"] > 0.9 for one in summary["orders"]["paper"]] == [True, True]
    said = " ".join(conclusions(summary))
    assert "it explains 80 % of the wrLLC of the middle head" in said and "not measured" not in said
    assert "At 32 the quadratic has no posterior" in said


def test_the_page_shows_every_figure_that_there_are_measurements_for(summary, tmp_path):
    page = write_attention_heads_report(tmp_path / "report.html", made_up(), summary).read_text(encoding="utf-8")
    captions = " ".join(re.findall(r"<figcaption.*?</figcaption>", page, re.DOTALL))
    told = re.sub(r"<figcaption[^>]*>(<b>Figure \d+\.</b>)?", "", captions)  # without the page's own numbers
    shown = {*range(1, 21), 22, 23, 24}  # "20 to 22"
    assert not [number for number in shown if not re.search(rf"\b{number}\b", told)]
    assert "Table 1 of the paper" in page and "years" in page
    assert "Curvature, and what lies beyond it" in page and "8, 6, 4; the gradient of 512 rows" in page
