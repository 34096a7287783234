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
    if not aliases:
        raise OntogenyError("model has no parameters, so there are no weights to sample around.")
    if selection is None:
        return dict.fromkeys(aliases.values())
    if isinstance(selection, str):
        return _glob(aliases, selection)
    if isinstance(selection, Mapping):
        return _masks(model, aliases, selection)
    if isinstance(selection, list | tuple | set) and selection and all(isinstance(part, str) for part in selection):
        return _union(aliases, selection)
    raise OntogenyError(
        f"components selects no weights: got {type(selection).__name__ if _is_array(selection) else repr(selection)}; "
        f"expected a glob, a list of globs or {{parameter: mask}}. {_offer(aliases)}"
    )


def _union(aliases: dict[str, str], patterns: Iterable[str]) -> Masks:
    out: Masks = {}
    named: dict[str, str] = {}
    for pattern in patterns:
        target = aliases.get(pattern)
        if target in named:
            raise _named_twice([named[target], pattern])
        if target is not None:
            named[target] = pattern
        out.update(_glob(aliases, pattern))
    return out


def _named_twice(names: list[str]) -> OntogenyError:
    return OntogenyError(
        f"components names one tied weight twice, as {' and '.join(map(repr, names))}; "
        "name it once: it is sampled once, under all its names."
    )


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
            raise _named_twice(others)
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


def by_name(model: nn.Module, components: Any) -> dict[str, Any] | None:
    """Several selections as {name: selection}, or None when ``components`` is a single one.

    A list makes one entry an element. A dict is {parameter: mask} when all its values are masks, else
    {name: selection}.

    Raises:
        OntogenyError: for another type, a name given twice, or masks and selections in one dict.
    """
    if components is None or isinstance(components, str):
        return None
    if isinstance(components, Mapping):
        return _named(parameter_aliases(model), components)
    if isinstance(components, list | tuple | set):
        names = [str(part) for part in components]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise OntogenyError(f"components names {twice!r} twice; name each selection once.")
        return dict(zip(names, components, strict=True))
    raise OntogenyError(
        "components must be None, a glob over parameter names, {parameter: mask}, a list of those, or "
        f"{{name: selection}}; got {type(components).__name__}."
    )


def _named(aliases: dict[str, str], components: Mapping[str, Any]) -> dict[str, Any] | None:
    masks = [name for name, value in components.items() if _is_mask(value) or (value is None and name in aliases)]
    if len(masks) == len(components):
        return None
    mixed = [name for name in masks if components[name] is not None]
    if mixed:
        raise OntogenyError(
            f"components must hold either masks by parameter or selections by name, not both; {mixed[0]!r} is a mask. "
            "Name it: {'mine': {" + repr(mixed[0]) + ": mask}}."
        )
    return dict(components)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_mask(value: Any) -> bool:
    """Whether a value can only be meant as a mask: an array, True or False, or a (nested) list of numbers."""
    if isinstance(value, list):
        return bool(value) and all(_is_mask(part) or isinstance(part, int | float) for part in value)
    return _is_array(value) or isinstance(value, bool)
