"""Path patching: the output of some heads replaced in what one later head reads, and nowhere else.

Wang et al. (arXiv:2211.00593), Goldowsky-Dill et al. (arXiv:2304.05969); figure 6 of Wang et al. (arXiv:2410.02984),
appendix E.2. Of senders s and a receiver r in a later layer, on each batch:

    δ = Σ_s (z'_s - z_s)·W_O^s                       what replacing the senders' z by z' adds to the residual stream
    q', k', v' of r from the residual that enters its layer, plus δ; all that lies between stays as it was
    z'_r from q', k', v' (those that the path goes through) and q, k, v (the others)
    score = L with z'_r in place of z_r, less L

So the direct edges from the senders into the receiver's queries, keys or values are changed, and everything else sees
the senders as they were. In a two-layer model without MLPs there are no other paths between the two layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.inputs.head_access import Edit, Head, HeadAccess, Place, replace_heads
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.losses import LossFunction, undisturbed
from ontogeny.interventions.ablation import BATCH, head_means
from ontogeny.interventions.forward import (
    Means,
    by_example,
    check_kind,
    donated,
    examples_of,
    losses,
    mean_and_error,
    outputs_of_heads,
    pieces,
    stand_in,
)

READ: tuple[Place, Place, Place] = ("q", "k", "v")


def path_patching_scores(
    model: nn.Module,
    data: Any,
    senders: Sequence[str],
    receiver: str,
    *,
    through: Sequence[str] = ("qkv",),
    kind: str = "mean",
    loss_fn: LossFunction | None = None,
    means: Means | None = None,
    batch_size: int = BATCH,
) -> xr.Dataset:
    """The change of the loss when the senders are ablated in what the receiver reads alone, with its standard error.

    Args:
        model: any transformer whose heads are known, with no norm after attention.
        data: rows of tokens, or whatever ``loss_fn`` reads.
        senders: heads such as ["0:1", "0:3"], replaced together.
        receiver: a head of a later layer, such as "1:5".
        through: ways into the receiver, each some of the letters q, k, v: ("q", "k", "v", "qkv") measures its inputs
            apart and together.
        kind: "zero", "mean" or "resample": what the senders' outputs are replaced by.
        loss_fn: ``loss_fn(model, batch)``, per example or position; None: ``NextToken()``.
        means: what :func:`ontogeny.interventions.head_means` found on other data; None: over ``data``.
        batch_size: examples at once.

    Returns:
        ``path_score`` and ``path_score_se``, dim ``through``, and ``loss``, ``loss_se``, in units of the loss; the
        errors are over examples, of differences taken example by example.

    Raises:
        OntogenyError: if a head is not there, a sender is not in a layer before the receiver's, or ``through`` or
            ``kind`` are other words.
    """
    access, run = HeadAccess(model), loss_fn or NextToken()
    sent, to = access.chosen(senders, "senders"), access.head(receiver, "receiver")
    _check(access, sent, to, through)
    check_kind(kind, "kind")
    examples = examples_of(access, data, batch_size)
    if kind == "mean" and means is None:
        means = head_means(model, data, loss_fn=run, batch_size=batch_size)
    layers = sorted({head.layer for head in [*sent, to]})
    plain: list[Tensor] = []
    moved: dict[str, list[Tensor]] = {way: [] for way in through}
    with undisturbed(model), torch.no_grad():
        for piece in pieces(examples, batch_size):
            before, z = outputs_of_heads(access, run, piece.batch, layers)
            donors = donated(access, run, examples, piece, layers) if kind == "resample" else {}
            added = torch.stack(
                [_written(access, head, z, stand_in(kind, head.layer, means or {}, donors)) for head in sent]
            ).sum(0)
            keep = [(place, to.layer) for place in READ]
            with access.active(entering={to.layer: partial(torch.add, added)}, keep=keep) as seen:
                losses(access, run, piece.batch)
            plain.append(by_example(before))
            for way, kept in moved.items():
                with access.active(edits=_into_receiver(access, to, way, seen.at, z[to.layer])):
                    kept.append(by_example(losses(access, run, piece.batch) - before))
    scores = [mean_and_error(torch.cat(kept)) for kept in moved.values()]
    loss, loss_se = mean_and_error(torch.cat(plain))
    return describe(
        xr.Dataset(
            {
                "path_score": ("through", [score for score, _ in scores]),
                "path_score_se": ("through", [error for _, error in scores]),
                "loss": loss,
                "loss_se": loss_se,
            },
            coords={"through": list(through)},
        )
    )


def _written(access: HeadAccess, head: Head, z: dict[int, Tensor], replacement: Tensor) -> Tensor:
    """What replacing a head's z adds to the residual stream, (b, p, d)."""
    own = z[head.layer]
    new = replacement.to(own).expand_as(own)
    return (new - own)[:, :, head.number] @ access.output_matrix(head).to(own)


def _into_receiver(
    access: HeadAccess, to: Head, way: str, read: dict[tuple[Place, int], Tensor], z: Tensor
) -> dict[tuple[Place, int], Edit]:
    """The receiver reads what is in ``read``; other heads of its layer, which may share its keys, put out ``z``."""
    group = Head(to.layer, access.group(to.number))
    edits: dict[tuple[Place, int], Edit] = {
        (place, to.layer): replace_heads([to if place == "q" else group], read[place, to.layer])
        for place in READ
        if place in way
    }
    others = [Head(to.layer, number) for number in range(access.known.heads) if number != to.number]
    return edits | {("z", to.layer): replace_heads(others, z)}


def _check(access: HeadAccess, senders: Sequence[Head], receiver: Head, through: Sequence[str]) -> None:
    late = next((head for head in senders if head.layer >= receiver.layer), None)
    if late is not None:
        raise OntogenyError(
            f"senders must be in layers before the receiver's, since only then does it read them; got {late}, and the "
            f"receiver is {receiver}."
        )
    wrong = next((way for way in through if not way or set(way) - set("qkv") or len(set(way)) < len(way)), None)
    if isinstance(through, str) or not through or wrong is not None:
        raise OntogenyError(
            f"through must be a list of ways into the receiver, each some of the letters q, k and v, as ['q', 'kv']; "
            f"got {through!r}."
        )
    after = {name for part in access.known.parts for name in part.ln if ".ln1_post." in name}
    if after:
        raise OntogenyError(
            f"model: its {access.known.family} normalises what attention adds ({min(after)}), so heads do not add up "
            "in the residual stream and no path is one head's; expected a model without that norm."
        )
