"""The templates of the sweep's conclusions, over its summary.

Every number in them is rendered from the summary, by name. A template rounds, counts and compares numbers to choose its
words; it computes no other number.
"""

from ontogeny.report.curvature import BY_SPARSITY
from ontogeny.report.superposition.sentences import TRUST

NAMES = """
{%- set definition_names = {"net_change": "net change", "range": "range", "total_variation": "total variation"} -%}
{%- set setting_names = {"half_n_beta": "half nβ", "twice_n_beta": "twice nβ", "half_localization": "half γ",
  "twice_localization": "twice γ", "equal_curvature": "equal nβ·h_max"} -%}
{%- set kind_names = {"emergence": "emergence", "count_change": "a change of the number of features",
  "polygon_change": "a change of the polygon", "rank_jump": "the rank jump", "any": "any event"} -%}
{%- set indicator_names = {"llc": "the LLC", "h_max": "h_max", "hessian_trace": "the Hessian trace",
  "hessian_rank": "the Hessian rank"} -%}
{%- macro named(name) -%}{{ indicator_names[name] if name in indicator_names else name | words }}{%- endmacro -%}
{%- macro combined(name) -%}
{%- set parts = [] -%}
{%- for one in name.split(" + ") %}{{ parts.append(named(one)) or "" }}{% endfor -%}
{{ parts | listed }}
{%- endmacro -%}
{%- macro mean(cell) -%}
{{ cell["mean"] | number }}
{%- if cell["interval"][0] is not none %} [{{ cell["interval"][0] | number }}, {{ cell["interval"][1] | number }}]
{%- endif -%}
{%- endmacro -%}
{%- macro where(same, all) -%}
{%- if all %}; each variant says the same at {% if same | length == all %}all {{ all }} neighbouring settings of (nβ, γ)
{%- elif same | length == 0 %}none of the {{ all }} neighbouring settings of (nβ, γ)
{%- else %}{{ same | length }} of {{ all }} neighbouring settings of (nβ, γ)
({{ same | map("named", setting_names) | listed }})
{%- endif -%}{%- endif -%}
{%- endmacro -%}
"""

ABSTRACT = """
{{ runs | integer }} toy models of superposition with {{ n_features }} features in two dimensions,
{{ seeds | count("seed") }} at each of the sparsities {{ sparsities | listed }}, are followed along training:
the local learning coefficient (LLC) with its standard error at {{ checkpoints }} checkpoints, and beside it every other
indicator. We ask how far the LLC drifts where features form and where nothing does, which of the events in the weights
it tracks, how it compares with the other indicators, and how much of it is training time alone.
"""

SHORT = (
    NAMES
    + """
In short. About {{ rules["times"] | number }} times the LLC drift at S = {{ quiet }} of that at S = {{ canonical }}:
{{ verdicts["drift_three_times"]["verdict"] }} where w* is a minimum,
{{ verdicts["drift_three_times_common"]["verdict"] }} over the stretch of training that all runs share
{%- if "drift_three_times_of_all" in verdicts %}, {{ verdicts["drift_three_times_of_all"]["verdict"] }} of every λ̂ as it
comes{% endif %}.
{%- if "llc" in detections and "rank_jump" in detections["llc"] %}
{%- set jump = detections["llc"]["rank_jump"] %} Change points of the LLC
{%- if jump["finds"] %} find{% else %} are not told from random points as finders of{% endif %} the rank jump, where λ̂
is usable around it{% endif %}. That the LLC and effective rank together find it better than the better of the two:
{{ combination["verdict"] or "cannot be told" }}. That general training-time evolution dominates the LLC:
{{ verdicts["training_time_dominates"]["verdict"] }}. The figures follow.
"""
)

QUIET = (
    NAMES
    + """
{%- set kept, happened = kept[quiet], events[quiet] -%}
At S = {{ quiet }} {{ kept["two"] }} of {{ kept["seeds"] | count("seed") }} end with exactly two features
([{{ kept["two_interval"][0] | percent }}, {{ kept["two_interval"][1] | percent }}])
{%- if "rank_jump" in happened %}, and the rank jumps in {{ happened["rank_jump"]["seeds"] or "none" }} of them
{%- endif -%}
{%- if "emergence" in happened and happened["emergence"]["step"]["n"] %}; features emerge at a median step of
{{ happened["emergence"]["step"]["median"] | integer }}, the last at
{{ happened["emergence"]["step"]["range"][1] | integer }}, so up to then something forms there too{% endif %}
{%- if kept["more_on_the_way"] %}; {{ kept["more_on_the_way"] }} of them represent more than two features at some
checkpoint on the way{% endif %}.
Exactly two features at S = {{ quiet }}: {{ verdicts["two_features_at_quiet"]["verdict"] }}.
"""
)

DRIFT = (
    NAMES
    + """
{%- set frozen, three, larger = drift_ratios["frozen"], verdicts["drift_three_times"], verdicts["drift_larger"] -%}
{%- macro ratios(scale, table) -%}
{% for definition, scales in table.items() -%}
{%- set cell = scales[scale] -%}
{{ cell["ratio"] | number }}
{%- if cell["bounded"] %} [{{ cell["interval"][0] | number }}, {{ cell["interval"][1] | number }}]
{%- else %} [unbounded]{% endif %} ({{ definition_names[definition] }}){{ ", " if not loop.last }}
{%- endfor -%}
{%- endmacro -%}
{%- macro counts(n) -%}
{% if n["agrees"] == n["variants"] %}agrees in all {{ n["variants"] }} variants
{%- elif n["disagrees"] == n["variants"] %}disagrees in all {{ n["variants"] }} variants
{%- else %}agrees in {{ n["agrees"] }} of {{ n["variants"] }} variants, disagrees in {{ n["disagrees"] }}
and cannot be told in {{ n["cannot be told"] }}
{%- endif -%}
{%- endmacro -%}
{%- macro by_scale(scale) -%}
{%- set n = larger["counts_by_scale"][scale] -%}
{% if n["agrees"] == n["variants"] %}yes, in every definition
{%- elif n["disagrees"] == n["variants"] %}no, it is smaller in every definition
{%- elif n["cannot be told"] == n["variants"] %}that cannot be told in any definition
{%- else %}yes in {{ n["agrees"] }}, no in {{ n["disagrees"] }} and not told in {{ n["cannot be told"] }} of
{{ n["variants"] }} definitions
{%- endif -%}
{%- endmacro -%}
LLC drift at S = {{ quiet }} over that at S = {{ canonical }}, means over seeds with
{{ interval_level | percent }} intervals: raw {{ ratios("raw", frozen) }}; relative to the size of λ̂
{{ ratios("relative", frozen) }}.
Is it larger at S = {{ quiet }}? In raw units {{ by_scale("raw") }}; relative to the size of λ̂
{{ by_scale("relative") }}.
About {{ rules["times"] | number }} times (from {{ rules["times_least"] | number }} to
{{ rules["times_most"] | number }}, and told from one):
{{ counts(three["counts"]) }}{{ where(three["same_at"], three["neighbours"]) }}.
{% set common = verdicts["drift_three_times_common"] -%}
These drifts are over the checkpoints at which λ̂ is usable, which begin earlier at some sparsities than at others. From
step {{ common_from | integer }} on, by which every run of both has begun, the ratios are raw
{{ ratios("raw", drift_ratios_common["frozen"]) }}; about {{ rules["times"] | number }} times then
{{ counts(common["counts"]) }}.
{%- if "equal_curvature" in drift_ratios %}
At equal nβ·h_max, where nβ differs between sparsities so that curvature counts alike, they are raw
{{ ratios("raw", drift_ratios["equal_curvature"]) }}.
{%- endif %}
{%- if drift_ratios_of_all is not none %}
{% set all = verdicts["drift_three_times_of_all"] -%}
With every finite λ̂, also below baseline where w* is no minimum, the ratios are raw
{{ ratios("raw", drift_ratios_of_all["frozen"]) }}; relative {{ ratios("relative", drift_ratios_of_all["frozen"]) }}.
About {{ rules["times"] | number }} times then {{ counts(all["counts"]) }}
{{- where(all["same_at"], all["neighbours"]) }}.
{%- if all["counts"]["agrees"] > three["counts"]["agrees"] %}
What differs between the two are the estimates below baseline, {{ health["share_below"] | percent }} of all: w* is no
minimum there, and a negative λ̂ says how much loss the chains still found to gain.
{%- if "equal_curvature" in drift_ratios_of_all %} With nβ·h_max alike the raw ratios of every finite λ̂ are
{{ ratios("raw", drift_ratios_of_all["equal_curvature"]) }}.{% endif %}
{%- endif %}
{%- endif %}
"""
)

VARIANCE = (
    NAMES
    + """
{%- set names = {"group": "sparsity", "checkpoint": "checkpoint", "group:checkpoint": "sparsity × checkpoint",
  "seed": "seed", "seed:checkpoint": "seed × checkpoint", "sampler": "the sampler"} -%}
{%- macro split(of) -%}
{% for source, one in components[of].items() -%}
{{ names[source] }} {{ "—" if one["share"] is none else one["share"] | percent }}{{ ", " if not loop.last }}
{%- endfor -%}
{%- endmacro -%}
{%- set entered = components["entered"] -%}
{% if entered["seeds"] is not none -%}
Over the {{ entered["checkpoints"] }} checkpoints at which λ̂ is usable in every run of {{ entered["seeds"] }} seeds a
sparsity ({{ entered["checkpoints_dropped"] }} others, most of them early, are left out)
{%- else %}Over the checkpoints usable in every run{% endif %} the sources take of the variance of λ̂:
{{ split("values") }}; of the variance of its changes from checkpoint to checkpoint: {{ split("increments") }} (shares
of the sum of the components, a negative one counted as nothing; that λ̂ differs between sparsities is no drift;
seeds and
chains are separate sources and are never pooled).
"""
)

TREND = """
{%- set trend = verdicts["training_time_dominates"] -%}
Log step and loss alone, as fitted to the other seeds of the same sparsity, predict
{% for sparsity, one in explained.items() -%}
{%- set cell = one["both"]["across"] -%}
{{ "—" if cell["mean"] is none else cell["mean"] | number(2) }}
{%- if cell["interval"][0] is not none %} [{{ cell["interval"][0] | number(2) }},
{{ cell["interval"][1] | number(2) }}]{% endif %} (S = {{ sparsity }}){{ ", " if not loop.last }}
{%- endfor %}
of the variance of a seed's LLC over its checkpoints (one: all of it; negative: worse than its own mean; pooled over
seeds, each by its variance, with {{ interval_level | percent }} intervals); fitted to the seed itself they explain
{% for sparsity, one in explained.items() -%}
{%- set cell = one["both"]["within"] -%}
{{ "—" if cell["mean"] is none else cell["mean"] | number(2) }} (S = {{ sparsity }}){{ ", " if not loop.last }}
{%- endfor %}.
General training-time evolution dominates (others predict more than {{ rules["most"] | percent }} at every sparsity):
{{ trend["verdict"] }}
{%- if trend["verdict"] == "cannot be told" %} for all sparsities together
({% for sparsity, word in trend["by_sparsity"].items() -%}
S = {{ sparsity }}: {{ word }}{{ ", " if not loop.last }}{% endfor %})
{%- endif %}. What happens at a fixed step is part of that trend, so this is no proof that nothing forms.
"""

FACTORS = (
    NAMES
    + """
{%- if factors["number"] -%}
A factor analysis of all indicators over all runs keeps {{ factors["number"] | count("factor") }}
({% for share in factors["variance_share"] %}{{ share | percent }}{{ ", " if not loop.last }}{% endfor %} of the
indicators' variance)
{%- if "llc" in factors["loadings"] -%}
{%- set clear = [] -%}
{%- for one in factors["loadings"]["llc"] if one["interval"][0] is not none
   and (one["interval"][0] > 0 or one["interval"][1] < 0) -%}{{ clear.append(one) or "" }}{%- endfor -%}
; the LLC's loadings are
{% for one in factors["loadings"]["llc"] -%}
{{ one["loading"] | number(2) }}
{%- if one["interval"][0] is not none %} [{{ one["interval"][0] | number(2) }}, {{ one["interval"][1] | number(2) }}]
{%- endif %}{{ ", " if not loop.last }}{%- endfor %},
{{ clear | length }} of them told from zero, and the factors account for
{{ factors["communality"]["llc"] | percent }} of the LLC's variance
{%- endif %}.
{%- else -%}
A factor analysis of all indicators over all runs keeps no factor: their correlations are not above those of series
that share nothing.
{%- endif -%}
"""
)

CLASSES = """
{%- set at = classes[canonical] -%}
{%- if "plateau_then_jump" in at and "stuck" in at -%}
{%- set jumping, stuck = at["plateau_then_jump"], at["stuck"] -%}
{%- macro share(one) -%}
{{ one["count"] }} of {{ seeds }} ({{ class_interval_level | percent }} interval {{ one["interval"][0] | percent }} to
{{ one["interval"][1] | percent }})
{%- endmacro -%}
At S = {{ canonical }} {{ share(jumping) }} seeds show a plateau of the effective rank and then a jump; about
{{ rules["plateau_then_jump"] | percent }}: {{ verdicts["share_plateau_then_jump"]["verdict"] }}.
{{ share(stuck) }} stay stuck; about {{ rules["stuck"] | percent }}: {{ verdicts["share_stuck"]["verdict"] }}.
{%- endif -%}
"""

TIMING = """
{%- if timing["emergence"]["mean"] is not none -%}
At S = {{ canonical }} a seed's features emerge at a median step of {{ timing["emergence"]["mean"] | integer }}
(mean over {{ timing["emergence"]["seeds"] | count("seed") }}
{%- if timing["emergence"]["interval"][0] is not none %}; {{ timing["emergence"]["interval"][0] | integer }} to
{{ timing["emergence"]["interval"][1] | integer }}{% endif %}). Emergence near step {{ rules["emerges_at"] | integer }}:
{{ verdicts["emergence_near_700"]["verdict"] }}.
{% if timing["both"] -%}
The rank jumps in {{ timing["jump"]["n"] | count("seed") }}, at a median step of {{ timing["jump"] | spread }};
{{ timing["jump_after"] }} of {{ timing["both"] }}
({{ timing["jump_after_share_interval"][0] | percent }} to {{ timing["jump_after_share_interval"][1] | percent }}) jump
after the median emergence of their features. Emergence before the jump:
{{ verdicts["jump_after_emergence"]["verdict"] }}, as an order only, since the search for a jump begins where the
network represents something.
{%- else -%}
No seed has a rank jump that could be dated, so nothing can be said of its order.
{%- endif -%}
{%- endif -%}
"""

RISE = (
    NAMES
    + """
{%- set rise, verdict = rises["frozen"], verdicts["effect_at_jump_not_emergence"] -%}
{%- if rise["mean"] is none -%}
Whether the LLC rises more at the rank jump than at {{ against }} cannot be told: no seed at S = {{ canonical }}
has both.
{%- else -%}
Within seeds at S = {{ canonical }} the LLC's rise at the rank jump minus its rise at {{ against }} is {{ mean(rise) }}
({{ mean(rise["at"]) }} at the jump, {{ mean(rise["against"]) }} at the other; {{ rise["seeds"] }} of the
{{ timing["jump"]["n"] | count("seed") }} with a jump, those with a usable λ̂ before and after both;
exact sign-flip p = {{ "undefined" if rise["p_value"] is none else
rise["p_value"] | number(2) }}). The measurable effect belongs to the jump and not to emergence:
{{ verdict["verdict"] }}
{%- if verdict["verdict"] == "cannot be told" -%}
{%- if rise["detectable"] is not none %}; a true difference of {{ rise["detectable"] | number }} would have been found
in {{ rules["power"] | percent }} of such studies{% else %}; so few seeds can tell nothing{% endif %}
{%- endif %}
{%- if verdict["neighbours"] %}; the verdict is the same at {{ verdict["same_at"] | length }} of
{{ verdict["neighbours"] }} neighbouring settings of (nβ, γ){% endif %}.
{%- endif -%}
{%- if rises_of_all is not none and rises_of_all["frozen"]["mean"] is not none %}
{% set all, said = rises_of_all["frozen"], verdicts["effect_at_jump_not_emergence_of_all"] -%}
With every finite λ̂, also below baseline, the difference is {{ mean(all) }} ({{ mean(all["at"]) }} at the jump,
{{ mean(all["against"]) }} at emergence; {{ all["seeds"] | count("seed") }}, p =
{{ "undefined" if all["p_value"] is none else all["p_value"] | number(2) }}): {{ said["verdict"] }}
{%- if said["verdict"] == "disagrees" %}; λ̂ is below baseline around most of these emergences{% endif %}.
{%- endif -%}
"""
)

DETECTION = (
    NAMES
    + """
{%- set bar = detection_test["alpha_each"] | number(2) -%}
{%- set llc = detections["llc"] if "llc" in detections else {} -%}
{%- if llc -%}
Do change points of the LLC find the events? Over all {{ runs }} runs together, those events (their number in brackets)
that lie between usable estimates, against as many random points:
{% for kind, cell in llc.items() -%}
{{ kind_names[kind] if kind in kind_names else kind | words }} ({{ cell["events"] | integer }}) with recall
{{ "—" if cell["recall"]["mean"] is none else cell["recall"]["mean"] | number(2) }} (by chance
{{ "—" if cell["recall_null"] is none else cell["recall_null"] | number(2) }}) and precision
{{ "—" if cell["precision"]["mean"] is none else cell["precision"]["mean"] | number(2) }} (by chance
{{ "—" if cell["precision_null"] is none else cell["precision_null"] | number(2) }}),
{{ "better than chance" if cell["finds"] else "not told from chance" }}{{ "; " if not loop.last }}
{%- endfor %}.
{% if "llc" in unexplained -%}
{%- set alarms = unexplained["llc"][quiet] -%}
At S = {{ quiet }} a run has {{ mean(alarms) }} change points of the LLC that match no event.
{%- endif -%}
{%- endif %}
{% if "rank_jump" in tracked -%}
{%- set names = [] -%}
{%- for name in tracked["rank_jump"] %}{{ names.append(named(name)) or "" }}{% endfor -%}
The rank jump is found better than by chance (p at most {{ bar }}, {{ detection_test["alpha"] | number }} shared by
{{ detection_test["cells"] }} cells) by {{ names | listed if names else "no indicator" }}.
{%- endif -%}
"""
)

ASSOCIATION = (
    NAMES
    + """
{%- set table, last = associations[canonical], association_kind -%}
{%- set clear, raw = [], [] -%}
{%- for name, kinds in table.items() if kinds[last]["interval"][0] is not none -%}
{%- set cell = kinds[last] -%}
{%- if cell["interval"][0] > 0 or cell["interval"][1] < 0 -%}
{{ clear.append(named(name) ~ " " ~ mean(cell)) or "" }}
{%- endif -%}
{%- endfor -%}
With {{ "log step and loss" if last == "without_log_step_and_loss" else "log step" }} taken out, within seeds at
S = {{ canonical }}, the LLC still goes with
{{ clear | join("; ") if clear else "no indicator: every interval over seeds includes zero" }}
{%- if clear %} (mean Spearman ρ over seeds; indicators whose interval includes zero are left out, and the intervals are
not simultaneous){% endif %}.
"""
)

COMBINATION = (
    NAMES
    + """
{%- if combination["scores"] -%}
Does a combination find the rank jump better than the best single indicator, on seeds held out from the choice of
thresholds? Of the rank jumps {{ combination["events"] | integer }}, in {{ combination["seeds_with_events"] }} runs, lie
where λ̂ is usable; the jump is defined by the effective rank, which so has a head start. The best single one is
{{ named(combination["best_single"]) }}, with F1
{{ mean(combination["scores"][combination["best_single"]]["f1"]) }}
{%- if combination["best_single"] != "llc" and "llc" in combination["scores"] %} (the LLC alone:
{{ mean(combination["scores"]["llc"]["f1"]) }}){% endif %}. F1 minus that of the best single one:
{% for name, cell in combination["comparisons"].items() -%}
{{ combined(name) }} {{ mean(cell) }}, {{ cell["statement"] }}
{%- if cell["statement"] == "cannot be told" and cell["detectable"] is not none %} (a difference of
{{ cell["detectable"] | number(2) }} would have been found){% endif %}{{ "; " if not loop.last }}
{%- endfor %}. The LLC and effective rank together are better: {{ combination["verdict"] }}.
{%- endif -%}
"""
)

LIMITS = """
Limits: everything said here rests on {{ seeds | count("seed") }} a sparsity and
{{ checkpoints }} checkpoints a seed; the intervals are over seeds, for these examples and this training, and are not
simultaneous over indicators, kinds of event and settings; a variant that agrees shows that the interval is compatible
with the document's figure, not that the figure is exact.
{% set below = health["regime"].get("below_baseline", 0) -%}
{% if below %}At {{ below | integer }} of {{ health["estimates"] | integer }} checkpoints
({{ health["share_below"] | percent }}) w* is no minimum (regime below baseline): λ̂ is left out there, and drift is
over the checkpoints that remain, of which the first is at a median step of
{% for s, one in health_by_sparsity.items() -%}
S = {{ s }}: {{ one["first_usable"] | spread if one["first_usable"]["n"] else "—" }}{{ ", " if not loop.last }}
{%- endfor %}. {% endif -%}
Relative drift divides by the median |λ̂| of the seed, which differs between sparsities as well. An event is resolved to
the spacing of the kept weights, a change point to that of the checkpoints.
All checkpoints and seeds share the sampler's minibatches: errors common to them are in the standard errors of λ̂ and
not
in the intervals over seeds. Seeds of one number begin from the same initial weights at every sparsity and draw on the
same stream of training data; ratios between sparsities take them as independent.
"""

CONCLUSIONS = (
    SHORT,
    DRIFT,
    QUIET,
    VARIANCE,
    TREND,
    FACTORS,
    BY_SPARSITY,
    CLASSES,
    TIMING,
    RISE,
    DETECTION,
    ASSOCIATION,
    COMBINATION,
    TRUST,
    LIMITS,
)
