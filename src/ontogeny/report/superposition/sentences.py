"""The templates of the report's sentences, over its summary.

Every number in them is rendered from the summary, by name. A template rounds, leaves a sign out where a word says it,
and compares numbers to choose its words; it computes no other number.
"""

from ontogeny.report.curvature import SECOND_ORDER

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
{%- set said = {
  "early_rise": ("rises early, without a plateau", "rise early, without a plateau"),
  "stuck": ("stays stuck", "stay stuck"),
  "non_monotonic": ("falls back from a rank that it had held", "fall back from ranks that they had held")} -%}
Of {{ seeds | count("seed") }}, {{ jumps["count"] }} ({{ jumps["fraction"] | percent }};
{{ class_interval_level | percent }} interval {{ jumps["interval"][0] | percent }} to
{{ jumps["interval"][1] | percent }}) {{ jumps["count"] | agreeing("shows", "show") }} a
plateau of the effective rank and then a jump;
{% for kind, one in classes.items() if kind != "plateau_then_jump" -%}
{{ one["count"] }} {{ one["count"] | agreeing(*said[kind]) if kind in said else kind | words }}
{{- ", " if not loop.last }}{{ "and " if loop.revindex == 2 }}
{%- endfor %}.
"""

JUMP = """
{%- set with = "with a plateau and then a jump" -%}
{%- set names = {"plateau_then_jump": (with, with), "early_rise": ("that rises early", "that rise early"),
  "stuck": ("that stays stuck", "that stay stuck"), "non_monotonic": ("that falls back", "that fall back")} -%}
{%- set kinds = fits["accepted_by_class"] -%}
The sigmoid fit to the effective rank is accepted in {{ fits["accepted"] }} of {{ seeds | count("seed") }}
{%- if fits["accepted"] %}: {% for kind, n in kinds.items() -%}
{{ n }} {{ n | agreeing(*names[kind]) if kind in names else "of the class " ~ (kind | words) }}
{{- ", " if not loop.last }}{{ "and " if loop.revindex == 2 }}
{%- endfor %}{% endif %}. The textbook seeds, those with a plateau, then a jump, and an accepted fit that dates it,
{% if jump["seeds"] == 0 -%}
do not occur, so nothing can be said here about the LLC at a jump.
{%- else -%}
number {{ jump["seeds"] }}, and only {% if jump["seeds"] == 1 %}that one enters what follows about jumps: its
{%- else %}those enter what follows about jumps: their{% endif %} effective rank goes from
{{ jump["rank_before"]["median"] | fixed(2) }} to {{ jump["rank_after"]["median"] | fixed(2) }}, with the inflection at
{{ "a median step of " if jump["seeds"] > 1 else "step " }}{{ jump["step"] | spread }}.
{%- if jump["reached_before"] %}
{% set earlier = jump["rank_reached_before"]["range"] -%}
{{ "All" if jump["reached_before"] == jump["seeds"] and jump["seeds"] > 1 else jump["reached_before"] }}
of them had passed rank {{ jump["jump_level"] | fixed(2) }} before the plateau
({{ earlier[0] | fixed(2) }}{% if jump["reached_before"] > 1 %} to {{ earlier[1] | fixed(2) }}{% endif %}, with two
features or more represented), so that
{{ jump["reached_before"] | agreeing("its jump is a return", "their jump is a return") }} to both dimensions, not the
first use of the second.
{%- endif %}
{%- endif -%}
"""

EMERGENCE = """
{%- if emergence["features"] -%}
{%- set lag = emergence["lag"]["median"] -%}
{%- set gained = emergence["features_gained_across_jump"]["mean"] -%}
In {{ "these seeds" if jump["seeds"] > 1 else "this seed" }} features emerge at a median step of
{{ emergence["step"]["median"] | integer }}, the median one
{% if lag > 0 %}{{ lag | round | int | count("step") }} before
{%- elif lag < 0 %}{{ (-lag) | round | int | count("step") }} after
{%- else %}at{% endif %} its seed's inflection;
{{ emergence["features_before_jump"] }} of {{ emergence["features"] }}
{{ emergence["features_before_jump"] | agreeing("emerges", "emerge") }} before the jump,
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
{%- if jump["seeds"] and llc_across_jump["n"] -%}
λ̂ is {{ llc_across_jump["before"] | interval }} on the plateau before the jump,
{{ llc_across_jump["at"] | interval }} at the inflection and {{ llc_across_jump["after"] | interval }} after it (mean
over {{ llc_across_jump["n"] | count("seed") }}
{%- if llc_across_jump["left_out"] %}; {{ llc_across_jump["left_out"] }} more
{{- llc_across_jump["left_out"] | agreeing(" has", " have") }} no usable estimate in one of the three places{% endif %}
{%- if lasting["interval"][0] is not none %}, in brackets {{ interval_level | percent }} t intervals over seeds
{%- endif %}; before and after:
checkpoints between {{ near }} and {{ far }} of training away from the inflection; at it: interpolated). After minus
before is {{ lasting | interval }}, within seeds
{%- if dips and settles %}: the LLC dips at the jump and settles higher after it
{%- elif settles %}: the LLC settles higher after the jump
{%- elif dips %}: the LLC dips at the jump; that it settles higher after it is not established
{%- endif %}.
{%- endif -%}
"""
)

# A curve that merely rises passes the plain test, so a claim needs every variant that its statistic is judged by.
VERDICT = (
    DIPS
    + """
{%- macro verdict(name, what, word, beyond, less, more) -%}
{%- set plain, found, times = tests["plain"][name], verdicts[name], test_settings["permutations"] -%}
{%- set each = {"plain": "", "detrended": "after a monotone trend is taken out ",
  "same_third": "against cuts from the same third of training "} -%}
{%- set all = {1: "it", 2: "both", 3: "all three"}[found["judged"]] -%}
{%- if plain["p_value"] is none -%}
Whether {{ what }} stands out cannot be tested: {{ plain["reason"] | lower_first }}
{%- else -%}
{{ what | upper_first }} is {{ plain["mean_difference"] | abs | number }}
{{ more if plain["mean_difference"] >= 0 else less }} than at random cuts of the same trajectory (mean over
{{ plain["seeds"] | count("seed") }}; {{ interval_level | percent }} interval {{ plain["interval"][0] | signed }} to
{{ plain["interval"][1] | signed }}; Cohen's d {{ plain["cohen_d"] | number(2) }}). One-sided ({{ more }})
{% for variant in found["judged_by"] -%}
{{ each[variant] }}{{ tests[variant][name]["p_value"] | pvalue(times) }}{{ ", " if not loop.last }}
{%- endfor %}:
{% set bar -%}
{{ test_settings["alpha_each"] | number }} ({{ test_settings["alpha"] | number }} shared by
{{ test_settings["statistics"] | count("statistic") }})
{%- endset -%}
{% if found["passed"] == found["judged"] -%}
{{ all }} {{ found["judged"] | agreeing("is", "are") }} below {{ bar }}, so {{ word }}{{ beyond }} is supported
{%- elif found["passed"] == 0 and not found["missing"] -%}
none is below {{ bar }}, so {{ word }} is not supported
{%- if not found["lower"] %}; a true difference of {{ plain["detectable_difference"] | number }} would have passed the
plain test in {{ test_settings["power"] | percent }} of such studies, a smaller one less often{% endif %}
{%- else -%}
{{ found["passed"] }} of {{ found["judged"] }} {{ found["passed"] | agreeing("is", "are") }} below {{ bar }}
{{- " and %d could not be computed" % found["missing"] if found["missing"] }}, so {{ word }}{{ beyond }} is not
established
{%- endif -%}
{%- if found["interval_includes_zero"] %}; but the
{{ found["interval_includes_zero"] | map("hyphened") | join(" and the ") }} mean difference has a
{{ interval_level | percent }} interval over seeds that includes zero{% endif %}.
{% if found["lower"] -%}
Two-sided, {{ what }} is significantly {{ less | upper }} than at random cuts, the opposite of the claim, in
{% if found["lower"] == found["judged"] %}{{ all }}{{ " variants" if found["judged"] > 1 }}
{%- else %}{{ found["lower"] }} of {{ found["judged"] }} variants{% endif %}
({% for variant in found["judged_by"] -%}
{{ tests[variant][name]["p_two_sided"] | pvalue(times, 2) }}{{ ", " if not loop.last }}
{%- endfor %}).
{% if name == "level" -%}
That can be so because w* lies on a slope during the jump, not in a minimum: the chains find lower loss than w* has, by
some ΔL, and λ̂ is biased downwards by nβ·ΔL.
{%- endif -%}
{%- endif -%}
{%- for variant in found["not_judged_by"] %}
The {{ variant | hyphened }} {{ name }} ({{ tests[variant][name]["p_value"] | pvalue(times) }}) is not interpretable for
a step that lasts, which its trend takes out, and does not count.
{%- endfor -%}
{%- if name == "rise" and dips and found["passed"] %}
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
{{ verdict("level", "the LLC at the inflection", "an elevated LLC at the jump", " beyond the trend",
  "lower", "higher") }}
{%- endif -%}
"""
)

RISE = (
    VERDICT
    + """
{%- if jump["seeds"] -%}
{{ verdict("rise", "the rise of the LLC across the inflection", "a rise of the LLC at the jump",
  " beyond that at random cuts, also of the same third of training,", "smaller", "larger") }}
{%- endif -%}
"""
)

TRUST = """
{%- set ok = health["status"].get("ok", 0) -%}
{%- set prior = health["regime"].get("prior_dominated", 0) -%}
{%- set error = health["relative_se"]["median"] -%}
{{ ok | integer }} of {{ health["estimates"] | integer }} LLC estimates ({{ health["share_ok"] | percent }})
{{ ok | agreeing("passes", "pass") }} every test of their health
{%- if health["without_value"] %}, and {{ health["without_value"] | integer }}
{{ health["without_value"] | agreeing("has", "have") }} no value because a chain diverged{% endif -%}
{%- if error is not none %}; of the {{ health["usable"]["estimates"] | integer }} usable ones (finite, no
chain lost, not below baseline) {{ health["usable"]["ok"] | integer }}
{{ health["usable"]["ok"] | agreeing("does", "do") }}, and their median standard error is
{{ error | percent(1) }} of the estimate
{%- endif %}.
{% if health["share_ok"] < health["ok_wanted"] -%}
That is less than {{ health["ok_wanted"] | percent }}: read every statement about the LLC with its status.
{%- endif %}
{% if n_beta is not none and localization is not none -%}
What is estimated is λ̂(nβ, γ) at nβ = {{ n_beta | number }} and γ = {{ localization | number }}, a tempered, localised
quantity that compares checkpoints, not the learning coefficient itself
{%- if prior %}; at {{ prior | count("checkpoint") }} ({{ health["share_prior"] | percent }}) the prior decides
more than the loss{% endif %}.
{%- endif -%}
"""

LIMITS = """
{%- set below = health["regime"].get("below_baseline", 0) -%}
Limits:
{% if jump["seeds"] -%}
everything said about jumps rests on {{ jump["seeds"] | count("seed") }};
{% endif -%}
{%- if n_beta is not none and localization is not none -%}
one setting of the sampler was used (nβ = {{ n_beta | number }}, γ = {{ localization | number }}), and another may order
checkpoints differently
{%- if sensitivity is not none %}: half and twice of both were tried at {{ sensitivity["checkpoints"] }} checkpoints
only
{%- endif %};
{% endif -%}
{%- if jump["seeds"] and llc_across_jump["gap"] is not none -%}
λ̂ at the inflection is interpolated between the two usable checkpoints around it,
{{ "a median of " if llc_across_jump["n"] > 1 }}{{ llc_across_jump["gap"] | integer }} steps apart, and depends on where
they lie: denser ones may see a deeper dip;
{% endif -%}
{%- if below -%}
at {{ below | integer }} of {{ health["estimates"] | integer }} checkpoints
({{ health["share_below"] | percent }}) w* is no minimum (regime below baseline): λ̂ is no statement about a
minimum there, and was left out of the tests;
{% endif -%}
{%- if classes["stuck"] is defined and classes["stuck"]["count"] and train_steps is not none -%}
"stuck" means stuck at the end of training, step {{ train_steps | integer }};
{% endif -%}
standard errors of λ̂ hold for
{{ "this data set" if dataset_size is none else "this data set of " ~ (dataset_size | integer) ~ " examples" }} and
for each training seed by itself: how λ̂ varies with the examples is not in them, how it varies over seeds only in the
t intervals; all checkpoints and seeds share the sampler's minibatches, so that a part of λ̂'s error that is common to
them is in its standard errors, but not in the t intervals over seeds, and the sampler's share in the table of the tests
takes the checkpoints' errors as independent.
"""

SENSITIVITY = """
{%- if sensitivity is not none -%}
{%- set s = sensitivity -%}
{%- set all, frozen = s["neighbours"], s["settings"]["frozen"] -%}
{%- set names = {"half_n_beta": "half nβ", "twice_n_beta": "twice nβ", "half_localization": "half γ",
  "twice_localization": "twice γ"} -%}
{%- macro clear(what) -%}
{% if frozen["clear"][what] %}, with an interval over seeds that excludes zero
{% if s["clear"][what] | length == s["same"][what] | length %}everywhere there
{%- else %}{{ where(s["clear"][what]) }}{% endif %}{% endif %}
{%- endmacro -%}
{%- macro where(same) -%}
{% if same | length == all %}at all {{ all }}{% elif same | length == 0 %}at none of the {{ all }}
{%- else %}at {{ same | length }} of {{ all }} ({{ same | map("named", names) | listed }}){% endif %}
{%- endmacro -%}
Does this hang on nβ and γ? At half and twice of each, measured anew with shorter chains at {{ s["checkpoints"] }}
checkpoints of {{ s["seeds"] | length | count("seed") }} ({{ s["seeds"] | listed }}), λ̂ is
{{ s["ratios"][0] | fixed(2) }} to {{ s["ratios"][1] | fixed(2) }} times what it is at the frozen setting (medians), and
the checkpoints of a seed keep their order with a Spearman ρ of {{ s["orders"][0] | fixed(2) }} to
{{ s["orders"][1] | fixed(2) }} (means over seeds).
{% if s["same"]["step"] is not none -%}
Across the jump at minus before is {{ s["dips"][0] | signed }} to {{ s["dips"][1] | signed }}
({{ frozen["dip"] | signed }} at the frozen setting and these checkpoints), of the same sign
{{ where(s["same"]["dip"]) }} {{- clear("dip") }}; after minus before is
{{ s["steps"][0] | signed }} to {{ s["steps"][1] | signed }}
({{ frozen["step"] | signed }}), of the same sign {{ where(s["same"]["step"]) }}
{{- clear("step") }}. The lowest λ̂ within
{{ llc_across_jump["far"] | percent }} of training of the inflection, below baseline or not, is
{{ s["lowest"][0] | number }} to {{ s["lowest"][1] | number }} ({{ frozen["lowest"] | number }}; means over
{{ frozen["across"]["n"] | count("seed") }}): how deep and how wide the dip is depends on the setting.
{% endif -%}
{% if s["same"]["trend"] is not none -%}
λ̂ {{ "rises" if frozen["trend"] > 0 else "falls" }} over training (Spearman ρ with step
{{ frozen["trend"] | fixed(2) }}, mean over seeds), and does so {{ where(s["same"]["trend"]) }}
({{ s["trends"][0] | fixed(2) }} to {{ s["trends"][1] | fixed(2) }}).
{% endif -%}
{% set said = {"dip": "the dip between the fixed windows at the jump", "step": "the step from before to after it",
  "trend": "the trend over training"} -%}
{% set kept, lost = [], [] -%}
{% for what, same in s["same"].items() if same is not none -%}
{% if s["clear"][what] | length == all %}{{ kept.append(said[what]) or "" }}
{%- else %}{{ lost.append(said[what]) or "" }}{% endif %}
{%- endfor -%}
{% if kept %}So {{ kept | listed }} {{ kept | length | agreeing("survives", "survive") }} a factor of two in nβ and
in γ{% if lost %}; {{ lost | listed }} {{ lost | length | agreeing("does", "do") }} not{% endif %}.
{%- elif lost %}So {{ lost | listed }} {{ lost | length | agreeing("does", "do") }} not survive a factor of two in
nβ and in γ.
{%- endif %}
Of the {{ s["estimates"] }} short estimates {{ s["ok"] }} are ok, {{ s["not_mixed"] }} not mixed and
{{ s["below"] }} below baseline; the last are left out but for the lowest λ̂.
{%- endif -%}
"""

CURVATURE = (
    """
At the last checkpoint the Hessian has {{ final["hessian_rank"]["median"] | number }} eigenvalues with nβh > γ (median
over seeds; {{ final["hessian_rank"]["range"][0] | number }} to {{ final["hessian_rank"]["range"][1] | number }}) and a
trace of {{ final["hessian_trace"]["median"] | number }} ({{ final["hessian_trace"]["range"][0] | number }} to
{{ final["hessian_trace"]["range"][1] | number }}).
"""
    + SECOND_ORDER
)

CONCLUSIONS = (WHICH_SEEDS, JUMP, EMERGENCE, ACROSS, LEVEL, RISE, CURVATURE, SENSITIVITY, TRUST, LIMITS)
