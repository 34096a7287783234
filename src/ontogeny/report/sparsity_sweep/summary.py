"""Every number that the sparsity sweep's report states, computed once, by name: what summary.json holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import xarray as xr

from ontogeny.analysis.intervals import LEVEL
from ontogeny.analysis.proportions import clopper_pearson
from ontogeny.analysis.second_order import against_second_order
from ontogeny.estimators.status import usable
from ontogeny.report.health import count_health
from ontogeny.report.sparsity_sweep import event_numbers as events
from ontogeny.report.sparsity_sweep import verdicts
from ontogeny.report.sparsity_sweep.found import Found
from ontogeny.report.words import classes_of, estimate_of, plain, spread_of

FROZEN = "frozen"
ASKED = "llc + effective_rank"
SAID = {
    "better": verdicts.AGREES,
    "not better": verdicts.DISAGREES,
    "cannot be told": verdicts.CANNOT_TELL,
}
SETTINGS = ("n_features", "train_steps", "n_beta", "localization", "dataset_size", "chains", "draws")


def summarise(measurements: xr.Dataset, neighbours: xr.Dataset, found: Found) -> dict[str, Any]:
    """Return the summary: plain numbers, words and [low, high] intervals; a number that does not exist is None.

    measurements: the sweep's, dims sparsity, seed, checkpoint; neighbours: λ̂ by setting; found: what the analysis
    found in them. Sparsities are keys as they are written, "0.3". "verdicts" holds one entry a statement: `verdict`
    ("agrees", "disagrees", "cannot be told") with the numbers that it rests on.
    """
    summary: dict[str, Any] = plain(
        {
            "seeds": int(measurements.sizes["seed"]),
            "runs": int(measurements.sizes["seed"] * measurements.sizes["sparsity"]),
            "checkpoints": int(measurements.sizes["checkpoint"]),
            "sparsities": [key(s) for s in measurements["sparsity"].values],
            "quiet": key(found.quiet),
            "canonical": key(found.canonical),
            **{name: measurements.attrs.get(name) for name in SETTINGS},
            "interval_level": LEVEL,
            "rules": verdicts.RULES,
            "association_kind": str(found.associations["kind"].values[-1]),
            "health": count_health(measurements),
            "health_by_sparsity": _by_sparsity(measurements, _usable),
            "health_by_setting": _by_setting(neighbours, _usable),
            "kept": _by_sparsity(measurements, _kept),
            "second_order": _by_setting(neighbours, lambda one: _by_sparsity(one, against_second_order)),
            "classes": _by_sparsity(found.classes, classes_of),
            "class_interval_level": float(found.classes.attrs.get("level", LEVEL)),
            "drifts": {name: _drifts(table) for name, table in found.drifts.items()},
            "drifts_by_setting": _by_setting(found.drifts_by_setting, _drifts),
            "drift_ratios": _by_setting(found.drift_ratios, _ratios),
            "drift_ratios_of_all": _by_setting(found.drift_ratios_of_all, _ratios),
            "drift_ratios_common": _by_setting(found.drift_ratios_common, _ratios),
            "common_from": found.drift_ratios_common.attrs.get("common_from"),
            "drifts_of_all": _by_setting(found.drifts_of_all, _drifts),
            "components": _components(found.components),
            "explained": _by_sparsity(found.explained, _explained),
            "factors": _factors(found.factors),
            "events": events.what_happened(found.events, measurements),
            "timing": events.timing(found.events, found.canonical, measurements),
            "rises": _by_setting(found.rises, _rise),
            "rises_of_all": _by_setting(found.rises_of_all, _rise),
            "by_setting": _by_setting(found.by_setting, _conclusions) or {},
            "against": str(found.rises.attrs.get("against", "emergence")),
            "detections": events.detections(found.detections),
            "detection_test": events.detection_test(found.detections),
            "unexplained": _unexplained(found.unexplained),
            "associations": _by_sparsity(found.associations, _associations),
            "combination": _combination(found.combination),
        }
    )
    summary["tracked"] = events.tracked(summary["detections"])
    summary["verdicts"] = plain(_verdicts(summary))
    return summary


def key(sparsity: float) -> str:
    """Write a sparsity as the keys of the summary do.

    >>> key(0.3)
    '0.3'
    """
    return f"{float(sparsity):g}"


def _by_sparsity(table: xr.Dataset, numbers: Callable[[xr.Dataset], dict[str, Any]]) -> dict[str, Any]:
    """Sparsity -> the numbers of its part of the table."""
    return {key(s): numbers(table.sel(sparsity=s)) for s in table["sparsity"].values}


def _by_setting(table: xr.Dataset | None, numbers: Callable[[xr.Dataset], dict[str, Any]]) -> dict[str, Any] | None:
    """Setting -> the numbers of its part of the table; None without a table."""
    if table is None:
        return None
    return {str(s): numbers(table.sel(setting=s)) for s in table["setting"].values}


def _interval(cell: xr.Dataset, prefix: str = "", middle: str = "mean") -> dict[str, Any]:
    made = {"mean": float(cell[prefix + middle]), "interval": [float(cell[prefix + k]) for k in ("low", "high")]}
    return made | ({"seeds": int(cell[prefix + "seeds"])} if prefix + "seeds" in cell else {})


def _usable(part: xr.Dataset) -> dict[str, Any]:
    """Count the estimates usable, ok and below baseline; `first_usable`: step of the first usable one of each run."""
    good, words = usable(part), part["status"].values.astype(str)
    first = part["step"].where(good).min("checkpoint").values
    return {
        "estimates": int(good.size),
        "usable": int(good.sum()),
        "ok": int((words == "ok").sum()),
        "below": int((part["regime"].values == "below_baseline").sum()),
        "first_usable": spread_of(first),
    }


def _kept(part: xr.Dataset) -> dict[str, Any]:
    """Features represented at the end: seeds by count, and the share with exactly two; `most`: at any checkpoint."""
    counts = Counter(int(n) for n in part["features_represented"].isel(checkpoint=-1).values)
    n, two = counts.total(), counts[verdicts.TWO]
    return {
        "seeds": n,
        "counts": {str(k): counts[k] for k in sorted(counts)},
        "two": two,
        "two_interval": list(clopper_pearson(two, n)),
        "most": spread_of(part["features_represented"].max("checkpoint").values),
        "more_on_the_way": int((part["features_represented"].max("checkpoint") > verdicts.TWO).sum()),
    }


def _drifts(table: xr.Dataset) -> dict[str, Any]:
    """sparsity -> definition -> scale -> {mean, interval, seeds}."""
    return _by_sparsity(
        table,
        lambda one: {
            str(d): {
                "raw": _interval(one.sel(definition=d)),
                "relative": _interval(one.sel(definition=d), "relative_"),
            }
            for d in one["definition"].values
        },
    )


def _ratios(table: xr.Dataset) -> dict[str, Any]:
    """definition -> scale -> {ratio, interval (None where unbounded), bounded, difference with its interval}."""
    made: dict[str, Any] = {}
    for d in table["definition"].values:
        made[str(d)] = {}
        for s in table["scale"].values:
            cell = table.sel(definition=d, scale=s)
            made[str(d)][str(s)] = {
                "ratio": float(cell["ratio"]),
                "interval": [float(cell["ratio_low"]), float(cell["ratio_high"])],
                "bounded": bool(cell["ratio_bounded"]),
                "difference": float(cell["difference"]),
                "difference_interval": [float(cell["difference_low"]), float(cell["difference_high"])],
            }
    return made


def _components(table: xr.Dataset) -> dict[str, Any]:
    made: dict[str, Any] = {
        str(of): {
            str(source): {
                "variance": float(one["variance"]),
                "interval": [float(one["low"]), float(one["high"])],
                "share": float(one["share"]),
                "share_interval": [float(one["share_low"]), float(one["share_high"])],
            }
            for source, one in ((s, table.sel(of=of, source=s)) for s in table["source"].values)
        }
        for of in table["of"].values
    }
    names = ("seeds", "checkpoints", "seeds_dropped", "checkpoints_dropped")
    return made | {"entered": {name: table.attrs.get(name) for name in names}}


def _explained(table: xr.Dataset) -> dict[str, Any]:
    return {
        str(t): {"within": _interval(table.sel(trend=t)), "across": _interval(table.sel(trend=t), "across_")}
        for t in table["trend"].values
    }


def _factors(table: xr.Dataset) -> dict[str, Any]:
    return {
        "number": int(table.sizes["factor"]),
        "variance_share": table["variance_share"].values.tolist(),
        "loadings": {
            str(i): [
                {"loading": float(c["loading"]), "interval": [float(c["loading_low"]), float(c["loading_high"])]}
                for c in (table.sel(indicator=i).isel(factor=f) for f in range(table.sizes["factor"]))
            ]
            for i in table["indicator"].values
        },
        "communality": {str(i): float(table["communality"].sel(indicator=i)) for i in table["indicator"].values},
    }


def _conclusions(table: xr.Dataset) -> dict[str, Any]:
    """What is said of the LLC at one setting -> {mean, interval}."""
    made = {}
    for name, one in table.data_vars.items():
        mean, low, high = (float(value) for value in one.sel(end=["mean", "low", "high"]).values)
        made[str(name)] = {"mean": mean, "interval": [low, high]}
    return made


def _rise(cell: xr.Dataset) -> dict[str, Any]:
    """The difference {mean, interval, seeds} with its tests, and both rises, `at` the jump and `against` emergence."""
    made, se = _interval(cell, middle="mean_difference"), float(cell["se"])
    for event in cell["event"].values:
        one = cell.sel(event=event)
        ends = [float(one["rise_low"]), float(one["rise_high"])]
        made[str(event)] = {"mean": float(one["rise_mean"]), "interval": ends}
    return made | {
        "se": se,
        "sampler_share": float(cell["sampler_share"]),
        "p_value": float(cell["p_value"]),
        "detectable": verdicts.detectable(se, made["seeds"], verdicts.FEWEST_TO_TELL),
    }


def _unexplained(table: xr.Dataset) -> dict[str, Any]:
    """indicator -> sparsity -> {mean, interval, seeds}."""
    return {str(i): _by_sparsity(table.sel(indicator=i), _interval) for i in table["indicator"].values}


def _associations(table: xr.Dataset) -> dict[str, Any]:
    """indicator -> kind -> {mean, interval, seeds}."""
    return {
        str(i): {str(k): _interval(table.sel(indicator=i, kind=k), middle="mean_rho") for k in table["kind"].values}
        for i in table["indicator"].values
    }


def _combination(table: xr.Dataset) -> dict[str, Any]:
    """Scores of every combination; of those of several indicators also the difference in F1 from the best single one.

    `verdict`: what is said of the LLC with the effective rank, or of any with the LLC where that one was not tried.
    """
    scores, comparisons = {}, {}
    for name in (str(c) for c in table["combination"].values):
        one = table.sel(combination=name)
        scores[name] = {k: estimate_of(one, k) for k in ("f1", "precision", "recall", "average_precision")}
        if str(one["statement"].item()):
            comparisons[name] = estimate_of(one, "difference") | {
                "detectable": float(one["detectable_difference"]),
                "statement": str(one["statement"].item()),
            }
    asked = comparisons.get(ASKED)
    said = [asked] if asked else [one for name, one in comparisons.items() if "llc" in name.split(" + ")]
    return {
        "scores": scores,
        "comparisons": comparisons,
        "best_single": table.attrs.get("best_single"),
        "seeds": table.attrs.get("seeds"),
        "seeds_with_events": table.attrs.get("seeds_with_events"),
        "events": table.attrs.get("events"),
        "margin": table.attrs.get("margin"),
        "verdict": verdicts.together(SAID[one["statement"]] for one in said),
    }


def _rise_verdict(by_setting: dict[str, Any]) -> dict[str, Any]:
    rises = {s: verdicts.tested(one["interval"], one["p_value"]) for s, one in by_setting.items()}
    return {
        "verdict": rises[FROZEN],
        "same_at": [s for s, word in rises.items() if s != FROZEN and word == rises[FROZEN]],
        "neighbours": len(rises) - 1,
    }


def _verdicts(summary: dict[str, Any]) -> dict[str, Any]:
    """Statement -> {verdict, …}: those of the document that a sweep can judge."""
    quiet, canonical = summary["quiet"], summary["canonical"]
    kept, classes, when = summary["kept"][quiet], summary["classes"][canonical], summary["timing"]
    both = {s: one["both"]["across"]["interval"] for s, one in summary["explained"].items()}
    trend = {s: verdicts.above(interval, verdicts.MOST) for s, interval in both.items()}
    two = verdicts.AGREES if kept["two"] == kept["seeds"] else verdicts.above(kept["two_interval"], verdicts.MOST)
    jump_last = verdicts.above(when["jump_after_share_interval"], verdicts.MOST)
    shares = {"plateau_then_jump": verdicts.PLATEAU_THEN_JUMP, "stuck": verdicts.STUCK}
    made = {f"drift_{name}": one for name, one in verdicts.drift_verdicts(summary["drift_ratios"], FROZEN).items()} | {
        "drift_three_times_common": verdicts.drift_verdicts(summary["drift_ratios_common"], FROZEN)["three_times"],
        "two_features_at_quiet": {"verdict": two},
        "emergence_near_700": {"verdict": verdicts.contains(when["emergence"]["interval"], verdicts.EMERGES_AT)},
        "jump_after_emergence": {"verdict": jump_last},
        "effect_at_jump_not_emergence": _rise_verdict(summary["rises"]),
        "training_time_dominates": {"verdict": verdicts.together(trend.values()), "by_sparsity": trend},
        "combination_better": {"verdict": summary["combination"]["verdict"]},
    }
    if summary["drift_ratios_of_all"] is not None:
        of_all = verdicts.drift_verdicts(summary["drift_ratios_of_all"], FROZEN)
        made |= {f"drift_{name}_of_all": one for name, one in of_all.items()}
    if summary["rises_of_all"] is not None:
        made["effect_at_jump_not_emergence_of_all"] = _rise_verdict(summary["rises_of_all"])
    for kind, share in shares.items():
        interval = classes[kind]["interval"] if kind in classes else [None, None]
        made[f"share_{kind}"] = {"verdict": verdicts.contains(interval, share), "document": share}
    return made
