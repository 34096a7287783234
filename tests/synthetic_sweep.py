"""A sparsity sweep made up by formula, in the schema of the study, and what the analysis says about it.

The weights are feature vectors at fixed angles whose norms rise at known steps: two at right angles at S = 0.3, three
of a square at 0.5 (stuck at rank 9/5), the fourth corner late at 0.7 (the rank jump) and five of a pentagon at 0.9. The
LLC follows the number of features and a trend in log step that is three times as large at S = 0.3 as at 0.7. So every
statement of the report has a known answer.
"""

import numpy as np
import xarray as xr

import synthetic

SPARSITIES = (0.3, 0.5, 0.7, 0.9)
TREND = {0.3: 1.5, 0.5: 1.0, 0.7: 0.5, 0.9: 0.4}
CORNERS = {0.3: (4, (0, 1)), 0.5: (4, (0, 1, 2)), 0.7: (4, (0, 1, 2, 3)), 0.9: (5, (0, 1, 2, 3, 4))}
"""Corners of the polygon, and which of them are features in the end, the late one last."""
LATE = (0.7, 0.9)
FEATURES = 6
STEPS = 8000
TIMES = {
    "frozen": 1.0,
    "half_n_beta": 0.8,
    "twice_n_beta": 1.2,
    "half_localization": 1.1,
    "twice_localization": 0.9,
    "equal_curvature": 1.0,
}
"""λ̂ at a setting over λ̂ at the frozen one."""
INDICATORS = ("loss", "effective_rank", "weight_norm", "gradient_norm", "hessian_trace", "hessian_rank")


def checkpoint_steps(count: int) -> np.ndarray:
    """A third of the checkpoints evenly in log step, the others evenly in step, from 0."""
    early = np.geomspace(20, STEPS, count // 3)
    steps = np.unique(np.round([*early, *np.linspace(0, STEPS, count - count // 3)]).astype(int))
    while len(steps) < count:  # rounding may have merged some
        steps = np.sort([*steps, int(np.diff(steps).max() // 2 + steps[np.diff(steps).argmax()])])
    return steps


def weights(sparsity: float, step: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights (time, 2, feature) of one seed: each norm a logistic curve in log step."""
    corners, kept = CORNERS[sparsity]
    norm = 0.08 + 0.04 * rng.random((len(step), FEATURES))
    order = rng.permutation(len(kept))
    for place, corner in enumerate(kept):
        when = 120 * np.exp(0.5 * rng.standard_normal()) * (1 + order[place])
        width = 0.25
        if sparsity in LATE and corner == kept[-1]:
            when, width = rng.uniform(2500, 5500), 0.06
        norm[:, corner] += 1 / (1 + np.exp(-(np.log1p(step) - np.log1p(when)) / width))
    angle = 2 * np.pi * np.arange(FEATURES) / corners + rng.uniform(0, 2 * np.pi)
    return np.stack([norm * np.cos(angle), norm * np.sin(angle)], axis=1)


def sweep(seeds: int = 8, checkpoints: int = 28, every: int = 40) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """(measurements, neighbours, trajectory) in the schema of the sweep."""
    from ontogeny.metrics.geometry import (
        closest_polygon,
        cosine_similarity,
        effective_rank,
        feature_norm,
        features_represented,
    )

    rng = np.random.default_rng(5)
    dense, few = np.arange(0, STEPS + 1, every), checkpoint_steps(checkpoints)
    dims = ("sparsity", "seed", "time", "hidden", "feature")
    made = [[weights(s, dense, rng) for _ in range(seeds)] for s in SPARSITIES]
    trajectory = xr.Dataset(
        {"weight": (dims, np.array(made))},
        coords={"sparsity": list(SPARSITIES), "seed": np.arange(seeds), "step": ("time", dense)},
    )
    trajectory["feature_norm"] = feature_norm(trajectory["weight"])
    trajectory["effective_rank"] = effective_rank(trajectory["weight"])
    kept = (trajectory["feature_norm"] ** 2).sum("feature")
    base = xr.DataArray([0.4, 0.2, 0.1, 0.03], dims="sparsity", coords={"sparsity": list(SPARSITIES)})
    trajectory["loss"] = base * (0.3 + 0.7 * np.exp(-kept / 3))
    weight = trajectory["weight"].swap_dims(time="step").interp(step=few).rename(step="checkpoint")
    step = xr.DataArray(few.astype(float), dims="checkpoint")
    out = closest_polygon(weight.drop_vars("checkpoint"))
    norm, rank = feature_norm(weight), effective_rank(weight)
    shape = rank.transpose("sparsity", "seed", "checkpoint").shape
    noise = [xr.zeros_like(rank) + rng.standard_normal(shape) for _ in range(4)]
    count = (1 / (1 + np.exp(-(norm - 0.5) / 0.08))).sum("feature")
    trend = xr.DataArray([TREND[s] for s in SPARSITIES], dims="sparsity", coords={"sparsity": list(SPARSITIES)})
    se = 0.06 + 0 * rank
    llc = 1 + 0.7 * count + trend * np.log1p(step / 100) + se * noise[0]
    early = (step < 25) & (rank > 0)
    out = out.assign(
        effective_rank=rank,
        feature_norm=norm,
        features_represented=features_represented(norm),
        cosine_similarity=cosine_similarity(weight),
        loss=trajectory["loss"].swap_dims(time="step").interp(step=few).rename(step="checkpoint"),
        llc=xr.where(early, -40.0, llc),
        llc_se=se,
        weight_norm=(norm**2).sum("feature") ** 0.5,
        gradient_norm=np.exp(-3 - 0.3 * np.log1p(step) + 0.2 * noise[1]),
        hessian_trace=2 * count + 0.2 * noise[2],
        h_max=3 + 0.1 * noise[3],
        localisation_ratio=10 * (3 + 0.1 * noise[3]),
        r_hat=1.01 + 0 * rank,
        ess=500 + 0 * rank,
        chains_lost=(0 * rank).astype(int),
        status=xr.where(noise[1] > 2.2, "not_mixed", "ok"),
        regime=xr.where(early, "below_baseline", "localised"),
    )
    out = out.drop_vars("checkpoint").transpose("sparsity", "seed", "checkpoint", ...)
    out = out.assign_coords(step=("checkpoint", few))
    out = out.assign(synthetic.curvature(out).drop_vars("hessian_trace"))
    words = ["llc", "llc_se", "status", "regime", "chains_lost", "r_hat", "ess", "h_max", "localisation_ratio"]
    words += ["hessian_rank", *(str(name) for name in out if str(name).startswith("second_order_llc"))]
    each = [out[words].assign(llc=t * out["llc"], llc_se=t * out["llc_se"]) for t in TIMES.values()]
    neighbours = xr.concat(each, "setting").assign_coords(setting=list(TIMES))
    out.attrs = {"preset": "quick", "seeds": seeds, "n_features": FEATURES, "train_steps": STEPS, "n_beta": 1000.0}
    out.attrs |= {"localization": 100.0, "dataset_size": 10_000, "chains": 4, "draws": 2500, "kernel": "baoab"}
    return out, neighbours, trajectory


def found(measurements: xr.Dataset, neighbours: xr.Dataset, trajectory: xr.Dataset):
    """What the analysis says about a sweep, as the report takes it; of events what the formula put there."""
    from ontogeny.analysis.association import associations
    from ontogeny.analysis.drift import compare_drifts, drift
    from ontogeny.analysis.explained import explained_by_trend
    from ontogeny.analysis.factors import factor_analysis
    from ontogeny.analysis.variance import variance_components
    from ontogeny.estimators.status import usable
    from ontogeny.report.sparsity_sweep import Found

    at = {"sparsity": list(SPARSITIES)}
    masked = {str(s): one.assign(llc=one["llc"].where(usable(one))) for s, one in neighbours.groupby("setting")}
    masked = {s: masked[s].squeeze("setting", drop=True) for s in TIMES}
    llc, se = masked["frozen"]["llc"], masked["frozen"]["llc_se"]
    indicators = {"llc": llc} | {name: measurements[name] for name in INDICATORS}

    def each(function, *arrays):
        return xr.concat(
            [function(*(a.sel(sparsity=s) for a in arrays)) for s in SPARSITIES], "sparsity"
        ).assign_coords(at)

    drifts = {name: each(drift, array) for name, array in indicators.items()} | {"llc": each(drift, llc, se)}
    by_setting = {s: each(drift, one["llc"], one["llc_se"]) for s, one in masked.items()}
    of_all = {s: each(drift, *(neighbours[k].sel(setting=s) for k in ("llc", "llc_se"))) for s in TIMES}

    def ratio(one):
        return compare_drifts({s: one.sel(sparsity=s) for s in SPARSITIES}, 0.7).sel(group=0.3)

    settings = {"setting": list(TIMES)}
    split = [variance_components(llc, se, of=of) for of in ("values", "increments")]
    return Found(
        drifts=drifts,
        drifts_by_setting=xr.concat(by_setting.values(), "setting").assign_coords(settings),
        drift_ratios=xr.concat([ratio(one) for one in by_setting.values()], "setting").assign_coords(settings),
        drifts_of_all=xr.concat(of_all.values(), "setting").assign_coords(settings),
        drift_ratios_common=xr.concat([ratio(one) for one in by_setting.values()], "setting")
        .assign_coords(settings)
        .assign_attrs(common_from=300.0),
        drift_ratios_of_all=xr.concat([ratio(one) for one in of_all.values()], "setting").assign_coords(settings),
        components=xr.concat(split, "of", combine_attrs="override").assign_coords(of=["values", "increments"]),
        explained=each(lambda x, y, e: explained_by_trend(x, y, se=e), llc, measurements["loss"], se),
        factors=factor_analysis(indicators, resamples=40),
        associations=each(
            lambda x, *others: associations(x, dict(zip(INDICATORS, others, strict=True)), loss=others[0]),
            llc,
            *(measurements[name] for name in INDICATORS),
        ),
        **events(indicators, masked, trajectory),
    )


KINDS = ("emergence", "count_change", "rank_jump", "any")
OFFSETS = np.linspace(-1500.0, 1500.0, 31)


def events(indicators: dict[str, xr.DataArray], neighbours: dict[str, xr.Dataset], trajectory: xr.Dataset) -> dict:
    """Fields of Found about events."""
    from ontogeny.analysis import CLASSES, class_fractions, classify_trajectories, start_of_representation
    from ontogeny.analysis.aligned import event_aligned, paired_rise
    from ontogeny.analysis.change_points import change_points
    from ontogeny.analysis.combination import combined_detection
    from ontogeny.analysis.detection import detection

    place = {s: 100 * i for i, s in enumerate(SPARSITIES)}
    tables, fractions, last = [], [], {}
    for s in SPARSITIES:
        one = trajectory.sel(sparsity=s)
        tables.append(events_of(one, s).assign(run=lambda t, s=s: t["seed"] + place[s]))
        last[s] = feature_steps(one)
        kinds = classify_trajectories(one["effective_rank"], start=start_of_representation(one["feature_norm"]))
        fractions.append(class_fractions(kinds["kind"], CLASSES))
    happened = xr.concat(tables, "event", combine_attrs="override")
    pooled_events = happened.assign(seed=happened["run"])
    pooled = {name: pool(array, place) for name, array in indicators.items()}
    changes = {name: change_points(array) for name, array in pooled.items()}
    found = [detection(changes[n], pooled_events, pooled[n], draws=1500) for n in indicators]
    around = [
        [event_aligned(pooled[n], pooled_events, OFFSETS, kind=kind).drop_dims("seed") for kind in KINDS[:-1]]
        for n in indicators
    ]
    names = xr.Variable("indicator", list(indicators))
    rises = [
        paired_rise(
            one["llc"].sel(sparsity=0.7),
            last[0.7].max("feature"),
            last[0.7].median("feature"),
            margin=60.0,
            se=one["llc_se"].sel(sparsity=0.7),
        )
        for one in neighbours.values()
    ]
    return {
        "events": happened,
        "changes": {name: unpool(table, place) for name, table in changes.items()},
        "classes": xr.concat(fractions, "sparsity").assign_coords(sparsity=list(SPARSITIES)),
        "detections": xr.concat(found, names, combine_attrs="override").sel(kind=list(KINDS)),
        "unexplained": xr.concat([by_sparsity(one["false_alarms_by_seed"], place) for one in found], names),
        "aligned": xr.concat(
            [xr.concat(row, xr.Variable("kind", list(KINDS[:-1])), combine_attrs="drop") for row in around], names
        ),
        "rises": xr.concat(rises, xr.Variable("setting", list(neighbours))).assign_attrs(
            against="the median emergence of the features"
        ),
        "combination": combined_detection(
            {name: pooled[name] for name in ("llc", "effective_rank")}, pooled_events, kind="rank_jump"
        ),
    }


def feature_steps(one: xr.Dataset) -> xr.DataArray:
    """The step at which each feature of each seed emerges."""
    from ontogeny.analysis.emergence import feature_emergence

    return feature_emergence(one["feature_norm"])["emergence"]


def events_of(one: xr.Dataset, sparsity: float) -> xr.Dataset:
    """The event table of one sparsity; where a feature comes late, its emergence is the rank jump."""
    from ontogeny.analysis.events import find_events

    jump = feature_steps(one).max("feature") if sparsity in LATE else None
    table = find_events(one["feature_norm"], rank_jump=jump)
    return table.assign(sparsity=("event", np.full(table.sizes["event"], sparsity)))


def pool(array: xr.DataArray, place: dict[float, int]) -> xr.DataArray:
    """All sparsities of an indicator as separate seeds."""
    parts = [array.sel(sparsity=s, drop=True).assign_coords(seed=array["seed"] + k) for s, k in place.items()]
    return xr.concat(parts, "seed")


def unpool(table: xr.Dataset, place: dict[float, int]) -> xr.Dataset:
    """Seeds and sparsities of a table over pooled seeds."""
    number = table["seed"].values // 100
    return table.assign(seed=table["seed"] % 100, sparsity=("event", np.array(list(place))[number]))


def by_sparsity(alarms: xr.DataArray, place: dict[float, int]) -> xr.Dataset:
    """Mean over the seeds of each sparsity, with its t interval."""
    from ontogeny.analysis import t_interval

    means = [t_interval(alarms.values[alarms["seed"].values // 100 == k // 100]) for k in place.values()]
    made = {"mean": "mean", "low": "low", "high": "high", "seeds": "n"}
    return dataset({k: np.array([getattr(m, v) for m in means]) for k, v in made.items()}, {"sparsity": list(place)})


def dataset(variables: dict, coords: dict) -> xr.Dataset:
    """Variables that all have the dims of `coords`, in their order."""
    return xr.Dataset({name: (tuple(coords), value) for name, value in variables.items()}, coords=coords)
