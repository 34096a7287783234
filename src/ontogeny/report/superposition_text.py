"""The sentences of the superposition report, as templates over its summary: no number in them is typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSTRACT = """
{{ seeds }} toy models of superposition, x̂ = ReLU(WᵀWx + b) with {{ features }} features squeezed into two dimensions
{%- if sparsity is not none %} (each zero with probability {{ sparsity | number }}){% endif %}, differ in nothing but their random seed.
Along each training run we follow the effective rank of W, the features' norms and angles, the polygon they form, and the local learning
coefficient (LLC) with its standard error; we ask which seeds show the textbook plateau and jump of the effective rank, and whether the LLC
is elevated at that jump compared with random cut points of the same trajectory.
"""

CONCLUSIONS = (
    # Which seeds do what.
    """
{%- set jumps = classes["plateau_then_jump"] -%}
Of {{ seeds }} seeds, {{ jumps["count"] }} ({{ jumps["fraction"] | percent }}; {{ class_interval_level | percent }} interval
{{ jumps["interval"][0] | percent }} to {{ jumps["interval"][1] | percent }}) show a plateau of the effective rank and then a jump;
{% for kind, one in classes.items() if kind != "plateau_then_jump" -%}
{{ one["count"] }} {{ {"early_rise": "rise early, without a plateau", "stuck": "stay stuck", "non_monotonic": "rise and fall back"}[kind] or kind }}
{{- ", " if not loop.last }}{{ "and " if loop.revindex == 2 }}
{%- endfor %}.
""",
    # What the jump is.
    """
{%- if jump["seeds"] == 0 -%}
No seed has a jump that the acceptance rule of the sigmoid fit lets through, so nothing can be said here about the LLC at a jump.
{%- else -%}
The sigmoid fit puts a jump in {{ jump["seeds"] | count("seed") }}{{ "" if jump["seeds"] == classes["plateau_then_jump"]["count"]
  else " (those of that class whose fit is accepted)" }}: the effective rank goes from {{ jump["rank_before"]["median"] | fixed(2) }} to
{{ jump["rank_after"]["median"] | fixed(2) }} {{ "(medians) " if jump["seeds"] > 1 }}at step {{ jump["step"] | range }}.
{%- endif -%}
""",
    # Emergence against the jump.
    """
{%- if emergence["features"] -%}
{%- set lag = emergence["lag"]["median"] -%}
In these seeds the median feature emerges at step {{ emergence["step"]["median"] | integer }},
{% if lag > 0 %}{{ lag | integer }} steps before{% elif lag < 0 %}{{ -lag | integer }} steps after{% else %}at the same step as{% endif %} its seed's jump
{%- if lag == 0 %} (median lag){% endif %}; {{ emergence["features_before_jump"] }} of {{ emergence["features"] }} represented features
emerge before the inflection
{%- if emergence["features_gained_across_jump"]["mean"] is not none %}, and across the jump a seed gains
{{ emergence["features_gained_across_jump"]["mean"] | number }} features on average{% endif %}.
{%- endif -%}
""",
    # The LLC at the jump: one sentence a statistic, over the three variants.
    """
{%- macro p(cell) -%}{{ cell["p_value"] | pvalue(test_settings["permutations"]) }}{%- endmacro -%}
{%- macro verdict(name, what, word) -%}
{%- set plain = tests["plain"][name] -%}
{%- if plain["p_value"] is none -%}
{{ what | upper_first }} at the inflection cannot be tested: {{ plain["reason"] | lower_first }}
{%- if plain["mean_difference"] is not none %} The mean difference from random cuts is {{ plain["mean_difference"] | signed }}.{% endif %}
{%- else -%}
{{ what | upper_first }} at the inflection differs from that at random cuts of the same trajectory by {{ plain["mean_difference"] | signed }} on
average over {{ plain["seeds"] | count("seed") }} (95 % interval {{ plain["interval"][0] | signed }} to {{ plain["interval"][1] | signed }}, Cohen's d
{{ plain["cohen_d"] | number }}, one-sided {{ p(plain) }}); after a monotone trend is taken out {{ p(tests["detrended"][name]) }}, against cuts from
the same third of training {{ p(tests["same_third"][name]) }}{{ " " }}
{%- set ps = [plain["p_value"], tests["detrended"][name]["p_value"], tests["same_third"][name]["p_value"]] -%}
{%- set passed = ps | select("number") | select("lt", test_settings["alpha"]) | list | length -%}
{%- set undefined = ps | select("none") | list | length -%}
{%- if passed == 3 -%}
: all three are below {{ test_settings["alpha"] | number }}, so {{ word }} beyond the trend is supported.
{%- elif passed == 0 and not undefined -%}
: none is below {{ test_settings["alpha"] | number }}, so {{ word }} is not supported; with these seeds the plain test finds a difference of
{{ plain["detectable_difference"] | number }} in {{ test_settings["power"] | percent }} of cases, and smaller ones less often.
{%- else -%}
: {{ passed }} of 3 are below {{ test_settings["alpha"] | number }}{% if undefined %} and {{ undefined }} could not be computed{% endif %}, and since a curve that
merely rises passes some of them, {{ word }} beyond the trend is not established.
{%- endif -%}
{%- endif -%}
{%- endmacro -%}
{%- if jump["seeds"] -%}
{{ verdict("level", "the LLC", "an elevated LLC at the jump") }} {{ verdict("rise", "the rise of the LLC", "a rise of the LLC at the jump") }}
{%- endif -%}
""",
    # How far the estimates can be trusted.
    """
{%- set ok = health["status"].get("ok", 0) -%}
{{ ok }} of {{ health["estimates"] }} LLC estimates ({{ (ok / health["estimates"]) | percent }}) pass every test of their health
{%- if health["without_value"] %}, and {{ health["without_value"] }} have no value because a chain diverged{% endif -%}
{%- if health["relative_se"]["median"] is not none %}; their median standard error is {{ health["relative_se"]["median"] | percent(1) }}{% endif %}.
{%- if ok < 0.9 * health["estimates"] %} That is less than nine in ten: read every statement about the LLC with its status.{% endif -%}
""",
    """
{%- if n_beta is not none and localization is not none -%}
All of them are λ̂(nβ, γ) at nβ = {{ n_beta | number }} and γ = {{ localization | number }}: a tempered, localised quantity that orders checkpoints, not
the learning coefficient itself
{%- set prior = health["regime"].get("prior_dominated", 0) -%}
{%- if prior %}; at {{ prior }} checkpoints ({{ (prior / health["estimates"]) | percent }}) the prior decides more than the loss{% endif %}.
{%- endif -%}
""",
)

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
    """Render the conclusions, one string a template; one that has nothing to say about these numbers is left out."""
    said = (_render(template, summary) for template in CONCLUSIONS)
    return [sentence for sentence in said if sentence]


def abstract(summary: Mapping[str, Any]) -> str:
    """Render the abstract."""
    return _render(ABSTRACT, summary)


def settings(attrs: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The attributes of the measurements as a table: known ones first, with their names in words, the others as they are called."""
    order = [*(k for k in SETTINGS if k in attrs), *(k for k in attrs if k not in SETTINGS)]
    values = {SETTINGS.get(k, str(k).replace("_", " ")): attrs[k] for k in order}
    return {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in values.items()}


def health(summary: Mapping[str, Any]) -> dict[str, str]:
    """What was asked of the estimates -> a sentence with the numbers, then each word that occurs with what it means."""
    from ontogeny.estimators.status import describe_status

    state = summary["health"]
    made = {key: _render(template, state) for key, template in HEALTH.items()}
    for kind in ("status", "regime"):
        made |= {f"{kind}: {word.replace('_', ' ')}": describe_status(word) for word in state[kind]}
    return {key: sentence for key, sentence in made.items() if sentence}


HEALTH = {
    "estimates": """{{ estimates }} estimates of λ̂: {% for word, n in status.items() -%}
{{ n }} {{ word | words }} ({{ (n / estimates) | percent }}){{ ", " if not loop.last }}{% endfor %}.
{%- if without_value %} {{ without_value }} have no value, and nothing stands in for them.{% endif %}""",
    "what was measured": """{% for word, n in regime.items() -%}
{{ n }} {{ word | words }} ({{ (n / estimates) | percent }}){{ ", " if not loop.last }}{% endfor %}.""",
    "localisation": """{% if localisation_ratio["n"] %}nβ·h_max/γ, the steepest direction of the loss against the prior, lies between
{{ localisation_ratio["range"][0] | number }} and {{ localisation_ratio["range"][1] | number }} (median {{ localisation_ratio["median"] | number }}).{% endif %}""",
    "mixing": """{% if worst_r_hat is not none %}Worst R̂ {{ worst_r_hat | number(4) }}, smallest effective sample size {{ smallest_ess | integer }}
draws; {{ chains_lost }} chains lost.{% endif %}""",
    "errors": """{% if relative_se["n"] %}Standard errors of λ̂ are {{ relative_se["median"] | percent(1) }} of λ̂ in the median,
{{ relative_se["range"][1] | percent(1) }} at worst; minibatch noise is included.{% endif %}""",
}


def _render(template: str, summary: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False)
    environment.filters |= {
        "number": number,
        "signed": lambda v: "—" if v is None else number(v) if v < 0 else "+" + number(v),
        "integer": lambda v: f"{round(v):,}",
        "percent": lambda v, digits=0: f"{100 * v:.{digits}f} %",
        "pvalue": pvalue,
        "range": lambda spread: (
            f"{round(spread['range'][0]):,}"
            if spread["n"] == 1
            else f"{round(spread['median']):,} ({round(spread['range'][0]):,} to {round(spread['range'][1]):,})"
        ),
        "count": lambda n, noun: f"{n} {noun}" if n == 1 else f"{n} {noun}s",
        "words": lambda word: word.replace("_", " "),
        "fixed": lambda v, digits: f"{v:.{digits}f}",
        "upper_first": lambda text: text[:1].upper() + text[1:],
        "lower_first": lambda text: text[:1].lower() + text[1:],
    }
    environment.tests["number"] = lambda v: isinstance(v, (int, float))
    return " ".join(environment.from_string(template).render(summary).split()).replace(" :", ":")


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits without an exponent where that is readable, a true minus sign, an em dash for what does not exist.

    >>> number(-0.04567), number(1e-05), number(None)
    ('−0.0457', '1e-05', '—')
    """
    if value is None:
        return "—"
    return f"{value:.{digits}g}".replace("-", "−", 1) if value < 0 else f"{value:.{digits}g}"


def pvalue(p: float | None, permutations: int) -> str:
    """A p-value with its sign: "p = 0.031", or "p ≤ 0.0001" at the smallest value that this many permutations can give."""
    if p is None:
        return "p undefined"
    least = 1 / (1 + permutations)
    return f"p ≤ {least:.2g}" if p <= least * (1 + 1e-9) else f"p = {p:.2g}"
