"""How much better a model predicts late in its context than early: the in-context learning score, heads ablated too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.inputs.head_access import Edit, HeadAccess, Place
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.losses import undisturbed
from ontogeny.interventions.ablation import BATCH, head_means, mean_ablation
from ontogeny.interventions.forward import Means, examples_of, head_sets, losses, mean_and_error, pieces

INTACT = "none"
"""The name, along ``ablated``, of the model as it is."""


def in_context_learning_score(
    model: nn.Module,
    data: Any,
    *,
    early: int = 50,
    late: int = 500,
    heads: Sequence[str] | Mapping[str, Sequence[str]] = (),
    means: Means | None = None,
    batch_size: int = BATCH,
) -> xr.Dataset:
    """ICL = E[-log f_w(t_late | before)] - E[-log f_w(t_early | before)] in nats, below 0 where context helps.

    Olsson et al. (2022), at tokens 500 and 50, counted from 1; at a context of 128, 100 and 10. With heads
    mean-ablated, what the others do alone (Wang et al., arXiv:2410.02984, appendix B.2 and figure 10).

    Args:
        model: any transformer whose heads are known.
        data: rows of at least ``late`` tokens.
        early: the token early in the context, at least the second.
        late: the token late in it.
        heads: to be mean-ablated, each by itself, or {name: heads} together; beside the model as it is.
        means: from :func:`ontogeny.interventions.head_means`; None: over ``data``.
        batch_size: examples at once.

    Returns:
        ``icl_score``, ``loss_early`` and ``loss_late``, each with ``_se``, in nats; dim ``ablated``, "none" first. The
        errors are over examples; that of the score is of differences within examples.

    Raises:
        OntogenyError: if the tokens are not in order or the rows shorter, or a head is not there.
    """
    if not 2 <= early < late:
        raise OntogenyError(f"early and late must be at least 2 and in this order; got {early!r} and {late!r}.")
    run = NextToken()
    access = HeadAccess(model)
    examples = examples_of(access, data, batch_size)
    sets = head_sets(access, heads) if heads else {}
    if INTACT in sets:
        raise OntogenyError(f"heads: the name {INTACT!r} is that of the model as it is; choose another.")
    if sets and means is None:
        means = head_means(model, data, loss_fn=run, batch_size=batch_size)
    edits: dict[str, dict[tuple[Place, int], Edit]] = {INTACT: {}}
    edits |= {name: mean_ablation(some, means or {}) for name, some in sets.items()}
    both: dict[str, list[Tensor]] = {name: [] for name in edits}
    with undisturbed(model), torch.no_grad():
        for piece in pieces(examples, batch_size):
            for name, kept in both.items():
                with access.active(edits=edits[name]):
                    found = losses(access, run, piece.batch)  # entry i: of token i + 2, counted from 1
                if found.shape[1] + 1 < late:
                    raise OntogenyError(
                        f"late must be within the rows of data, {found.shape[1] + 1} tokens long; got {late}. For a "
                        "context of 128 give early=10, late=100."
                    )
                kept.append(found[:, [early - 2, late - 2]])
    told: dict[str, list[tuple[float, float]]] = {"loss_early": [], "loss_late": [], "icl_score": []}
    for kept in both.values():
        pairs = torch.cat(kept)
        for name, values in zip(told, (pairs[:, 0], pairs[:, 1], pairs[:, 1] - pairs[:, 0]), strict=True):
            told[name].append(mean_and_error(values))
    variables = {name: ("ablated", [mean for mean, _ in found]) for name, found in told.items()}
    variables |= {f"{name}_se": ("ablated", [error for _, error in found]) for name, found in told.items()}
    return describe(xr.Dataset(variables, coords={"ablated": list(both)}))
