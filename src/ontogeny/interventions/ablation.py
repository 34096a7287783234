"""Zero, mean and resample ablation of attention heads, scored by the change of the loss.

Definitions are those of Wang et al. (arXiv:2410.02984), appendix E.2: the activations of a head are set to zero, to
their mean across the data set, or to what they are on another example (rolled forward over examples); the score is
the loss with the ablation less the loss without, on the data set over which the mean is taken. The mean is over
examples and positions, one vector a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.inputs.head_access import Edit, Head, HeadAccess, Place, by_layer, replace_heads
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.losses import LossFunction, undisturbed
from ontogeny.interventions.forward import (
    KINDS,
    Means,
    by_example,
    check_kind,
    donated,
    examples_of,
    head_sets,
    losses,
    mean_and_error,
    outputs_of_heads,
    pieces,
    stand_in,
)

BATCH = 32
"""Examples at once, by default."""


def head_means(
    model: nn.Module, data: Any, *, loss_fn: LossFunction | None = None, batch_size: int = BATCH
) -> dict[int, Tensor]:
    """E[z] of every head over all examples and positions: by layer, (h, e), in float64 on the CPU.

    Args:
        model: any transformer whose heads are known (:class:`ontogeny.inputs.head_access.HeadAccess`).
        data: rows of tokens, or whatever ``loss_fn`` reads.
        loss_fn: calls the model once on a batch; None: ``NextToken()``.
        batch_size: examples at once.

    Raises:
        OntogenyError: if the model's heads are not known, or there are no examples.
    """
    access, run = HeadAccess(model), loss_fn or NextToken()
    layers = range(access.known.layers)
    examples = examples_of(access, data, batch_size)
    total, positions = dict.fromkeys(layers, torch.zeros(())), 0
    with undisturbed(model), torch.no_grad():
        for piece in pieces(examples, batch_size):
            _, z = outputs_of_heads(access, run, piece.batch, layers)
            total = {layer: total[layer] + z[layer].double().sum((0, 1)).cpu() for layer in layers}
            positions += z[0].shape[0] * z[0].shape[1] if z else 0
    return {layer: total[layer] / positions for layer in layers}


def mean_ablation(heads: Sequence[Head], means: Means) -> dict[tuple[Place, int], Edit]:
    """The edits under which these heads put out their means, for :meth:`HeadAccess.active`."""
    return {("z", layer): replace_heads(some, means[layer]) for layer, some in by_layer(heads).items()}


def ablation_scores(
    model: nn.Module,
    data: Any,
    heads: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    loss_fn: LossFunction | None = None,
    means: Means | None = None,
    batch_size: int = BATCH,
) -> xr.Dataset:
    """L(ablated) - L for each head and kind of ablation, with its standard error over examples.

    The difference is taken example by example, s.e. = s/√n of the n differences; with "resample" neighbouring
    differences share an example, which the error leaves out, as it does the error of the means themselves. Positive:
    the head was of use. The model runs in evaluation mode and stays as it is.

    Args:
        model: any transformer whose heads are known.
        data: rows of tokens, or whatever ``loss_fn`` reads; "resample" needs two examples of one length.
        heads: such as ["1:3", "0:1"]; {name: heads} ablates those of one name together; None: each head by itself.
        kinds: some of "zero", "mean", "resample".
        loss_fn: ``loss_fn(model, batch)``, per example or position; None: ``NextToken()``.
        means: what :func:`head_means` found on other data; None: the means over ``data``.
        batch_size: examples at once; no number depends on it beyond rounding.

    Returns:
        ``ablation_score`` and ``ablation_score_se``, dims (ablation, head), ``loss`` and ``loss_se``, in units of the
        loss.

    Raises:
        OntogenyError: if heads are not known or not there, or a kind is another word.
    """
    access, run = HeadAccess(model), loss_fn or NextToken()
    if isinstance(kinds, str) or not kinds:
        raise OntogenyError(f"kinds must be a list of some of {', '.join(map(repr, KINDS))}; got {kinds!r}.")
    for kind in kinds:
        check_kind(kind, "kinds")
    sets = head_sets(access, heads)
    layers = sorted({head.layer for some in sets.values() for head in some})
    examples = examples_of(access, data, batch_size)
    if "mean" in kinds and means is None:
        means = head_means(model, data, loss_fn=run, batch_size=batch_size)
    plain: list[Tensor] = []
    moved: dict[tuple[str, str], list[Tensor]] = {(kind, name): [] for kind in kinds for name in sets}
    with undisturbed(model), torch.no_grad():
        for piece in pieces(examples, batch_size):
            before = losses(access, run, piece.batch)
            donors = donated(access, run, examples, piece, layers) if "resample" in kinds else {}
            plain.append(by_example(before))
            for (kind, name), kept in moved.items():
                edits: dict[tuple[Place, int], Edit] = {
                    ("z", layer): replace_heads(some, stand_in(kind, layer, means or {}, donors))
                    for layer, some in by_layer(sets[name]).items()
                }
                with access.active(edits=edits):
                    kept.append(by_example(losses(access, run, piece.batch) - before))
    scores = {key: mean_and_error(torch.cat(kept)) for key, kept in moved.items()}
    loss, loss_se = mean_and_error(torch.cat(plain))
    by_kind = [[scores[kind, name] for name in sets] for kind in kinds]
    return describe(
        xr.Dataset(
            {
                "ablation_score": (("ablation", "head"), [[score for score, _ in row] for row in by_kind]),
                "ablation_score_se": (("ablation", "head"), [[error for _, error in row] for row in by_kind]),
                "loss": loss,
                "loss_se": loss_se,
            },
            coords={"ablation": list(kinds), "head": list(sets)},
        )
    )
