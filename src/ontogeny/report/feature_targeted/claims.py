"""The rows of CLAIMS.md that the feature-targeted study answers for, made of its summary.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ontogeny.report.feature_targeted.text import correlated
from ontogeny.report.words import number, percent

KEPT = ("preset", "directions", "metrics", "correlations", "best_llc", "best_ablation", "losses")
COMMAND = "N"
FUNCTIONAL, BEHAVIORAL = "functional LLC", "behavioral LLC"
AGREES, DISAGREES, OPEN = "agrees", "disagrees", "cannot be told"

Summary = Mapping[str, Any]


def excerpt(summary: Summary) -> dict[str, Any]:
    """The part of summary.json that is kept beside CLAIMS.md; of all pairs of metrics those that a statement orders."""
    paired: dict[str, dict[str, Any]] = {}
    for _, one, other in _orderings(summary["metrics"]):
        if other in summary["paired"].get(one, {}):
            paired.setdefault(one, {})[other] = summary["paired"][one][other]
    return {name: summary[name] for name in KEPT} | {"paired": paired}


def rows(summary: Summary) -> list[str]:
    """One row of a Markdown table a statement: statement, what was measured, command, verdict."""
    metrics = summary["metrics"]
    made = [
        _higher(metrics, FUNCTIONAL, "60.67 ± 15.24 against 21.90 ± 2.51"),
        _delta(summary, FUNCTIONAL, 0.004),
        _higher(metrics, BEHAVIORAL, "52.74 ± 2.66 against 47.80 ± 1.26"),
        _delta(summary, BEHAVIORAL, 0.085),
        _delta(summary, "mean ablation, KL, top 16", 0.01),
        _delta(summary, "zero ablation, L1/L2, top 8", 0.046),
        *(_better(summary, *ordering) for ordering in _orderings(metrics)),
        *_correlations(summary),
    ]
    return [row for row in made if row]


def _orderings(metrics: Summary) -> list[tuple[str, str, str]]:
    """Statements that one metric separates better than another: words, the one, the other."""
    made = [("The functional FT-LLC separates better than the behavioral one", FUNCTIONAL, BEHAVIORAL)]
    for over in _overs(metrics):
        mean_kl, zero_kl = (f"{kind} ablation, KL, {over}" for kind in ("mean", "zero"))
        mean_sparse, zero_sparse = (f"{kind} ablation, L1/L2, {over}" for kind in ("mean", "zero"))
        made.append((f"Mean ablation separates better than zero ablation for KL ({over})", mean_kl, zero_kl))
        words = f"Zero ablation separates slightly better than mean ablation for sparsity ({over})"
        made.append((words, zero_sparse, mean_sparse))
        if over != "all":
            words = f"The strongest activations separate better than all ({over})"
            made.append((words, mean_kl, "mean ablation, KL, all"))
    return made


def _overs(metrics: Summary) -> list[str]:
    return [name.rpartition(", ")[2] for name in metrics if name.startswith("mean ablation, KL, ")]


def _row(statement: str, measured: str, verdict: str) -> str:
    return f"| {statement} | {measured} | {COMMAND} | {verdict} |"


def _there(metrics: Summary, *names: str) -> bool:
    return all(name in metrics and metrics[name]["separation"] is not None for name in names)


def _said(metrics: Summary, name: str) -> str:
    s = metrics[name]["separation"]
    return f"{name}: δ {percent(s['delta'], 1)} ({percent(s['delta_low'], 1)} to {percent(s['delta_high'], 1)})"


def _higher(metrics: Summary, name: str, theirs: str) -> str:
    if not _there(metrics, name):
        return ""
    s, gap = metrics[name]["separation"], metrics[name]["difference"]
    measured = (
        f"{number(s['mean_first'])} ± {number(s['sd_first'])} against {number(s['mean_second'])} ± "
        f"{number(s['sd_second'])}; difference {number(gap['mean'])} ({number(gap['low'])} to {number(gap['high'])})"
    )
    verdict = AGREES if gap["low"] > 0 else DISAGREES if gap["high"] < 0 else OPEN
    return _row(f"The {name} of SAE features is higher than that of random directions ({theirs})", measured, verdict)


def _delta(summary: Summary, name: str, theirs: float) -> str:
    """A figure of one model can be contradicted by that model alone."""
    metrics = summary["metrics"]
    if not _there(metrics, name):
        return ""
    s, same = metrics[name]["separation"], summary["preset"] == "full"
    inside = s["delta_low"] <= theirs <= s["delta_high"]
    told = s["delta_high"] < 0.5  # else the kinds may not be told apart at all, and any value would agree
    finest = 0.5 / min(s["n_first"], s["n_second"])
    measured = _said(metrics, name)
    if not same:
        measured += f"; of another model, and in steps of {percent(finest, 1)}"
    verdict = AGREES if inside and told else DISAGREES if same and not inside else OPEN
    return _row(f"{name[:1].upper()}{name[1:]}: δ = {percent(theirs, 1)} on GPT-2 small", measured, verdict)


def _better(summary: Summary, statement: str, one: str, other: str) -> str:
    """Decided by the paired difference of the areas under the curve."""
    metrics, gap = summary["metrics"], summary["paired"].get(one, {}).get(other)
    if gap is None:
        return ""
    low, high = (number(gap[end]) for end in ("low", "high"))
    measured = (
        f"{_said(metrics, one)}; {_said(metrics, other)}; area larger by {number(gap['difference'])} ({low} to {high})"
    )
    return _row(statement, measured, AGREES if gap["low"] > 0 else DISAGREES if gap["high"] < 0 else OPEN)


def _correlations(summary: Summary) -> list[str]:
    told = summary["correlations"]
    if not told:
        return []
    tests: list[tuple[str, str, Callable[[Summary], bool], Callable[[Summary], bool]]] = [
        ("is positive", "all", lambda one: one["low"] > 0, lambda one: one["high"] < 0),
        (
            "vanishes below both medians",
            "below",
            lambda one: one["low"] <= 0 <= one["high"] and one["high"] - one["low"] < 1,
            lambda one: one["low"] > 0,
        ),
    ]
    out = []
    for kind, words, theirs in (("sae", "SAE features", "0.47"), ("random", "random directions", "0.38")):
        for says, which, yes, no in tests:
            one = told[kind][which]
            verdict = OPEN if one["r"] is None else AGREES if yes(one) else DISAGREES if no(one) else OPEN
            said = f"The correlation of the best LLC and the best ablation metric {says} among {words}"
            said += f" ({theirs})" if which == "all" else ""
            out.append(_row(said, f"{summary['best_llc']}, {summary['best_ablation']}: {correlated(one)}", verdict))
    return out
