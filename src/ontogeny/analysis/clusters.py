"""Heads whose curves over training go together: four ways to cluster, a vote among them, and transfer to other seeds.

Wang et al. (arXiv:2410.02984), appendices F.5 and G. Each head is one vector, its curves on all data sets one after
the other. Algorithms are Euclidean k-means, DTW k-means, Ward's merging and shape-based k-means. With few curves the
indices of quality tell little (the paper found so too); whether clusters stay when curves move within their errors is
:func:`ontogeny.analysis.cluster_stability`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import variable
from ontogeny.analysis.curve_distances import NOTIONS, Array
from ontogeny.analysis.curve_distances import standardised as to_shape
from ontogeny.analysis.k_means import (
    Clustering,
    distances_from,
    in_order_of_appearance,
    k_means,
    ward,
)
from ontogeny.core.errors import OntogenyError

ALGORITHMS = ("euclidean", "dtw", "ward", "shape")
STANDARDISED = ("none", "each", "all")
"""As they are; each curve less its mean over its standard deviation; the same with those of all heads together."""
VOTES = {"shape": 2.0}
"""What a algorithm counts for in the vote, 1 where not named: the paper weighs shape-based clusters more."""
RESTARTS = 20


def cluster_curves(
    curves: xr.DataArray,
    clusters: int,
    *,
    algorithms: Sequence[str] = ALGORITHMS,
    standardised: Sequence[str] = ("none",),
    seed: int = 0,
    restarts: int = RESTARTS,
) -> xr.Dataset:
    """Cluster heads by their curves, by each algorithm and standardisation, with indices of how well they part.

    Args:
        curves: dims (head, checkpoint) or (head, checkpoint, dataset), such as wrLLCs, all finite; of several data
            sets one curve follows the other.
        clusters: how many, from 2 to the number of heads less one.
        algorithms: some of "euclidean", "dtw", "ward", "shape".
        standardised: some of "none", "each" (every curve of every data set by itself) and "all" (every data set by the
            mean and deviation over heads and checkpoints).
        seed: of the k-means' beginnings.
        restarts: beginnings; the best by Σ distance² is kept.

    Returns:
        ``cluster``, dims (algorithm, standardised, head), numbered in the order of the heads; ``centre``, dims
        (algorithm, standardised, cluster_number, point); ``silhouette`` (-1 to 1, high is good),
        ``calinski_harabasz`` (high) and
        ``davies_bouldin`` (low), dims (algorithm, standardised), by Euclidean distances of the standardised curves, as
        scikit-learn has them.

    Raises:
        OntogenyError: if curves have other dims or a NaN, or a number or word is out of range.
    """
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

    _check(curves, "curves")
    heads = curves.sizes["head"]
    _check_words(algorithms, ALGORITHMS, "algorithms")
    _check_words(standardised, STANDARDISED, "standardised")
    if isinstance(clusters, bool) or not isinstance(clusters, int) or not 2 <= clusters <= heads - 1:
        raise OntogenyError(
            f"clusters must be a whole number from 2 to the number of heads less one, {heads - 1}; got {clusters!r}."
        )
    if restarts < 1:
        raise OntogenyError(f"restarts must be at least 1; got {restarts!r}.")
    found: list[list[Clustering]] = []
    quality: list[list[tuple[float, float, float]]] = []
    for algorithm in algorithms:
        found.append([])
        quality.append([])
        for way in standardised:
            vectors = _vectors(curves, way)
            random = np.random.default_rng(seed)
            one = cluster_vectors(vectors, clusters, algorithm, random, restarts)
            found[-1].append(one)
            measures = (silhouette_score, calinski_harabasz_score, davies_bouldin_score)
            quality[-1].append(tuple(float(measure(vectors, one.labels)) for measure in measures))  # type: ignore[arg-type]
    by, index = ("algorithm", "standardised"), np.array(quality)
    return xr.Dataset(
        {
            "cluster": variable((*by, "head"), [[one.labels for one in row] for row in found], "cluster of the head"),
            "centre": variable(
                (*by, "cluster_number", "point"),
                [[one.centres for one in row] for row in found],
                "curve in the middle of the cluster",
            ),
            "silhouette": variable(by, index[..., 0], "silhouette score", "1"),
            "calinski_harabasz": variable(by, index[..., 1], "Calinski-Harabasz index", "1"),
            "davies_bouldin": variable(by, index[..., 2], "Davies-Bouldin index", "1"),
        },
        coords={"algorithm": list(algorithms), "standardised": list(standardised), "head": curves["head"].values},
    )


def cluster_vectors(
    vectors: Array, clusters: int, algorithm: str, random: np.random.Generator, restarts: int
) -> Clustering:
    """The clusters of rows (heads, points) by one algorithm, numbered in the order of the rows."""
    if algorithm == "ward":
        return in_order_of_appearance(ward(vectors, clusters))
    return in_order_of_appearance(k_means(vectors, clusters, NOTIONS[algorithm], random, restarts))


def majority_vote(clusters: xr.DataArray, votes: Mapping[str, float] = VOTES) -> xr.Dataset:
    """One clustering out of several: each head goes where most of them put it.

    Numbers of clusters mean nothing, so each clustering is first renumbered to share most heads with the one that
    counts most (the first of several). Ties go to that one.

    Args:
        clusters: ``cluster`` of :func:`cluster_curves`, dim ``head`` and any others; along ``algorithm`` votes differ.
        votes: what each algorithm counts for, above 0; 1 where not named.

    Returns:
        ``cluster`` and ``agreement``, the share of the votes that it had, dim ``head``.

    Raises:
        OntogenyError: if the dims are others, or a vote is not above 0.
    """
    from scipy.optimize import linear_sum_assignment

    if "head" not in clusters.dims or "algorithm" not in clusters.dims:
        raise OntogenyError(
            f"clusters must have the dims head and algorithm; got {clusters.dims}: give cluster_curves(...)['cluster']."
        )
    wrong = next((name for name, vote in votes.items() if not vote > 0), None)
    if wrong is not None:
        raise OntogenyError(f"votes must be above 0; got {votes[wrong]!r} for {wrong!r}: leave it out instead.")
    rows = clusters.stack(one=[dim for dim in clusters.dims if dim != "head"]).transpose("one", "head")
    labels = rows.values.astype(np.int64)
    weights = np.array([votes.get(str(algorithm), 1.0) for algorithm in rows["algorithm"].values])
    first, count = int(weights.argmax()), int(labels.max()) + 1
    tally = np.zeros((labels.shape[1], count))
    for row, weight in zip(labels, weights, strict=True):
        together = np.zeros((count, count))
        np.add.at(together, (row, labels[first]), 1)
        renumbered = np.empty(count, np.int64)
        ours, theirs = linear_sum_assignment(-together)
        renumbered[ours] = theirs
        tally[np.arange(len(row)), renumbered[row]] += weight
    share = tally / weights.sum()
    tied = share >= share.max(1, keepdims=True) - 1e-12
    chosen = np.where(tied[np.arange(len(tied)), labels[first]], labels[first], tied.argmax(1))
    return xr.Dataset(
        {
            "cluster": variable(("head",), chosen, "cluster of the head by vote"),
            "agreement": variable(("head",), share[np.arange(len(share)), chosen], "share of the votes", "1"),
        },
        coords={"head": clusters["head"].values},
    )


def transfer_clusters(found: xr.Dataset, curves: xr.DataArray) -> xr.DataArray:
    """The clusters of another seed's heads: each goes to the nearest centre of clusters found on the first seed.

    Appendix G of arXiv:2410.02984. Distances are those of each algorithm; the curves are standardised as those were,
    with their own means and deviations.

    Args:
        found: of :func:`cluster_curves`.
        curves: as given there, of other heads, at as many checkpoints.

    Returns:
        Dims (algorithm, standardised, head).

    Raises:
        OntogenyError: if the curves have other dims, a NaN, or another number of points.
    """
    _check(curves, "curves")
    points = int(np.prod([size for dim, size in curves.sizes.items() if dim != "head"]))
    if points != found.sizes["point"]:
        raise OntogenyError(
            f"curves must have as many points as those that were clustered, {found.sizes['point']}; got {points}: "
            "select the same checkpoints and data sets."
        )
    labels = []
    for algorithm in found["algorithm"].values:
        centres = found["centre"].sel(algorithm=algorithm)
        labels.append(
            [
                distances_from(_vectors(curves, str(way)), centres.sel(standardised=way).values, str(algorithm)).argmin(
                    1
                )
                for way in found["standardised"].values
            ]
        )
    return xr.DataArray(
        labels,
        dims=("algorithm", "standardised", "head"),
        coords={
            "algorithm": found["algorithm"].values,
            "standardised": found["standardised"].values,
            "head": curves["head"].values,
        },
        name="cluster",
    )


def _vectors(curves: xr.DataArray, way: str) -> Array:
    """(heads, points): the data sets' curves one after the other, standardised one by one."""
    stacked = curves if "dataset" in curves.dims else curves.expand_dims("dataset")
    values = np.asarray(stacked.transpose("dataset", "head", "checkpoint").values, dtype=np.float64)
    if way == "each":
        values = to_shape(values)
    elif way == "all":
        values = to_shape(values.reshape(len(values), -1)).reshape(values.shape)
    return np.concatenate(list(values), axis=1)


def _check(curves: xr.DataArray, name: str) -> None:
    dims = set(curves.dims) if isinstance(curves, xr.DataArray) else set()
    if dims not in ({"head", "checkpoint"}, {"head", "checkpoint", "dataset"}):
        came = str(tuple(curves.dims)) if isinstance(curves, xr.DataArray) else type(curves).__name__
        raise OntogenyError(
            f"{name} must be an xarray.DataArray with the dims (head, checkpoint) or (head, checkpoint, dataset); got "
            f"{came}: select or rename the others first."
        )
    whole = curves.notnull().all([dim for dim in curves.dims if dim != "head"])
    if not bool(whole.all()):
        raise OntogenyError(
            f"{name} must be finite at every checkpoint; head {curves['head'].values[~whole.values][0]} is not: leave "
            "out the head or the checkpoint."
        )


def _check_words(given: Sequence[str], known: Sequence[str], name: str) -> None:
    wrong = given if isinstance(given, str) else next((word for word in given if word not in known), None)
    if wrong is not None or not given:
        raise OntogenyError(f"{name} must be a list of some of {', '.join(map(repr, known))}; got {given!r}.")
