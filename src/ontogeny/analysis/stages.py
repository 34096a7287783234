"""Stages of development: training cut where an (r)LLC curve turns or stays, and named by what changes in each.

Hoogland et al. (arXiv:2402.02364) cut at plateaus of the LLC, which are its maxima, minima and slow inflections, and
name LM1 to LM5 by what is learned: bigrams, n-grams, previous-token heads, induction heads, convergence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import Array, Series, series, variable
from ontogeny.analysis.turning_points import RULES, Curve, Turn, TurnRules, curves_of, plateaus, turns
from ontogeny.core.errors import OntogenyError

MOVES = 0.3
"""The share of all its movement that a behaviour must make within a stage to name it."""
CONVERGENCE = "convergence"
"""The name of a last stage in which no behaviour forms."""


class _Boundary(NamedTuple):
    """Where one stage ends and the next begins: indices of the point itself, and of those that bound it."""

    place: int
    first: int
    last: int
    kind: str


def find_stages(
    curve: xr.DataArray,
    se: xr.DataArray | None = None,
    behaviours: Mapping[str, xr.DataArray] | None = None,
    rules: TurnRules = RULES,
) -> xr.Dataset:
    """The stages of each seed: where they begin and end, which way the curve goes in them, and what forms in each.

    Boundaries are the turns of :func:`ontogeny.analysis.turning_points`, and the middle of a plateau that holds no
    turn; of one that begins or ends the curve, its inner end. A behaviour is a score along training, such as the
    prefix-matching score or how near the loss is to the bigram baseline. It moves by |b(end) - b(start)| in a stage,
    and names the stage in which most of that, and ``MOVES`` of it at least, happens; where two name one stage, they
    are given out so that the shares' sum is largest. A stage without one is "", a last one "convergence".

    Args:
        curve: dims (seed, checkpoint) with the coordinate ``step``.
        se: its standard errors; None: no error, so that shares of the range alone decide.
        behaviours: {name: score}, each with the same seeds, at any steps.
        rules: what counts as a turn and as a plateau.

    Returns:
        Dim ``stage``, rows in the order of seeds and steps: ``seed``, ``number`` from 1, ``start`` and ``end`` in
        steps; ``start_low``, ``start_high``, ``end_low`` and ``end_high``, between which they lie; ``boundary``, the
        kind of what ends it ("end" for the last); ``change`` of the curve and ``change_se``; ``direction``, "rising",
        "falling", or "flat" where the change is not clear; ``name`` and ``name_share``.

    Raises:
        OntogenyError: for other dims or seeds, or errors that do not match.
    """
    curves = curves_of(curve, se)
    scores = {name: _by_seed(score, name, curves) for name, score in (behaviours or {}).items()}
    rows: list[dict[str, float | str]] = []
    for one in curves:
        edges = enumerate(pairwise(_edges(one, rules)), start=1)
        stages = [_stage(one, number, pair, rules) for number, pair in edges]
        names = _names(stages, {name: by_seed[one.seed] for name, by_seed in scores.items()})
        for stage, (name, share) in zip(stages, names, strict=True):
            rows.append(stage | {"name": name, "name_share": share})
    words = {
        "seed": ("seed", ""),
        "number": ("number of the stage", ""),
        "start": ("step at which it begins", "steps"),
        "start_low": ("step from which that may be", "steps"),
        "start_high": ("step up to which that may be", "steps"),
        "end": ("step at which it ends", "steps"),
        "end_low": ("step from which that may be", "steps"),
        "end_high": ("step up to which that may be", "steps"),
        "boundary": ("what ends it", ""),
        "change": ("change of the curve in it", ""),
        "change_se": ("standard error of that", ""),
        "direction": ("which way the curve goes", ""),
        "name": ("behaviour that forms", ""),
        "name_share": ("share of its movement that the behaviour makes in it", "1"),
    }
    return xr.Dataset({name: variable(("stage",), [row[name] for row in rows], *said) for name, said in words.items()})


def _edges(curve: Curve, rules: TurnRules) -> list[_Boundary]:
    last = len(curve.steps) - 1
    turned = turns(curve, rules)
    edges = [_Boundary(turn.place, turn.first, turn.last, turn.kind) for turn in turned]
    for flat in plateaus(curve, rules):
        if not any(flat.first <= turn.place <= flat.last for turn in turned):
            place = _inner(flat, last)
            if 0 < place < last:
                bounds = (flat.first, flat.last) if place == flat.place else (max(place - 1, 0), min(place + 1, last))
                edges.append(_Boundary(place, *bounds, flat.kind))
    return [_Boundary(0, 0, 0, "start"), *sorted(edges), _Boundary(last, last, last, "end")]


def _inner(flat: Turn, last: int) -> int:
    if flat.last == last:
        return flat.first
    return flat.last if flat.first == 0 else flat.place


def _stage(curve: Curve, number: int, edges: tuple[_Boundary, _Boundary], rules: TurnRules) -> dict[str, float | str]:
    start, end = edges
    change = float(curve.values[end.place] - curve.values[start.place])
    change_se = math.hypot(curve.errors[end.place], curve.errors[start.place])
    clear = abs(change) > max(rules.clearly * change_se, rules.least * curve.range)
    return {
        "seed": curve.seed,
        "number": number,
        "start": curve.steps[start.place],
        "start_low": curve.steps[start.first],
        "start_high": curve.steps[start.last],
        "end": curve.steps[end.place],
        "end_low": curve.steps[end.first],
        "end_high": curve.steps[end.last],
        "boundary": end.kind,
        "change": change,
        "change_se": change_se,
        "direction": "flat" if not clear else "rising" if change > 0 else "falling",
    }


def _names(stages: list[dict[str, float | str]], scores: Mapping[str, Series]) -> list[tuple[str, float]]:
    """The name of each stage and the share of the behaviour's movement that it holds; NaN without a behaviour."""
    from scipy.optimize import linear_sum_assignment

    names: list[tuple[str, float]] = [("", math.nan)] * len(stages)
    ends = np.array([stages[0]["start"], *(stage["end"] for stage in stages)], dtype=np.float64)
    moved = {name: np.abs(np.diff(_at(score, ends))) for name, score in scores.items()}
    shares = {name: by_stage / by_stage.sum() for name, by_stage in moved.items() if by_stage.sum() > 0}
    if shares:
        table = np.stack(list(shares.values()))
        for behaviour, stage in zip(*linear_sum_assignment(-table), strict=True):
            if table[behaviour, stage] >= MOVES:
                names[stage] = (list(shares)[behaviour], float(table[behaviour, stage]))
        if names[-1][0] == "" and len(stages) > 1:
            names[-1] = (CONVERGENCE, math.nan)
    return names


def _at(score: Series, steps: Array) -> Array:
    """The score at these steps, linear in log(1 + step) between its own; at its ends as there."""
    good = np.isfinite(score.values)
    return np.interp(np.log1p(steps), np.log1p(score.steps[good]), score.values[good])


def _by_seed(score: xr.DataArray, name: str, curves: list[Curve]) -> dict[int, Series]:
    own = {one.seed: one for one in series(score, f"behaviours[{name!r}]")}
    missing = sorted({one.seed for one in curves} - set(own))
    if missing:
        raise OntogenyError(f"behaviours[{name!r}] must hold the seeds of the curve; it lacks {missing}.")
    empty = next((seed for seed, one in own.items() if not np.isfinite(one.values).any()), None)
    if empty is not None:
        raise OntogenyError(f"behaviours[{name!r}] has no finite value for seed {empty}: leave it out, or that seed.")
    return own
