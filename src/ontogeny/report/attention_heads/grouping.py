"""Heads clustered by their curves, as in appendix F.5: each layer by itself, and how the clusters agree with types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.analysis import cluster_curves, cluster_stability, group_agreement, majority_vote, transfer_clusters
from ontogeny.analysis.clusters import STANDARDISED
from ontogeny.estimators.status import usable

COUNTS = {0: (3, 4), 1: (2, 4)}
"""Clusters asked for, by layer: the paper's, and those of layer 1 for the layers above it."""
SHAPE, EUCLIDEAN = "shape", "euclidean"
FIRST_SEED = 0
PERMUTATIONS = 1999
RESTARTS = 8
"""Beginnings of each k-means: with eight curves in two to four clusters the best is soon found."""
STABILITY = ("stability", "stability_low", "stability_high")
DRAWS = 20
"""Of the stability."""
MOST_HEADS, FEWEST = 0.75, 3
"""A checkpoint is looked at where such a share of the layer's heads is usable; so many make a curve."""


def curves_of(heads: xr.Dataset, layer: int, datasets: Sequence[str]) -> xr.DataArray:
    """λ̂ of the heads of a layer, dims (head, checkpoint, dataset), of one seed; heads with a gap are left out."""
    own = [str(name) for name in heads["component"].values if str(name).startswith(f"{layer}:")]
    llc = heads["llc"].sel(component=own, dataset=list(datasets)).rename(component="head")
    whole = llc.notnull().all([dim for dim in llc.dims if dim != "head"])
    return llc.isel(head=np.flatnonzero(whole.values))


def usable_checkpoints(heads: xr.Dataset, layer: int, datasets: Sequence[str]) -> xr.Dataset:
    """The estimates, not usable ones NaN, at those checkpoints where of every seed most heads of the layer are usable.

    Early in training w* may be no minimum for any head: such a checkpoint is left out, and not all heads with it.
    """
    own = [str(name) for name in heads["component"].values if str(name).startswith(f"{layer}:")]
    masked = heads.assign(llc=heads["llc"].where(usable(heads)))
    good = masked["llc"].sel(component=own, dataset=list(datasets)).notnull().all("dataset")
    share = good.mean("component").min([dim for dim in good.dims if dim not in ("component", "checkpoint")])
    return masked.isel(checkpoint=np.flatnonzero((share >= MOST_HEADS).values))


def clusters_of(heads: xr.Dataset, types: xr.DataArray, datasets: Sequence[str]) -> list[dict[str, Any]]:
    """One record a layer and number of clusters, of all seeds.

    heads: λ̂ (seed, checkpoint, component, dataset) at one setting; types: words (seed, head). Clusters are found on
    seed 0 and transferred to the others by the shape-based and the Euclidean centres.
    """
    layers = sorted({int(str(name).split(":")[0]) for name in types["head"].values})
    records = []
    for layer in layers:
        good = usable_checkpoints(heads, layer, datasets)
        if good.sizes["checkpoint"] < FEWEST:
            continue
        curves = curves_of(good.sel(seed=FIRST_SEED), layer, datasets)
        for count in COUNTS.get(layer, COUNTS[1]):
            if curves.sizes["head"] > count:
                left_out = heads.sizes["checkpoint"] - good.sizes["checkpoint"]
                records.append(
                    _record(good, curves, types, layer, count, datasets) | {"checkpoints_left_out": left_out}
                )
    return records


def _record(
    heads: xr.Dataset, curves: xr.DataArray, types: xr.DataArray, layer: int, count: int, datasets: Sequence[str]
) -> dict[str, Any]:
    found = cluster_curves(curves, count, standardised=list(STANDARDISED), restarts=RESTARTS)
    as_they_are = found.sel(standardised=["none"])
    vote = majority_vote(as_they_are["cluster"])
    names = [str(head) for head in curves["head"].values]
    of_type = [str(types.sel(seed=FIRST_SEED, head=head).item()) for head in names]
    error = heads["llc_se"].sel(seed=FIRST_SEED, component=names, dataset=list(datasets)).rename(component="head")
    known = bool(np.isfinite(error).all())
    stable = cluster_stability(curves, error, count, draws=DRAWS) if known else None
    algorithms = [str(name) for name in found["algorithm"].values]
    return {
        "layer": layer,
        "count": count,
        "heads": names,
        "vote": vote["cluster"].values.tolist(),
        "vote_share": vote["agreement"].values.tolist(),
        "by_algorithm": {
            name: {
                "cluster": as_they_are["cluster"].sel(algorithm=name).values[0].tolist(),
                "quality": {
                    index: float(as_they_are[index].sel(algorithm=name).values[0])
                    for index in ("silhouette", "calinski_harabasz", "davies_bouldin")
                },
                "types": _agreement(as_they_are["cluster"].sel(algorithm=name).values[0], of_type),
                "standardised": {
                    way: _rand(found["cluster"].sel(algorithm=name, standardised=way), as_they_are["cluster"], name)
                    for way in STANDARDISED
                    if way != "none"
                },
            }
            for name in algorithms
        },
        "types": _agreement(vote["cluster"].values, of_type),
        "stability": None
        if stable is None
        else {name: float(stable[of]) for name, of in zip(("mean", "low", "high"), STABILITY, strict=True)},
        "transfer": _transfers(
            found.sel(algorithm=[SHAPE, EUCLIDEAN], standardised=["none"]), heads, types, layer, datasets
        ),
    }


def _rand(one: xr.DataArray, others: xr.DataArray, algorithm: str) -> float:
    """The adjusted Rand index of clusters of standardised curves with those of the curves as they are."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one.values, others.sel(algorithm=algorithm).values[0]))


def _transfers(
    found: xr.Dataset, heads: xr.Dataset, types: xr.DataArray, layer: int, datasets: Sequence[str]
) -> list[dict[str, Any]]:
    out = []
    for seed in heads["seed"].values.tolist():
        if seed == FIRST_SEED:
            continue
        curves = curves_of(heads.sel(seed=seed), layer, datasets)
        names = [str(head) for head in curves["head"].values]
        if len(names) < 3:
            continue
        own = [str(types.sel(seed=seed, head=head).item()) for head in names]
        labels = transfer_clusters(found, curves)
        for algorithm in (SHAPE, EUCLIDEAN):
            cluster = labels.sel(algorithm=algorithm, standardised="none").values
            out.append(
                {
                    "seed": int(seed),
                    "algorithm": algorithm,
                    "heads": names,
                    "cluster": cluster.tolist(),
                    "types": _agreement(cluster, own),
                }
            )
    return out


def _agreement(clusters: np.ndarray, types: Sequence[str]) -> dict[str, float] | None:
    """Adjusted Rand index with types, its p-value, and the least index that would be significant.

    None where all heads are of one type, which no clusters can agree or disagree with.
    """
    if len(set(types)) < 2 or len(types) < 3:
        return None
    labels = [int(label) for label in clusters]
    found = group_agreement(labels, list(types), permutations=PERMUTATIONS)
    return {
        "rand_index": found.rand_index,
        "p_value": found.p_value,
        "critical": found.critical,
        "heads": found.heads,
    }
