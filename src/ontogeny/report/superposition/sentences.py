"""The templates of the report's sentences, over its summary: no number in them is typed."""

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
{%- set names = {"plateau_then_jump": "with a plateau and then a jump", "early_rise": "that rise early",
  "stuck": "that stay stuck", "non_monotonic": "that fall back"} -%}
{%- set kinds = fits["accepted_by_class"] -%}
The sigmoid fit to the effective rank is accepted in {{ fits["accepted"] }} of {{ seeds | count("seed") }}
{%- if fits["accepted"] %}: {% for kind, n in kinds.items() -%}
{{ n }} {{ names[kind] or ("of the class " ~ (kind | words)) }}{{ ", " if not loop.last }}
{{- "and " if loop.revindex == 2 }}
{%- endfor %}{% endif %}. The textbook seeds, those with a plateau, then a jump, and an accepted fit that dates it,
{% if jump["seeds"] == 0 -%}
do not occur, so nothing can be said here about the LLC at a jump.
{%- else -%}
number {{ jump["seeds"] }}, and only those enter what follows about jumps: their effective rank goes from
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
{{ emergence["features_before_jump"] }} of {{ emergence["features"] }} emerge before the jump,
{{ emergence["features_at_jump"] }} with it (within {{ emergence["jump_half_width"] | number }} widths of the sigmoid)
and {{ emergence["features_after_jump"] or "none" }} after it
{%- if gained is not none %}; across the jump the number of features represented changes by {{ gained | signed }} on
average{% endif %}.
{%- endif -%}
"""

DIPS = """
{%- set dip, lasting = llc_across_jump["at_minus_before"], llc_across_jump["after_minus_before"] -%}
{%- set dips = dip["interval"][1] is not none and dip["interval"][1] < 0 -%}
{%- set settles = lasting["interval"][0] is not none and lasting["interval"][0] > 0 -%}
"""

ACROSS = (
    DIPS
    + """
{%- set near, far = llc_across_jump["near"] | percent, llc_across_jump["far"] | percent -%}
{%- if jump["seeds"] and lasting["n"] and dip["n"] -%}
λ̂ is {{ llc_across_jump["before"] | interval }} on the plateau before the jump,
{{ llc_across_jump["at"] | interval }} at the inflection and {{ llc_across_jump["after"] | interval }} after it (mean
over {{ lasting["n"] | count("seed") }}
{%- if lasting["interval"][0] is not none %}, in brackets 95 % t intervals over seeds{% endif %}; before and after:
checkpoints between {{ near }} and {{ far }} of training away from the inflection; at it: interpolated). After minus
before is {{ lasting | interval }}, within seeds
{%- if dips and settles %}: the LLC dips at the jump and settles higher after it
{%- elif settles %}: the LLC settles higher after the jump
{%- elif dips %}: the LLC dips at the jump; that it settles higher after it is not established
{%- endif %}.
{%- endif -%}
"""
)

# A curve that merely rises passes the plain test, so only all three variants together support a claim.
VERDICT = (
    DIPS
    + """
{%- macro verdict(name, what, word, less, more) -%}
{%- set cells = [tests["plain"][name], tests["detrended"][name], tests["same_third"][name]] -%}
{%- set variants = ["plain", "detrended", "same-third"] -%}
{%- set plain, alpha, times = cells[0], test_settings["alpha"], test_settings["permutations"] -%}
{%- if plain["p_value"] is none -%}
Whether {{ what }} stands out cannot be tested: {{ plain["reason"] | lower_first }}
{%- else -%}
{%- set known = cells | rejectattr("p_value", "none") | list -%}
{%- set missing = (cells | length) - (known | length) -%}
{%- set count = namespace(passed=0, lower=0, zero=[]) -%}
{%- for cell in cells if cell["p_value"] is not none -%}
{%- if cell["p_value"] < alpha -%}
{%- set count.passed = count.passed + 1 -%}
{%- if cell["interval"][0] is not none and cell["interval"][0] <= 0 -%}
{%- set count.zero = count.zero + [variants[cells.index(cell)]] -%}
{%- endif -%}
{%- elif cell["mean_difference"] < 0 and cell["p_two_sided"] is not none and cell["p_two_sided"] < alpha -%}
{%- set count.lower = count.lower + 1 -%}
{%- endif -%}
{%- endfor -%}
{{ what | upper_first }} is {{ plain["mean_difference"] | abs | number }}
{{ more if plain["mean_difference"] >= 0 else less }} than at random cuts of the same trajectory (mean over
{{ plain["seeds"] | count("seed") }}; 95 % interval {{ plain["interval"][0] | signed }} to
{{ plain["interval"][1] | signed }}; Cohen's d {{ plain["cohen_d"] | number(2) }}). One-sided ({{ more }})
{{ cells[0]["p_value"] | pvalue(times) }}, after a monotone trend is taken out
{{ cells[1]["p_value"] | pvalue(times) }}, against cuts from the same third of training
{{ cells[2]["p_value"] | pvalue(times) }}:
{% if count.passed == 3 -%}
all three are below {{ alpha | number }}, so {{ word }} beyond the trend is supported
{%- elif count.passed == 0 and not missing -%}
none is below {{ alpha | number }}, so {{ word }} is not supported
{%- if not count.lower %}; a true difference of {{ plain["detectable_difference"] | number }} would have passed the
plain test in {{ test_settings["power"] | percent }} of such studies, a smaller one less often{% endif %}
{%- else -%}
{{ count.passed }} of 3 {{ "is" if count.passed == 1 else "are" }} below {{ alpha | number }}
{{- " and " ~ missing ~ " could not be computed" if missing }}, so {{ word }} beyond the trend is not established
{%- endif -%}
{%- if count.zero %}; but the {{ count.zero | join(" and the ") }} mean difference has a 95 % interval over seeds that
includes zero{% endif %}.
{% if count.lower -%}
Two-sided, {{ what }} is significantly {{ less | upper }} than at random cuts, the opposite of the claim, in
{{ "all three variants" if count.lower == 3 else "%d of 3 variants" % count.lower }}
({% for cell in cells %}{{ cell["p_two_sided"] | pvalue(times, 2) }}{{ ", " if not loop.last }}{% endfor %}).
{% if name == "level" -%}
That can be so because w* lies on a slope during the jump, not in a minimum: the chains find lower loss than w* has, by
some ΔL, and λ̂ is biased downwards by nβ·ΔL.
{%- endif -%}
{%- endif -%}
{%- if name == "rise" and dips and count.passed %}
The windows on both sides begin at the inflection, so the rise includes the way out of the dip; what lasts is after
minus before, above.
{%- endif -%}
{%- endif -%}
{%- endmacro -%}
"""
)

LEVEL = (
    VERDICT
    + """
{%- if jump["seeds"] -%}
{{ verdict("level", "the LLC at the inflection", "an elevated LLC at the jump", "lower", "higher") }}
{%- endif -%}
"""
)

RISE = (
    VERDICT
    + """
{%- if jump["seeds"] -%}
{{ verdict("rise", "the rise of the LLC across the inflection", "a rise of the LLC at the jump", "smaller", "larger") }}
{%- endif -%}
"""
)

TRUST = """
{%- set ok = health["status"].get("ok", 0) -%}
{%- set prior = health["regime"].get("prior_dominated", 0) -%}
{%- set error = health["relative_se"]["median"] -%}
{{ ok | integer }} of {{ health["estimates"] | integer }} LLC estimates ({{ (ok / health["estimates"]) | percent }})
pass every test of their health
{%- if health["without_value"] %}, and {{ health["without_value"] }} have no value because a chain diverged{% endif -%}
{%- if error is not none %}; of the {{ health["usable"]["estimates"] | integer }} usable ones (finite, not
below baseline) {{ health["usable"]["ok"] | integer }} do, and their median standard error is
{{ error | percent(1) }} of the estimate
{%- endif %}.
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

LIMITS = """
{%- set below = health["regime"].get("below_baseline", 0) -%}
What this does not show:
{% if jump["seeds"] -%}
everything said about jumps rests on {{ jump["seeds"] | count("seed") }};
{% endif -%}
{%- if n_beta is not none and localization is not none -%}
one setting of the sampler was used (nβ = {{ n_beta | number }}, γ = {{ localization | number }}), and another may order
checkpoints differently;
{% endif -%}
{%- if below -%}
at {{ below | integer }} of {{ health["estimates"] | integer }} checkpoints
({{ (below / health["estimates"]) | percent }}) w* is no minimum (regime below baseline): λ̂ is no statement about a
minimum there, and was left out of the tests;
{% endif -%}
{%- if classes["stuck"] is defined and classes["stuck"]["count"] and train_steps is not none -%}
"stuck" means stuck at the end of training, step {{ train_steps | integer }};
{% endif -%}
standard errors of λ̂ hold for
{{ "this data set" if dataset_size is none else "this data set of " ~ (dataset_size | integer) ~ " examples" }} and
for each training seed by itself: how λ̂ varies with the examples is not in them, how it varies over seeds only in the
t intervals.
"""

CONCLUSIONS = (WHICH_SEEDS, JUMP, EMERGENCE, ACROSS, LEVEL, RISE, TRUST, LIMITS)

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
    "usable": """
{{ usable["estimates"] | integer }} of {{ estimates | integer }}: finite, and not below baseline, which would rule
out that w* is a minimum. Only those enter tests and means; {{ usable["ok"] | integer }} of them are ok.
""",
    "errors": """
{%- if relative_se["n"] -%}
The standard error of λ̂, minibatch noise included, is {{ relative_se["median"] | percent(1) }} of |λ̂| in the median of
the usable estimates, and at most {{ relative_se["quantile_95"] | percent(1) }} in
{{ relative_se["quantile_level"] | percent }} of them. It holds for these examples; other data or seeds are not in it.
{%- endif -%}
""",
}
