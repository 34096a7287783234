"""The rows of CLAIMS.md that the sorting study answers for, made of its summary.json, so that the two cannot differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from ontogeny.report.sorting.text import said
from ontogeny.report.words import number

KEPT = ("preset", "seeds", "findings", "variants", "settings", "accurate")
"""What of the summary the rows need."""
ENOUGH = 3
"""Seeds from which all, or none, of them decide a statement; of fewer it cannot be told."""
FEWEST_VARIANTS = 5
"""With an overlap, for a correlation between variants: r² below 0.5 is no proportion, above 0.8 one."""
WITHIN = 2.0
"""A step counts as the one named within this factor."""

Found = Mapping[str, Any]


def excerpt(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The part of summary.json that is kept beside CLAIMS.md."""
    return {name: summary[name] for name in KEPT}


def rows(summary: Mapping[str, Any], command: str) -> list[str]:
    """One row of a Markdown table a statement: statement, what was measured, command, verdict."""
    found = summary["findings"]
    made = []
    for statement, variant, names, holds in STATEMENTS:
        if variant not in found:
            continue
        one = found[variant]
        seeds = [holds(each, found) for each in by_seed(one)]
        told = [value for value in seeds if value is not None]
        figures = "; ".join(f"{words} {said(one[name])}" for name, words in names.items())
        length = f"{one['seeds']} seed{'s' * (one['seeds'] != 1)} of {number(one['last_step'], 6)} steps"
        count = f"holds in {sum(told)} of {len(told)}" if told else "no seed can tell"
        made.append(f"| {statement} | {length}: {figures}; {count} | {command} | {verdict(told)} |")
    return [*made, _proportional(found, command)]


def _proportional(found: Mapping[str, Found], command: str) -> str:
    """How far the relative fall of λ̂ goes with the fall of the overlap, variant by variant (means over seeds)."""
    points = {}
    for name, one in found.items():
        if one["overlap_peak"] and one["llc_fall"]:
            lost = one["overlap_peak"]["mean"] - one["overlap_end"]["mean"]
            points[name] = (one["llc_fall"]["mean"] / one["llc_peak"]["mean"], lost)
    told = "; ".join(f"{name} {number(100 * fall, 2)} %, {number(lost, 2)}" for name, (fall, lost) in points.items())
    measured, word = f"fall of λ̂ relative to its peak, and of the overlap: {told}", "cannot be told"
    if len(points) >= FEWEST_VARIANTS:
        falls, losses = zip(*points.values(), strict=True)
        shared = statistics.correlation(falls, losses) ** 2
        measured += f"; r² = {number(shared, 2)} over {len(points)} variants"
        word = "agrees" if shared < 0.5 else "disagrees" if shared > 0.8 else "cannot be told"
    statement = "The size of the LLC drop is not proportional to specialization"
    return f"| {statement} | {measured} | {command} | {word} |"


def verdict(told: list[bool]) -> str:
    """What the seeds say together."""
    if len(told) < ENOUGH or 0 < sum(told) < len(told):
        return "cannot be told"
    return "agrees" if all(told) else "disagrees"


def by_seed(one: Found) -> list[dict[str, float]]:
    """The figures of each seed of a variant, NaN where it has none."""
    out: list[dict[str, float]] = []
    for seed in range(one["seeds"]):
        out.append(
            {
                name: math.nan if finding["values"][seed] is None else float(finding["values"][seed])
                for name, finding in one.items()
                if isinstance(finding, Mapping) and "values" in finding
            }
        )
    return out


Holds = Callable[[dict[str, float], Found], bool | None]


def near(name: str, step: float) -> Holds:
    """The figure is within a factor of two of that."""
    return _needs(name, test=lambda one: step / WITHIN <= one[name] <= step * WITHIN)


def _needs(*names: str, test: Callable[[dict[str, float]], bool]) -> Holds:
    """A test of figures that must be there; None where one is not."""

    def holds(one: dict[str, float], _: Found) -> bool | None:
        return None if any(math.isnan(one.get(name, math.nan)) for name in names) else bool(test(one))

    return holds


def _mean(found: Found, variant: str, name: str) -> float:
    finding = found[variant][name] if variant in found else None
    return math.nan if finding is None else float(finding["mean"])


def beside(variant: str, *names: str, test: Callable[[dict[str, float], dict[str, float]], bool]) -> Holds:
    """A test of a seed's figures against the means of another variant."""

    def holds(one: dict[str, float], found: Found) -> bool | None:
        other = {name: _mean(found, variant, name) for name in names}
        if any(math.isnan(values.get(name, math.nan)) for values in (one, other) for name in names):
            return None
        return bool(test(one, other))

    return holds


def fell(one: dict[str, float]) -> bool:
    """λ̂ came down from its peak by more than three of its errors."""
    return one["llc_fall"] > 3 * one["llc_fall_se"]


def _together(one: dict[str, float], first: str, second: str) -> bool:
    return 1 / WITHIN <= one[first] / one[second] <= WITHIN


def _flat(one: dict[str, float]) -> bool:
    return abs(one["rank_end"] - one["rank_start"]) < 0.1 * one["rank_start"]


ACCURACY = {"accuracy_step": "99 % of the final token accuracy from step", "accuracy_end": "lists right at the end"}
FALL = {
    "llc_peak": "peak of λ̂",
    "llc_peak_step": "at step",
    "llc_fall": "fall",
    "llc_fall_step": "halfway down at step",
}
OVERLAP = {"overlap_peak": "largest overlap", "overlap_end": "at the end", "overlap_fall_step": "halfway down at step"}
RANK = {"rank_start": "sum of ranks at the start", "rank_end": "at the end", "rank_fall_step": "halfway down at step"}
SYMMETRY = {"symmetry_peak": "largest translational symmetry", "symmetry_end": "at the end"}
REGIONS = {"regions_end": "regions of all heads"}
ANTI = {"opposition_end": "lowest cosine of a head's OV with the others' sum", "anti_states_end": "anti-state heads"}

_FALL, _RANKS = ("llc_fall", "llc_fall_se"), ("rank_start", "rank_end")
STATEMENTS: list[tuple[str, str, dict[str, str], Holds]] = [
    ("One head: full accuracy around step 100", "1 head", ACCURACY, near("accuracy_step", 100)),
    ("One head: the LLC falls at about step 1000", "1 head", FALL, near("llc_fall_step", 1000)),
    (
        "… with accuracy unchanged",
        "1 head",
        {"accuracy_at_peak": "lists right at the peak of λ̂", "accuracy_end": "at the end"},
        _needs("accuracy_at_peak", test=lambda one: one["accuracy_at_peak"] > 0.98 * one["accuracy_end"]),
    ),
    (
        "… and the sum of ranks falling with it",
        "1 head",
        RANK,
        _needs("rank_fall_step", "llc_fall_step", test=lambda one: _together(one, "rank_fall_step", "llc_fall_step")),
    ),
    (
        "… the fall being weaker than with two heads (relative to the peak)",
        "1 head",
        FALL,
        beside(
            "2 heads",
            "llc_fall",
            "llc_peak",
            test=lambda one, two: one["llc_fall"] / one["llc_peak"] < two["llc_fall"] / two["llc_peak"],
        ),
    ),
    ("Two heads: the LLC begins to fall around step 1000", "2 heads", FALL, near("llc_peak_step", 1000)),
    (
        "… heads specialize with it: the overlap falls when the LLC does",
        "2 heads",
        OVERLAP,
        _needs("overlap_fall_step", "llc_fall_step", test=lambda o: _together(o, "overlap_fall_step", "llc_fall_step")),
    ),
    (
        "… the overlap is largest at the peak of the LLC",
        "2 heads",
        {"overlap_peak_step": "largest overlap at step", "llc_peak_step": "peak of λ̂ at step"},
        _needs("overlap_peak_step", "llc_peak_step", test=lambda o: _together(o, "overlap_peak_step", "llc_peak_step")),
    ),
    (
        "… the QK circuits crystallize long after the LLC has settled",
        "2 heads",
        {"crystallization_step": "95 % of the final crystallization for good at step", **FALL},
        _needs(
            "crystallization_step",
            "llc_fall_step",
            test=lambda one: one["crystallization_step"] > 2 * one["llc_fall_step"],
        ),
    ),
    ("… translational symmetry reaches about 1.75", "2 heads", SYMMETRY, near("symmetry_peak", 1.75)),
    (
        "No layer norm: the LLC peaks before accuracy does",
        "no layer norm",
        FALL | ACCURACY,
        _needs("llc_peak_step", "accuracy_step", test=lambda one: one["llc_peak_step"] < one["accuracy_step"]),
    ),
    (
        "… the ranks fall steeply at about step 100, where the model cannot sort",
        "no layer norm",
        RANK,
        near("rank_fall_step", 100),
    ),
    ("… translational symmetry reaches about 1.25", "no layer norm", SYMMETRY, near("symmetry_peak", 1.25)),
    ("No decay: the ranks stay constant", "no decay", RANK, _needs(*_RANKS, test=_flat)),
    ("… translational symmetry peaks at about 0.8", "no decay", SYMMETRY, near("symmetry_peak", 0.8)),
    (
        "Neither: the LLC peaks before step 400",
        "neither",
        FALL,
        _needs("llc_peak_step", test=lambda o: o["llc_peak_step"] < 400),
    ),
    ("… the ranks stay constant", "neither", RANK, _needs(*_RANKS, test=_flat)),
    (
        "… the overlap ends at about 0.6",
        "neither",
        OVERLAP,
        _needs("overlap_end", test=lambda one: 0.5 <= one["overlap_end"] <= 0.7),
    ),
    ("… translational symmetry peaks at about 0.35", "neither", SYMMETRY, near("symmetry_peak", 0.35)),
    ("Noise: the LLC does not fall", "noise", FALL, _needs(*_FALL, test=lambda one: not fell(one))),
    (
        "… one head becomes the anti-state of the other",
        "noise",
        ANTI,
        _needs("anti_states_end", test=lambda one: one["anti_states_end"] >= 1),
    ),
    ("… when the ranks fall, at about step 2400", "noise", RANK, near("rank_fall_step", 2400)),
    (
        "A vocabulary of 202: as many regions",
        "202 tokens",
        REGIONS,
        beside("2 heads", "regions_end", test=lambda one, two: abs(one["regions_end"] - two["regions_end"]) <= 1),
    ),
    (
        "Lists of 20: more regions",
        "20 numbers",
        REGIONS,
        beside("2 heads", "regions_end", test=lambda one, two: one["regions_end"] > two["regions_end"] + 1),
    ),
    (
        "Three heads: one becomes an anti-state",
        "3 heads",
        ANTI,
        _needs("anti_states_end", test=lambda one: one["anti_states_end"] >= 1),
    ),
    ("Four heads: the LLC falls sharply at about step 5000", "4 heads", FALL, near("llc_fall_step", 5000)),
    (
        "… one becomes an anti-state",
        "4 heads",
        ANTI,
        _needs("anti_states_end", test=lambda one: one["anti_states_end"] >= 1),
    ),
    (
        "Cumulative sum: the LLC rises and stays",
        "cumulative sum",
        FALL,
        _needs(*_FALL, test=lambda one: not fell(one)),
    ),
]
"""(statement, variant, {figure: its words}, what of a seed decides it)."""
