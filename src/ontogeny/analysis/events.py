"""When something forms, told from the weights alone: tables of events that indicators can then be held against.

An event table is a Dataset with the one dim `event` and the variables `seed` (int), `step` (training steps), `kind`
(word) and, optionally, `feature` (int, −1 where none). People may hand in their own (`event_table`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis.checks import Array, along, per_seed, seeds_of, series, steps_of, variable
from ontogeny.analysis.emergence import feature_emergence
from ontogeny.analysis.sigmoid import fit_sigmoids, start_of_representation, start_of_rise
from ontogeny.core.errors import OntogenyError

KINDS = ("emergence", "count_change", "polygon_change", "rank_jump")
"""What `find_events` finds, in the order in which it usually happens."""
NO_FEATURE = -1


@dataclass(frozen=True)
class EventRules:
    """When a trajectory of weights shows an event. Norms in weight units; durations as fractions of training, T steps.

    - emergence: a feature whose final norm is at least `represented_above` emerges where its norm reaches `crossing`
      of that for good, that is, without falling below `crossing` − `hysteresis` of it again.
    - count_change: a feature counts from norm `represented_above` on and until the norm falls below
      `represented_above` − `count_hysteresis`; a number of features is lasting when it holds for `minimum_stay`·T.
    - polygon_change: the features form a k-gon where `polygon_distance` < `polygon_within`; a k-gon is lasting when
      it holds for `minimum_stay`·T, shorter gaps in it not counted. An antipodal pair with one single feature of the
      same norm is √(1/6) ≈ 0.41 from its closest polygon, the triangle, and counts as three features here; two
      orthogonal features (0.58) form none, and of random Gaussian W (2 × 6) one in nine is within 0.45.
    """

    represented_above: float = 0.5
    crossing: float = 0.5
    hysteresis: float = 0.1
    count_hysteresis: float = 0.1
    polygon_within: float = 0.45
    minimum_stay: float = 0.01

    def __post_init__(self) -> None:
        """Refuse thresholds that could never be met or never be left."""
        for name, value in asdict(self).items():
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise OntogenyError(f"{name} of the event rules must be positive and finite; got {value}.")
        if self.count_hysteresis >= self.represented_above:
            raise OntogenyError(
                "count_hysteresis of the event rules must be below represented_above; "
                f"got {self.count_hysteresis:g} and {self.represented_above:g}."
            )
        if self.minimum_stay >= 1:
            raise OntogenyError(
                f"minimum_stay of the event rules must be below 1, a fraction of training; got {self.minimum_stay:g}."
            )


class Event(NamedTuple):
    """One row of an event table."""

    seed: int
    step: float
    kind: str
    feature: int = NO_FEATURE


def event_table(
    seed: npt.ArrayLike,
    step: npt.ArrayLike,
    kind: str | Sequence[str],
    feature: npt.ArrayLike | None = None,
) -> xr.Dataset:
    """Make an event table from one entry an event; sorted by seed, then step.

    seed: whole numbers. step: training steps, finite. kind: a word each, or one word for all. feature: whole numbers,
    −1 where an event belongs to none; left out: no variable `feature`. Empty sequences make an empty table.

    Raises: OntogenyError for columns of unequal length, a seed that is no whole number, a step that is not finite.

    >>> event_table([1, 0], [300.0, 700.0], "jump")["step"].values.tolist()
    [700.0, 300.0]
    """
    try:
        steps = np.atleast_1d(np.asarray(step, dtype=np.float64))
    except (TypeError, ValueError):
        raise OntogenyError(f"step must hold numbers, training steps; got {step!r}.") from None
    if not isinstance(kind, str) and (not np.iterable(kind) or not all(isinstance(word, str) for word in kind)):
        raise OntogenyError(f"kind must be a word, or one word an event; got {kind!r}.")
    kinds = np.asarray([kind] * steps.size if isinstance(kind, str) else list(kind), dtype=str)
    columns = {"seed": np.atleast_1d(np.asarray(seed)), "step": steps, "kind": kinds}
    if feature is not None:
        columns["feature"] = np.atleast_1d(np.asarray(feature))
    lengths = {name: column.size for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or any(column.ndim != 1 for column in columns.values()):
        raise OntogenyError(f"seed, step, kind and feature must have one entry an event each; got lengths {lengths}.")
    if not np.isfinite(steps).all():
        raise OntogenyError("step must be finite for every event; got NaN or infinity: leave out what did not happen.")
    for name in ("seed", "feature"):
        if name in columns and columns[name].size:
            if not np.issubdtype(columns[name].dtype, np.number):
                raise OntogenyError(f"{name} must hold whole numbers; got {columns[name].tolist()[:5]}.")
            numbers = columns[name].astype(np.float64)
            if not (np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()):
                raise OntogenyError(f"{name} must hold whole numbers; got {columns[name].tolist()[:5]}.")
    order = np.lexsort((columns["step"], columns["seed"]))
    words = {"seed": ("seed", ""), "step": ("training step of the event", "steps"), "kind": ("kind of event", "")}
    words["feature"] = ("feature it belongs to, -1 if none", "")
    dtypes = {"seed": np.int64, "feature": np.int64}
    return xr.Dataset(
        {
            name: variable(("event",), column[order].astype(dtypes.get(name, column.dtype)), *words[name])
            for name, column in columns.items()
        }
    )


def checked_events(events: xr.Dataset, name: str) -> xr.Dataset:
    """Return `events` if it is an event table; an OntogenyError that names the argument `name` otherwise."""
    if not isinstance(events, xr.Dataset) or any(
        v not in events or events[v].dims != ("event",) for v in ("seed", "step", "kind")
    ):
        got = sorted(map(str, events.variables)) if isinstance(events, xr.Dataset) else type(events).__name__
        raise OntogenyError(
            f"{name} must be an event table with seed, step and kind along the dim 'event'; got {got}: "
            "make one with ontogeny.analysis.event_table."
        )
    if not np.isfinite(events["step"].values.astype(np.float64)).all():
        raise OntogenyError(f"the steps of {name} must be finite; got NaN or infinity: leave those events out.")
    return events


def steps_by_seed(events: xr.Dataset, seeds: Iterable[int], kind: str | None = None) -> list[Array]:
    """Sorted steps of the events of one kind (None: of any), one array for each of `seeds`."""
    chosen = np.ones(events.sizes["event"], dtype=bool) if kind is None else events["kind"].values == kind
    of, at = events["seed"].values[chosen], events["step"].values[chosen].astype(np.float64)
    return [np.sort(at[of == seed]) for seed in seeds]


def find_events(
    feature_norm: xr.DataArray,
    effective_rank: xr.DataArray | None = None,
    polygon: xr.DataArray | None = None,
    polygon_distance: xr.DataArray | None = None,
    *,
    rank_jump: xr.DataArray | None = None,
    rules: EventRules | None = None,
) -> xr.Dataset:
    """Find every event that the weights show, in each seed; nothing of the LLC or the loss enters.

    feature_norm: (seed, time or checkpoint, feature), ‖W_i‖; polygon, polygon_distance: (seed, time or checkpoint),
    from `closest_polygon` (both or neither); effective_rank: the same dims, from which the rank jumps are found as
    accepted sigmoid fits (`fit_sigmoids` from `start_of_rise` on); rank_jump: (seed,), steps, NaN where none, given in
    place of it. All with the coordinate `step`, dense (what lies between two points is not seen).

    Returns an event table with `feature`; the rules are in its attrs. Kinds (exactly when: `EventRules`): "emergence"
    (with its feature), "count_change", "polygon_change", "rank_jump".

    Raises: OntogenyError for wrong dims, values that are not finite, both effective_rank and rank_jump, or only one of
    polygon and polygon_distance.
    """
    rules = rules or EventRules()
    if (polygon is None) != (polygon_distance is None):
        raise OntogenyError("polygon and polygon_distance must be given together; got one of them: pass both.")
    if effective_rank is not None and rank_jump is not None:
        raise OntogenyError("effective_rank and rank_jump both say when the rank jumps; got both: pass one of them.")
    found = [*emergence_events(feature_norm, rules), *count_changes(feature_norm, rules)]
    if polygon is not None and polygon_distance is not None:
        found += polygon_changes(polygon, polygon_distance, rules)
    if effective_rank is not None:
        start = start_of_rise(effective_rank, start_of_representation(feature_norm))
        fits = fit_sigmoids(effective_rank, start=start)
        rank_jump = fits["inflection"].where(fits["accepted"])
    if rank_jump is not None:
        at = per_seed(rank_jump, feature_norm, "rank_jump")
        rows = zip(seeds_of(feature_norm), at, strict=True)
        found += [Event(int(seed), float(step), "rank_jump") for seed, step in rows if math.isfinite(step)]
    columns = list(zip(*found, strict=True)) if found else [(), (), (), ()]
    return event_table(columns[0], columns[1], columns[2], columns[3]).assign_attrs(asdict(rules))


def emergence_events(feature_norm: xr.DataArray, rules: EventRules) -> list[Event]:
    """One event for each feature that is represented at the end, as `feature_emergence` places it."""
    table = feature_emergence(
        feature_norm,
        represented_above=rules.represented_above,
        crossing=rules.crossing,
        hysteresis=rules.hysteresis,
    )
    at = table["emergence"].transpose("seed", "feature")
    labels = np.asarray(at["feature"].values if "feature" in at.coords else np.arange(at.sizes["feature"]))
    numbers = [int(f) if np.issubdtype(labels.dtype, np.integer) else k for k, f in enumerate(labels)]
    return [
        Event(int(seed), float(step), "emergence", feature)
        for seed, row in zip(seeds_of(feature_norm), at.values, strict=True)
        for feature, step in zip(numbers, row, strict=True)
        if math.isfinite(step)
    ]


def count_changes(feature_norm: xr.DataArray, rules: EventRules) -> list[Event]:
    """One event for each lasting change of the number of represented features, where the new number begins to last."""
    dim = along(feature_norm, "feature_norm", extra=("feature",))
    steps = steps_of(feature_norm, "feature_norm")
    norms = feature_norm.transpose("seed", dim, "feature").values.astype(np.float64)
    found = []
    for seed, t, norm in zip(seeds_of(feature_norm), steps, norms, strict=True):
        known = np.isfinite(t)
        t, norm = t[known], norm[known]
        above, kept = norm >= rules.represented_above, norm >= rules.represented_above - rules.count_hysteresis
        counted = np.empty_like(above)
        state = above[0]
        for i in range(len(t)):
            state = above[i] | (state & kept[i])
            counted[i] = state
        stays = lasting(t, counted.sum(1), rules.minimum_stay * float(t[-1] - t[0]))
        found += [Event(int(seed), float(t[first]), "count_change") for first in changes_between(stays)]
    return found


def polygon_changes(polygon: xr.DataArray, polygon_distance: xr.DataArray, rules: EventRules) -> list[Event]:
    """One event for each change from one lasting k-gon to another, at the step from which the new one is the closest.

    That step may lie before the features are within `polygon_within` of the new polygon: between two polygons both are
    far, and what changes is which of them is nearer.
    """
    found = []
    distances = series(polygon_distance, "polygon_distance")
    for one, far in zip(series(polygon, "polygon"), distances, strict=True):
        if one.seed != far.seed or not np.array_equal(one.steps, far.steps):
            raise OntogenyError("polygon_distance must have the seeds and steps of polygon; select both alike.")
        near = (far.values < rules.polygon_within) & np.isfinite(one.values)
        stay = rules.minimum_stay * float(one.steps[-1] - one.steps[0])
        state = _bridge(one.steps, np.where(near, one.values, 0.0).astype(np.int64), stay)
        stays = [run for run in lasting(one.steps, state, stay) if run[2] != 0]
        for old, new in itertools.pairwise(stays):
            if old[2] != new[2]:
                others = np.flatnonzero(one.values[old[0] : new[0]] != new[2])
                first = old[0] + int(others[-1]) + 1 if len(others) else new[0]
                found.append(Event(one.seed, float(one.steps[first]), "polygon_change"))
    return found


def runs(values: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Unbroken runs of equal values: (first index, index after the last, value)."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(a, b, int(values[a])) for a, b in itertools.pairwise(edges)]


def lasting(steps: Array, values: npt.NDArray[np.int64], stay: float) -> list[tuple[int, int, float]]:
    """Runs of at least `stay` steps, each timed to the first point of the next (the last one to the last point)."""
    return [(a, b, float(v)) for a, b, v in runs(values) if steps[min(b, len(steps) - 1)] - steps[a] >= stay]


def changes_between(stays: list[tuple[int, int, float]]) -> list[int]:
    """First indices of the runs whose value differs from that of the run before."""
    return [new[0] for old, new in itertools.pairwise(stays) if old[2] != new[2]]


def _bridge(steps: Array, values: npt.NDArray[np.int64], stay: float) -> npt.NDArray[np.int64]:
    """Fill gaps (zeros) shorter than `stay` steps between two runs of the same value."""
    filled = values.copy()
    parts = runs(values)
    for before, gap, after in zip(parts, parts[1:], parts[2:], strict=False):
        if gap[2] == 0 and before[2] == after[2] and steps[gap[1]] - steps[gap[0]] < stay:
            filled[gap[0] : gap[1]] = before[2]
    return filled
