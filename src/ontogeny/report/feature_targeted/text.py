"""The words of the feature-targeted report: sentences rendered from its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.report.curvature import MACROS
from ontogeny.report.words import number, render

ABSTRACT = """
The LLC of the computation of one feature, for {{ directions["sae"] }} decoder rows of a sparse autoencoder and
{{ directions["random"] }} random directions at {{ settings["layer"] }}:{{ settings["hook"] }}, all of norm 1, on
{{ settings["sequences"] | integer }} sequences of {{ settings["positions"] }} tokens; beside it sparsity and the
effects of ablation. Sampler settings follow from one rule for both kinds.
"""

METRIC = """
{{ name | upper_first }}: {{ s["mean_first"] | number }} (sd {{ s["sd_first"] | number }}) for SAE features,
{{ s["mean_second"] | number }} (sd {{ s["sd_second"] | number }}) for random directions; δ =
{{ s["delta"] | percent(1) }} (95 % interval {{ s["delta_low"] | percent(1) }} to {{ s["delta_high"] | percent(1) }}),
area under the curve {{ s["auc"] | fixed(3) }} ({{ s["auc_low"] | fixed(3) }} to {{ s["auc_high"] | fixed(3) }}).
{%- if lost %} {{ lost }} without a usable value are left out.{% endif %}
"""

BEST = """
The best LLC is the {{ best_llc }}, the best ablation metric {{ best_ablation }}. Their correlation is
{{ said["sae"]["all"] }} among SAE features and {{ said["random"]["all"] }} among random directions; below both medians
{{ said["sae"]["below"] }} and {{ said["random"]["below"] }}. They were chosen on these directions, the one of
{{ llcs }} and the other of {{ ablations }}, so their δ are too small by more than their own intervals say.
"""

SETTLING = """
Burn-in of the {{ loss }} loss ended at its bound, before the virial had settled: chains may still have been on their
way from w*, which makes λ̂ low. The status of each estimate says where that shows.
"""

NEVER = """
{{ sae }} SAE features and {{ random }} random directions are above their threshold nowhere in the data: their
functional loss is flat at w* and their λ̂ says nothing of a computation.
"""

QUALITY = """
The sparse autoencoder explains {{ q["explained_variance"] | percent(1) }} of the variance of held-out activations with
{{ q["l0"] | number }} latents active at a position; {{ q["dead_share"] | percent(1) }} of its latents are dead.
"""

SECOND_ORDER = (
    MACROS
    + """
{%- set names = {"sae": "SAE features", "random": "random directions"} -%}
Second order, from the Hessian and the gradient at w* at the same nβ and γ, explains of the {{ loss }} λ̂
{% for kind, one in told.items() -%}
{% if one["share"]["mean"] is none %}nothing that could be told of {{ names[kind] }}, of whose {{ one["estimates"] }}
none has a usable λ̂ and a prediction at a minimum{% else %}{{ share_of(one["share"]) }} of {{ names[kind] }}
({{ one["minima"] }} of {{ one["estimates"] }}; beyond it {{ mean_of(one["beyond"]) }}){% endif %}
{{- " and " if not loop.last }}
{%- endfor %}; what remains lies beyond second order.
{%- set taken = told.values() | map(attribute="taken") | reject("none") | list %}
{%- if taken %} The gradient at w* takes at most {{ taken | max | percent(1) }} off.{% endif %}
"""
)

DEVELOPED = """
Over training, {{ d["usable"] }} of {{ d["estimates"] }} functional estimates of final features are usable. Functional λ̂
at the end of all SAE features against the log of the step at which each is learned (r² ≥ 0.5 with its final values for
good): correlation {{ said }}.
"""

LIMITS = """
λ̂(nβ, γ) is tempered and localised; it compares directions measured alike and is not the learning coefficient. Errors
hold for these sequences and this model; directions share noise and minibatches. An interval of δ is over directions: it
says what other directions of these kinds would give, not other models or autoencoders.
"""


def correlated(found: Mapping[str, Any]) -> str:
    """A correlation with its interval and n.

    >>> correlated({"r": 0.47, "low": 0.4, "high": 0.53, "n": 500}), correlated({"r": None, "n": 2})
    ('0.47 (0.40 to 0.53, n = 500)', 'not told (n = 2)')
    """
    if found["r"] is None:
        return f"not told (n = {found['n']})"
    low, high = found["low"], found["high"]
    return f"{found['r']:.2f} ({low:.2f} to {high:.2f}, n = {found['n']})".replace("-", "−")


def of_metric(name: str, found: Mapping[str, Any]) -> str:
    """What one metric tells apart."""
    if found["separation"] is None:
        return f"{name[:1].upper()}{name[1:]}: too few usable values to tell the kinds apart."
    return render(METRIC, {"name": name, "s": found["separation"], "lost": sum(found["without_value"].values())})


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """A paragraph a loss, the best ablation, how the two go together, second order, what was trained, the limits."""
    told = summary["metrics"]
    names = [name for name in told if name.endswith(" LLC")]
    if summary["best_ablation"] is not None:
        names.append(summary["best_ablation"])
    out = [of_metric(name, told[name]) for name in names]
    if summary["correlations"]:
        said = {
            kind: {which: correlated(one) for which, one in each.items()}
            for kind, each in summary["correlations"].items()
        }
        count = {"llcs": len(summary["losses"]), "ablations": sum("ablation" in name for name in told)}
        out.append(render(BEST, {**summary, "said": said, **count}))
    out += [render(SETTLING, {"loss": loss}) for loss, one in summary["calibrations"].items() if not one["settled"]]
    if sum(summary["never_active"].values()):
        out.append(render(NEVER, summary["never_active"]))
    for loss, kinds in (summary["second_order"] or {}).items():
        out.append(render(SECOND_ORDER, {"loss": loss, "told": kinds}))
    if summary["quality"] is not None:
        out.append(render(QUALITY, {"q": summary["quality"]}))
    if summary["development"] is not None:
        development = summary["development"]
        out.append(render(DEVELOPED, {"d": development, "said": correlated(development["correlation"])}))
    return [*out, render(LIMITS, summary)]


def abstract(summary: Mapping[str, Any]) -> str:
    """What the study does."""
    return render(ABSTRACT, summary)


def settings(summary: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The table of settings, in words."""
    given, trained = summary["settings"], summary["settings"]["trained"]
    model = (
        f"{trained['layers']} attention layers of width {trained['width']}, {trained['steps']:,} steps on "
        f"{trained['text']}"
        if trained
        else given["model"]
    )
    own = f"{given['latents']} latents, {given['active']} active, {given['sae_steps']:,} steps"
    out: dict[str, str | int | float] = {
        "preset": summary["preset"],
        "model": model,
        "sparse autoencoder": given["sae"] or f"TopK, trained here, {own}",
        "site": f"{given['layer']}:{given['hook']}",
        "sequences × tokens": f"{given['sequences']:,} × {given['positions']}",
        "threshold, standard deviations": given["threshold"],
        "seed": given["seed"],
    }
    for loss, one in summary["calibrations"].items():
        out[f"{loss}: nβ, γ, ε"] = ", ".join(number(one[name]) for name in ("n_beta", "localization", "step_size"))
        out[f"{loss}: chains × draws, burn-in, batch"] = (
            f"{one['chains']} × {given['draws']}, {one['burn_in']}, {one['batch_size']}"
        )
    if "curvature" in given:
        curved = given["curvature"]
        out["curvature: directions of a kind, sequences, probes × steps"] = (
            f"{curved['directions']}, {curved['sequences']:,}, {curved['probes']} × {curved['steps']}"
        )
    return out
