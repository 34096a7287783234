"""The sentences of the superposition report, as templates over its summary: no number in them is typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSTRACT = """
{{ seeds }} toy models of superposition, x̂ = ReLU(WᵀWx + b) with {{ features }} features squeezed into two dimensions
{%- if sparsity is not none %} (each zero with probability {{ sparsity | number }}){% endif %}, differ in nothing but
their random seed. Along each training run we follow the effective rank of W, the features' norms and angles, the
polygon they form, and the local learning coefficient (LLC) with its standard error. We ask which seeds show the
textbook plateau and jump of the effective rank, and whether the LLC is elevated at that jump compared with random cut
points of the same trajectory.
"""

WHICH_SEEDS = """
{%- set jumps = classes["plateau_then_jump"] -%}
{%- set said = {"early_rise": "rise early, without a plateau", "stuck": "stay stuck",
  "non_monotonic": "fall back from a rank that they had held"} -%}
Of {{ seeds | count("seed") }}, {{ jumps["count"] }} ({{ jumps["fraction"] | percent }};
{{ class_interval_level | percent }} interval {{ jumps["interval"][0] | percent }} to
{{ jumps["interval"][1] | percent }}) show a plateau of the effective rank and then a jump;
{% for kind, one in classes.items() if kind != "plateau_then_jump" -%}
{{ one["count"] }} {{ said[kind] or (kind | words) }}{{ ", " if not loop.last }}{{ "and " if loop.revindex == 2 }}
{%- endfor %}.
"""

JUMP = """
{%- if jump["seeds"] == 0 -%}
No seed has a jump that the acceptance rule of the sigmoid fit lets through, so nothing can be said here about the LLC
at a jump.
{%- else -%}
{%- set whole = jump["seeds"] == classes["plateau_then_jump"]["count"] -%}
The sigmoid fit accepts and dates the jump of {{ jump["seeds"] | count("seed") }}
{{- "" if whole else ", and only those enter what follows" }}: the effective rank goes from
{{ jump["rank_before"]["median"] | fixed(2) }} to {{ jump["rank_after"]["median"] | fixed(2) }}, with the inflection at
{{ "a median step of " if jump["seeds"] > 1 else "step " }}{{ jump["step"] | spread }}.
{%- endif -%}
"""

EMERGENCE = """
{%- if emergence["features"] -%}
{%- set lag = emergence["lag"]["median"] -%}
{%- set gained = emergence["features_gained_across_jump"]["mean"] -%}
In {{ "these seeds" if jump["seeds"] > 1 else "this seed" }} features emerge at a median step of
{{ emergence["step"]["median"] | integer }}, the median one
{% if lag > 0 %}{{ lag | integer }} steps before{% elif lag < 0 %}{{ (-lag) | integer }} steps after
{%- else %}at{% endif %} its seed's inflection;
{{ emergence["features_before_jump"] }} of {{ emergence["features"] }} emerge before it
{%- if gained is not none %}, and across the jump the number of features represented changes by {{ gained | signed }} on
average{% endif %}.
{%- endif -%}
"""

# A curve that merely rises passes the plain test, so only all three variants together support a claim.
TEST = """
{%- macro verdict(name, what, word, less, more) -%}
{%- set plain = tests["plain"][name] -%}
{%- set ps = [plain["p_value"], tests["detrended"][name]["p_value"], tests["same_third"][name]["p_value"]] -%}
{%- if plain["p_value"] is none -%}
Whether {{ what }} stands out cannot be tested: {{ plain["reason"] | lower_first }}
{%- else -%}
{%- set passed = ps | select("number") | select("lt", test_settings["alpha"]) | list | length -%}
{%- set missing = ps | select("none") | list | length -%}
{{ what | upper_first }} is {{ plain["mean_difference"] | abs | number }}
{{ more if plain["mean_difference"] >= 0 else less }} than at random cuts of the same trajectory (mean over
{{ plain["seeds"] | count("seed") }}; 95 % interval {{ plain["interval"][0] | signed }} to
{{ plain["interval"][1] | signed }}; Cohen's d {{ plain["cohen_d"] | number(2) }}). One-sided
{{ ps[0] | pvalue(test_settings["permutations"]) }}, after a monotone trend is taken out
{{ ps[1] | pvalue(test_settings["permutations"]) }}, against cuts from the same third of training
{{ ps[2] | pvalue(test_settings["permutations"]) }}:
{% if passed == 3 -%}
all three are below {{ test_settings["alpha"] | number }}, so {{ word }} beyond the trend is supported.
{%- elif passed == 0 and not missing -%}
none is below {{ test_settings["alpha"] | number }}, so {{ word }} is not supported; a true difference of
{{ plain["detectable_difference"] | number }} would have passed the plain test in {{ test_settings["power"] | percent }}
of such studies, a smaller one less often.
{%- else -%}
{{ passed }} of 3 {{ "is" if passed == 1 else "are" }} below {{ test_settings["alpha"] | number }}
{{- " and " ~ missing ~ " could not be computed" if missing }}, so {{ word }} beyond the trend is not established.
{%- endif -%}
{%- endif -%}
{%- endmacro -%}
{%- if jump["seeds"] -%}
{{ verdict("level", "the LLC at the inflection", "an elevated LLC at the jump", "lower", "higher") }}
{{ verdict("rise", "the rise of the LLC across the inflection", "a rise of the LLC at the jump", "smaller", "larger") }}
{%- endif -%}
"""

TRUST = """
{%- set ok = health["status"].get("ok", 0) -%}
{%- set prior = health["regime"].get("prior_dominated", 0) -%}
{%- set error = health["relative_se"]["median"] -%}
{{ ok | integer }} of {{ health["estimates"] | integer }} LLC estimates ({{ (ok / health["estimates"]) | percent }})
pass every test of their health
{%- if health["without_value"] %}, and {{ health["without_value"] }} have no value because a chain diverged{% endif -%}
{%- if error is not none %}; the median standard error is {{ error | percent(1) }} of the estimate{% endif %}.
{% if ok < 0.9 * health["estimates"] -%}
That is less than nine in ten: read every statement about the LLC with its status.
{%- endif %}
{% if n_beta is not none and localization is not none -%}
What is estimated is λ̂(nβ, γ) at nβ = {{ n_beta | number }} and γ = {{ localization | number }}, a tempered, localised
quantity that compares checkpoints, not the learning coefficient itself
{%- if prior %}; at {{ prior | integer }} checkpoints ({{ (prior / health["estimates"]) | percent }}) the prior decides
more than the loss{% endif %}.
{%- endif -%}
"""

CONCLUSIONS = (WHICH_SEEDS, JUMP, EMERGENCE, TEST, TRUST)

HEALTH = {
    "estimates": """
{{ estimates | integer }} estimates of λ̂: {% for word, n in status.items() -%}
{{ n | integer }} {{ word | words }} ({{ (n / estimates) | percent }}){{ ", " if not loop.last }}{% endfor %}.
{% if without_value %}{{ without_value | integer }} have no value, and nothing stands in for them.{% endif %}
""",
    "what was measured": """
{% for word, n in regime.items() -%}
{{ n | integer }} {{ word | words }} ({{ (n / estimates) | percent }}){{ ", " if not loop.last }}{% endfor %}.
""",
    "localisation": """
{%- if localisation_ratio["n"] -%}
nβ·h_max/γ, the steepest direction of the loss against the prior, lies between
{{ localisation_ratio["range"][0] | number }} and {{ localisation_ratio["range"][1] | number }} (median
{{ localisation_ratio["median"] | number }}).
{%- endif -%}
""",
    "mixing": """
{%- if worst_r_hat is not none -%}
Worst R̂ {{ worst_r_hat | number(4) }}, smallest effective sample size {{ smallest_ess | integer }} draws;
{{ chains_lost | count("chain") }} lost.
{%- endif -%}
""",
    "errors": """
{%- if relative_se["n"] -%}
The standard error of λ̂, minibatch noise included, is {{ relative_se["median"] | percent(1) }} of λ̂ in the median and
{{ relative_se["range"][1] | percent(1) }} at worst. It holds for these examples; other data or seeds are not in it.
{%- endif -%}
""",
}

SETTINGS = {
    "preset": "preset",
    "n_features": "features",
    "sparsity": "sparsity S (probability of zero)",
    "importance_decay": "importance of feature i: this to the power i",
    "init_scale": "initial scale of W",
    "learning_rate": "learning rate (Adam)",
    "train_steps": "training steps",
    "train_batch": "training batch",
    "seed0": "first seed",
    "n_beta": "nβ",
    "localization": "γ, 1/weight²",
    "step_size": "step size ε",
    "kernel": "kernel",
    "chains": "chains",
    "draws": "draws a chain",
    "burn_in": "burn-in, steps",
    "batch_size": "batch of the sampler",
    "dataset_size": "examples n in L_n",
    "ontogeny_version": "ontogeny",
}


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """Render the conclusions, a paragraph a template; one that has nothing to say about these numbers is left out."""
    said = (_render(template, summary) for template in CONCLUSIONS)
    return [paragraph for paragraph in said if paragraph]


def abstract(summary: Mapping[str, Any]) -> str:
    """Render the abstract."""
    return _render(ABSTRACT, summary)


def settings(attrs: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Turn the measurements' attributes into a table: known ones first, in words, the others as they are called."""
    order = [*(k for k in SETTINGS if k in attrs), *(k for k in attrs if k not in SETTINGS)]
    values = {SETTINGS.get(k, str(k).replace("_", " ")): attrs[k] for k in order}
    return {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in values.items()}


def health(summary: Mapping[str, Any]) -> dict[str, str]:
    """Say how well the LLC was measured: what is asked -> a sentence with its numbers, then every word that occurs."""
    from ontogeny.estimators.status import describe_status

    state = summary["health"]
    made = {key: _render(template, state) for key, template in HEALTH.items()}
    for kind in ("status", "regime"):
        made |= {f"{kind}: {word.replace('_', ' ')}": describe_status(word) for word in state[kind]}
    return {key: sentence for key, sentence in made.items() if sentence}


def _render(template: str, summary: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False)
    environment.filters |= {
        "number": number,
        "pvalue": pvalue,
        "signed": lambda v: "—" if v is None else number(v) if v < 0 else "+" + number(v),
        "fixed": lambda v, digits: f"{v:.{digits}f}",
        "integer": lambda v: f"{round(v):,}",
        "percent": lambda v, digits=0: f"{100 * v:.{digits}f} %",
        "spread": spread,
        "count": lambda n, noun: f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s",
        "words": lambda word: word.replace("_", " "),
        "lower_first": lambda text: text[:1].lower() + text[1:],
        "upper_first": lambda text: text[:1].upper() + text[1:],
    }
    return " ".join(environment.from_string(template).render(summary).split())


def spread(numbers: Mapping[str, Any]) -> str:
    """State a median with its range, as whole numbers; one value alone.

    >>> spread({"n": 3, "median": 1200.0, "range": [7.0, 1500.0]})
    '1,200 (7 to 1,500)'
    """
    low, high = numbers["range"]
    return f"{round(numbers['median']):,}" + (f" ({round(low):,} to {round(high):,})" if numbers["n"] > 1 else "")


def number(value: float | None, digits: int = 3) -> str:
    """Round to significant digits, with a true minus sign, and an em dash for what does not exist.

    >>> number(-0.04567), number(1e-05), number(None)
    ('−0.0457', '1e-05', '—')
    """
    if value is None:
        return "—"
    return f"{value:.{digits}g}".replace("-", "−", 1) if value < 0 else f"{value:.{digits}g}"


def pvalue(p: float | None, permutations: int) -> str:
    """State a p-value: "p = 0.031", or "p ≤ 0.0001" at the smallest value that this many permutations can give."""
    if p is None:
        return "p undefined"
    least = 1 / (1 + permutations)
    return f"p ≤ {least:.2g}" if p <= least * (1 + 1e-9) else f"p = {p:.2g}"
