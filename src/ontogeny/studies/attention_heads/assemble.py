"""What was measured, as groups of results.zarr: one Dataset a subject, training seeds side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.core.schema import describe
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.metrics import multigram_migrations, pattern_shares
from ontogeny.metrics.tokens_in_context import ClassifiedHead
from ontogeny.studies.attention_heads.settings import AttentionHeadsSettings

WHEN = ("early", "last")
WINDOW, MOST = 24, 120
"""Tokens before the current one that a card shows; more where what is attended to lies further back, up to so many."""
MOST_MIGRATIONS = 40


@dataclass(frozen=True)
class Measured:
    """Of one seed, or of several with the dim ``seed``; the groups of results.zarr."""

    behaviour: xr.Dataset
    """(checkpoint, …): scores, ablations, composition, Hessian traces, paths."""
    curvature: xr.Dataset
    """(checkpoint, head), and by setting what hangs on (nβ, γ): Fisher trace, Hessian rank, second order; on text."""
    heads: xr.Dataset
    """(setting, checkpoint, component, dataset): λ̂ of every head."""
    whole: xr.Dataset
    """(setting, checkpoint, dataset): λ̂ of the whole model, and its loss."""
    contexts: xr.Dataset
    """(when, head, …): tokens in context, explained."""
    training: xr.Dataset
    """(kept): the loss in training at every checkpoint kept; and losses of n-gram models by (dataset, order)."""


GROUPS = tuple(field.name for field in fields(Measured))


def side_by_side(parts: Sequence[xr.Dataset], dim: str) -> xr.Dataset:
    """Parts of the same shape along one more dim; what they share in coordinates is theirs all."""
    return xr.concat(
        parts, dim, data_vars="all", coords="minimal", compat="override", join="exact", combine_attrs="drop"
    )


def joined(found: Sequence[Measured]) -> Measured:
    """Seeds side by side."""
    seeds = list(range(len(found)))
    return Measured(
        **{
            name: side_by_side([getattr(one, name) for one in found], "seed").assign_coords(seed=seeds)
            for name in GROUPS
        }
    )


def in_groups(measured: Measured) -> dict[str, xr.Dataset]:
    """By the name of the group."""
    return {name: describe(getattr(measured, name)) for name in GROUPS}


def training_group(trained: Checkpoints, baselines: xr.Dataset) -> xr.Dataset:
    """The course of training by its own record, and the n-gram models beside it."""
    curve = xr.Dataset(
        {
            "training_loss": ("kept", np.array([trained.loss(step) for step in trained.steps], dtype=np.float64)),
            "tokens": ("kept", np.array([trained.tokens(step) for step in trained.steps], dtype=np.float64)),
        },
        coords={"kept_step": ("kept", list(trained.steps))},
    )
    return curve.merge(baselines)


def contexts_group(
    settings: AttentionHeadsSettings,
    classified: Mapping[str, dict[str, ClassifiedHead]],
    affected: Mapping[str, xr.Dataset],
    types: Mapping[str, xr.Dataset],
    steps: Mapping[str, int],
) -> xr.Dataset:
    """Shares, multigrams and types at both checkpoints, cards of the first few tokens, and migrations as JSON.

    A card's tokens have ``texts``, ``attention`` (from the current token, on each), ``position`` of the current token
    within them, ``increase`` in nats, and what explains them.
    """
    each = [
        pattern_shares(classified[when])
        .merge(types[when].rename(pattern="pattern_of_head"))
        .assign(
            card=(
                "head",
                [
                    json.dumps(_cards(classified[when][head], affected[when].sel(head=head), settings.behaviour.shown))
                    for head in settings.heads
                ],
            )
        )
        for when in WHEN
    ]
    out = side_by_side(each, "when")
    out = out.assign_coords(when=list(WHEN), step=("when", [steps[when] for when in WHEN]))
    moved = multigram_migrations(classified["early"], classified["last"])
    out["migrations"] = json.dumps([one._asdict() for one in moved[:MOST_MIGRATIONS]])
    out["migrated"] = len(moved)
    return out


def _cards(head: ClassifiedHead, affected: xr.Dataset, shown: int) -> list[dict[str, Any]]:
    out = []
    for number, (token, explained) in enumerate(zip(head.tokens[:shown], head.explained[:shown], strict=True)):
        position = token.position
        first = max(0, position - MOST, min(position - WINDOW, token.attended - 2))
        last = min(position + 2, len(token.texts))
        looks = affected["pattern"].isel(shown=number).values
        out.append(
            {
                "texts": list(token.texts[first:last]),
                "attention": [round(float(value), 3) for value in looks[first:last]],
                "position": position - first,
                "increase": round(float(affected["increase"].isel(rank=number)), 3),
                "pattern": explained.pattern if explained else "unexplained",
                "multigram": list(explained.multigram) if explained else [],
            }
        )
    return out
