"""The rows of CLAIMS.md that the sorting study answers for, made of its summary.json, so that the two cannot differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from ontogeny.report.sorting.statements import STATEMENTS, Found
from ontogeny.report.sorting.text import ENOUGH, said
from ontogeny.report.words import number

KEPT = ("preset", "seeds", "findings", "variants", "settings", "accurate", "health")
"""What of the summary the rows need."""
COMMAND = "L"


def excerpt(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The part of summary.json that is kept beside CLAIMS.md."""
    return {name: summary[name] for name in KEPT}


def rows(summary: Mapping[str, Any]) -> list[str]:
    """One row of a Markdown table a statement: statement, what was measured, command, verdict."""
    found, made = summary["findings"], []
    for one in STATEMENTS:
        if one.variant not in found:
            continue
        of_variant = found[one.variant]
        seeds = by_seed(of_variant)
        told = [value for value in (one.holds(seed, found) for seed in seeds) if value is not None]
        figures = "; ".join(f"{words} {said(of_variant[name])}" for name, words in one.figures.items())
        count = f"holds in {sum(told)} of {len(told)} seeds" if told else "no seed can tell"
        if told and len(told) < len(seeds):
            count += f", {len(seeds) - len(told)} cannot tell"
        length = f"{number(of_variant['last_step'], 6)} steps"
        made.append(f"| {one.says} | {length}: {figures}; {count} | {COMMAND} | {verdict(told)} |")
    return [*made, _proportional(found)]


def verdict(told: list[bool]) -> str:
    """What the seeds say together: decided where all of enough seeds agree."""
    if len(told) < ENOUGH or 0 < sum(told) < len(told):
        return "cannot be told"
    return "agrees" if all(told) else "disagrees"


def by_seed(one: Found) -> list[dict[str, float]]:
    """The figures of each seed of a variant, NaN where it has none."""
    out = []
    for seed in range(one["seeds"]):
        figures = {"last_step": float(one["last_step"])}
        for name, finding in one.items():
            if finding is None or (isinstance(finding, Mapping) and "values" in finding):
                value = None if finding is None else finding["values"][seed]
                figures[name] = math.nan if value is None else float(value)
        out.append(figures)
    return out


def _proportional(found: Mapping[str, Found]) -> str:
    """How far the relative fall of λ̂ goes with that of the overlap, over variants in most seeds of which λ̂ fell."""
    points, fewest = {}, math.inf
    for name, one in found.items():
        if one["overlap_peak"] and one["llc_fall"] and one["llc_fell"]["mean"] > 0.5:
            lost = one["overlap_peak"]["mean"] - one["overlap_end"]["mean"]
            points[name] = (one["llc_fall"]["mean"] / one["llc_peak"]["mean"], lost)
            fewest = min(fewest, one["seeds"])
    told = "; ".join(f"{name} {number(100 * fall, 2)} %, {number(lost, 2)}" for name, (fall, lost) in points.items())
    told = told or "it fell in no variant with several heads"
    measured, word = f"where λ̂ fell, its fall relative to its highest, and that of the overlap: {told}", ""
    columns = list(zip(*points.values(), strict=True))
    if len(points) >= ENOUGH and all(len(set(column)) > 1 for column in columns):
        correlation = statistics.correlation(*columns)
        measured += (
            f"; correlation {number(correlation, 2)} over {len(points)} variants, {number(fewest)} seeds or more"
        )
        if fewest >= ENOUGH:
            word = "agrees" if correlation < 0.7 else "disagrees" if correlation > 0.9 else ""
    statement = "The size of the LLC drop is not proportional to specialization"
    return f"| {statement} | {measured} | {COMMAND} | {word or 'cannot be told'} |"
