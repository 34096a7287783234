"""What Wang et al. (arXiv:2410.02984) state, and what one training run says about each statement.

λ̂ are those of one setting of the sampler; estimates below the baseline, where w* is no minimum, and lost chains are
left out, so that a statement about them cannot be told. Errors are those of sampling and, of means over heads, as if
heads were sampled independently (all share their minibatches, so that differences are known better than that).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ontogeny.estimators.status import usable
from ontogeny.report.attention_heads.effects import NOTHING, Effect, above, correlation, equal, plainly
from ontogeny.report.words import listed
from ontogeny.report.words import number as rounded

ALIKE = 0.1
"""Two λ̂ within a tenth of their mean are equal."""
CLOSE = 0.5
"""A rank correlation from which two orders are close."""
SHIFTED = 0.9
"""A correlation over checkpoints from which one curve is another one shifted."""
TURNS = 0.05
"""The share of its range by which a K-composition must fall, and rise, to turn."""
SIGNIFICANT = 0.05
CODE_LIKE = ("code", "C++")
"""Data sets that hold code, or what is named so."""
TEXT, CODE, ONE_LAYER, PAIR = "text", "code", "one-layer model", "both induction heads"


class Run(NamedTuple):
    """One training seed at one setting of the sampler."""

    heads: xr.Dataset
    """λ̂ (checkpoint, component, dataset); NaN where not usable."""
    whole: xr.Dataset
    behaviour: xr.Dataset
    contexts: xr.Dataset
    """At the early and the last checkpoint."""
    stages: Sequence[Mapping[str, Any]]
    clusters: Sequence[Mapping[str, Any]]
    """Of seed 0, with what they are worth on this one."""
    seed: int

    def of_type(self, word: str, layer: int | None = None) -> list[str]:
        """The heads of that type at the end, of all layers or of one; -1: of all but layer 0."""
        kinds = self.contexts["type"].sel(when="last")
        names = [str(head) for head in kinds["head"].values if str(kinds.sel(head=head).item()) == word]
        return names if layer is None else [head for head in names if head.startswith("0:") == (layer == 0)]

    def llc(self, component: str, dataset: str, place: int = -1) -> tuple[float, float]:
        """λ̂ and its standard error at a checkpoint, by default the last."""
        at = {"component": component, "dataset": dataset}
        if component not in self.heads["component"] or dataset not in self.heads["dataset"]:
            return math.nan, math.nan
        one = self.heads.sel(at).isel(checkpoint=place)
        return float(one["llc"]), float(one["llc_se"])


def number(value: float) -> str:
    """Rounded; an em dash for NaN."""
    return rounded(value if math.isfinite(value) else None)


def run_of(measured: Mapping[str, xr.Dataset], setting: str, seed: int, stages: Any, clusters: Any) -> Run:
    """That seed's part of the measurements."""
    heads = measured["heads"].sel(setting=setting, seed=seed)
    whole = measured["whole"].sel(setting=setting, seed=seed)
    return Run(
        heads.assign(llc=heads["llc"].where(usable(heads))),
        whole.assign(llc=whole["llc"].where(usable(whole))),
        measured["behaviour"].sel(seed=seed),
        measured["contexts"].sel(seed=seed),
        stages,
        clusters,
        seed,
    )


def _difference(run: Run, heads: Sequence[str], of: str, less: str) -> tuple[float, float]:
    """Mean over heads of λ̂ on one data set less λ̂ on the other, at the last checkpoint, and its error."""
    rows = [(*run.llc(head, of), *run.llc(head, less)) for head in heads]
    if not rows:
        return math.nan, math.nan
    values = np.array(rows)
    return float((values[:, 0] - values[:, 2]).mean()), float(np.sqrt((values[:, [1, 3]] ** 2).sum()) / len(rows))


def clusters_are_types(run: Run) -> Effect:
    """Each layer's coarsest clustering, by the vote, or on another seed as transferred, against types."""
    coarse: dict[int, Mapping[str, float] | None] = {}
    for one in run.clusters:
        if one["layer"] in coarse:
            continue
        own = [part["types"] for part in one["transfer"] if part["seed"] == run.seed and part["algorithm"] == "shape"]
        coarse[one["layer"]] = one["types"] if run.seed == 0 else own[0] if own else None
    told = {layer: found for layer, found in coarse.items() if found}
    if not told:
        return NOTHING._replace(words="no layer has heads of several types that could be clustered")
    words = listed(
        [f"layer {layer}: ARI {found['rand_index']:.2f}, p = {found['p_value']:.2g}" for layer, found in told.items()]
    )
    sure = [found["p_value"] <= SIGNIFICANT for found in told.values()]
    none = all(found["rand_index"] <= 0 for found in told.values())
    mean = float(np.mean([found["rand_index"] for found in told.values()]))
    detectable = float(max(found["detectable"] for found in told.values()))
    return Effect(True if all(sure) else False if none else None, mean, math.nan, detectable, words)


def more_multigrams_higher(run: Run) -> Effect:
    """Rank correlation of the final wrLLC with the number of multigrams, over multigram heads."""
    heads = run.of_type("multigram")
    counts = [float(run.contexts["multigrams"].sel(when="last", head=head)) for head in heads]
    return correlation(
        counts, [run.llc(head, TEXT)[0] for head in heads], "multigram heads, final wrLLC and multigrams"
    )


def induction_higher_on_code(run: Run) -> Effect:
    """λ̂ on code less wrLLC, mean over induction heads, at the end."""
    heads = run.of_type("induction")
    value, se = _difference(run, heads, CODE, TEXT)
    return above(value, se, f"λ̂ on code less wrLLC, mean of {listed(heads) or 'no induction head'}: {number(value)}")


def multigrams_lower_on_code(run: Run) -> Effect:
    """wrLLC less λ̂ on code, mean over multigram heads, at the end."""
    heads = run.of_type("multigram")
    value, se = _difference(run, heads, TEXT, CODE)
    return above(value, se, f"wrLLC less λ̂ on code, mean of {len(heads)} multigram heads: {number(value)}")


def leaves_the_one_layer_model(run: Run) -> Effect:
    """(Σ λ̂ on what the one-layer model predicts)/(Σ wrLLC) - 1, sums over heads: early less at the end."""
    early = int(run.contexts["step"].sel(when="early"))
    place = int(np.flatnonzero(run.behaviour["step"].values == early)[0])
    names = [str(head) for head in run.contexts["head"].values]
    found = []
    for at in (place, -1):
        rows = np.array([(*run.llc(head, ONE_LAYER, at), *run.llc(head, TEXT, at)) for head in names])
        one, two, errors = rows[:, 0].sum(), rows[:, 2].sum(), (rows[:, [1, 3]] ** 2).sum(0)
        found.append((float(one / two - 1), float(np.sqrt(errors[0] + (one / two) ** 2 * errors[1]) / abs(two))))
    (before, before_se), (after, after_se) = found
    words = f"relative to the wrLLC {number(before)} at step {early} and {number(after)} at the end"
    return above(before - after, math.hypot(before_se, after_se), words)


def _pair(run: Run) -> list[str] | None:
    heads = run.of_type("induction")
    return heads[:2] if len(heads) >= 2 else None


def pair_equal(run: Run) -> Effect:
    """The wrLLCs of the first two induction heads, within a tenth of their mean."""
    pair = _pair(run)
    if pair is None:
        return NOTHING._replace(words=f"{len(run.of_type('induction'))} induction heads")
    (one, one_se), (two, two_se) = (run.llc(head, TEXT) for head in pair)
    words = f"{pair[0]} {number(one)}, {pair[1]} {number(two)}"
    return equal(one - two, math.hypot(one_se, two_se), ALIKE * (one + two) / 2, words)


def pair_apart_on_code(run: Run) -> Effect:
    """The same on code: further apart than a tenth of their mean."""
    pair = _pair(run)
    if pair is None:
        return NOTHING._replace(words=f"{len(run.of_type('induction'))} induction heads")
    (one, one_se), (two, two_se) = (run.llc(head, CODE) for head in pair)
    least = ALIKE * (one + two) / 2
    words = f"on code {pair[0]} {number(one)}, {pair[1]} {number(two)}"
    return above(abs(one - two), math.hypot(one_se, two_se), words, least)


def icl_drop_at_the_others_peak(run: Run) -> Effect:
    """The largest fall of the ICL score with one induction head ablated, against the other's peak of λ̂ on code."""
    pair, steps = _pair(run), run.behaviour["step"].values
    if pair is None:
        return NOTHING._replace(words=f"{len(run.of_type('induction'))} induction heads")
    words, told = [], []
    for ablated, other in (pair, pair[::-1]):
        score = run.behaviour["icl_score"].sel(ablated=ablated).values
        curve = run.heads["llc"].sel(component=other, dataset=CODE).values
        if not np.isfinite(curve).any():
            return NOTHING._replace(words=f"no usable λ̂ of {other} on code")
        drop, peak = int(np.diff(score).argmin()), int(np.nanargmax(curve))
        inside = 0 < peak < len(curve) - 1
        words.append(f"{ablated} ablated: steps {steps[drop]} to {steps[drop + 1]}, peak of {other} at {steps[peak]}")
        told.append(drop <= peak <= drop + 1 if inside else None)
    holds = None if None in told else all(told)
    return plainly(holds, math.nan, listed(words))


def shifted_copies(run: Run) -> Effect:
    """The least correlation over checkpoints of λ̂ on a data set without code with λ̂ on text."""
    names = [str(name) for name in run.whole["dataset"].values]
    plain = [name for name in names if name not in CODE_LIKE and "model" not in name and name != TEXT]
    reference = run.whole["llc"].sel(dataset=TEXT).values
    found: dict[str, float] = {}
    for name in plain:
        curve = run.whole["llc"].sel(dataset=name).values
        good = np.isfinite(curve) & np.isfinite(reference)
        if good.sum() >= 5:
            found[name] = float(np.corrcoef(curve[good], reference[good])[0, 1])
    if not found:
        return NOTHING._replace(words="fewer than five checkpoints are usable on any data set without code")
    least = min(found.values())
    return plainly(least >= SHIFTED, least, listed([f"{name} r = {value:.2f}" for name, value in found.items()]))


def has_the_three_types(run: Run) -> Effect:
    """The fewest heads of any of the three types."""
    kinds = ("current-token", "previous-token", "induction")
    counts = {kind: len(run.of_type(kind)) for kind in kinds}
    words = listed([f"{count} {kind}" for kind, count in counts.items()])
    return plainly(min(counts.values()) > 0, float(min(counts.values())), words)


def has_no_decreasing_stage(run: Run) -> Effect:
    """Whether no stage of the whole model is falling."""
    if not run.stages:
        return NOTHING._replace(words="too few usable λ̂ of the whole model for stages")
    falling = [stage for stage in run.stages if stage["direction"] == "falling"]
    return plainly(not falling, float(len(falling)), f"{len(falling)} of {len(run.stages)} stages falling")


def k_composition_turns(run: Run) -> Effect:
    """The mean K-composition of multigram heads of layer 0 with later ones falls, and rises again."""
    writers, readers = run.of_type("multigram", 0), run.of_type("multigram", -1)
    if not writers or not readers:
        return NOTHING._replace(words="no multigram heads in both layers")
    curve = run.behaviour["k_composition"].sel(writer=writers, reader=readers).mean(("writer", "reader")).values
    lowest = int(curve.argmin())
    fall, rise = float(curve[: lowest + 1].max() - curve[lowest]), float(curve[lowest:].max() - curve[lowest])
    begins, least, ends = (number(float(curve[place])) for place in (0, lowest, -1))
    words = f"{begins} at first, lowest {least}, {ends} at the end"
    return plainly(min(fall, rise) > TURNS * float(np.ptp(curve)), min(fall, rise), words)


def _order(run: Run, values: Sequence[float], words: str) -> Effect:
    names = [str(head) for head in run.contexts["head"].values]
    return correlation(values, [run.llc(head, TEXT)[0] for head in names], words, CLOSE)


def resample_orders(run: Run) -> Effect:
    """Rank correlation of resample ablation and wrLLC at the end, over all heads."""
    scores = run.behaviour["ablation_score"].sel(ablation="resample").isel(checkpoint=-1)
    return _order(run, [float(value) for value in scores.values], "resample ablation and wrLLC, all heads")


def traces_order(run: Run) -> Effect:
    """Rank correlation of Hessian trace and wrLLC at the end, over all heads."""
    traces = run.behaviour["hessian_trace"].sel(trace_dataset=TEXT).isel(checkpoint=-1)
    return _order(run, [float(value) for value in traces.values], "Hessian trace and wrLLC, all heads")


STATEMENTS: dict[str, tuple[str, Callable[[Run], Effect]]] = {
    "clusters": ("Heads of one type cluster by their wrLLC curves", clusters_are_types),
    "multigrams": ("Heads with more multigrams have a higher final wrLLC", more_multigrams_higher),
    "induction_code": ("The λ̂ of induction heads is higher on code", induction_higher_on_code),
    "one_layer": ("λ̂ on what a one-layer model predicts falls behind the wrLLC", leaves_the_one_layer_model),
    "pair_equal": ("The two induction heads have equal wrLLCs at the end", pair_equal),
    "pair_code": ("… and are apart on code", pair_apart_on_code),
    "multigram_code": ("λ(head, code) is below λ(head) for multigram heads", multigrams_lower_on_code),
    "icl": (
        "The ICL score with one induction head ablated falls at the other's peak of λ̂ on code",
        icl_drop_at_the_others_peak,
    ),
    "shifted": ("drLLCs on data other than code are vertically shifted copies", shifted_copies),
    "three_types": ("Every seed has a current-token, a previous-token and an induction head", has_the_three_types),
    "decreasing": ("In some runs the λ̂ of the whole model has no decreasing stage", has_no_decreasing_stage),
    "k_composition": ("K-composition of multigram heads falls and turns", k_composition_turns),
    "resample": ("The order by resample ablation is close to that by wrLLC", resample_orders),
    "trace": ("… and so is that by Hessian trace", traces_order),
}  # fmt: skip
"""By name: the sentence, and what a run says about it."""
