"""How well the LLC was measured: every estimate counted by its status and regime, and the sentences that say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.estimators.status import usable
from ontogeny.report.words import render, spread_of

QUANTILE = 0.95
OK_WANTED = 0.9
"""Share of estimates with status ok below which the conclusions ask to read each with its status."""
HEALTH = {
    "estimates": """
{{ estimates | integer }} estimates of λ̂: {% for word, n in status.items() -%}
{{ n | integer }} {{ word | words }} ({{ status_share[word] | percent }}){{ ", " if not loop.last }}{% endfor %}.
{% if without_value %}{{ without_value | integer }} {{ without_value | agreeing("has", "have") }} no value, and
nothing stands in for them.{% endif %}
""",
    "what was measured": """
{% for word, n in regime.items() -%}
{{ n | integer }} {{ word | words }} ({{ regime_share[word] | percent }}){{ ", " if not loop.last }}{% endfor %}.
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
    "usable": """
{{ usable["estimates"] | integer }} of {{ estimates | integer }}: finite, with no chain lost, and not below
baseline, which would rule out that w* is a minimum. Only those enter tests and means; {{ usable["ok"] | integer }} of
them {{ usable["ok"] | agreeing("is", "are") }} ok.
""",
    "errors": """
{%- if relative_se["n"] -%}
The standard error of λ̂, minibatch noise included, is {{ relative_se["median"] | percent(1) }} of |λ̂| in the median of
the usable estimates, and at most {{ relative_se["quantile_95"] | percent(1) }} in
{{ relative_se["quantile_level"] | percent }} of them. It holds for these examples; other data or seeds are not in it.
{%- endif -%}
""",
}


def count_health(measurements: xr.Dataset) -> dict[str, Any]:
    """Count the estimates of any dims by status and regime, with their mixing and relative standard errors.

    measurements: `llc`, `llc_se`, `status`, `regime`, `chains_lost`, `r_hat`, `ess`, and `localisation_ratio` if there
    is one. Returns plain numbers by name, None where there is nothing to state.
    """
    llc, se = (measurements[k].values.astype(float) for k in ("llc", "llc_se"))
    given = "localisation_ratio" in measurements
    good = usable(measurements).values
    known = good & np.isfinite(se) & (llc != 0)
    relative = se[known] / np.abs(llc[known])
    words = Counter(str(w) for w in measurements["status"].values.ravel())
    regimes = Counter(str(w) for w in measurements["regime"].values.ravel())
    return {
        "estimates": int(llc.size),
        "without_value": int((~np.isfinite(llc)).sum()),
        "share_ok": _share(words, "ok"),
        "ok_wanted": OK_WANTED,
        "share_prior": _share(regimes, "prior_dominated"),
        "share_below": _share(regimes, "below_baseline"),
        "status": dict(sorted(words.items(), key=lambda item: (item[0] != "ok", -item[1]))),
        "regime": dict(sorted(regimes.items(), key=lambda item: -item[1])),
        "status_share": {word: _share(words, word) for word in words},
        "regime_share": {word: _share(regimes, word) for word in regimes},
        "chains_lost": int(measurements["chains_lost"].sum()),
        "worst_r_hat": _extreme(measurements["r_hat"].values, np.max),
        "smallest_ess": _extreme(measurements["ess"].values, np.min),
        "localisation_ratio": spread_of(measurements["localisation_ratio"].values if given else []),
        "usable": {
            "estimates": int(good.sum()),
            "ok": int((good & (measurements["status"].values.astype(str) == "ok")).sum()),
        },
        "relative_se": {
            "n": int(relative.size),
            "median": float(np.median(relative)) if relative.size else None,
            "quantile_95": float(np.quantile(relative, QUANTILE)) if relative.size else None,
            "quantile_level": QUANTILE,
        },
    }


def describe_health(summary: Mapping[str, Any]) -> dict[str, str]:
    """Say how well the LLC was measured: what is asked -> a sentence with its numbers, then every word that occurs."""
    from ontogeny.estimators.status import describe_status

    state = summary["health"]
    made = {key: render(template, state) for key, template in HEALTH.items()}
    for kind in ("status", "regime"):
        made |= {f"{kind}: {word.replace('_', ' ')}": describe_status(word) for word in state[kind]}
    return {key: sentence for key, sentence in made.items() if sentence}


def _share(words: Counter[str], word: str) -> float:
    return words[word] / max(1, words.total())


def _extreme(values: npt.NDArray[Any], which: Any) -> float | None:
    finite = values[np.isfinite(values.astype(float))]
    return float(which(finite)) if finite.size else None
