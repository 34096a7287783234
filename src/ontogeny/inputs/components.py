"""Which weights are sampled: globs over parameter names, masks, unions; resolved to plain masks here."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError

Masks = dict[str, Tensor | None]
"""Parameter name -> mask of 0 and 1 shaped as the parameter, or None for the whole tensor."""


def parameter_aliases(model: nn.Module) -> dict[str, str]:
    """Every name of every parameter -> the name that stands for it; the names of a tied weight have one stand-in."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(parameter), name)
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def resolve(model: nn.Module, selection: Any) -> Masks:
    """Turn one selection into masks by parameter name.

    ``None``: all weights. A string: a glob over parameter names ("blocks.1.*"). ``{parameter: mask}``: masks of 0 and
    1 shaped as the parameters (True or None: the whole tensor). A list of strings: their union.

    Raises:
        OntogenyError: if nothing is selected, a name or a shape is wrong, or a tied weight is named twice.
    """
    aliases = parameter_aliases(model)
    if selection is None:
        return dict.fromkeys(aliases.values())
    if isinstance(selection, str):
        return _glob(aliases, selection)
    if isinstance(selection, Mapping):
        return _masks(model, aliases, selection)
    if isinstance(selection, Iterable):
        out: Masks = {}
        for part in selection:
            out.update(_glob(aliases, part))
        if out:
            return out
    raise OntogenyError(f"components selects no weights: got {selection!r}. {_offer(aliases)}")


def _glob(aliases: dict[str, str], pattern: str) -> Masks:
    matches = {aliases[name]: None for name in aliases if fnmatch.fnmatchcase(name, pattern)}
    if not matches:
        raise OntogenyError(f"components: {pattern!r} selects no weights. {_offer(aliases)}")
    return dict(matches)


def _masks(model: nn.Module, aliases: dict[str, str], selection: Mapping[str, Any]) -> Masks:
    out: Masks = {}
    for name, mask in selection.items():
        if name not in aliases:
            raise OntogenyError(f"components: there is no parameter {name!r}. {_offer(aliases)}")
        target = aliases[name]
        if target in out:
            others = [other for other, stand_in in aliases.items() if stand_in == target and other in selection]
            raise OntogenyError(
                f"components names one tied weight twice, as {' and '.join(map(repr, others))}; "
                "name it once: it is sampled once, under all its names."
            )
        if mask is None or mask is True:
            out[target] = None
            continue
        shape = tuple(model.get_parameter(target).shape)
        mask = torch.as_tensor(mask)
        if tuple(mask.shape) != shape:
            raise OntogenyError(
                f"components[{name!r}]: the mask must have the parameter's shape {shape}; got {tuple(mask.shape)}."
            )
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise OntogenyError(f"components[{name!r}]: the mask must hold only 0 and 1, or False and True.")
        out[target] = mask.bool()
    if not any(mask is None or bool(mask.any()) for mask in out.values()):
        raise OntogenyError(f"components selects no weights: every mask is empty. {_offer(aliases)}")
    return out


def _offer(aliases: dict[str, str]) -> str:
    names = list(aliases)
    shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    return f"The parameters are: {shown}."


def by_name(components: Any) -> dict[str, Any] | None:
    """Several selections as {name: selection}, or None when ``components`` is a single one.

    A list makes one entry an element. A dict is {name: selection} unless its values are masks.
    """
    if components is None or isinstance(components, str):
        return None
    if isinstance(components, Mapping):
        is_masks = all(value is None or isinstance(value, Tensor | bool) for value in components.values())
        return None if is_masks and components else dict(components)
    if isinstance(components, Iterable):
        return {str(part): part for part in components}
    raise OntogenyError(
        "components must be None, a glob over parameter names, {parameter: mask}, a list of those, or "
        f"{{name: selection}}; got {type(components).__name__}."
    )
