"""Components by name: one selection, several by the words ``heads`` and ``layers``, or a union under a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.adapters.layout import Architecture
from ontogeny.inputs.architecture import architecture, why_unknown

WHOLE = "all"
HEADS, LAYERS = "heads", "layers"


def named_components(model: nn.Module, written: Iterable[str]) -> dict[str, Any]:
    """{name: selection} from texts, each ``SELECTION,…`` or, for the union of several, ``NAME=SELECTION,…``.

    A selection is one of ``resolve``, or ``all`` for all weights, ``heads`` for every head, ``layers`` for the
    attention and the MLP of every layer. Without any text, all weights.

    Raises:
        OntogenyError: if a text is empty, a name is given twice, or the model's heads and layers are not known.
    """
    out: dict[str, Any] = {}
    for text in written:
        name, equals, rest = text.rpartition("=")
        parts = [part for one in rest.split(",") for part in _several(model, one.strip(), text)]
        if equals and (not name.strip() or "," in name):
            raise OntogenyError(f"components must be SELECTION,… or NAME=SELECTION,…; got {text!r}.")
        for one, selected in [(name.strip(), parts)] if equals else [(part, [part]) for part in parts]:
            if one in out:
                raise OntogenyError(f"components names {one!r} twice; name each selection once.")
            out[one] = _union(selected)
    return out or {WHOLE: None}


def _union(parts: list[str]) -> Any:
    if WHOLE in parts:
        return None
    return parts[0] if len(parts) == 1 else parts


def _several(model: nn.Module, selection: str, text: str) -> list[str]:
    if not selection:
        raise OntogenyError(f"components must be SELECTION,… or NAME=SELECTION,…; got {text!r}.")
    if selection not in (HEADS, LAYERS):
        return [selection]
    known = architecture(model)
    if known is None:
        raise OntogenyError(f"components: {selection!r} cannot be told: {why_unknown(model)}.")
    parts = r"\d+" if selection == HEADS else "attn|mlp"
    found = [name for name in known.names() if re.fullmatch(rf"\d+:({parts})", name)]
    if not found:
        raise OntogenyError(f"components: {selection!r} selects nothing: {_none(known)}.")
    return found


def _none(known: Architecture) -> str:
    return f"this {known.family} has {known.offer()}"
