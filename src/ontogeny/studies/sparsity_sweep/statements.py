"""From the sweep's measurements to statements: every analysis, for every sparsity, at every setting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ontogeny.analysis.aligned import event_aligned, paired_rise
from ontogeny.analysis.association import associations
from ontogeny.analysis.change_points import change_points
from ontogeny.analysis.combination import combined_detection
from ontogeny.analysis.detection import detection
from ontogeny.analysis.drift import compare_drifts, drift
from ontogeny.analysis.events import find_events, steps_by_seed
from ontogeny.analysis.explained import explained_by_trend
from ontogeny.analysis.factors import factor_analysis
from ontogeny.analysis.intervals import count_interval
from ontogeny.analysis.proportions import class_fractions
from ontogeny.analysis.sigmoid import start_of_representation
from ontogeny.analysis.trajectories import CLASSES, classify_trajectories
from ontogeny.analysis.variance import variance_components
from ontogeny.core.errors import OntogenyError
from ontogeny.metrics.geometry import closest_polygon
from ontogeny.report.sparsity_sweep.found import Found
from ontogeny.studies.sparsity_sweep.settings import CANONICAL, EQUAL_CURVATURE, FROZEN, QUIET
from ontogeny.studies.superposition.statements import usable_llc

RUNS_A_SPARSITY = 1_000_000
"""Where sparsities are pooled, a run's number is this times the sparsity's place, and the seed."""
EVENT_KINDS = ("emergence", "count_change", "polygon_change", "rank_jump")
OFFSETS = np.linspace(-1500.0, 1500.0, 31)
"""Steps around an event that averages show; checkpoints lie 300 steps apart."""
RISE_MARGIN = 60.0
"""The LLC rises from the last checkpoint so many steps before an event to the first so many after it."""
COMBINED = ("llc", "effective_rank", "mean_feature_norm")


class Tables(NamedTuple):
    """Of the LLC at one setting of (nβ, γ): by trend and by indicator at the canonical sparsity, by kind over all."""

    explained: xr.Dataset
    detected: xr.Dataset
    associated: xr.Dataset


def indicators(measurements: xr.Dataset) -> dict[str, xr.DataArray]:
    """Every indicator as one number a checkpoint; λ̂ only where it is a statement about a minimum."""
    norms, cosines = measurements["feature_norm"], abs(measurements["cosine_similarity"])
    features = norms.sizes["feature"]
    pairs = (cosines.sum(("feature", "other_feature")) - features) / (features * (features - 1))
    return {
        "llc": usable_llc(measurements),
        "loss": measurements["loss"],
        "effective_rank": measurements["effective_rank"],
        "mean_feature_norm": norms.mean("feature").assign_attrs(
            long_name="mean length of the feature vectors", units="weight"
        ),
        "mean_cosine": pairs.assign_attrs(
            long_name="mean absolute cosine similarity of two feature vectors", units="1"
        ),
        "weight_norm": measurements["weight_norm"],
        "gradient_norm": measurements["gradient_norm"],
        "hessian_trace": measurements["hessian_trace"],
        "hessian_rank": measurements["hessian_rank"],
    }


def find(measurements: xr.Dataset, neighbours: xr.Dataset, trajectory: xr.Dataset) -> Found:
    """Carry out the analysis; what happens when is told from the weights of the dense trajectories alone."""
    shown = indicators(measurements)
    llc, llc_se = shown["llc"], measurements["llc_se"]
    others = {name: value for name, value in shown.items() if name != "llc"}
    settings = [str(name) for name in neighbours["setting"].values]
    at = {name: neighbours.sel(setting=name, drop=True) for name in settings}
    usable_at = {name: usable_llc(one) for name, one in at.items()}
    drifts = {name: _each(drift, value) for name, value in others.items()}
    by_setting = {name: _each(drift, usable_at[name], at[name]["llc_se"]) for name in settings}
    as_they_come = {name: _each(drift, at[name]["llc"], at[name]["llc_se"]) for name in settings}
    events = xr.concat([_events(trajectory, s) for s in _sparsities(trajectory)], "event", combine_attrs="override")
    dated = events.isel(event=events["sparsity"].values == CANONICAL)
    against_events = _against_events(shown, _to_search(measurements, shown), events)
    explained = _each(lambda x, y, se: explained_by_trend(x, y, se=se), llc, shown["loss"], llc_se)
    associated = _each(
        lambda x, loss, *values: associations(x, dict(zip(others, values, strict=True)), loss=loss),
        llc,
        shown["loss"],
        *others.values(),
    )
    frozen = Tables(
        explained.sel(sparsity=CANONICAL),
        against_events["detections"].sel(indicator="llc"),
        associated.sel(sparsity=CANONICAL),
    )
    return Found(
        drifts={"llc": by_setting[FROZEN], **drifts},
        drifts_by_setting=_by("setting", by_setting),
        drift_ratios=_by("setting", {name: _ratio(one) for name, one in by_setting.items()}),
        drift_ratios_common=_common_ratios(usable_at, at),
        drifts_of_all=_by("setting", as_they_come),
        drift_ratios_of_all=_by("setting", {name: _ratio(one) for name, one in as_they_come.items()}),
        components=_by("of", {of: variance_components(llc, llc_se, of=of) for of in ("values", "increments")}),
        explained=explained,
        factors=factor_analysis(shown),
        classes=_each(_classes, trajectory["effective_rank"], trajectory["feature_norm"]),
        rises=_rises(_neighbours(usable_at), at, dated),
        rises_of_all=_rises(_neighbours({name: one["llc"] for name, one in at.items()}), at, dated),
        associations=associated,
        quiet=QUIET,
        canonical=CANONICAL,
        by_setting=_conclusions_by_setting(_neighbours(usable_at), at, shown, events, frozen),
        **against_events,
    )


def _conclusions_by_setting(
    llc_at: Mapping[str, xr.DataArray],
    at: Mapping[str, xr.Dataset],
    shown: Mapping[str, xr.DataArray],
    events: xr.Dataset,
    frozen: Tables,
) -> xr.Dataset:
    """What trend, change points, association and combination say of the LLC at each (nβ, γ), in one number each."""
    loss, rank = shown["loss"], shown["effective_rank"]
    happened, rows = _as_runs(events, loss), {}
    for name, llc in llc_at.items():
        runs = _pooled(llc)
        tables = frozen if name == FROZEN else _tables(llc, at[name]["llc_se"], loss, rank, happened)
        trend = tables.explained.sel(trend="both")
        jump = tables.detected.sel(kind="rank_jump")
        rho = tables.associated.sel(kind="without_log_step_and_loss", indicator="effective_rank")
        # of the two alone, at every setting: a third indicator could be the best single one
        both = _combined({"llc": runs, "effective_rank": _pooled(rank)}, happened)
        gain = both.sel(combination="llc + effective_rank") if both.sizes["combination"] else None
        rows[name] = {
            "trend": [float(trend[f"across_{k}"]) for k in ("mean", "low", "high")],
            "recall": [float(jump[k]) for k in ("recall", "recall_low", "recall_high")],
            "association": [float(rho[k]) for k in ("mean_rho", "low", "high")],
            "gain": [math.nan] * 3
            if gain is None
            else [float(gain[k]) for k in ("difference", "difference_low", "difference_high")],
        }
    names = list(next(iter(rows.values())))
    return xr.Dataset(
        {name: (("setting", "end"), [row[name] for row in rows.values()]) for name in names},
        coords={"setting": np.array(list(rows), dtype=object), "end": ["mean", "low", "high"]},
    )


def _tables(
    llc: xr.DataArray, llc_se: xr.DataArray, loss: xr.DataArray, rank: xr.DataArray, happened: xr.Dataset
) -> Tables:
    """The tables at a neighbour, of the rank and its jump only; arrays: (sparsity, seed, checkpoint)."""
    one, its_loss, runs = _canonical(llc), _canonical(loss), _pooled(llc)
    return Tables(
        explained_by_trend(one, its_loss, se=_canonical(llc_se)),
        detection(change_points(runs, _pooled(llc_se)), happened, runs, kinds=["rank_jump"]),
        associations(one, {"effective_rank": _canonical(rank)}, loss=its_loss),
    )


def _canonical(array: xr.DataArray) -> xr.DataArray:
    return array.sel(sparsity=CANONICAL, drop=True)


def _combined(indicators: Mapping[str, xr.DataArray], happened: xr.Dataset) -> xr.Dataset:
    """``combined_detection`` of the rank jump; without rows where too few jumps lie where λ̂ is usable."""
    try:
        return combined_detection(indicators, happened, kind="rank_jump")
    except OntogenyError:
        return xr.Dataset(coords={"combination": np.array([], dtype=object)})


def _pooled(array: xr.DataArray) -> xr.DataArray:
    """Every sparsity's seeds as separate runs, dim ``seed``."""
    parts = [
        array.sel(sparsity=sparsity, drop=True).assign_coords(seed=array["seed"] + RUNS_A_SPARSITY * number)
        for number, sparsity in enumerate(_sparsities(array))
    ]
    return xr.concat(parts, "seed")


def _as_runs(events: xr.Dataset, array: xr.DataArray) -> xr.Dataset:
    """The events with the seed numbers that ``_pooled`` gives."""
    place = {sparsity: number for number, sparsity in enumerate(_sparsities(array))}
    numbers = [place[float(sparsity)] for sparsity in events["sparsity"].values]
    return events.assign(seed=events["seed"] + RUNS_A_SPARSITY * xr.DataArray(numbers, dims="event"))


def _sparsities(table: xr.Dataset | xr.DataArray) -> list[float]:
    return [float(value) for value in table["sparsity"].values]


def _each(function: Callable[..., xr.Dataset], *arrays: xr.DataArray) -> xr.Dataset:
    """``function`` at every sparsity, side by side."""
    every = _sparsities(arrays[0])
    parts = [function(*(array.sel(sparsity=sparsity, drop=True) for array in arrays)) for sparsity in every]
    return xr.concat(parts, xr.Variable("sparsity", every), combine_attrs="override")


def _by(dim: str, parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    names = xr.Variable(dim, np.array(list(parts), dtype=object))
    return xr.concat(list(parts.values()), names, combine_attrs="override")


def _ratio(drifts: xr.Dataset) -> xr.Dataset:
    groups = {sparsity: drifts.sel(sparsity=sparsity, drop=True) for sparsity in _sparsities(drifts)}
    return compare_drifts(groups, CANONICAL).sel(group=QUIET, drop=True)


def _neighbours(at: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Without "equal_curvature", which at the canonical sparsity is the frozen setting itself."""
    return {name: llc for name, llc in at.items() if name != EQUAL_CURVATURE}


def _common_ratios(usable_at: Mapping[str, xr.DataArray], at: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Drift from the step on from which every run of both sparsities has had a usable λ̂ at the frozen setting."""
    both = {name: llc.sel(sparsity=[QUIET, CANONICAL]) for name, llc in usable_at.items()}
    begun = np.isfinite(both[FROZEN].transpose("checkpoint", ...).values)
    first = int(np.argmax(np.maximum.accumulate(begun, axis=0).all((1, 2))))
    ratios = {
        name: _ratio(_each(drift, llc.isel(checkpoint=slice(first, None)), _of(at[name]["llc_se"], llc, first)))
        for name, llc in both.items()
    }
    return _by("setting", ratios).assign_attrs(common_from=float(usable_at[FROZEN]["step"][first]))


def _of(errors: xr.DataArray, llc: xr.DataArray, first: int) -> xr.DataArray:
    return errors.sel(sparsity=llc["sparsity"]).isel(checkpoint=slice(first, None))


def _classes(effective_rank: xr.DataArray, feature_norm: xr.DataArray) -> xr.Dataset:
    kinds = classify_trajectories(effective_rank, start=start_of_representation(feature_norm))
    return class_fractions(kinds["kind"], CLASSES)


def _events(trajectory: xr.Dataset, sparsity: float) -> xr.Dataset:
    one = trajectory.sel(sparsity=sparsity, drop=True)
    polygon = closest_polygon(one["weight"])
    table = find_events(
        one["feature_norm"],
        one["effective_rank"],
        polygon["polygon"].assign_coords(step=one["step"]),
        polygon["polygon_distance"].assign_coords(step=one["step"]),
    )
    return table.assign(sparsity=("event", np.full(table.sizes["event"], sparsity)))


def _rises(llc_at: Mapping[str, xr.DataArray], at: Mapping[str, xr.Dataset], events: xr.Dataset) -> xr.Dataset:
    """The LLC's rise at the rank jump less that at the median feature's emergence, at every setting.

    events: those at the canonical sparsity.
    """
    jump, emergence = (_median_step(events, kind, at[FROZEN]["seed"]) for kind in ("rank_jump", "emergence"))
    rises = {
        name: paired_rise(_canonical(llc), jump, emergence, margin=RISE_MARGIN, se=_canonical(at[name]["llc_se"]))
        for name, llc in llc_at.items()
    }
    return _by("setting", rises).assign_attrs(against="the median emergence of the features")


def _median_step(events: xr.Dataset, kind: str, seeds: xr.DataArray) -> xr.DataArray:
    """The median step of a seed's events of one kind, NaN without any; a rank jump is the only one of its seed."""
    steps = steps_by_seed(events, seeds.values, kind)
    return xr.DataArray(
        [np.median(own) if len(own) else math.nan for own in steps], dims="seed", coords={"seed": seeds}
    )


def _to_search(
    measurements: xr.Dataset, shown: Mapping[str, xr.DataArray]
) -> dict[str, tuple[xr.DataArray, xr.DataArray | None]]:
    """(indicator, its standard error) in which changes are sought; norms and cosines with a column each."""
    cosines = measurements["cosine_similarity"]
    features = cosines.sizes["feature"]
    pair = [(i, j) for i in range(features) for j in range(i)]
    index = [xr.DataArray([p[k] for p in pair], dims="pair") for k in (0, 1)]
    out: dict[str, tuple[xr.DataArray, xr.DataArray | None]] = {name: (value, None) for name, value in shown.items()}
    out["llc"] = (shown["llc"], measurements["llc_se"])
    out["feature_norm"] = (measurements["feature_norm"], None)
    out["cosine_similarity"] = (cosines.isel(feature=index[0], other_feature=index[1]), None)
    return out


def _against_events(
    shown: Mapping[str, xr.DataArray],
    searched: Mapping[str, tuple[xr.DataArray, xr.DataArray | None]],
    events: xr.Dataset,
) -> dict[str, Any]:
    """How the changes of each indicator stand to the events; all sparsities' seeds as separate runs."""
    every = _sparsities(shown["llc"])
    happened = _as_runs(events, shown["llc"])
    changes, found, alarms = {}, {}, {}
    for name, (array, se) in searched.items():
        series = _pooled(array)
        table = change_points(series, None if se is None else _pooled(se))
        grid = series if set(series.dims) == {"seed", "checkpoint"} else _pooled(shown["loss"])
        found[name] = detection(table, happened, grid, kinds=EVENT_KINDS)
        alarms[name] = _by_sparsity(found[name]["false_alarms_by_seed"], every)
        run = table["seed"].values
        changes[name] = table.assign(
            seed=("event", run % RUNS_A_SPARSITY),
            sparsity=("event", np.array(every)[run // RUNS_A_SPARSITY]),
        )
    aligned = {
        name: _by(
            "kind",
            {
                kind: event_aligned(_pooled(value), happened, OFFSETS, kind=kind).drop_dims("seed")
                for kind in EVENT_KINDS
            },
        )
        for name, value in shown.items()
    }
    combination = _combined({name: _pooled(shown[name]) for name in COMBINED}, happened)
    return {
        "events": events,
        "changes": changes,
        "detections": _by("indicator", found),
        "unexplained": _by("indicator", alarms),
        "aligned": _by("indicator", aligned),
        "combination": combination,
    }


def _by_sparsity(alarms: xr.DataArray, every: list[float]) -> xr.Dataset:
    """Mean count a run of each sparsity; alarms: (seed,), numbered as ``_pooled`` does."""
    number = alarms["seed"].values // RUNS_A_SPARSITY
    means = [count_interval(alarms.values[number == place]) for place in range(len(every))]
    return xr.Dataset(
        {
            "mean": ("sparsity", [one.mean for one in means]),
            "low": ("sparsity", [one.low for one in means]),
            "high": ("sparsity", [one.high for one in means]),
            "seeds": ("sparsity", [one.n for one in means]),
        },
        coords={"sparsity": every},
    )
