"""Components by name: one selection, several by the words ``heads`` and ``layers``, or a union under a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.components import SEVERAL, several

WHOLE = "all"


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
            raise OntogenyError(
                f"components must be SELECTION,… or NAME=SELECTION,…; got {text!r}. Give --components once for each "
                "name."
            )
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
    return several(model, selection) if selection in SEVERAL else [selection]
