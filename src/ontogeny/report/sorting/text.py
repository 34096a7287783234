"""The words of the sorting report: sentences rendered from its summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ontogeny.report.curvature import SECOND_ORDER
from ontogeny.report.words import interval, listed, number, render

ABSTRACT = """
Small transformers learn tasks that are made by an algorithm, most of them to sort lists of distinct numbers. Along
training λ̂ of the whole model stands beside accuracy and beside measures of the heads' full QK and OV circuits; λ̂ of
every head was measured at several checkpoints. {{ variants | length | count("variant") }}.
"""

OF_VARIANT = (
    """
{{ title | upper_first }} ({{ found["seeds"] | count("seed") }}, {{ found["last_step"] | integer }} steps):
{%- if found["accuracy_step"] %} {{ (100 * accurate) | integer }} % of its final token accuracy from step
{{ said["accuracy_step"] }} on; at the end (the mean of the last three checkpoints) {{ said["accuracy_end"] }} of fresh
lists are right.{% endif %}
{%- if found["first_peak"] %} λ̂ first peaks at {{ said["first_peak"] }} (step {{ said["first_peak_step"] }}) and falls
to {{ said["first_trough"] }} (step {{ said["first_trough_step"] }}).{% endif %}
{%- if found["llc_peak"] %} λ̂ is highest, {{ said["llc_peak"] }}, at step {{ said["llc_peak_step"] }}, where
{{ said["accuracy_at_peak"] }} of lists are right, and {{ said["llc_end"] }} in the mean of the last three checkpoints:
it fell in {{ fell }} of {{ found["llc_fell"]["n"] }} seeds
{%- if found["llc_fall_step"] %}, halfway at step {{ said["llc_fall_step"] }}{% endif %}.
{%- else %} λ̂ has too few usable estimates for a peak.{% endif %}
{%- if found["localised_step"] %} Its estimates are localised from step {{ said["localised_step"] }} on, and mostly
prior-dominated before.{% endif %}
{%- if found["overlap_peak"] %} Heads overlap by at most {{ said["overlap_peak"] }} and by {{ said["overlap_end"] }}
at the end{% if found["overlap_fall_step"] %}, halfway at step {{ said["overlap_fall_step"] }}{% endif %}.{% endif %}
{%- if found["rank_start"] %} The ranks sum to {{ said["rank_start"] }} before training and {{ said["rank_end"] }}
after.{% endif %}
{%- if found["hessian_trace_peak"] %} The trace of the Hessian is highest, {{ said["hessian_trace_peak"] }}, at step
{{ said["hessian_trace_peak_step"] }}, and ends at {{ said["hessian_trace_end"] }}.{% endif %}
"""
    + SECOND_ORDER
)

UNCERTAIN = """
{{ few | upper_first }}: of fewer than five seeds the values stand in the place of an interval, and of one there is no
scatter to hold a difference between variants against. Five seeds are the least from which an interval (Student t, 95 %)
says much; the option --seeds 5 adds them to this folder.
"""

LIMITS = """
λ̂(nβ, γ) is tempered and, at the γ of this study, strongly localised: it compares checkpoints measured alike, tells of
curvature near w* as much as of degeneracy, and is not the learning coefficient.
{{ health["regime"].get("prior_dominated", 0) | integer }} of {{ health["estimates"] | integer }} estimates are
prior-dominated, no more than an ordinal summary of how flat the loss is. Errors hold for these
{{ settings["examples"] | integer }} lists, and all checkpoints share the sampler's random streams. The circuits leave
out positions, biases and the division by the standard deviation in layer norms. QK and OV are measured as if they were
independent, which they are not.
"""

FINDINGS = {
    "accuracy_step": "99 % of the final token accuracy for good, step",
    "accuracy_end": "lists right, end",
    "llc_start": "λ̂ before training",
    "first_peak": "first peak of λ̂",
    "first_peak_step": "first peak of λ̂, step",
    "first_trough": "lowest λ̂ after it",
    "first_trough_step": "lowest λ̂ after it, step",
    "llc_peak": "highest λ̂",
    "llc_peak_step": "highest λ̂, step",
    "llc_end": "λ̂, end",
    "llc_fell": "λ̂ fell from its highest",
    "llc_fall_step": "halfway down from its highest, step",
    "localised_step": "λ̂ localised for good, step",
    "norm_peak": "largest norm of the weights",
    "norm_end": "norm of the weights, end",
    "overlap_peak": "largest overlap",
    "overlap_end": "overlap, end",
    "overlap_fall_step": "overlap halfway down, step",
    "rank_start": "sum of ranks before training",
    "rank_end": "sum of ranks, end",
    "rank_fall_step": "sum of ranks halfway down, step",
    "participation_end": "sum of participation ratios, end",
    "hessian_trace_peak": "largest Hessian trace, loss/weight²",
    "hessian_trace_peak_step": "largest Hessian trace, step",
    "hessian_trace_end": "Hessian trace, end",
    "hessian_rank_peak": "largest Hessian rank (nβh > γ)",
    "hessian_rank_end": "Hessian rank, end",
    "second_order_share": "second order over λ̂, at minima",
    "symmetry_peak": "largest translational symmetry",
    "symmetry_end": "translational symmetry, end",
    "symmetry_step": "half of the final symmetry for good, step",
    "regions_start": "vocabulary regions of all heads, before training",
    "regions_end": "vocabulary regions of all heads, last",
    "opposition_end": "lowest cosine of a head's OV with the others' sum, last",
    "anti_states_end": "anti-state heads, last",
    "anti_state_step": "an anti-state for good, step",
    "crystallization_by_chance": "crystallization of QK without any order",
    "crystallization_start": "crystallization of QK before training",
    "crystallization_end": "crystallization of QK, end",
    "crystallization_step": "95 % of the final crystallization for good, step",
}
ALIKE = 1e-6
"""Seeds whose interval is so narrow a share of their mean are alike, and Student's t has no width to tell."""
ENOUGH = 5
"""Seeds from which a mean with its interval is stated, and a verdict given; of fewer the values are."""


def said(finding: Mapping[str, Any] | None) -> str:
    """A finding: its mean over seeds with an interval, or the values of the seeds that have one where they are few.

    >>> said({"n": 2, "mean": 6000.0, "interval": [0, 1], "values": [7000.0, 5000.0]}), said(None)
    ('7000, 5000', '—')
    >>> said({"n": 2, "mean": 4.0, "interval": [4.0, 4.0], "values": [4.0, 4.0]})
    '4'
    >>> said({"n": 5, "mean": 0.9973, "interval": [0.99533, 0.99934], "values": [0.997, 0.995, 0.997, 0.999, 0.9985]})
    '0.9973 (0.9953 to 0.9993)'
    >>> said({"n": 5, "mean": 44.0, "interval": [44.0, 44.0], "values": [44.0] * 5})
    '44 in all 5 seeds'
    >>> said({"n": 5, "mean": 0.6, "count": 3, "interval": [0.1466, 0.9473], "values": [1.0, 0.0, 1.0, 1.0, 0.0]})
    'in 3 of 5 seeds (0.15 to 0.95 of all)'
    """
    if finding is None:
        return "—"
    low, high = finding["interval"]
    if "count" in finding:
        share = f" ({low:.2f} to {high:.2f} of all)" if finding["n"] >= ENOUGH else ""
        return f"in {finding['count']} of {finding['n']} seeds{share}"
    if finding["n"] < ENOUGH:
        return ", ".join(dict.fromkeys(number(value) for value in finding["values"] if value is not None))
    if high - low <= ALIKE * abs(finding["mean"]):
        others = len(finding["values"]) - finding["n"]
        return f"{number(finding['mean'])} in all {finding['n']} seeds" + (" that have one" if others else "")
    return interval(finding, max(1 - math.floor(math.log10((high - low) / 2)), 0))


def of_variant(summary: Mapping[str, Any], name: str) -> str:
    """The paragraph on a variant."""
    found = summary["findings"][name]
    words = {key: said(found[key]) for key in FINDINGS} | {"accuracy_at_peak": said(found["accuracy_at_peak"])}
    return render(
        OF_VARIANT,
        {
            "title": summary["variants"][name]["title"],
            "found": found,
            "second_order": summary["second_order"][name],
            "said": words,
            "fell": found["llc_fell"] and round(found["llc_fell"]["mean"] * found["llc_fell"]["n"]),
            "accurate": summary["accurate"],
        },
    )


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """A paragraph a variant, then what limits them."""
    paragraphs = [of_variant(summary, name) for name in summary["findings"]]
    few = [name for name, found in summary["findings"].items() if found["seeds"] < ENOUGH]
    if few:
        paragraphs.append(render(UNCERTAIN, {"few": listed(few)}))
    return [*paragraphs, render(LIMITS, summary)]


def abstract(summary: Mapping[str, Any]) -> str:
    """What the study does."""
    return render(ABSTRACT, summary)


def settings(summary: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The table of settings, in words."""
    given = summary["settings"]
    names = {
        "train_batch": "training batch, lists",
        "learning_rate": "learning rate (Adam)",
        "examples": "lists in the data set of λ̂, n",
        "kernel": "kernel",
        "n_beta": "nβ, 1/loss",
        "localization": "γ, 1/weight²",
        "step_size": "ε, weight²",
        "burn_in": "burn-in, steps",
        "chains": "chains",
        "draws": "draws a chain",
        "batch_size": "batch of the sampler, lists",
        "curvature_samples": "lists that the Hessian is of",
        "curvature_probes": "random probes of the Hessian",
        "fresh": "fresh lists that accuracy is measured on",
        "seed": "seed of the random streams",
    }
    out: dict[str, str | int | float] = {"preset": summary["preset"], "training seeds": summary["seeds"]}
    out |= {words: given[name] for name, words in names.items()}
    for name, one in summary["variants"].items():
        decay = number(one["weight_decay"]) if one["weight_decay"] else "none"
        out[f"variant: {name}"] = (
            f"{one['title']}; {one['steps']:,} steps, weight decay {decay}, "
            f"layer norm {'yes' if one['layer_norm'] else 'no'}"
        )
    return out
