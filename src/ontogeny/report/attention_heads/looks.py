"""How heads are drawn: their colours by type or by cluster, what their boxes say, and the stages behind them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import xarray as xr

from ontogeny.plots.heads import TYPE_COLOURS, Looks, Stage
from ontogeny.report.words import number

BY_TYPE, BY_CLUSTER = "by type", "by cluster"
PARTNERS = 2
"""How many heads that a head composes most with its box names."""


def by_type(summary: Mapping[str, Any], seed: int) -> Looks:
    """Heads coloured by their type at the end of training."""
    return Looks({head: one["type"] for head, one in summary["types"][seed].items()}, TYPE_COLOURS)


def by_cluster(summary: Mapping[str, Any], setting: str, seed: int) -> Looks | None:
    """Heads coloured by the vote's clusters, the coarsest of each layer; None where no layer was clustered.

    On other seeds than the first they are the transferred shape-based ones. A head without one is "not clustered".
    """
    groups = dict.fromkeys(summary["types"][seed], "not clustered")
    chosen: dict[int, Mapping[str, Any]] = {}
    for one in summary["clusters"][setting]:
        chosen.setdefault(one["layer"], one)
    for layer, one in chosen.items():
        heads, labels = one["heads"], one["vote"]
        if seed:
            found = [part for part in one["transfer"] if part["seed"] == seed and part["algorithm"] == "shape"]
            heads, labels = (found[0]["heads"], found[0]["cluster"]) if found else ([], [])
        groups |= {head: f"layer {layer}, cluster {label + 1}" for head, label in zip(heads, labels, strict=True)}
    return Looks(groups) if chosen else None


def boxes(summary: Mapping[str, Any], behaviour: xr.Dataset, seed: int, clusters: Looks | None) -> dict[str, str]:
    """What stands in the box of a head: type, cluster, scores, multigrams and what it composes with."""
    out = {}
    for head, one in summary["types"][seed].items():
        scores = ", ".join(
            f"{words} {one[name][0]:.2f}"
            for name, words in (
                ("previous_token", "previous"), ("current_token", "current"), ("prefix_matching", "prefix")
            )
        )  # fmt: skip
        lines = [
            f"{one['type']}, mostly {one['pattern'].replace('_', ' ') or 'unexplained'}, "
            f"{number(one['multigrams'])} multigrams",
            f"scores: {scores}",
        ]
        if clusters is not None:
            lines.insert(1, clusters.groups[head])
        composed = _composed(behaviour, head)
        out[head] = "<br>".join(escape(line) for line in [*lines, *composed])
    return out


def _composed(behaviour: xr.Dataset, head: str) -> list[str]:
    """The strongest partners in Q-, K- and V-composition at the end."""
    out = []
    for way in "qkv":
        scores = behaviour[f"{way}_composition"].isel(checkpoint=-1)
        partners = scores.sel(writer=head).values if head.startswith("0:") else scores.sel(reader=head).values
        names = scores["reader"].values if head.startswith("0:") else scores["writer"].values
        known = [(float(value), str(name)) for value, name in zip(partners, names, strict=True) if value == value]
        best = sorted(known, reverse=True)[:PARTNERS]
        if best:
            out.append(f"{way.upper()}-composition: " + ", ".join(f"{name} {value:.2f}" for value, name in best))
    return out


def stages(summary: Mapping[str, Any], setting: str, seed: int) -> list[Stage]:
    """The stages of a seed, as panels shade them."""
    return [
        Stage(one["name"], one["start"], one["end"], one["end_low"], one["end_high"])
        for one in summary["stages"][setting][str(seed)]
    ]
