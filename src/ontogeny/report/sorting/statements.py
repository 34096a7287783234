"""What "Structure Formation in Algorithmic Transformers" states, and which figures of a seed decide each statement.

A step counts as the one named within a factor of two. Where the document gives the length of training (60,000 steps
without layer norm, 100,000 with four heads), steps are compared as fractions of it; elsewhere as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

WITHIN = 2.0
"""Of a step, as a factor."""
SHARE = 0.2
"""Of any other figure."""

Seed = dict[str, float]
Found = Mapping[str, Any]
Holds = Callable[[Seed, Mapping[str, Found]], bool | None]


class Statement(NamedTuple):
    """One sentence about a variant."""

    says: str
    variant: str
    figures: dict[str, str]
    """Those shown beside it, in words."""
    holds: Holds
    """Of a seed's figures and the findings of all variants: whether it holds; None where a figure is missing."""


def needs(*names: str, test: Callable[[Seed], bool]) -> Holds:
    """A test of figures that must be there."""

    def holds(one: Seed, _: Mapping[str, Found]) -> bool | None:
        return None if any(math.isnan(one.get(name, math.nan)) for name in names) else bool(test(one))

    return holds


def beside(variant: str, *names: str, test: Callable[[Seed, Seed], bool]) -> Holds:
    """A test of a seed's figures against the means of another variant."""

    def holds(one: Seed, found: Mapping[str, Found]) -> bool | None:
        findings = found.get(variant, {})
        other = {name: math.nan if not findings.get(name) else float(findings[name]["mean"]) for name in names}
        if any(math.isnan(values.get(name, math.nan)) for values in (one, other) for name in names):
            return None
        return bool(test(one, other))

    return holds


def among(variant: str, name: str, test: Callable[[float, Sequence[float]], bool]) -> Holds:
    """A test of a seed's figure against those of all seeds of another variant."""

    def holds(one: Seed, found: Mapping[str, Found]) -> bool | None:
        finding = found.get(variant, {}).get(name)
        values = [] if finding is None else [value for value in finding["values"] if value is not None]
        if not values or math.isnan(one.get(name, math.nan)):
            return None
        return test(one[name], values)

    return holds


def same(one: float, other: float) -> bool:
    """Two steps within a factor of two; NaN is no step."""
    return one <= WITHIN * other and other <= WITHIN * one


def about(name: str, value: float) -> Holds:
    """The figure is that, give or take a fifth."""
    return needs(name, test=lambda one: abs(one[name] - value) <= SHARE * value)


def falls(curve: str, at: float | None = None, of: float | None = None, where: str = "fall_step") -> Holds:
    """The curve falls; with ``at``, at that step, or where the document trains ``of`` steps, at that share of them."""

    def holds(one: Seed, found: Mapping[str, Found]) -> bool | None:
        fell = one.get(f"{curve}_fell", math.nan)
        if math.isnan(fell):
            return None
        if at is None or not fell:
            return bool(fell)
        return same(one[f"{curve}_{where}"], at if of is None else at / of * one["last_step"])

    return holds


def if_it_fell(*names: str, test: Callable[[Seed], bool]) -> Holds:
    """A test of what goes with a fall of λ̂: None where λ̂ did not fall."""
    tested = needs("llc_fell", *names, test=test)

    def holds(one: Seed, found: Mapping[str, Found]) -> bool | None:
        return tested(one, found) if one.get("llc_fell") == 1.0 else None

    return holds


def falls_with_it(curve: str) -> Holds:
    """The curve falls when λ̂ does."""
    return if_it_fell(
        f"{curve}_fell",
        test=lambda one: bool(one[f"{curve}_fell"]) and same(one["llc_fall_step"], one[f"{curve}_fall_step"]),
    )


def stays(curve: str) -> Holds:
    """The curve neither falls from its highest value nor ends a tenth away from its start."""
    return needs(
        f"{curve}_start",
        f"{curve}_end",
        f"{curve}_fell",
        test=lambda one: (
            not one[f"{curve}_fell"] and abs(one[f"{curve}_end"] - one[f"{curve}_start"]) < 0.1 * one[f"{curve}_start"]
        ),
    )


def _unchanged(one: Seed) -> bool:
    return abs(one["accuracy_at_peak"] - one["accuracy_end"]) < 0.02


def _smaller_fall(one: Seed, two: Seed) -> bool:
    both = bool(one["llc_fell"]) and two["llc_fell"] > 0.5
    return both and one["llc_fall"] / one["llc_peak"] < two["llc_fall"] / two["llc_peak"]


def _after_settling(one: Seed) -> bool:
    rose = one["crystallization_end"] > one["crystallization_start"]
    return rose and one["crystallization_step"] > WITHIN * one["llc_trough_step"]


ACCURACY = {"accuracy_step": "99 % of the final token accuracy from step", "accuracy_end": "lists right at the end"}
FALL = {
    "llc_peak": "highest λ̂",
    "llc_peak_step": "at step",
    "llc_fell": "fell",
    "llc_fall": "by",
    "llc_fall_step": "halfway at step",
}
OVERLAP = {"overlap_peak": "largest overlap", "overlap_end": "at the end", "overlap_fall_step": "halfway at step"}
RANK = {"rank_start": "sum of ranks before training", "rank_end": "at the end", "rank_fall_step": "halfway at step"}
SYMMETRY = {"symmetry_peak": "largest translational symmetry", "symmetry_end": "at the end"}
ANTI = {
    "opposition_end": "lowest cosine of a head's OV with the others' sum",
    "anti_states_end": "anti-state heads",
    "anti_state_step": "since step",
}
_ANTI_STATE = needs("anti_states_end", test=lambda one: one["anti_states_end"] >= 1)
LONG_AFTER = {
    "crystallization_step": "95 % of the final crystallization for good at step",
    "llc_trough_step": "lowest λ̂ after the peak at step",
}
_FULL = needs(
    "accuracy_step",
    "token_accuracy_end",
    test=lambda one: same(one["accuracy_step"], 100) and one["token_accuracy_end"] > 0.98,
)

STATEMENTS: list[Statement] = [
    Statement("One head: full accuracy around step 100", "1 head", ACCURACY, _FULL),
    Statement("One head: the LLC falls at about step 1000", "1 head", FALL, falls("llc", 1000)),
    Statement(
        "… with accuracy unchanged",
        "1 head",
        {"accuracy_at_peak": "lists right where λ̂ is highest", "accuracy_end": "at the end"},
        if_it_fell("accuracy_at_peak", test=_unchanged),
    ),
    Statement("… the sum of ranks falling with it", "1 head", RANK, falls_with_it("rank")),
    Statement(
        "… the fall being weaker than with two heads (relative to the highest)",
        "1 head",
        FALL,
        beside("2 heads", "llc_fell", "llc_fall", "llc_peak", test=_smaller_fall),
    ),
    Statement(
        "Two heads: the LLC begins to fall around step 1000", "2 heads", FALL, falls("llc", 1000, where="peak_step")
    ),
    Statement(
        "… heads specialize with it: overlap falls with the LLC", "2 heads", OVERLAP, falls_with_it("overlap")
    ),
    Statement(
        "… the overlap is largest where the LLC is",
        "2 heads",
        {"overlap_peak_step": "largest overlap at step", "llc_peak_step": "highest λ̂ at step"},
        needs("overlap_peak_step", "llc_peak_step", test=lambda o: same(o["overlap_peak_step"], o["llc_peak_step"])),
    ),
    Statement(
        "… the QK circuits crystallize long after the LLC has settled",
        "2 heads",
        LONG_AFTER,
        if_it_fell("crystallization_start", "crystallization_end", test=_after_settling),
    ),
    Statement("… translational symmetry reaches about 1.75", "2 heads", SYMMETRY, about("symmetry_peak", 1.75)),
    Statement(
        "No layer norm: the LLC peaks at 27k of 60k steps",
        "no layer norm",
        FALL,
        falls("llc", 27_000, 60_000, where="peak_step"),
    ),
    Statement(
        "… before accuracy does",
        "no layer norm",
        ACCURACY,
        needs(
            "llc_fell",
            "accuracy_step",
            test=lambda one: bool(one["llc_fell"]) and one["llc_peak_step"] < one["accuracy_step"],
        ),
    ),
    Statement(
        "… accuracy ends at about 90 % (lists below 97 %, tokens above 80 %)",
        "no layer norm",
        {"accuracy_end": "lists right", "token_accuracy_end": "tokens right"},
        needs(
            "accuracy_end",
            "token_accuracy_end",
            test=lambda one: one["accuracy_end"] < 0.97 and one["token_accuracy_end"] > 0.8,
        ),
    ),
    Statement("… heads specialize as the LLC falls", "no layer norm", OVERLAP, falls_with_it("overlap")),
    Statement(
        "… the ranks fall at about step 100 (of 60k), where the model cannot sort",
        "no layer norm",
        RANK | {"accuracy_at_rank_fall": "lists right there"},
        needs(
            "rank_fell",
            "accuracy_at_rank_fall",
            test=lambda o: (
                same(o["rank_fall_step"], 100 / 60_000 * o["last_step"]) and o["accuracy_at_rank_fall"] < 0.5
            ),
        ),
    ),
    Statement("… translational symmetry reaches about 1.25", "no layer norm", SYMMETRY, about("symmetry_peak", 1.25)),
    Statement("No decay: the ranks stay constant", "no decay", RANK, stays("rank")),
    Statement("… translational symmetry peaks at about 0.8", "no decay", SYMMETRY, about("symmetry_peak", 0.8)),
    Statement(
        "Neither: the LLC peaks shortly before step 400 (of 60k)",
        "neither",
        FALL,
        falls("llc", 400, 60_000, where="peak_step"),
    ),
    Statement(
        "… falls until 10k (of 60k) and then rises slightly",
        "neither",
        {"llc_trough": "lowest λ̂ after the peak", "llc_trough_step": "at step", "llc_end": "at the end"},
        needs(
            "llc_fell",
            test=lambda o: bool(o["llc_fell"])
            and same(o["llc_trough_step"], o["last_step"] / 6)
            and o["llc_end"] > o["llc_trough"],
        ),
    ),
    Statement(
        "… lists are sorted to 100 %",
        "neither",
        ACCURACY,
        needs("accuracy_end", test=lambda one: one["accuracy_end"] > 0.98),
    ),
    Statement("… the ranks stay constant", "neither", RANK, stays("rank")),
    Statement("… the overlap ends at about 0.6", "neither", OVERLAP, about("overlap_end", 0.6)),
    Statement("… translational symmetry peaks at about 0.35", "neither", SYMMETRY, about("symmetry_peak", 0.35)),
    Statement("Noise: the LLC does not fall", "noise", FALL, needs("llc_fell", test=lambda one: not one["llc_fell"])),
    Statement("… one head becomes the anti-state of the other", "noise", ANTI, _ANTI_STATE),
    Statement("… when the ranks fall, at about step 2400", "noise", RANK, falls("rank", 2400)),
    Statement(
        "… and translational symmetry rises",
        "noise",
        {"symmetry_step": "half of the final translational symmetry for good at step"},
        needs("symmetry_step", test=lambda one: same(one["symmetry_step"], 2400)),
    ),
    Statement(
        "A vocabulary of 202: as many regions",
        "202 tokens",
        {"regions_end": "regions of all heads", "regions_start": "before training"},
        among("2 heads", "regions_end", lambda one, seeds: min(seeds) - 1 <= one <= max(seeds) + 1),
    ),
    Statement(
        "Lists of 20: more regions",
        "20 numbers",
        {"regions_end": "regions of all heads", "regions_start": "before training"},
        among("2 heads", "regions_end", lambda one, seeds: one > max(seeds) + 1),
    ),
    Statement("Three heads: one becomes an anti-state", "3 heads", ANTI, _ANTI_STATE),
    Statement(
        "Four heads: the LLC falls at 5k of 100k steps", "4 heads", FALL, falls("llc", 5000, 100_000)
    ),
    Statement("… one head becomes an anti-state", "4 heads", ANTI, _ANTI_STATE),
    Statement(
        "… at the time of the fall",
        "4 heads",
        ANTI,
        if_it_fell("anti_state_step", test=lambda o: same(o["anti_state_step"], o["llc_fall_step"])),
    ),
    Statement(
        "Cumulative sum: the LLC rises and stays",
        "cumulative sum",
        FALL,
        needs("llc_fell", "llc_start", test=lambda o: not o["llc_fell"] and o["llc_end"] > o["llc_start"]),
    ),
]  # fmt: skip
