"""How much a later head reads of what an earlier one writes: Q-, K- and V-composition, from the weights alone.

Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021); equation (12) of Wang et al.
(arXiv:2410.02984), which is written for column vectors. With rows, as everywhere here, W_OV = W_V W_O and
W_QK = W_Q W_Kᵀ, both (d, d), and h1 a head in a layer before h2's:

    Q:  ‖W_OV^{h1} W_QK^{h2}‖ / (‖W_OV^{h1}‖ ‖W_QK^{h2}‖)
    K:  ‖W_OV^{h1} W_QK^{h2}ᵀ‖ / (‖W_OV^{h1}‖ ‖W_QK^{h2}‖)
    V:  ‖W_OV^{h1} W_OV^{h2}‖ / (‖W_OV^{h1}‖ ‖W_OV^{h2}‖)

in Frobenius norms. Independent random subspaces do not have 0 but about 1/√d; a score is 1 at most. Norms, rotary
position embeddings and key biases between the heads are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.schema import describe
from ontogeny.inputs.head_access import HeadAccess
from ontogeny.metrics.circuits import QUERIES_KEYS_VALUES, through_norm, values_of


class _Factors(NamedTuple):
    """A matrix left·rightᵀ, both (heads, d, e)."""

    left: Tensor
    right: Tensor

    def norms(self) -> Tensor:
        """Frobenius norms, (heads,)."""
        return ((self.left.mT @ self.left) * (self.right.mT @ self.right)).sum((-2, -1)).clamp(min=0).sqrt()


def composition_scores(
    model: nn.Module, weights: Mapping[str, Tensor] | None = None, *, fold_norms: bool = False
) -> xr.Dataset:
    """Q-, K- and V-composition between all pairs of heads; exact, so without errors.

    Args:
        model: any transformer whose heads are known.
        weights: a state dict to read in place of the model's own weights, as of a checkpoint.
        fold_norms: whether the gain and centring of the norm before the later head's attention are part of what it
            reads (as TransformerLens has it after ``fold_ln``); the equation leaves them out.

    Returns:
        ``q_composition``, ``k_composition`` and ``v_composition``, dims (writer, reader), without unit; NaN where the
        writer's layer is not before the reader's, or a matrix is 0.

    Raises:
        OntogenyError: if the model's heads are not known, or ``weights`` lacks a parameter.

    >>> from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
    >>> model = AttentionOnly(AttentionOnlyConfig(vocabulary=7, context=5, width=64, layers=2, heads=2))
    >>> 0.1 < float(composition_scores(model)["k_composition"].sel(writer="0:1", reader="1:0")) < 0.2
    True
    """
    access = HeadAccess(model)
    known, values = access.known, values_of(model, access.known, weights)
    parts: dict[str, list[Tensor]] = {of: [] for of in "qkvo"}
    for layer in range(known.layers):
        norm = known.parts[layer].attn_norm if fold_norms else ()
        for head in range(known.heads):
            for of in QUERIES_KEYS_VALUES:
                matrix = known.head_matrix(values, layer, head, of)
                parts[of].append(through_norm(known, values, norm, matrix))
            parts["o"].append(known.head_matrix(values, layer, head, "o"))
    heads = len(access.names)
    empty = torch.zeros(0, 0, 0, dtype=torch.float64)
    q, k, v, o = (torch.stack(parts[of]) if heads else empty for of in "qkvo")
    written, layer_of = _Factors(v, o), torch.arange(heads) // max(known.heads, 1)
    later = layer_of[:, None] < layer_of[None, :]
    read = {"q": _Factors(q, k), "k": _Factors(k, q), "v": _Factors(v, o)}
    scores = {name: torch.where(later, _composed(written, by), torch.nan) for name, by in read.items()}
    return describe(
        xr.Dataset(
            {f"{name}_composition": (("writer", "reader"), score.numpy()) for name, score in scores.items()},
            coords={"writer": access.names, "reader": access.names},
        )
    )


def _composed(written: _Factors, read: _Factors) -> Tensor:
    """‖W R‖/(‖W‖‖R‖) for all pairs, from the factors: ‖A M Bᵀ‖² = tr(Mᵀ AᵀA M BᵀB), M = (right of W)ᵀ(left of R)."""
    between = torch.einsum("xde,ydf->xyef", written.right, read.left)
    left, right = written.left.mT @ written.left, read.right.mT @ read.right
    squared = torch.einsum("xef,xyeg,xyfh,ygh->xy", left, between, between, right)
    return squared.clamp(min=0).sqrt() / (written.norms()[:, None] * read.norms()[None, :])
