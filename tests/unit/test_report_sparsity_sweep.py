"""The sweep's report: what it says follows from the numbers, and every number of it is in the summary."""

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import synthetic_sweep
from ontogeny.core.errors import OntogenyError
from ontogeny.report.page import Section
from ontogeny.report.sparsity_sweep import sections, summarise, tables, text, verdicts, write_sparsity_sweep_report
from ontogeny.report.sparsity_sweep.sentences import ABSTRACT, CONCLUSIONS


@pytest.fixture(scope="module")
def sweep():
    measurements, neighbours, trajectory = synthetic_sweep.sweep()
    found = synthetic_sweep.found(measurements, neighbours, trajectory)
    return measurements, neighbours, trajectory, found


@pytest.fixture(scope="module")
def summary(sweep):
    measurements, neighbours, _, found = sweep
    return summarise(measurements, neighbours, found)


def paragraph(summary, start):
    (found,) = [s for s in text.conclusions(summary) if s.startswith(start)]
    return found


def with_ratio(summary, ratio, interval, settings=None):
    """The summary with this ratio in every definition and scale, at all settings or those given."""
    changed = copy.deepcopy(summary)
    for setting, by_definition in changed["drift_ratios"].items():
        if settings is None or setting in settings:
            for by_scale in by_definition.values():
                for cell in by_scale.values():
                    cell |= {"ratio": ratio, "interval": interval, "bounded": None not in interval}
    said = verdicts.drift_verdicts(changed["drift_ratios"], "frozen")
    changed["verdicts"] |= {f"drift_{name}": one for name, one in said.items()}
    return changed


@pytest.mark.parametrize("template", [ABSTRACT, *CONCLUSIONS])
def test_no_number_in_a_sentence_is_typed(template):
    bare = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template, flags=re.S).replace("F1", "")
    assert not re.findall(r"\d[\d,.]*", bare)


def test_the_summary_is_strict_json_and_makes_the_same_sentences(summary):
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert text.conclusions(again) == text.conclusions(summary)
    assert all(paragraph and "nan" not in paragraph.lower().split() for paragraph in text.conclusions(summary))


def test_the_summary_knows_what_was_planted(summary):
    assert summary["kept"]["0.3"]["counts"] == {"2": 8} and summary["kept"]["0.9"]["counts"] == {"5": 8}
    assert summary["events"]["0.3"]["rank_jump"]["events"] == 0
    assert summary["events"]["0.7"]["rank_jump"]["seeds"] == 8
    assert summary["timing"]["jump_after"] == summary["timing"]["both"] == 8
    assert 2500 < summary["timing"]["jump"]["median"] < 5500
    for setting in ("frozen", "twice_n_beta"):  # the planted LLC is scaled as a whole: the ratio stays
        cell = summary["drift_ratios"][setting]["net_change"]["raw"]
        assert cell["interval"][0] < 1.55 < cell["interval"][1] and cell["bounded"]
    twice = summary["drifts_by_setting"]["twice_n_beta"]["0.3"]["range"]["raw"]["mean"]
    assert twice / summary["drifts"]["llc"]["0.3"]["range"]["raw"]["mean"] == pytest.approx(1.2, rel=1e-6)
    assert summary["components"]["values"]["checkpoint"]["share"] > 0.5
    assert "llc" in summary["tracked"]["rank_jump"] and "gradient_norm" not in summary["tracked"]["rank_jump"]
    assert summary["unexplained"]["llc"]["0.3"]["mean"] < 0.2


def test_unusable_estimates_are_counted(summary):
    health = summary["health"]
    assert health["regime"]["below_baseline"] == health["estimates"] - health["usable"]["estimates"] == 64
    assert summary["health_by_sparsity"]["0.3"]["below"] == 16
    assert summary["health_by_setting"]["half_n_beta"]["usable"] == health["usable"]["estimates"]
    assert summary["health_by_sparsity"]["0.7"]["first_usable"]["range"][0] > 25
    assert "At 64 of 896 checkpoints" in paragraph(summary, "Limits")


@pytest.mark.parametrize(
    ("ratio", "interval", "about", "larger"),
    [
        (3.1, [2.5, 3.8], "About 3 times (from 2 to 4.5, and told from one): agrees in all 6", "In raw units yes"),
        (1.4, [1.2, 1.7], "disagrees in all 6 variants", "In raw units yes, in every definition"),
        (0.5, [0.4, 0.6], "disagrees in all 6 variants", "In raw units no, it is smaller in every definition"),
        (2.6, [0.8, 9.0], "agrees in 0 of 6 variants, disagrees in 0 and cannot be told in 6", "cannot be told in any"),
        (2.6, [None, None], "and cannot be told in 6", "cannot be told in any definition"),
    ],
)
def test_the_words_about_drift_follow_the_ratio(summary, ratio, interval, about, larger):
    said = paragraph(with_ratio(summary, ratio, interval), "LLC drift at")
    assert about in said and larger in said
    assert ("[unbounded]" in said) == (None in interval)
    assert "the same at all 4 neighbouring settings" in said


def test_neighbours_that_say_something_else_are_counted(summary):
    changed = with_ratio(summary, 3.1, [2.5, 3.8], ["frozen", "half_n_beta", "equal_curvature"])
    said = paragraph(changed, "LLC drift at")
    assert "agrees in all 6 variants; each variant says the same at 1 of 4 neighbouring settings of (nβ, γ)" in said
    assert "(half nβ)" in said
    assert changed["verdicts"]["drift_three_times"]["verdict"] == "agrees"


def test_what_estimates_below_baseline_add_is_said(summary):
    changed = copy.deepcopy(summary)
    changed["drift_ratios_of_all"] = with_ratio(summary, 3.1, [2.5, 3.8])["drift_ratios"]
    said = verdicts.drift_verdicts(changed["drift_ratios_of_all"], "frozen")
    changed["verdicts"]["drift_three_times_of_all"] = said["three_times"]
    words = paragraph(changed, "LLC drift at")
    assert "About 3 times then agrees in all 6 variants" in words and "how much loss" in words
    assert "how much loss" not in paragraph(summary, "LLC drift at")
    without = copy.deepcopy(summary) | {"drift_ratios_of_all": None}
    assert "With every finite λ̂" not in paragraph(without, "LLC drift at")


def test_definitions_of_two_minds_cannot_be_told(summary):
    changed = copy.deepcopy(summary)
    for by_scale in changed["drift_ratios"]["frozen"].values():
        by_scale["raw"] |= {"ratio": 3.0, "interval": [2.5, 3.6]}
        by_scale["relative"] |= {"ratio": 1.0, "interval": [0.9, 1.1]}
    one = verdicts.drift_verdicts(changed["drift_ratios"], "frozen")["three_times"]
    assert one["verdict"] == "cannot be told"
    assert one["by_scale"] == {"raw": "agrees", "relative": "disagrees"}
    assert one["counts"] == {"agrees": 3, "disagrees": 3, "cannot be told": 0, "variants": 6}


@pytest.mark.parametrize(
    ("interval", "p", "word"),
    [
        ([0.2, 0.9], 0.004, "not to emergence: agrees"),
        ([-0.9, -0.2], 0.004, "not to emergence: disagrees"),
        ([-0.2, 0.9], 0.2, "not to emergence: cannot be told; a true difference of 0.6 would have been found in 80 %"),
        ([0.2, 0.9], 0.12, "not to emergence: cannot be told"),
    ],
)
def test_the_rise_needs_both_interval_and_test(sweep, interval, p, word):
    measurements, neighbours, _, found = sweep
    rises = found.rises.copy(deep=True)
    rises["low"][:], rises["high"][:], rises["p_value"][:] = interval[0], interval[1], p
    summary = summarise(measurements, neighbours, replace(found, rises=rises))
    summary["rises"]["frozen"]["detectable"] = 0.6
    assert word in paragraph(summary, "Within seeds at S = 0.7")


def test_no_seed_with_a_jump_is_said(sweep):
    measurements, neighbours, trajectory, found = sweep
    events = found.events.isel(event=found.events["kind"].values != "rank_jump")
    rises = found.rises.copy(deep=True)
    for name in rises.data_vars:
        rises[name] = rises[name] * np.nan if rises[name].dtype.kind == "f" else rises[name] * 0
    detections = found.detections.drop_sel(kind="rank_jump")
    nothing = replace(found, events=events, rises=rises, detections=detections)
    summary = json.loads(json.dumps(summarise(measurements, neighbours, nothing), allow_nan=False))
    assert "No seed has a rank jump that could be dated" in paragraph(summary, "At S = 0.7 a seed's")
    assert "cannot be told: no seed at S = 0.7 has both" in " ".join(text.conclusions(summary))
    assert summary["verdicts"]["jump_after_emergence"]["verdict"] == "cannot be told"
    assert sections(measurements, neighbours, trajectory, summary, found=nothing)


def test_detection_is_judged_at_the_shared_level(sweep, summary):
    measurements, neighbours, _, found = sweep
    test = summary["detection_test"]
    assert test["alpha_each"] == test["alpha"] / test["cells"]
    detections = found.detections.copy(deep=True)
    detections["p_value"].loc[{"indicator": "llc", "kind": "rank_jump"}] = 1.01 * test["alpha_each"]
    changed = summarise(measurements, neighbours, replace(found, detections=detections))
    assert "llc" not in changed["tracked"]["rank_jump"]
    said = paragraph(changed, "Do change points of the LLC")
    assert re.search(r"the rank jump \(16\) with recall [^;]*not told from chance", said)


def test_a_table_of_statements_has_one_row_each(summary):
    table = tables.statements(summary)
    assert len(table.rows) == len(summary["verdicts"]) == len(tables.STATEMENTS)
    assert {row[1] for row in table.rows} <= set(verdicts.WORDS)
    assert table.rows[0][0] == "LLC drift at S = 0.3 is about 3 times that at S = 0.7"


def test_the_page_holds_every_section_and_fetches_nothing(sweep, summary, tmp_path):
    measurements, neighbours, trajectory, found = sweep
    path = write_sparsity_sweep_report(
        tmp_path / "report.html", measurements, neighbours, trajectory, summary, found=found
    )
    page = path.read_text(encoding="utf-8")
    made = sections(measurements, neighbours, trajectory, summary, found=found)
    assert all(isinstance(one, Section) for one in made)
    for one in made:
        assert one.title in page
    assert all(f"<b>Figure {n}.</b>" in page for n in range(1, 8))
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=.https?://", page)
    assert "NaN" not in "".join(re.findall(r"<td[^>]*>.*?</td>", page)) and "None</td>" not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drifts": {}}, "drifts must hold the indicator 'llc' and changes at least one; got \\[\\]"),
        ({"quiet": 0.2}, "drifts must hold the sparsities quiet and canonical, 0.2 and 0.7; .* without \\[0.2\\]"),
    ],
)
def test_found_says_what_is_missing(sweep, change, message):
    with pytest.raises(OntogenyError, match=message):
        replace(sweep[3], **change)


def test_found_names_the_dim_that_is_missing(sweep):
    found = sweep[3]
    with pytest.raises(OntogenyError, match=r"drift_ratios must have the dims .* without \['setting'\]"):
        replace(found, drift_ratios=found.drift_ratios.isel(setting=0))
    with pytest.raises(OntogenyError, match=r"drifts\['llc'\] must have the dims"):
        replace(found, drifts={"llc": found.drifts["llc"].isel(sparsity=0)})
