"""What every report says of curvature: how much of λ̂ second order explains, in a sentence and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ontogeny.report.page import Table
from ontogeny.report.words import number, percent

MEANING = [
    """Second order, the quadratic around w* with its slope, predicts
    λ̂(nβ, γ) = Σ ½ nβh/κ − Σ ((nβ g)²/κ)(1 − nβh/(2κ)), with h the eigenvalues of the Hessian, g the gradient along its
    eigenvectors and κ = nβh + γ. The second sum, what the gradient takes off, is never negative: where it is large w*
    is no minimum, and the prediction falls below zero. What λ̂ has beyond the prediction, chains further out in the loss
    than the quadratic reaches, lies beyond second order.""",
]
MACROS = """
{%- macro mean_of(cell) -%}
{{ cell["mean"] | number }}{% if cell["interval"][0] is not none %} [{{ cell["interval"][0] | number }},
{{ cell["interval"][1] | number }}]{% else %} ± {{ cell["se"] | number(2) }}{% endif %}
{%- endmacro -%}
{%- macro share_of(cell) -%}
{{ cell["mean"] | percent }}{% if cell["interval"][0] is not none %} [{{ cell["interval"][0] | percent }},
{{ cell["interval"][1] | percent }}]{% else %} ± {{ cell["se"] | percent(1) }}{% endif %}
{%- endmacro -%}
"""
SECOND_ORDER = (
    MACROS
    + """
{{- " " }}
{%- set c = second_order -%}
{%- if c["minima"] -%}
Where w* is a minimum (λ̂ usable, and the gradient takes at most {{ c["still"] | percent }} off; {{ c["minima"] | integer
}} of {{ c["estimates"] | integer }} checkpoints, in {{ c["share"]["seeds"] | count("seed") }}) second order explains
{{ share_of(c["share"]) }} of λ̂; what remains, {{ mean_of(c["beyond"]) }}, lies beyond it. The two agree within
{{ c["times"] | number }} of their standard errors at {{ c["within"] | integer }} of these checkpoints.
{%- else -%}
At no checkpoint is w* a minimum whose second order is known, so nothing is said of the share that it explains.
{%- endif %}
{%- if c["below"] %} Of {{ c["below"] | count("estimate") }} below baseline with a prediction,
{{ c["below_predicted"] | integer }} {{ c["below_predicted"] | agreeing("is", "are") }} predicted to be negative, by the
gradient at w*.
{%- endif %}
{%- if c["no_posterior"] %} At {{ c["no_posterior"] | count("checkpoint") }} the quadratic has no posterior (some
nβh + γ is not positive), and there is no prediction.
{%- endif %}
{%- if c["unresolved"] %} At {{ c["unresolved"] | integer }} it is known less well than to a tenth.{% endif %}
"""
)

BY_SPARSITY = (
    MACROS
    + """
{%- set told, all = second_order["frozen"], second_order["frozen"].values() | list -%}
{%- set known = [] -%}
{%- for s, one in told.items() if one["share"]["mean"] is not none -%}
{{ known.append(share_of(one["share"]) ~ " (S = " ~ s ~ ", beyond " ~ mean_of(one["beyond"]) ~ ")") or "" }}
{%- endfor -%}
{% if known -%}
Where w* is a minimum ({{ all | sum(attribute="minima") | integer }} of {{ all | sum(attribute="estimates") | integer }}
checkpoints: λ̂ usable, and the gradient takes at most {{ all[0]["still"] | percent }} off), the second order of the loss
explains of λ̂ {{ known | join("; ") }}; what is beyond it is no matter of the Hessian.
{%- else -%}
At no checkpoint is w* a minimum whose second order is known, so nothing is said of the share of λ̂ that it explains.
{%- endif %}
{%- set below = all | sum(attribute="below") -%}
{%- if below %} Of {{ below | integer }} estimates below baseline with a prediction,
{{ all | sum(attribute="below_predicted") | integer }} are predicted to be negative, by the gradient at w*.{% endif %}
"""
)
"""The same of a sweep: `second_order` by setting and sparsity."""


def comparison_table(first: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row a case, the first column called ``first``; rows: name -> what `against_second_order` returns."""
    columns = (first, "minima", "explained", "beyond second order", "agree", "predicted negative", "no posterior")
    return Table(columns, [_row(name, one) for name, one in rows.items()])


TABLE_CAPTION = """λ̂ against its second-order prediction. Minima: estimates that are usable, with a prediction of
status ok and at most 5 % taken off by the gradient; explained: the sum of predictions over the sum of λ̂ at the minima
of a seed, mean over seeds with its 95 % Student t interval, or, of one seed, ± the most that the standard errors make
of it; beyond: λ̂ less prediction, likewise; agree: minima at which they differ by at most 1.96 of their standard errors;
predicted negative: of the estimates below baseline with a prediction; no posterior: some nβh + γ is not positive, so
there is no prediction."""


def _row(name: str, one: Mapping[str, Any]) -> list[str | int | float]:
    return [
        name,
        f"{one['minima']:,} of {one['estimates']:,}",
        _with_interval(one["share"], percent, partial(percent, digits=1)),
        _with_interval(one["beyond"], number, partial(number, digits=2)),
        f"{one['within']:,} of {one['minima']:,}",
        f"{one['below_predicted']:,} of {one['below']:,}",
        one["no_posterior"],
    ]


def _with_interval(cell: Mapping[str, Any], said: Callable[[float], str], error: Callable[[float], str]) -> str:
    if cell["mean"] is None:
        return "—"
    low, high = cell["interval"]
    if low is not None:
        return f"{said(cell['mean'])} ({said(low)} to {said(high)})"
    return f"{said(cell['mean'])} ± {error(cell['se'])}"
