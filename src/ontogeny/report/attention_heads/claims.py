"""The rows of CLAIMS.md that the attention-heads study answers for, made of its summary.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ontogeny.report.words import number

KEPT = ("preset", "seeds", "settings", "types", "claims")
"""What of the summary the rows need."""
COMMAND = "A"


def excerpt(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The part of summary.json that is kept beside CLAIMS.md."""
    return {name: summary[name] for name in KEPT}


def rows(summary: Mapping[str, Any]) -> list[str]:
    """One row of a Markdown table a statement: statement, what was measured, command, verdict."""
    return [
        f"| {claim['says']}{_at(setting, summary)} | {measured(claim['by_seed'])} | {COMMAND} | {claim['verdict']} |"
        for setting, claims in summary["claims"].items()
        for claim in claims.values()
    ]


def measured(seeds: Sequence[Mapping[str, Any]]) -> str:
    """What each seed says, and what it would have detected where it cannot tell."""
    told = []
    for number_, one in enumerate(seeds):
        words = one["words"]
        if one["se"] is not None:
            words += f" (± {number(one['se'], 2)})"
        if one["holds"] is None and one["detectable"] is not None:
            words += f"; {number(one['detectable'], 2)} {one['finds']}"
        told.append(words if len(seeds) == 1 else f"seed {number_}: {words}")
    return "; ".join(told)


def _at(setting: str, summary: Mapping[str, Any]) -> str:
    """Which setting of the sampler, where there are several."""
    return f" ({setting} setting)" if len(summary["claims"]) > 1 else ""
