"""A state dict into a model: strict, except for tied weights that were saved once and for buffers that are rebuilt."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError, class_and_first_line

REBUILT = (
    "attn.mask",
    "attn.IGNORE",
    "attn.bias",
    "attn.masked_bias",
    "attention.bias",
    "attention.masked_bias",
    "rotary_emb.inv_freq",
    "rotary_sin",
    "rotary_cos",
    "position_ids",
)
"""Ends of names of buffers (causal masks, tables of angles) that some versions of a model save and others build."""


def copied(model: nn.Module) -> nn.Module:
    """A copy on the processor, into which weights can be loaded.

    Raises:
        OntogenyError: if the model holds what cannot be copied.
    """
    try:
        return copy.deepcopy(model).cpu()
    except Exception as error:
        raise OntogenyError(
            f"model cannot be copied, and weights are loaded into a copy: {class_and_first_line(error)}; leave locks "
            "and files out of it, and detach the tensors that it keeps beside its parameters."
        ) from error


def load_into(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy a state dict into ``model``, in the model's dtypes and on its devices.

    Every name must be there on both sides and every shape the same. A tied weight may be saved under any or all of its
    names; masks and tables that a model builds itself may be missing or left over; and the prefix of a Hugging Face
    model without its head ("transformer.") may be missing.

    Raises:
        OntogenyError: if a weight is missing, left over or of another shape, or if one tied weight comes in two
            versions; the model is then as it was.
    """
    saved = model.state_dict()
    own: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    own |= {name: value for name, value in model.named_buffers(remove_duplicate=False) if name in saved}
    prefix = getattr(model, "base_model_prefix", "")
    given: dict[str, Tensor] = {}
    for name, value in weights.items():
        given[f"{prefix}.{name}" if name not in own and f"{prefix}.{name}" in own else name] = value

    unexpected = [name for name in given if name not in own and not name.endswith(REBUILT)]
    arrived = {id(own[name]) for name in given if name in own}
    buffers = {name for name, value in own.items() if not isinstance(value, nn.Parameter) and name.endswith(REBUILT)}
    missing = [name for name, value in own.items() if id(value) not in arrived and name not in buffers]
    if missing or unexpected:
        raise OntogenyError(
            "weights do not fit the model: "
            + "; ".join(
                f"{word} {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
                for word, names in (("missing", missing), ("not expected", unexpected))
                if names
            )
            + ". Build the model from the configuration that these weights were trained with."
        )
    taken: dict[int, str] = {}
    for name in [name for name in given if name in own]:
        here, came = tuple(own[name].shape), tuple(given[name].shape)
        if name in buffers and here != came:
            continue
        if here != came:
            raise OntogenyError(
                f"weights do not fit the model: {name} has shape {came}, and the model's has {here}. Build the model "
                "from the configuration that these weights were trained with."
            )
        first = taken.setdefault(id(own[name]), name)
        if first != name and not torch.equal(given[first], given[name]):
            raise OntogenyError(
                f"weights: {first} and {name} differ, and the model ties them; build the model without tied weights."
            )
    with torch.no_grad():
        for name in taken.values():
            own[name].copy_(given[name])
