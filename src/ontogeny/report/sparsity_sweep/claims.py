"""The rows of CLAIMS.md that the sweep answers for, made of its summary.json, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.report.words import number, percent

KEPT = (
    "seeds",
    "checkpoints",
    "quiet",
    "canonical",
    "drift_ratios",
    "drift_ratios_common",
    "common_from",
    "drift_ratios_of_all",
    "kept",
    "classes",
    "explained",
    "timing",
    "rises",
    "rises_of_all",
    "combination",
    "factors",
    "verdicts",
)
"""What of the summary the rows need."""
COMMAND = "S"
CHOSEN_BY = ("two_features_at_quiet", "share_plateau_then_jump", "share_stuck")
"""Statements that the training configuration was chosen by: that they hold is no test of them."""


def excerpt(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The part of summary.json that is kept beside CLAIMS.md."""
    return {name: summary[name] for name in KEPT}


def rows(summary: Mapping[str, Any]) -> list[str]:
    """One row of a Markdown table a statement: statement, what was measured, command, verdict."""
    said = summary["verdicts"]
    low, high = summary["quiet"], summary["canonical"]
    drift = f"LLC drift at S = {low} is about three times that at S = {high}"
    usable, every = summary["drift_ratios"], summary["drift_ratios_of_all"]
    kept, classes = summary["kept"][low], summary["classes"][high]
    jumping, stuck = classes["plateau_then_jump"], classes["stuck"]
    when, best = summary["timing"], summary["combination"]["best_single"]
    scores = summary["combination"]["scores"]
    together = summary["combination"]["comparisons"]["llc + effective_rank"]
    rise, rise_of_all = summary["rises"]["frozen"], summary["rises_of_all"]["frozen"]
    made = [
        (drift, f"of usable estimates (w* a minimum), ratio of raw drifts: {_ratios(usable['frozen'])}; relative to "
         f"λ̂: {_ratios(usable['frozen'], 'relative')}; {_same(said['drift_three_times'])}", "drift_three_times"),
        (f"… from step {summary['common_from']:g} on, by which every run of both has a usable λ̂",
         _ratios(summary["drift_ratios_common"]["frozen"]) + "; the verdict hangs on which stretch of training is "
         "asked about, so that of the row above does not stand alone", "drift_three_times_common"),
        (f"… or at least larger at S = {low}", "the same ratios of usable estimates, against one", "drift_larger"),
        ("… of every λ̂ as it comes, those below baseline included",
         f"raw {_ratios(every['frozen'])}; {_same(said['drift_three_times_of_all'])}; with nβ·h_max alike "
         f"{_ratios(every['equal_curvature'])} ({said['drift_three_times_of_all']['equal_curvature']})",
         "drift_three_times_of_all"),
        (f"At S = {low} the network keeps exactly two features",
         f"{kept['two']} of {kept['seeds']} seeds [{percent(kept['two_interval'][0])}, "
         f"{percent(kept['two_interval'][1])}]; {kept['more_on_the_way']} of them represent more on the way",
         "two_features_at_quiet"),
        ("About 25 % of the seeds show plateau then jump", _share(jumping, summary["seeds"]),
         "share_plateau_then_jump"),
        ("One in five is stuck", f"{_share(stuck, summary['seeds'])} at the end of training, step 8000", "share_stuck"),
        ("Features emerge around step 700", f"median of a seed's features {_mean(when['emergence'], 0)}, mean over "
         f"{when['emergence']['seeds']} seeds", "emergence_near_700"),
        ("Emergence comes before the rank jump (order only: a jump is looked for from where something is represented)",
         f"{when['jump_after']} of {when['both']} seeds with a jump have it "
         f"after the median emergence; the jumps lie at a median step of {number(when['jump']['median'], 4)}",
         "jump_after_emergence"),
        ("The measurable LLC effect tracks the rank jump, not emergence",
         f"within seeds, rise at the jump minus rise at emergence, usable estimates: {_mean(rise)}, {rise['seeds']} "
         f"of {when['jump']['n']} seeds with a jump, those with a usable λ̂ before and after both; {_detectable(rise)}; "
         "a run that is at a minimum while features emerge would settle it",
         "effect_at_jump_not_emergence"),
        ("… of every λ̂ as it comes", f"{_mean(rise_of_all)}, "
         f"{rise_of_all['seeds']} seeds, p = {number(rise_of_all['p_value'], 2)}: rise {_mean(rise_of_all['against'])} "
         "at emergence, where λ̂ is below baseline in most",
         "effect_at_jump_not_emergence_of_all"),
        ("The LLC is dominated by general training-time evolution",
         "share of a seed's LLC variance that log step and loss predict from the other seeds: "
         + "; ".join(f"S = {s}: {_mean(one['both']['across'])}" for s, one in summary["explained"].items())
         + " (pooled over seeds); it agrees where the interval is above one half",
         "training_time_dominates"),
        ("(the multi-sparsity factor analysis, which the document names without figures)",
         f"{summary['factors']['number']} factor(s) of all indicators by parallel analysis; they account for "
         f"{percent(summary['factors']['communality']['llc'])} of the LLC's variance", "factor_analysis"),
        ("The LLC has value as a confirmatory metric, beside effective rank",
         f"finding the rank jump on held-out seeds, F1 of {best.replace('_', ' ')} alone {_mean(scores[best]['f1'])}, "
         f"of the LLC alone {_mean(scores['llc']['f1'])} ({summary['combination']['events']} jumps where λ̂ is usable; "
         f"the jump is defined by the effective rank); LLC and effective rank together minus the best single one "
         f"{_mean(together)}; {_detectable(together)}; more seeds that jump would settle it", "combination_better"),
    ]  # fmt: skip
    verdicts = {name: one["verdict"] for name, one in said.items()}
    verdicts["factor_analysis"] = "cannot be told"  # the document gives no figure to hold it against
    verdicts |= {name: "reproduced" for name in CHOSEN_BY if verdicts[name] == "agrees"}
    return [f"| {statement} | {measured} | {COMMAND} | {verdicts[name]} |" for statement, measured, name in made]


def _ratios(table: Mapping[str, Any], scale: str = "raw") -> str:
    names = {"net_change": "net change", "range": "range", "total_variation": "total variation"}
    cells = ((names[definition], scales[scale]) for definition, scales in table.items())
    return ", ".join(f"{number(one['ratio'])} {_interval(one['interval'])} ({name})" for name, one in cells)


def _same(verdict: Mapping[str, Any]) -> str:
    return f"the same verdict at {len(verdict['same_at'])} of {verdict['neighbours']} neighbouring (nβ, γ)"


def _detectable(one: Mapping[str, Any]) -> str:
    found = one["detectable"]
    return (
        "so few tell nothing, six are the fewest"
        if found is None
        else f"{number(found, 2)} would have been found in 80 % of such studies"
    )


def _share(one: Mapping[str, Any], seeds: int) -> str:
    return f"{one['count']} of {seeds} [{percent(one['interval'][0])}, {percent(one['interval'][1])}]"


def _mean(one: Mapping[str, Any], digits: int = 2) -> str:
    if None in one["interval"]:
        return f"{number(one['mean'], 3)} (no interval)"
    shown = [round(value) if digits == 0 else number(value, 3) for value in (one["mean"], *one["interval"])]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _interval(ends: Any) -> str:
    return f"[{number(ends[0])}, {number(ends[1])}]" if None not in ends else "[unbounded]"
