"""Sentences follow the numbers: every claim is made when the summary supports it, and only then."""

import copy
import re

import numpy as np
import pytest
import xarray as xr

import synthetic
from ontogeny.estimators.status import usable
from ontogeny.report import words
from ontogeny.report.health import HEALTH, describe_health
from ontogeny.report.superposition import summarise, text
from ontogeny.report.superposition.levels import llc_across_jump, windows
from ontogeny.report.superposition.verdicts import verdicts

NEIGHBOURS = ("half_n_beta", "twice_n_beta", "half_localization", "twice_localization")


@pytest.fixture(scope="module")
def summary(small_study):
    measurements, _, said = small_study
    return summarise(measurements, **{k: v for k, v in said.items() if k != "association"})


@pytest.mark.parametrize("template", [text.ABSTRACT, *text.CONCLUSIONS, *HEALTH.values()])
def test_no_number_in_a_sentence_is_typed(template):
    bare = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template, flags=re.S)
    assert not re.findall(r"\d[\d,.]*", bare)


@pytest.mark.parametrize(
    ("ps", "wanted", "unwanted"),
    [
        ((0.001, 0.002, 0.003), "an elevated LLC at the jump beyond the trend is supported", "not "),
        ((0.4, 0.5, 0.6), "is not supported", "is supported."),
        (
            (0.001, 0.3, 0.02),
            "2 of 3 are below 0.025 (0.05 shared by 2 statistics), "
            "so an elevated LLC at the jump beyond the trend is not established",
            "is supported.",
        ),
        ((0.001, None, 0.02), "and 1 could not be computed", "is supported."),
    ],
)
def test_the_verdict_follows_the_p_values(summary, ps, wanted, unwanted):
    changed = copy.deepcopy(summary)
    changed["jump"]["seeds"] = 5
    for variant, p in zip(("plain", "detrended", "same_third"), ps, strict=True):
        changed["tests"][variant]["level"] |= {
            "p_value": p,
            "mean_difference": 0.5,
            "seeds": 5,
            "cohen_d": 1.0,
            "interval": [0.1, 0.9],
        }
        changed["tests"][variant]["level"]["detectable_difference"] = 0.4
    judge(changed)
    (level,) = [s for s in text.conclusions(changed) if s.startswith("The LLC at the inflection is 0.5 higher")]
    assert wanted in level and unwanted not in level.replace(wanted, "")


def judge(summary):
    summary["verdicts"] = verdicts(summary["tests"], summary["test_settings"]["alpha_each"])
    return summary


def cells(summary, name, **changes):
    """The summary with `changes`, each a value or one a variant, in the cells of the statistic `name`."""
    changed = copy.deepcopy(summary)
    changed["jump"]["seeds"] = 5
    given = {"seeds": 5, "cohen_d": -1.0, "detectable_difference": 0.4, "status": "ok", "interval": [-0.9, -0.1]}
    for i, variant in enumerate(("plain", "detrended", "same_third")):
        here = {k: v[i] if isinstance(v, tuple) else v for k, v in changes.items()}
        changed["tests"][variant][name] |= given | here
    return judge(changed)


def paragraph(summary, start):
    (found,) = [s for s in text.conclusions(summary) if s.startswith(start)]
    return found


def test_a_significantly_lower_llc_is_called_the_opposite_of_the_claim(summary):
    low = {"mean_difference": -0.5, "p_value": (1.0, 0.9999, 0.99)}
    said = paragraph(cells(summary, "level", **low, p_two_sided=(0.0002, 0.0004, 0.02)), "The LLC at the inflection")
    assert "is 0.5 lower than" in said and "One-sided (higher) p = 1," in said and "p > 0.999" in said
    assert "is not supported. Two-sided, the LLC at the inflection is significantly LOWER" in said
    assert "the opposite of the claim, in all three variants (p ≤ 0.0002, p = 0.0004, p = 0.02)" in said
    assert "slope" in said and "nβ·ΔL" in said and "would have passed" not in said
    some = paragraph(cells(summary, "level", **low, p_two_sided=(0.0002, 0.4, 0.2)), "The LLC at the inflection")
    assert "in 1 of 3 variants" in some
    none = paragraph(cells(summary, "level", **low, p_two_sided=0.4), "The LLC at the inflection")
    assert "LOWER" not in none and "slope" not in none and "would have passed" in none


def test_an_interval_that_includes_zero_is_said_beside_a_small_p(summary):
    high = {"mean_difference": 0.5, "p_value": (0.001, 0.02, 0.003), "p_two_sided": (0.002, 0.04, 0.006)}
    wide = cells(summary, "level", **high, interval=([0.1, 0.9], [-0.04, 0.63], [0.1, 0.9]))
    said = paragraph(wide, "The LLC at the inflection")
    assert "is supported; but the detrended mean difference has a 95 % interval over seeds that includes zero." in said
    said = paragraph(cells(summary, "level", **high, interval=[0.1, 0.9]), "The LLC at the inflection")
    assert "is supported." in said and "includes zero" not in said


@pytest.mark.parametrize(
    ("ps", "wanted"),
    [
        ((0.001, 0.9, 0.002), "both are below 0.025 (0.05 shared by 2 statistics), so a rise"),
        ((0.001, 0.001, 0.03), "1 of 2 is below 0.025 (0.05 shared by 2 statistics), so a rise"),
        ((0.3, 0.001, 0.03), "none is below 0.025 (0.05 shared by 2 statistics), so a rise"),
    ],
)
def test_the_rise_is_judged_without_its_detrended_variant(summary, ps, wanted):
    given = {"mean_difference": 0.5, "p_value": ps, "p_two_sided": 0.5, "interval": ([0.1, 0.9], [-1, 1], [0.1, 0.9])}
    said = paragraph(cells(summary, "rise", **given), "The rise of the LLC")
    assert wanted in said and "includes zero" not in said
    assert ("is supported" in said) == (wanted[:4] == "both")
    assert f"The detrended rise (p = {ps[1]}) is not interpretable for a step that lasts" in said


def test_levels_across_the_jump_are_those_of_usable_checkpoints():
    steps = np.array([0.0, 450.0, 560.0, 580.0, 640.0, 660.0, 750.0, 1000.0])
    values = np.array([[-90.0, 3.0, 4.0, -80.0, 1.0, 2.0, 7.0, 9.0], [-90.0, 3.0, 6.0, -80.0, 3.0, 2.0, 8.0, 9.0]])
    regime = np.full(values.shape, "localised", dtype=object)
    regime[:, [0, 3]] = "below_baseline"
    dims = ("seed", "checkpoint")
    given = xr.Dataset(
        {"llc": (dims, values), "regime": (dims, regime), "chains_lost": (dims, 0 * values)},
        coords={"seed": [3, 5], "step": (dims, np.tile(steps, (2, 1)))},
    )
    jumps = xr.DataArray([650.0, 650.0], coords={"seed": [3, 5]}, dims="seed")
    said = llc_across_jump(given, jumps)
    assert windows(given) == [(-100.0, -30.0), (30.0, 100.0)]
    assert [said[k]["mean"] for k in ("before", "at", "after")] == [5.0, 2.0, 7.5]
    assert said["after_minus_before"]["mean"] == 2.5 and said["at_minus_before"]["mean"] == -3.0
    half = 12.706 * np.std([3.0, 2.0], ddof=1) / np.sqrt(2)
    assert said["after_minus_before"]["interval"] == pytest.approx([2.5 - half, 2.5 + half], rel=1e-4)
    alone = llc_across_jump(given, jumps.where(jumps["seed"] == 3))
    assert (said["n"], alone["n"]) == (2, 1) and np.isnan(alone["before"]["interval"]).all()
    assert llc_across_jump(given, jumps * np.nan)["n"] == 0
    late = llc_across_jump(given, jumps * 0 + 990.0)
    assert (late["n"], late["left_out"]) == (0, 2) and np.isnan(late["at"]["mean"])


def test_levels_and_differences_are_over_the_same_seeds():
    steps = np.array([0.0, 560.0, 640.0, 660.0, 750.0, 1000.0])
    values = np.array([[1.0, 5.0, 3.0, 3.0, 7.0, 9.0], [1.0, np.nan, 30.0, 30.0, 70.0, 9.0]])
    dims = ("seed", "checkpoint")
    words = np.full(values.shape, "localised", dtype=object)
    given = xr.Dataset(
        {"llc": (dims, values), "regime": (dims, words), "chains_lost": (dims, 0 * steps + [[0], [0]])},
        coords={"seed": [0, 1], "step": (dims, np.tile(steps, (2, 1)))},
    )
    said = llc_across_jump(given, xr.DataArray([650.0, 650.0], coords={"seed": [0, 1]}, dims="seed"))
    assert (said["n"], said["left_out"]) == (1, 1)
    assert [said[k]["mean"] for k in ("before", "at", "after")] == [5.0, 3.0, 7.0]
    assert said["after_minus_before"]["mean"] == 2.0


@pytest.mark.parametrize(
    ("dip", "lasting", "wanted"),
    [
        ([-3.0, -1.0], [0.5, 1.5], ": the LLC dips at the jump and settles higher after it."),
        ([-3.0, 1.0], [0.5, 1.5], ": the LLC settles higher after the jump."),
        ([-3.0, -1.0], [-0.5, 1.5], "; that it settles higher after it is not established."),
        ([-3.0, 1.0], [-0.5, 1.5], "within seeds."),
        ([None, None], [None, None], "within seeds."),
    ],
)
def test_what_is_said_of_the_dip_follows_its_intervals(summary, dip, lasting, wanted):
    changed = cells(summary, "level")
    changed["llc_across_jump"]["at_minus_before"] = {"mean": -2.0, "interval": dip}
    changed["llc_across_jump"]["after_minus_before"] = {"mean": 1.0, "interval": lasting}
    assert paragraph(changed, "λ̂ is").endswith(wanted)


def test_accepted_fits_of_all_classes_are_counted(small_study, summary):
    said = small_study[2]
    accepted = said["fits"]["accepted"].values
    assert sum(summary["fits"]["accepted_by_class"].values()) == summary["fits"]["accepted"] == accepted.sum()
    sentence = paragraph(summary, "The sigmoid fit to the effective rank is accepted in")
    assert f"accepted in {accepted.sum()} of {len(accepted)} seeds" in sentence
    assert f"number {summary['jump']['seeds']}, and only those" in sentence


def test_every_feature_emerges_before_with_or_after_the_jump(summary):
    counts = [summary["emergence"][f"features_{when}_jump"] for when in ("before", "at", "after")]
    assert sum(counts) == summary["emergence"]["features"]


def test_the_relative_error_is_that_of_the_usable_estimates(small_study, summary):
    measurements = small_study[0]
    good = usable(measurements).values
    relative = (measurements["llc_se"] / abs(measurements["llc"])).values[good]
    assert summary["health"]["usable"]["estimates"] == good.sum() < measurements["llc"].size
    assert summary["health"]["relative_se"]["median"] == pytest.approx(np.median(relative))
    assert summary["health"]["relative_se"]["quantile_95"] == pytest.approx(np.quantile(relative, 0.95))
    assert "at worst" not in describe_health(summary)["errors"]


def test_sentences_of_a_paragraph_stand_apart(summary):
    assert not [said for said in text.conclusions(summary) if re.search(r"[a-z0-9)]\.[A-Z]", said)]


def test_the_conclusions_end_with_what_they_do_not_show(summary):
    last = text.conclusions(summary)[-1]
    below = summary["health"]["regime"]["below_baseline"]
    for said in (
        "Limits: everything said about jumps rests on",
        "all checkpoints and seeds share the sampler's minibatches",
        "(nβ = 100, γ = 1)",
        f"at {below} of {summary['health']['estimates']} checkpoints",
        "this data set of 4,096 examples",
    ):
        assert said in last
    assert ('"stuck" means stuck at the end of training, step 1,500' in last) == bool(
        summary["classes"]["stuck"]["count"]
    )


def test_numbers_are_readable():
    assert [words.number(v) for v in (1000.0, 99.96, 640.5, 12345.6, 0.0, -1e-5, 24.96)] == [
        "1000",
        "100",
        "640",
        "12,346",
        "0",
        "−1e-05",
        "25",
    ]
    assert [words.percent(v) for v in (0.0025, 0.0, 1.0, 0.9975, 0.914)] == [
        "under 1 %",
        "0 %",
        "100 %",
        "over 99 %",
        "91 %",
    ]
    assert words.percent(0.0001, 1) == "under 0.1 %"
    assert [words.pvalue(p, 9999) for p in (1.0, 0.9999, 0.998, 0.0312, 1e-4)] == [
        "p = 1",
        "p > 0.999",
        "p = 0.998",
        "p = 0.031",
        "p ≤ 0.0001",
    ]
    assert words.pvalue(0.0002, 9999, 2) == "p ≤ 0.0002" and words.pvalue(None, 9999) == "p undefined"
    assert words.interval({"mean": -1.5, "interval": [None, None]}) == "−1.50"


def test_settings_have_human_names(small_study):
    given = dict.fromkeys(("record_every", "common_checkpoints", "jump_checkpoints", "seed"), 1)
    named = text.settings(small_study[0].attrs | given)
    assert not any("_" in name for name in named)
    for name in (
        "weights kept every (training steps)",
        "checkpoints at the same steps in all seeds",
        "checkpoints around each seed's jump",
        "seed of the random streams",
        "training seeds",
        "examples in the data set, n",
    ):
        assert name in named


def test_the_loss_along_training_is_said_to_be_over_the_examples_that_it_is_over():
    from ontogeny.report.superposition import build
    from ontogeny.studies.superposition import measure

    assert build.LOSS_EXAMPLES == measure.LOSS_EXAMPLES


def test_too_few_seeds_are_said_to_be_too_few(summary):
    changed = copy.deepcopy(summary)
    changed["jump"]["seeds"] = 1
    for variant in changed["tests"].values():
        for cell in variant.values():
            cell |= {"p_value": None, "p_two_sided": None, "reason": "Only 1 seed with a jump entered the test."}
    judge(changed)
    said = " ".join(text.conclusions(changed))
    assert "cannot be tested: only 1 seed with a jump" in said and "p =" not in said


def test_without_a_jump_nothing_is_said_about_it(summary):
    changed = copy.deepcopy(summary)
    changed["jump"]["seeds"], changed["emergence"]["features"] = 0, 0
    said = " ".join(text.conclusions(changed))
    assert "nothing can be said here about the LLC at a jump" in said
    assert "inflection" not in said and "p =" not in said


def test_bad_health_is_pointed_out(summary):
    changed = copy.deepcopy(summary)
    changed["health"]["share_ok"] = 0.5
    assert "That is less than 90 %" in " ".join(text.conclusions(changed))
    changed["health"]["share_ok"] = 1.0
    assert "That is less than" not in " ".join(text.conclusions(changed))


def test_one_seed_is_spoken_of_in_the_singular(summary):
    changed = copy.deepcopy(summary)
    for kind, n in (("plateau_then_jump", 1), ("early_rise", 2), ("stuck", 1), ("non_monotonic", 1)):
        changed["classes"][kind]["count"] = changed["fits"]["accepted_by_class"][kind] = n
    changed["jump"]["seeds"] = 1
    kinds, jump = text.conclusions(changed)[:2]
    for said in ("shows a plateau", "2 rise early", "1 stays stuck", "1 falls back from a rank that it had held"):
        assert said in kinds
    assert "2 that rise early" in jump and "1 that falls back" in jump and "that one enters what follows" in jump


def with_neighbours(small_study, **factors):
    """The summary of the study with λ̂ multiplied at its neighbours."""
    measurements, _, said = small_study
    given = {k: v for k, v in said.items() if k != "association"}
    beside = synthetic.neighbours(measurements, said["tests"]["inflection"], **factors)
    return summarise(measurements, sensitivity=beside, **given)


def test_neighbours_that_agree_are_said_to_agree(small_study):
    changed = with_neighbours(small_study, half_n_beta=0.8, twice_n_beta=1.1)
    found = changed["sensitivity"]
    assert found["settings"]["half_n_beta"]["ratio"] == pytest.approx(0.8)
    assert found["settings"]["half_n_beta"]["order"] == pytest.approx(1.0)
    assert found["ratios"] == pytest.approx([0.8, 1.1]) and found["same"]["trend"] == list(NEIGHBOURS)
    said = paragraph(changed, "Does this hang on nβ and γ?")
    assert "λ̂ is 0.80 to 1.10 times what it is at the frozen setting (medians)" in said
    assert "and does so at all 4" in said and "the trend over training survive" in said and "not." not in said
    assert f"At half and twice of each, measured anew with shorter chains at {found['checkpoints']} checkpoints" in said
    assert f"tried at {found['checkpoints']} checkpoints only" in text.conclusions(changed)[-1]


def test_a_neighbour_that_contradicts_is_named(small_study):
    said = paragraph(with_neighbours(small_study, twice_localization=-1.0), "Does this hang on nβ and γ?")
    assert "and does so at 3 of 4 (half nβ, twice nβ and half γ)" in said
    assert "the trend over training do not" in said and "survive a factor of two" in said


def test_without_neighbours_nothing_is_said_about_them(summary):
    assert summary["sensitivity"] is None and summary["calibration"] is None
    assert not [s for s in text.conclusions(summary) if "factor of two" in s or "half and twice" in s]


@pytest.mark.parametrize(
    ("ranks", "wanted"),
    [
        ((1.97, 1.98, 2.0, 1.99), "All of them had passed rank 1.95 before the plateau (1.97 to 2.00, with two"),
        ((1.97, 1.9, np.nan, 1.5), "1 of them had passed rank 1.95 before the plateau (1.97, with two"),
        ((1.9, 1.9, np.nan, 1.5), None),
    ],
)
def test_a_rank_reached_before_the_plateau_is_said_where_the_data_say_so(small_study, ranks, wanted):
    measurements, _, said = small_study
    jumping = said["tests"]["seed"].values
    assert len(jumping) == len(ranks)
    earlier = xr.DataArray(list(ranks), dims="seed", coords={"seed": jumping}).reindex(seed=measurements["seed"])
    changed = summarise(measurements, before_plateau=earlier, **{k: v for k, v in said.items() if k != "association"})
    sentence = paragraph(changed, "The sigmoid fit to the effective rank is accepted in")
    assert wanted in sentence if wanted else "before the plateau" not in sentence


def test_the_limits_say_that_the_inflection_lies_between_checkpoints(summary):
    gap = summary["llc_across_jump"]["gap"]
    assert gap > 0
    assert f"a median of {gap:,.0f} steps apart, and depends on where they lie" in text.conclusions(summary)[-1]


def test_yes_or_no_is_written_out_and_the_calibration_has_its_own_table(small_study):
    given = small_study[0].attrs | {"compiled": 1, "calibration": "{}", "calibration_provenance": "{}"}
    named = text.settings(given)
    assert named["compiled"] == "yes" and text.settings(given | {"compiled": 0})["compiled"] == "no"
    assert not [name for name in named if "calibration" in name]
