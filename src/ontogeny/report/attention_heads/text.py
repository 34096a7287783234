"""The words of the attention-heads report: sentences rendered from its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.report.attention_heads.curvature import ORDERS
from ontogeny.report.words import listed, number, render

ABSTRACT = """
Two-layer attention-only transformers learn to predict text. Along training the refined local learning coefficient of
every head (wrLLC), also on code and on what a one-layer model predicts, stands beside what the head does: where it
looks, what its ablation costs, which tokens in context it is for, and what it composes with. After Wang et al.
(arXiv:2410.02984), whose figures are named in the captions. {{ seeds | count("training seed") }},
{{ steps | length | count("checkpoint") }}, {{ (tokens / 1e6) | number }} million training tokens each.
"""

OF_SEED = """
Seed {{ seed }}: {{ kinds | listed }}.
{%- if formed["prefix_matching"] is not none %} The largest prefix-matching score stays above 0.3 from step
{{ formed["prefix_matching"] | integer }} on{% else %} No head's prefix-matching score stays above 0.3, so that there is
no induction head to speak of{% endif -%}
{%- if formed["previous_token"] is not none %}, the largest previous-token score from step
{{ formed["previous_token"] | integer }} on{% endif %}. The loss on held-out text ends at
{{ loss | number(4) }} ± {{ loss_se | number(2) }} nats a token; bigrams have {{ bigram | number(4) }}, 4-grams
{{ fourgram | number(4) }}. {{ migrations | count("multigram") }} moved from one head to another between the two
checkpoints at which tokens in context were looked at.
"""

OF_SETTING = """
At the {{ name }} setting (nβ {{ at["n_beta"] | number }}, γ {{ at["localization"] | number }})
{{ health["usable"]["ok"] | integer }} of {{ health["estimates"] | integer }} estimates are ok and
{{ health["usable"]["estimates"] | integer }} usable. Of {{ claims | length }} statements of the paper
{{ agree }} {{ agree | agreeing("agrees", "agree") }},
{{ disagree }} {{ disagree | agreeing("disagrees", "disagree") }}, and {{ untold }} cannot be told at this size; the
table of statements has each with its figure, its error, and what this run would have detected.
"""

LIMITS = """
λ̂(nβ, γ) is tempered and localised: it compares heads and checkpoints measured alike and is not the learning
coefficient. Errors are those of sampling for these {{ settings["examples"] }} rows; other rows, and other seeds of
training, are not in them. All estimates share their minibatches. Text is
{{ settings["mixture"] }}; where it, or sizes and length of training, are not the paper's, a statement that disagrees
here may hold there.
"""

OF_CURVATURE = """
Second order at the {{ name }} setting: w* is a minimum along a head (wrLLC usable, a prediction of status ok, and at
most {{ still | percent }} taken off by the gradient) at {{ minima | integer }} of {{ estimates | integer }} estimates
{%- if minima %}, of {{ heads | count("head") }}. There it explains {{ median | percent }} of the wrLLC of the middle
head ({{ lowest | percent }} to {{ highest | percent }}); what remains lies beyond second order. The two agree within
{{ times | number }} of their standard errors at {{ within | integer }} of these.
{%- else %}, so nothing is said of the share that it explains.
{%- endif %}
{%- if below %} Of {{ below | count("estimate") }} below baseline with a prediction, {{ below_predicted | integer }}
{{ below_predicted | agreeing("is", "are") }} predicted to be negative, by the gradient.
{%- endif %}
{%- if no_posterior %} At {{ no_posterior | integer }} the quadratic has no posterior, and there is no prediction.
{%- endif %}
{%- if unresolved %} At {{ unresolved | integer }} it is known less well than to a tenth.{% endif %}
{%- if ordered %} At the last checkpoint the order of heads by usable wrLLC has a rank correlation with
{{ ordered | listed }}.{% endif %}
"""

NOT_SHOWN = """
Figures 18 to 22 are drawn for the λ̂ of text, as the paper draws them, though clusters are of text and code together.
"""


def abstract(summary: Mapping[str, Any]) -> str:
    """What the study does."""
    return render(ABSTRACT, summary)


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """A paragraph a seed and one a setting of the sampler, then what limits them."""
    paragraphs = [_of_seed(summary, seed) for seed in range(summary["seeds"])]
    for name, claims in summary["claims"].items():
        words = [claim["verdict"] for claim in claims.values()]
        paragraphs.append(
            render(
                OF_SETTING,
                {
                    "name": name,
                    "at": summary["localisation"][name],
                    "health": summary["health_by_setting"][name],
                    "claims": claims,
                    "agree": words.count("agrees"),
                    "disagree": words.count("disagrees"),
                    "untold": words.count("cannot be told"),
                },
            )
        )
        paragraphs.append(_of_curvature(summary, name))
    out = [*paragraphs, render(LIMITS, summary)]
    return [*out, render(NOT_SHOWN, summary)] if any(summary["clusters"].values()) else out


def _of_curvature(summary: Mapping[str, Any], name: str) -> str:
    by_seed = summary["orders"][name]
    said = []
    for key, words in ORDERS.items():
        known = [found[key] for found in by_seed if found[key]["value"] is not None]
        if known:
            told = [f"{one['value']:.2f} ± {one['se']:.2f}" for one in known]
            said.append(f"that by {words} of {listed(told)}")
    return render(OF_CURVATURE, {"name": name, "ordered": said, **summary["second_order"][name]})


def _of_seed(summary: Mapping[str, Any], seed: int) -> str:
    by_type: dict[str, list[str]] = {}
    for head, one in summary["types"][seed].items():
        by_type.setdefault(one["type"], []).append(head)
    loss = summary["losses"]["text"]
    return render(
        OF_SEED,
        {
            "seed": seed,
            "kinds": [
                f"{len(heads)} {kind} head{'s' if len(heads) > 1 else ''} ({', '.join(heads)})"
                for kind, heads in by_type.items()
            ],
            "formed": summary["formed"][seed],
            "loss": loss["by_seed"][seed],
            "loss_se": loss["se"][seed],
            "bigram": loss["ngrams"]["2"],
            "fourgram": loss["ngrams"]["4"],
            "migrations": summary["migrations"][seed]["found"],
        },
    )


def settings(summary: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The table of settings, in words."""
    given = summary["settings"]
    model, training, tried, curved = (given[name] for name in ("model", "training", "behaviour", "curvature"))
    out: dict[str, str | int | float] = {
        "preset": summary["preset"],
        "training seeds": summary["seeds"],
        "width, layers × heads": f"{model['width']}, {model['layers']} × {model['heads']}",
        "vocabulary, context (tokens)": f"{model['vocabulary']}, {model['context']}",
        "trained on": given["mixture"],
        "training rows": training["rows"],
        "optimiser steps × rows": f"{training['steps']:,} × {training['batch_size']}",
        "learning rate (AdamW, constant), weight decay": f"{training['learning_rate']}, {training['weight_decay']}",
        "rows in each data set of λ̂, n": given["examples"],
        "rows for ablations, bracket sentences": f"{tried['rows']}, {tried['brackets']} of each kind",
        "rows, tokens in context a head": f"{tried['in_context']:,}, {tried['most']}",
        "tokens of the ICL score": f"{tried['late']} less {tried['early']}",
        "random vectors, rows of the Hessian trace": f"{tried['probes']}, {tried['trace_rows']}",
        "rows, draws of their targets, of the Fisher trace": f"{curved['fisher_rows']}, {curved['draws']}",
        "rows, random vectors, Lanczos steps of Hessian rank and second order": (
            f"{curved['rows']}, {curved['probes']}, {curved['steps']}; the gradient of {given['examples']} rows"
        ),
        "seed of the random streams": given["seed"],
    }
    for sampler in given["samplers"]:
        at = summary["localisation"][sampler["name"]]
        step = "by rule" if sampler["step_size"] is None else f"{sampler['step_size']:g}"
        burn_in = "by rule" if sampler["burn_in"] is None else sampler["burn_in"]
        out[f"sampler: {sampler['name']}"] = (
            f"{sampler['kernel']}, nβ = {number(at['n_beta'])}, γ = {number(at['localization'])}, ε = {step}, "
            f"burn-in {burn_in}, {sampler['chains']} chains × {sampler['draws']} draws, batches of "
            f"{sampler['batch_size']} rows"
        )
    return out | {f"data set: {name}": uri for name, uri in given["datasets"].items()}
