"""Whether several indicators together find an event better than the best of them alone, on seeds held out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.checks import Array, Series, series, variable
from ontogeny.analysis.detection import interval_of_proportion
from ontogeny.analysis.events import checked_events, steps_by_seed
from ontogeny.analysis.intervals import LEVEL
from ontogeny.core.errors import OntogenyError

MARGIN = 0.05
"""An F1 gained by less than this is no better in the statement's sense."""
POWER = 0.8
NEIGHBOURS = 1
"""Intervals beside an event's own in which it is found as well."""
STATEMENTS = ("better", "not better", "cannot be told")


class Intervals(NamedTuple):
    """One seed: noise-scaled changes (intervals, indicators), and the intervals in which an event lies."""

    changes: Array
    events: npt.NDArray[np.int64]


class Peaks(NamedTuple):
    """One seed's detections: scores in falling order, whether each finds an event, and the number of events."""

    scores: Array
    hits: npt.NDArray[np.bool_]
    events: int


def combined_detection(
    indicators: Mapping[str, xr.DataArray], events: xr.Dataset, *, kind: str, folds: int | None = None, seed: int = 0
) -> xr.Dataset:
    """Compare detectors of one kind of event made of every single, every pair and all of the indicators.

    indicators: (seed, checkpoint) each, same seeds and steps, with the coordinate `step`; only checkpoints at which all
    of them are finite are used, so that every detector sees the same. events: an event table.

    For each interval between checkpoints and each indicator the change Δ is scaled by its seed's noise, z = asinh(Δ/s),
    s = 1.4826·median|Δ − median Δ| (or the root mean square of Δ where that is 0): asinh keeps a jump free of noise
    from ruling the fit. z and |z| of the indicators chosen, standardised over the training seeds, go into a logistic
    regression (scikit-learn, ridge C = 1) for "an event lies in this interval"; intervals next to one are left out of
    the training. The seeds are dealt to `folds` folds (5, or one a seed of fewer) at random (those with events and
    those without evenly); each
    fold is scored by the model of the others, and the probability from which an interval counts is the one with the
    best F1 there. Detections are the intervals of highest probability with no better one within 1 interval; they
    match events within 1 interval, one to one, best first.

    Returns a Dataset with dim `combination` ("llc", …, "llc + rank", …): from the held-out seeds `precision`, `recall`,
    `f1` = 2TP/(2TP + FP + FN) and `average_precision` (mean precision at the events in the order of probability, 0 for
    events never reached; needs no threshold), each with `_low`, `_high`: `interval_of_proportion` with the jackknife's
    variance over seeds (measured at 5, 10 and 20 seeds they cover 91-98 %, and up to 100 % near 1); `size`, indicators
    in it. `difference`, f1 minus that of the best single indicator, with `difference_se`, `difference_low`,
    `difference_high` (paired, the same jackknife), `detectable_difference` = (t_0.975 + t_0.8)·se, and `statement`:
    "better" (low > 0), "not better" (high < 0.05) or "cannot be told"; "" for
    the singles. Where no seed differs the jackknife has no error to give: then detectable_difference is NaN and the
    statement "cannot be told", or "not better" if the best single made no mistake. `average_precision_difference`,
    with `_se`, `_low` and `_high`, likewise. The jackknife does not refit: the intervals are for these detectors on
    other seeds. The best single is chosen by the scores it is compared on, which favours it. In attrs: `best_single`,
    `seeds`, `seeds_with_events`, `events`, `folds`, `margin`.

    Raises: OntogenyError for fewer than two indicators or folds, indicators that do not match, fewer seeds than folds,
    or fewer than 2 seeds with an event of this kind in the measured stretch (each fold needs one to learn from).
    """
    if len(indicators) < 2:
        raise OntogenyError(f"indicators must name at least two, to be combined; got {sorted(indicators)}.")
    if any(" + " in name for name in indicators):
        raise OntogenyError("names of indicators must not contain ' + ', which joins them; rename those that do.")
    names = list(indicators)
    seeds, data = _prepare(indicators, checked_events(events, "events"), kind)
    with_events = [i for i, one in enumerate(data) if len(one.events)]
    folds = min(5, len(data)) if folds is None else folds
    if not isinstance(folds, int) or not 2 <= folds <= len(data):
        raise OntogenyError(f"folds must be from 2 to the number of seeds, {len(data)}; got {folds}.")
    if len(with_events) < 2:
        raise OntogenyError(
            f"events must have kind {kind!r} in at least 2 seeds within the measured stretch, to learn from one and "
            f"test on the other; got {len(with_events)}."
        )
    fold = _deal(len(data), with_events, folds, np.random.default_rng(seed))
    subsets = [chosen for size in sorted({1, 2, len(names)}) for chosen in combinations(range(len(names)), size)]
    scored = {chosen: _held_out(data, chosen, fold, folds) for chosen in subsets}
    tables = {chosen: jackknife(one) for chosen, one in scored.items()}
    best = max(subsets[: len(names)], key=lambda chosen: tables[chosen]["f1"][0])
    rows = [
        _row(tables[chosen], tables[best] if len(chosen) > 1 else None) | {"size": len(chosen)} for chosen in subsets
    ]
    labels = [" + ".join(names[k] for k in chosen) for chosen in subsets]
    return xr.Dataset(
        {name: variable(("combination",), [row[name] for row in rows], words) for name, words in COLUMNS.items()},
        coords={"combination": labels},
        attrs={
            "kind": kind,
            "best_single": names[best[0]],
            "seeds": len(seeds),
            "seeds_with_events": len(with_events),
            "events": sum(len(one.events) for one in data),
            "folds": folds,
            "margin": MARGIN,
        },
    )


def find_peaks(scores: Array, events: npt.NDArray[np.int64]) -> Peaks:
    """Detections of one seed: best first, none within `NEIGHBOURS` of a better one, each matched to a free event."""
    free = np.ones(len(scores), dtype=bool)
    left = list(events)
    at, hits = [], []
    for k in np.argsort(-scores, kind="stable"):
        if not free[k]:
            continue
        free[max(0, k - NEIGHBOURS) : k + NEIGHBOURS + 1] = False
        near = [e for e in left if abs(e - k) <= NEIGHBOURS]
        if near:
            left.remove(min(near, key=lambda e: abs(e - k)))
        at.append(k)
        hits.append(bool(near))
    return Peaks(scores[np.array(at, dtype=int)], np.array(hits, dtype=bool), len(events))


def average_precision(peaks: list[Peaks]) -> float:
    """Mean over the events of the precision at the detection that finds it, in order of score; 0 if none does."""
    total = sum(one.events for one in peaks)
    if total == 0:
        return math.nan
    scores, hits = np.concatenate([one.scores for one in peaks]), np.concatenate([one.hits for one in peaks])
    hits = hits[np.lexsort((hits, -scores))]  # at equal scores the misses first
    return float((hits.cumsum() / np.arange(1, len(hits) + 1))[hits].sum() / total)


def _prepare(
    indicators: Mapping[str, xr.DataArray], events: xr.Dataset, kind: str
) -> tuple[list[int], list[Intervals]]:
    """Changes and event intervals of the seeds with at least 3 checkpoints at which every indicator is finite."""
    columns: dict[str, list[Series]] = {name: series(array, name) for name, array in indicators.items()}
    first = next(iter(columns.values()))
    for name, rows in columns.items():
        if len(rows) != len(first) or any(
            a.seed != b.seed or not np.array_equal(a.steps, b.steps) for a, b in zip(rows, first, strict=False)
        ):
            raise OntogenyError(f"indicator {name!r} must have the seeds and steps of the first; select them alike.")
    seeds, data = [], []
    for i, at in enumerate(steps_by_seed(events, [one.seed for one in first], kind)):
        values = np.stack([rows[i].values for rows in columns.values()], axis=1)
        known = np.isfinite(values).all(1)
        if known.sum() < 3:
            continue
        steps, change = first[i].steps[known], np.diff(values[known], axis=0)
        scale = 1.4826 * np.median(np.abs(change - np.median(change, axis=0)), axis=0)
        scale = np.where(scale > 0, scale, np.sqrt((change**2).mean(0)))
        inside = at[(at > steps[0]) & (at <= steps[-1])]
        data.append(
            Intervals(
                np.arcsinh(change / np.where(scale > 0, scale, 1.0)), np.unique(np.searchsorted(steps, inside)) - 1
            )
        )
        seeds.append(first[i].seed)
    return seeds, data


def _deal(n: int, with_events: list[int], folds: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Fold of each seed: those with events are dealt out first, then the others."""
    without = [i for i in range(n) if i not in with_events]
    order = [*rng.permutation(with_events).tolist(), *rng.permutation(np.array(without, dtype=int)).tolist()]
    fold = np.empty(n, dtype=np.int64)
    fold[order] = np.arange(n) % folds
    return fold


def _held_out(
    data: list[Intervals], chosen: tuple[int, ...], fold: npt.NDArray[np.int64], folds: int
) -> list[tuple[Peaks, Array]]:
    """For each seed its detections by the model of the other folds, and (TP, FP, FN) at that model's threshold."""
    result: list[tuple[Peaks, Array] | None] = [None] * len(data)
    for k in range(folds):
        model, centre, scale = _fit([one for one, f in zip(data, fold, strict=True) if f != k], chosen)

        def score(one: Intervals, model: Any = model, centre: Array = centre, scale: Array = scale) -> Peaks:
            logit = model.decision_function((_inputs(one, chosen) - centre) / scale)
            return find_peaks(np.asarray(logit, dtype=np.float64), one.events)

        threshold = _best_threshold([score(one) for one, f in zip(data, fold, strict=True) if f != k])
        for i in np.flatnonzero(fold == k):
            peaks = score(data[i])
            over = peaks.scores >= threshold
            hits = float((peaks.hits & over).sum())
            result[i] = peaks, np.array([hits, over.sum() - hits, peaks.events - hits])
    return [one for one in result if one is not None]


def _inputs(one: Intervals, chosen: tuple[int, ...]) -> Array:
    z = one.changes[:, list(chosen)]
    return np.concatenate([z, np.abs(z)], axis=1)


def _fit(training: list[Intervals], chosen: tuple[int, ...]) -> tuple[Any, Array, Array]:
    """Logistic regression on the training seeds, with the centre and scale of its inputs."""
    from sklearn.linear_model import LogisticRegression

    rows, targets = [], []
    for one in training:
        index = np.arange(len(one.changes))
        target = np.isin(index, one.events)
        beside = np.isin(index, np.concatenate([one.events + d for d in (-NEIGHBOURS, NEIGHBOURS)])) & ~target
        rows.append(_inputs(one, chosen)[~beside])
        targets.append(target[~beside])
    x, y = np.concatenate(rows), np.concatenate(targets)
    centre, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    return LogisticRegression(C=1.0, max_iter=1000).fit((x - centre) / scale, y), centre, scale


def _best_threshold(peaks: list[Peaks]) -> float:
    """Score from which detections count, with the best F1; midway to the next lower score."""
    scores, hits = np.concatenate([one.scores for one in peaks]), np.concatenate([one.hits for one in peaks])
    order = np.lexsort((hits, -scores))
    f1 = 2 * hits[order].cumsum() / (np.arange(1, len(order) + 1) + sum(one.events for one in peaks))
    best = int(np.argmax(f1))
    lower = scores[order][min(best + 1, len(order) - 1)]
    return float((scores[order][best] + lower) / 2)


def jackknife(scored: list[tuple[Peaks, Array]]) -> dict[str, tuple[float, Array]]:
    """(value over all seeds, pseudo-values n·value − (n − 1)·value without the seed) of each score."""
    peaks, counts = [one for one, _ in scored], np.array([c for _, c in scored])
    n = len(scored)
    whole, without = _ratios(counts.sum(0)), [_ratios(counts.sum(0) - own) for own in counts]
    whole["average_precision"] = average_precision(peaks)
    for i, one in enumerate(without):
        one["average_precision"] = average_precision(peaks[:i] + peaks[i + 1 :])
    return {
        name: (value, n * value - (n - 1) * np.array([one[name] for one in without])) for name, value in whole.items()
    }


def _ratios(counts: Array) -> dict[str, float]:
    true, false, missed = (float(c) for c in counts)
    return {
        "precision": true / (true + false) if true + false else math.nan,
        "recall": true / (true + missed) if true + missed else math.nan,
        "f1": 2 * true / (2 * true + false + missed) if true + false + missed else math.nan,
    }


def _row(own: dict[str, tuple[float, Array]], best: dict[str, tuple[float, Array]] | None) -> dict[str, float | str]:
    """One combination's columns; best: the best single's, None for a single."""
    from scipy.stats import t

    row: dict[str, float | str] = {}
    for name, (value, pseudo) in own.items():
        low, high = score_interval(value, pseudo)
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    blank = {name: math.nan for name in COLUMNS if "difference" in name}
    if best is None:
        return row | blank | {"statement": ""}
    for name, title in (("f1", "difference"), ("average_precision", "average_precision_difference")):
        value, pseudo = own[name][0] - best[name][0], own[name][1] - best[name][1]
        se, half = half_width(pseudo)
        row |= {title: value, f"{title}_se": se, f"{title}_low": value - half, f"{title}_high": value + half}
        if title == "difference":
            row["detectable_difference"] = half + float(t.ppf(POWER, len(pseudo) - 1)) * se if se > 0 else math.nan
            row["statement"] = _statement(value, half, best["f1"][0])
    return row


def _statement(difference: float, half: float, best: float) -> str:
    """One of `STATEMENTS`; no spread at all says something only where nothing was left to gain."""
    if half == 0 and best < 1:
        return "cannot be told"
    if difference - half > 0:
        return "better"
    return "not better" if difference + half < MARGIN else "cannot be told"


def score_interval(value: float, pseudo: Array) -> tuple[float, float]:
    """(low, high) of a score between 0 and 1 from its pseudo-values: `interval_of_proportion` with their variance."""
    if not math.isfinite(value) or not np.isfinite(pseudo).all():
        return math.nan, math.nan
    return interval_of_proportion(value, half_width(pseudo)[0] ** 2, math.inf, len(pseudo))


def half_width(pseudo: Array) -> tuple[float, float]:
    """(standard error, half of the 95 % interval) of the jackknife estimate whose pseudo-values are given."""
    from scipy.stats import t

    n = len(pseudo)
    se = float(pseudo.std(ddof=1)) / math.sqrt(n)
    return se, float(t.ppf((1 + LEVEL) / 2, n - 1)) * se


_BOUNDS = {"": "", "_low": ", lower end of its interval", "_high": ", upper end of its interval"}
COLUMNS = {
    "size": "indicators in the combination",
    **{f"precision{end}": f"share of the detections that find an event{words}" for end, words in _BOUNDS.items()},
    **{f"recall{end}": f"share of the events that are found{words}" for end, words in _BOUNDS.items()},
    **{f"f1{end}": f"harmonic mean of precision and recall{words}" for end, words in _BOUNDS.items()},
    **{f"average_precision{end}": f"average precision{words}" for end, words in _BOUNDS.items()},
    **{f"difference{end}": f"F1 minus that of the best single{words}" for end, words in _BOUNDS.items()},
    "difference_se": "standard error of that difference",
    **{
        f"average_precision_difference{end}": f"average precision minus that of the best single{words}"
        for end, words in _BOUNDS.items()
    },
    "average_precision_difference_se": "standard error of that difference",
    "detectable_difference": "smallest difference of F1 that would have been found",
    "statement": "better, not better or cannot be told",
}
