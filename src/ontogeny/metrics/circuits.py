"""What each attention head attends to and what it does with it, as matrices over tokens: the full QK and OV circuits.

    QK = W_E W_Q W_Kᵀ W_Eᵀ   (destination token, source token), attention scores before division by √head_width
    OV = W_E W_V W_O W_U     (source token, output token), logits

Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021). Both are of the direct path from tokens to
this head and from this head to logits: positions, biases, other layers and MLPs are left out.

Norms are folded in as far as that is linear. What attention reads is N W with N = (1 - 11ᵀ/d)·diag(g): the residual
stream less its mean over the width (not for RMS norms), times the gain g; the gain of the norm before the unembedding
likewise. Division by the standard deviation, which hangs on the whole residual stream, and the norms' biases are left
out, so of models with norms only the form of a circuit means something, not its scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.architecture import Architecture, architecture, why_unknown

QUERIES_KEYS_VALUES: tuple[Literal["q"], Literal["k"], Literal["v"]] = ("q", "k", "v")


def full_circuits(
    model: nn.Module,
    heads: Sequence[str] | None = None,
    tokens: Sequence[int] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> xr.Dataset:
    """The full QK and OV circuits of attention heads of any transformer whose heads are known.

    Args:
        model: AttentionOnly, OneLayerTransformer, a causal language model of transformers, or a HookedTransformer.
        heads: such as "1:3" (layer:head); None: all.
        tokens: which tokens to show, as a vocabulary squared can be large; None: all. Outputs are the same tokens, or,
            of a model whose outputs are not its vocabulary, all of them.
        weights: a state dict to read in place of the model's own weights, as of a checkpoint.

    Returns:
        ``qk``, dims (head, destination, source), and ``ov``, dims (head, source, output), float64, without unit; the
        coordinates are head names and token ids.

    Raises:
        OntogenyError: if the model's heads are not known, or a head or token is not there.

    >>> from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
    >>> model = AttentionOnly(AttentionOnlyConfig(vocabulary=7, context=5, width=8, layers=1, heads=2))
    >>> dict(full_circuits(model, tokens=range(5)).sizes)
    {'head': 2, 'destination': 5, 'source': 5, 'output': 5}
    """
    known = architecture(model)
    if known is None:
        raise OntogenyError(f"model: {why_unknown(model)}.")
    values = values_of(model, known, weights)
    names = [f"{layer}:{head}" for layer in range(known.layers) for head in range(known.heads)]
    wanted = list(names if heads is None else heads)
    missing = next((head for head in wanted if head not in names), None)
    if missing is not None or not wanted:
        came = "it names none" if missing is None else f"there is no {missing!r}"
        there = f"heads {names[0]} to {names[-1]}" if names else "no layer, so no heads"
        raise OntogenyError(f"heads: {came}; this {known.family} has {there}.")
    embedded, to_logits = _ends(known, values)
    sources = list(range(len(embedded))) if tokens is None else [int(token) for token in tokens]
    wrong = next((token for token in sources if not 0 <= token < len(embedded)), None)
    if wrong is not None:
        raise OntogenyError(f"tokens must be between 0 and {len(embedded) - 1}; got {wrong}.")
    outputs = sources if to_logits.shape[1] == len(embedded) else list(range(to_logits.shape[1]))
    embedded, to_logits = embedded[sources], to_logits[:, outputs]
    shown = [_of_head(known, values, embedded, to_logits, *map(int, name.split(":"))) for name in wanted]
    return xr.Dataset(
        {
            "qk": (("head", "destination", "source"), np.stack([qk for qk, _ in shown])),
            "ov": (("head", "source", "output"), np.stack([ov for _, ov in shown])),
        },
        coords={
            "head": wanted,
            "destination": sources,
            "source": sources,
            "output": outputs,
        },
    )


def values_of(model: nn.Module, known: Architecture, weights: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Every parameter under all its names, float64 on the CPU."""
    given = dict(model.named_parameters()) if weights is None else weights
    own = {alias: given[name] for name, alias in known.aliases.items() if name in given}
    absent = next((name for name, alias in known.aliases.items() if alias not in own), None)
    if absent is not None:
        raise OntogenyError(
            f"weights: there is no {absent!r}; give a state dict of this model, with all its parameters."
        )
    return {name: own[alias].detach().double().cpu() for name, alias in known.aliases.items()}


def _ends(known: Architecture, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """W_E (tokens, d), and W_U (d, outputs) with the final norm in it."""
    embed = values[known.embed[0]]
    name = next(one for one in known.unembed if values[one].dim() == 2)
    unembed = values[name] if name.endswith("W_U") else values[name].T
    return embed, through_norm(known, values, known.final_ln, unembed)


def through_norm(known: Architecture, values: Mapping[str, Tensor], norm: Sequence[str], matrix: Tensor) -> Tensor:
    """(1 - 11ᵀ/d)·diag(g)·matrix for a norm of these parameters, the gain first; none: no norm."""
    if not norm:
        return matrix
    scaled = values[norm[0]][:, None] * matrix
    return scaled - scaled.mean(0, keepdim=True) if known.centred else scaled


def _of_head(
    known: Architecture, values: Mapping[str, Tensor], embedded: Tensor, to_logits: Tensor, layer: int, head: int
) -> tuple[np.ndarray, np.ndarray]:
    norm, read = known.parts[layer].attn_norm, QUERIES_KEYS_VALUES
    query, key, value = (
        embedded @ through_norm(known, values, norm, known.head_matrix(values, layer, head, of)) for of in read
    )
    out = known.head_matrix(values, layer, head, "o").T @ to_logits  # (e, outputs)
    return (query @ key.T).numpy(), (value @ out).numpy()


def sum_of_heads(circuits: xr.Dataset, head: str) -> xr.DataArray:
    """The OV circuits of all heads but ``head``, added up: what a head is held against to tell an anti-state.

    Raises:
        OntogenyError: if the circuits have no such head.
    """
    names = [str(name) for name in circuits["head"].values]
    if head not in names:
        raise OntogenyError(f"head: there is no {head!r} among the circuits' heads, {', '.join(names)}.")
    return circuits["ov"].sel(head=[name for name in circuits["head"].values if name != head]).sum("head")
