"""What Wang et al. (arXiv:2410.02984) state, and what one training run says about each statement.

λ̂ are those of one setting of the sampler; estimates below the baseline, where w* is no minimum, and lost chains are
left out, so that a statement about them cannot be told. Errors are those of sampling; of a mean over heads it is the
mean of theirs, since heads share their minibatches, and no more is to be gained by taking the mean than that allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ontogeny.core.rng import numpy_generator
from ontogeny.estimators.status import usable
from ontogeny.report.attention_heads.effects import (
    EVERY,
    NOTHING,
    SOME,
    SURE,
    TYPICAL,
    Effect,
    above,
    correlation,
    equal,
    plainly,
)
from ontogeny.report.words import listed
from ontogeny.report.words import number as rounded

ALIKE = 0.1
"""Two λ̂ within a tenth of their mean are equal."""
CLOSE = 0.5
"""A rank correlation from which two orders are close."""
SHIFTED = 0.9
"""The share of a curve's variance over checkpoints that a shifted copy of another has, from which it is one."""
MOVES = 1000
"""Of curves within their errors."""
TURNS = 0.05
"""The share of its range by which a K-composition must fall, and rise, to turn."""
FALLS = 0.1
"""The share of its range by which λ̂ of the whole model must fall for a stage to be decreasing, as stages have it."""
SIGNIFICANT = 0.05
CODE_LIKE = ("code", "C++")
"""Data sets that hold code, or are called by a word with one of these in it."""
TEXT, CODE, ONE_LAYER, ZERO_LAYER = "text", "code", "one-layer model", "zero-layer model"
FEWEST = 5
"""Usable checkpoints that a statement about a curve takes."""


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


def _both(run: Run, heads: Sequence[str], of: str, less: str, place: int = -1) -> dict[str, np.ndarray]:
    """λ̂ and error on one data set, and on the other, of the heads that are usable on both."""
    rows = {head: np.array([*run.llc(head, of, place), *run.llc(head, less, place)]) for head in heads}
    return {head: row for head, row in rows.items() if np.isfinite(row).all()}


def _difference(run: Run, heads: Sequence[str], of: str, less: str) -> tuple[float, float, str]:
    """Mean over heads of λ̂ on one data set less λ̂ on the other, at the end, its error, and of how many heads."""
    rows = _both(run, heads, of, less)
    if not rows:
        return math.nan, math.nan, f"none of {len(heads)} usable on both"
    values = np.stack(list(rows.values()))
    said = listed(list(rows)) if len(rows) == len(heads) else f"{len(rows)} of {len(heads)} usable"
    return float((values[:, 0] - values[:, 2]).mean()), float(np.hypot(values[:, 1], values[:, 3]).mean()), said


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
    could = all(math.isfinite(found["critical"]) for found in told.values())
    none = could and all(found["rand_index"] <= 0 for found in told.values())
    mean = float(np.mean([found["rand_index"] for found in told.values()]))
    least = float(np.max([found["critical"] for found in told.values()])) if could else math.nan
    return Effect(
        True if all(sure) else False if none else None,
        mean, math.nan, least, words, "is the least index that would have been significant in every layer",
    )  # fmt: skip


def more_multigrams_higher(run: Run) -> Effect:
    """Rank correlation of the final wrLLC with the number of multigrams, over multigram heads."""
    heads = run.of_type("multigram")
    counts = [float(run.contexts["multigrams"].sel(when="last", head=head)) for head in heads]
    return correlation(
        counts,
        [run.llc(head, TEXT)[0] for head in heads],
        "multigram heads, final wrLLC and multigrams",
        layers=[int(head.partition(":")[0]) for head in heads],
    )


def induction_higher_on_code(run: Run) -> Effect:
    """λ̂ on code less wrLLC, mean over induction heads, at the end."""
    heads = run.of_type("induction")
    if not heads:
        return NOTHING._replace(words="no induction head")
    value, se, which = _difference(run, heads, CODE, TEXT)
    return above(value, se, f"λ̂ on code less wrLLC, mean of {which}: {number(value)}")


def multigrams_lower_on_code(run: Run) -> Effect:
    """wrLLC less λ̂ on code, mean over multigram heads, at the end."""
    heads = run.of_type("multigram")
    if not heads:
        return NOTHING._replace(words="no multigram head")
    value, se, which = _difference(run, heads, TEXT, CODE)
    return above(value, se, f"wrLLC less λ̂ on code, mean of the multigram heads {which}: {number(value)}")


def leaves_the_one_layer_model(run: Run) -> Effect:
    """(Σ λ̂ on what the one-layer model predicts)/(Σ wrLLC) - 1, sums over heads: early less at the end."""
    early = int(run.contexts["step"].sel(when="early"))
    place = int(np.flatnonzero(run.behaviour["step"].values == early)[0])
    names = [str(head) for head in run.contexts["head"].values]
    at_both = [_both(run, names, ONE_LAYER, TEXT, at) for at in (place, -1)]
    same = [head for head in names if all(head in rows for rows in at_both)]
    if not same:
        return NOTHING._replace(words="no head is usable on both, early and at the end")
    found = []
    for rows in at_both:
        one, one_se, two, two_se = np.stack([rows[head] for head in same]).sum(0)
        found.append((float(one / two - 1), math.hypot(one_se, one / two * two_se) / abs(two)))
    (before, before_se), (after, after_se) = found
    words = f"relative to the wrLLC {number(before)} at step {early} and {number(after)} at the end"
    words += f", {len(same)} of {len(names)} heads"
    return above(before - after, math.hypot(before_se, after_se), words)


def _pair(run: Run) -> list[str] | None:
    """The two later heads with the highest prefix-matching scores, refined together; None unless of type induction."""
    pair = str(run.behaviour["pair"].item()).split()
    return pair if len(pair) == 2 and set(pair) <= set(run.of_type("induction")) else None


def pair_equal(run: Run) -> Effect:
    """The wrLLCs of the two strongest induction heads, within a tenth of their mean."""
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
        score, score_se = (run.behaviour[name].sel(ablated=ablated).values for name in ("icl_score", "icl_score_se"))
        if CODE not in run.heads["dataset"] or not run.heads["llc"].sel(component=other, dataset=CODE).notnull().any():
            return NOTHING._replace(words=f"no usable λ̂ of {other} on code")
        curve, curve_se = (run.heads[name].sel(component=other, dataset=CODE).values for name in ("llc", "llc_se"))
        drop, peak = int(np.diff(score).argmin()), int(np.nanargmax(curve))
        words.append(f"{ablated} ablated: steps {steps[drop]} to {steps[drop + 1]}, peak of {other} at {steps[peak]}")
        falls = score[drop] - score[drop + 1] > SURE * math.hypot(score_se[drop], score_se[drop + 1])
        told.append(drop <= peak <= drop + 1 if falls and _is_peak(curve, curve_se, peak) else None)
    holds = None if None in told else all(told)
    return plainly(holds, math.nan, listed(words))


def _is_peak(curve: np.ndarray, errors: np.ndarray, place: int) -> bool:
    """Whether the largest value has known neighbours, and is above both ends of the curve by more than its errors."""
    if not 0 < place < len(curve) - 1 or not np.isfinite(curve[place - 1 : place + 2]).all():
        return False
    ends = [np.flatnonzero(np.isfinite(curve))[which] for which in (0, -1)]
    return all(curve[place] - curve[end] > SURE * math.hypot(errors[place], errors[end]) for end in ends)


def shifted_copies(run: Run) -> Effect:
    """1 - Var(b - a)/Var(a) over checkpoints, a of text, b of a data set without code: 1 for a shifted copy; the least.

    What the errors of a and b add to both variances is taken off; the standard error is that of curves that move within
    them.
    """
    names = [str(name) for name in run.whole["dataset"].values]
    others = (TEXT, ONE_LAYER, ZERO_LAYER)
    plain = [name for name in names if name not in others and not any(word in name for word in CODE_LIKE)]
    found: dict[str, tuple[float, float]] = {}
    for name in plain:
        pair = [run.whole.sel(dataset=which) for which in (TEXT, name)]
        rows = np.stack([one[of].values for of in ("llc", "llc_se") for one in pair])
        rows = rows[:, np.isfinite(rows).all(0)]
        if rows.shape[1] >= FEWEST:
            found[name] = _shifted(*rows)
    if not found:
        return NOTHING._replace(words="fewer than five checkpoints are usable on any data set without code")
    words = listed([f"{name} {value:.2f} ± {error:.2f}" for name, (value, error) in found.items()])
    value, error = min(found.values(), key=lambda one: one[0])
    return above(value, error, f"share of the variance of λ̂ on text that a shifted copy has: {words}", SHIFTED)


def _shifted(a: np.ndarray, b: np.ndarray, a_se: np.ndarray, b_se: np.ndarray) -> tuple[float, float]:
    def share(one: np.ndarray, other: np.ndarray, times: float) -> Any:
        apart = (other - one).var(-1, ddof=1) - times * (a_se**2 + b_se**2).mean()
        return 1 - np.maximum(apart, 0.0) / np.maximum(one.var(-1, ddof=1) - times * (a_se**2).mean(), 1e-300)

    stream = numpy_generator(0, "curves within their errors")
    first, second = (
        values + errors * stream.standard_normal((MOVES, len(values))) for values, errors in ((a, a_se), (b, b_se))
    )
    return float(share(a, b, 1.0)), float(share(first, second, 2.0).std(ddof=1))  # moved curves hold every error twice


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
    words = f"{len(falling)} of {len(run.stages)} stages falling"
    if falling:
        return plainly(False, float(len(falling)), words)
    curve, errors = (run.whole[name].sel(dataset=TEXT).values for name in ("llc", "llc_se"))
    fall = curve[:, None] - curve[None, :] + SURE * np.hypot(errors[:, None], errors[None, :])  # of i less of j
    most = float(fall[np.triu_indices(len(curve), 1)].max())
    words += f"; no later λ̂ is below an earlier one by more than {number(most)}"
    return plainly(True if most <= FALLS * float(np.ptp(curve)) else None, 0.0, words)


def k_composition_turns(run: Run) -> Effect:
    """The mean K-composition of multigram heads of layer 0 with later ones falls, and rises again."""
    writers, readers = run.of_type("multigram", 0), run.of_type("multigram", -1)
    if not writers or not readers:
        return NOTHING._replace(words="no multigram heads in both layers")
    curve = run.behaviour["k_composition"].sel(writer=writers, reader=readers).mean(("writer", "reader")).values[1:]
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


SAID: dict[str, tuple[str, Callable[[Run], Effect]]] = {
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
ABOUT = {"three_types": EVERY, "decreasing": SOME}
STATEMENTS = {name: (says, of_run, ABOUT.get(name, TYPICAL)) for name, (says, of_run) in SAID.items()}
"""By name: the sentence, what a run says about it, and whether it is about a typical run, every one, or some."""
