"""k-means of curves under any distance that comes with a middle (Lloyd's algorithm), and Ward's merging."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ontogeny.analysis.curve_distances import NOTIONS, Array, Notion

ITERATIONS = 100
Labels = npt.NDArray[np.int64]


class Clustering(NamedTuple):
    """The cluster of each curve (n,), and the curve in the middle of each cluster (clusters, T)."""

    labels: Labels
    centres: Array


def k_means(curves: Array, clusters: int, notion: Notion, random: np.random.Generator, restarts: int) -> Clustering:
    """The best of so many runs of Lloyd's algorithm by Σ distance², each from centres spread as k-means++ does.

    A cluster that becomes empty is begun anew at the curve that is farthest from its centre.
    """
    best, least = None, np.inf
    for _ in range(restarts):
        found = _lloyd(curves, _spread(curves, clusters, notion, random), notion)
        spent = float((_distances(curves, found.centres, notion).min(1) ** 2).sum())
        if best is None or spent < least * (1 - 1e-12):
            best, least = found, spent
    assert best is not None
    return best


def _distances(curves: Array, centres: Array, notion: Notion) -> Array:
    return np.stack([notion.distances(curves, centre) for centre in centres], 1)


def _spread(curves: Array, clusters: int, notion: Notion, random: np.random.Generator) -> Array:
    """Curves as first centres: one at random, each further one with chance as its squared distance from those."""
    chosen = [int(random.integers(len(curves)))]
    while len(chosen) < clusters:
        squared = _distances(curves, curves[chosen], notion).min(1) ** 2
        squared[chosen] = 0.0
        left = np.ones(len(curves)) if squared.sum() == 0 else squared
        left[chosen] = 0.0
        chosen.append(int(random.choice(len(curves), p=left / left.sum())))
    return curves[chosen].copy()


def _lloyd(curves: Array, centres: Array, notion: Notion) -> Clustering:
    labels = np.full(len(curves), -1)
    for _ in range(ITERATIONS):
        distances = _distances(curves, centres, notion)
        new = distances.argmin(1)
        for empty in sorted(set(range(len(centres))) - set(new.tolist())):
            alone = distances[np.arange(len(curves)), new]
            alone[np.isin(new, np.flatnonzero(np.bincount(new, minlength=len(centres)) < 2))] = -1.0
            new[int(alone.argmax())] = empty
        if (new == labels).all():
            break
        labels = new
        centres = np.stack([notion.middle(curves[labels == k], centres[k]) for k in range(len(centres))])
    return Clustering(labels.astype(np.int64), centres)


def ward(curves: Array, clusters: int) -> Clustering:
    """Bottom-up merging with the least increase of variance (Ward 1963); centres are means."""
    from sklearn.cluster import AgglomerativeClustering

    labels = AgglomerativeClustering(n_clusters=clusters, linkage="ward").fit(curves).labels_
    return Clustering(labels.astype(np.int64), np.stack([curves[labels == k].mean(0) for k in range(clusters)]))


def distances_from(curves: Array, centres: Array, algorithm: str) -> Array:
    """(n, clusters), by the distance that the algorithm goes by; Ward's is Euclidean."""
    return _distances(curves, centres, NOTIONS.get(algorithm, NOTIONS["euclidean"]))


def in_order_of_appearance(found: Clustering) -> Clustering:
    """The same with clusters numbered as they come first in the order of the curves."""
    order = list(dict.fromkeys(found.labels.tolist()))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return Clustering(number[found.labels], found.centres[order])
