"""What the cut-point tests decide, statistic by statistic, counted for the sentences that say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.analysis.cut_points import JUDGED_BY


def verdicts(tests: Mapping[str, Mapping[str, Any]], alpha_each: float) -> dict[str, Any]:
    """Judge each statistic by the variants in `ontogeny.analysis.cut_points.JUDGED_BY`, at `alpha_each`.

    tests: variant -> statistic -> cell, as in the summary. By statistic: `judged_by`, `not_judged_by` (variants),
    `judged` (their number), `passed` (one-sided p below alpha_each), `missing` (no p), `lower` (below random cuts,
    two-sided p below alpha_each) and `interval_includes_zero`, the variants that passed although their t interval over
    seeds does not lie above zero.
    """
    made = {}
    for statistic, variants in JUDGED_BY.items():
        cells = {v: tests[v][statistic] for v in variants}
        passed = [v for v, cell in cells.items() if _below(cell["p_value"], alpha_each)]
        lows = {v: cells[v]["interval"][0] for v in passed}
        lower = [c for c in cells.values() if _below(c["p_two_sided"], alpha_each) and c["mean_difference"] < 0]
        made[statistic] = {
            "judged_by": list(variants),
            "not_judged_by": [v for v in tests if v not in variants],
            "judged": len(cells),
            "passed": len(passed),
            "missing": sum(cell["p_value"] is None for cell in cells.values()),
            "lower": len(lower),
            "interval_includes_zero": [v for v, low in lows.items() if low is not None and low <= 0],
        }
    return made


def _below(p: float | None, alpha: float) -> bool:
    return p is not None and p < alpha
