"""Losses of batches, and what a head's output is replaced by: what all interventions have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ontogeny.core.differentiation import at_most_once
from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.inputs.datasets import Examples, as_examples
from ontogeny.inputs.fused_attention import FusedAttention
from ontogeny.inputs.head_access import Head, HeadAccess
from ontogeny.inputs.losses import LossFunction

KINDS = ("zero", "mean", "resample")
"""By zero, by the mean over a data set, by what the head does on another example."""

Means = Mapping[int, Tensor]
"""By layer, the mean of z of each head over examples and positions, (h, e)."""


class Piece(NamedTuple):
    """Some examples in order: which, and as a batch."""

    rows: Tensor
    batch: Any


def examples_of(access: HeadAccess, data: Any, batch_size: int) -> Examples:
    """The data on the model's device.

    Raises:
        OntogenyError: if the data or the batch size are none.
    """
    check_whole("batch_size", batch_size)
    return as_examples(data, next(access.model.parameters()).device)


def head_sets(access: HeadAccess, heads: Sequence[str] | Mapping[str, Sequence[str]] | None) -> dict[str, list[Head]]:
    """What is ablated together, by name: each head by itself, None: all of them so; or as {name: heads} says.

    Raises:
        OntogenyError: if a head is not there.
    """
    if isinstance(heads, Mapping):
        return {name: access.chosen(some, f"heads[{name!r}]") for name, some in heads.items()}
    return {str(head): [head] for head in access.chosen(heads)}


def pieces(examples: Examples, batch_size: int) -> Iterator[Piece]:
    """All examples in order, at most so many at a time."""
    for rows in torch.arange(examples.count).split(batch_size):
        yield Piece(rows, examples.take(rows))


def losses(access: HeadAccess, loss_fn: LossFunction, batch: Any) -> Tensor:
    """What the loss function returns on a batch, (b,) or (b, positions), float64 on the CPU.

    Raises:
        OntogenyError: if it is no tensor of one value an example or position.
    """
    with at_most_once(), FusedAttention():  # nothing is differentiated, so the shorter ways will do
        found = loss_fn(access.model, batch)
    if not isinstance(found, Tensor) or found.dim() not in (1, 2):
        came = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise OntogenyError(
            f"loss_fn must return one loss per example, (batch,), or per position, (batch, positions); got {came}. "
            "With torch's losses pass reduction='none'."
        )
    return found.detach().double().cpu()


def by_example(values: Tensor) -> Tensor:
    """The mean over positions, (b,)."""
    return values if values.dim() == 1 else values.mean(1)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean and its standard error s/√n over examples, s² with n - 1; one example has no error (NaN)."""
    error = float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return float(values.mean()), error


def outputs_of_heads(
    access: HeadAccess, loss_fn: LossFunction, batch: Any, layers: Collection[int]
) -> tuple[Tensor, dict[int, Tensor]]:
    """The losses of a batch and each layer's z, (b, p, h, e)."""
    with access.active(keep=[("z", layer) for layer in layers]) as seen:
        found = losses(access, loss_fn, batch)
    return found, {layer: seen.at["z", layer] for layer in layers}


def donated(
    access: HeadAccess, loss_fn: LossFunction, examples: Examples, piece: Piece, layers: Collection[int]
) -> dict[int, Tensor]:
    """Each layer's z on the examples that stand before these in the data set, before the first the last.

    Raises:
        OntogenyError: if there is one example only.
    """
    if examples.count < 2:
        raise OntogenyError("data must hold at least two examples, so that one can stand in for another; got one.")
    return outputs_of_heads(access, loss_fn, examples.take((piece.rows - 1) % examples.count), layers)[1]


def check_kind(kind: str, argument: str) -> None:
    """Refuse what is no kind of ablation.

    Raises:
        OntogenyError: naming those there are.
    """
    if kind not in KINDS:
        raise OntogenyError(f"{argument} must be some of {', '.join(map(repr, KINDS))}; got {kind!r}.")


def stand_in(kind: str, layer: int, means: Means, donors: Mapping[int, Tensor]) -> Tensor:
    """What z of a layer is replaced by; it broadcasts to (b, p, h, e)."""
    if kind == "zero":
        return torch.zeros(())
    return means[layer] if kind == "mean" else donors[layer]
