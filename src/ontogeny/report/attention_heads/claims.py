"""The rows of CLAIMS.md that the attention-heads study answers for, made of its summary.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ontogeny.report.words import number

KEPT = ("preset", "seeds", "settings", "types", "claims")
"""What of the summary the rows need."""
COMMAND = "A"
SOME = "decreasing"
"""The statement about some runs alone: one without a decreasing stage bears it out, and none with one refutes it."""


def excerpt(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The part of summary.json that is kept beside CLAIMS.md."""
    return {name: summary[name] for name in KEPT}


def rows(summary: Mapping[str, Any]) -> list[str]:
    """One row of a Markdown table a statement: statement, what was measured, command, verdict."""
    return [
        f"| {claim['says']} | {measured(claim['by_seed'])} | {COMMAND} | {decided(name, claim)} |"
        for name, claim in next(iter(summary["claims"].values())).items()
    ]


def measured(seeds: Sequence[Mapping[str, Any]]) -> str:
    """What each seed says, and what it would have detected where it cannot tell."""
    told = []
    for number_, one in enumerate(seeds):
        words = one["words"]
        if one["se"] is not None:
            words += f" (± {number(one['se'], 2)})"
        if one["holds"] is None and one["detectable"] is not None:
            words += f"; {number(one['detectable'], 2)} would have been found in 80 % of such runs"
        told.append(words if len(seeds) == 1 else f"seed {number_}: {words}")
    return "; ".join(told)


def decided(name: str, claim: Mapping[str, Any]) -> str:
    """The verdict; of what is said of some runs, told by any one of them."""
    if name != SOME:
        return str(claim["verdict"])
    return "agrees" if any(one["holds"] is True for one in claim["by_seed"]) else "cannot be told"
