"""Which weights are sampled: names of components, globs over parameter names, masks, unions; resolved to masks here."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.adapters.layout import NAME
from ontogeny.inputs.architecture import architecture, refuse_bridge, why_unknown
from ontogeny.inputs.masks import Masks, packed, parameter_aliases, shared, tidy, union
from ontogeny.inputs.random_weights import RANDOM, random_weights


def resolve(model: nn.Module, selection: Any) -> Masks:
    """Turn one selection into masks by parameter name.

    ``None``: all weights. A string: the name of a component, on every known transformer the same ("1:3" for layer 1,
    head 3; "1:kv1"; "1:attn", "1:mlp", "1:ln"; "embed", "unembed", "ln"; see :class:`Architecture`); "random:2000",
    so many weights drawn at random, as a control ("random:2000:7" with seed 7, "random:2000@1:attn" inside another
    selection); or a glob over parameter names ("blocks.1.*"). ``{parameter: mask}``: masks of 0 and 1 shaped as the
    parameters (True or None: the whole tensor). A list of any of these: their union, overlaps counted once.

    Returns:
        Masks by parameter in the order of the model, None for a whole tensor, no mask full or empty. A tied weight is
        there once, under the first of its names. Masks are on the CPU.

    Raises:
        OntogenyError: if nothing is selected, a name or a shape is wrong, a tied weight is named twice, or the model is
            a TransformerBridge.
    """
    refuse_bridge(model)
    aliases = parameter_aliases(model)
    if not aliases:
        raise OntogenyError("model has no parameters, so there are no weights to sample around.")
    if selection is None:
        return dict.fromkeys(aliases.values())
    return tidy(_resolve(model, aliases, selection), aliases.values())


def overlaps(model: nn.Module, selections: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """How many weights each pair of selections shares, for the pairs that share any.

    Two heads of one key-value group share its keys and values, so their refined LLCs are not of separate weights.

    Raises:
        OntogenyError: as :func:`resolve`.
    """
    sizes = {name: model.get_parameter(alias).numel() for name, alias in parameter_aliases(model).items()}
    masks = {name: packed(resolve(model, selection)) for name, selection in selections.items()}
    counts = {pair: shared(masks[pair[0]], masks[pair[1]], sizes) for pair in combinations(masks, 2)}
    return {pair: count for pair, count in counts.items() if count}


def _resolve(model: nn.Module, aliases: dict[str, str], selection: Any) -> Masks:
    if isinstance(selection, str):
        return _named_or_glob(model, aliases, selection)
    if isinstance(selection, Mapping):
        return _masks(model, aliases, selection)
    if isinstance(selection, list | tuple | set) and selection and not _is_mask(selection):
        return _union(model, aliases, selection)
    raise OntogenyError(
        f"components selects no weights: got {type(selection).__name__ if _is_array(selection) else repr(selection)}; "
        f"expected the name of a component, a glob, {{parameter: mask}} or a list of these. {_offer(model, aliases)}"
    )


def _union(model: nn.Module, aliases: dict[str, str], parts: Iterable[Any]) -> Masks:
    found: list[Masks] = []
    named: dict[str, str] = {}
    for part in parts:
        target = aliases.get(part) if isinstance(part, str) else None
        if target in named:
            raise _named_twice([named[target], part])
        if target is not None:
            named[target] = part
        found.append(_resolve(model, aliases, part))
    return union(found)


def _named_twice(names: list[str]) -> OntogenyError:
    return OntogenyError(
        f"components names one tied weight twice, as {' and '.join(map(repr, names))}; "
        "name it once: it is sampled once, under all its names."
    )


def _named_or_glob(model: nn.Module, aliases: dict[str, str], text: str) -> Masks:
    drawn = RANDOM.fullmatch(text)
    if drawn is not None:
        pool = resolve(model, drawn["among"])
        return random_weights(model, text, pool, int(drawn["count"]), int(drawn["seed"] or 0))
    is_name = NAME.fullmatch(text) is not None
    known = architecture(model) if is_name else None
    if known is not None:
        return known.component(text)
    matches: Masks = {aliases[name]: None for name in aliases if fnmatch.fnmatchcase(name, text)}
    if matches:
        return matches
    why = f": {why_unknown(model)}" if is_name else ""
    raise OntogenyError(f"components: {text!r} selects no weights{why}. {_offer(model, aliases)}")


def _masks(model: nn.Module, aliases: dict[str, str], selection: Mapping[str, Any]) -> Masks:
    out: Masks = {}
    for name, mask in selection.items():
        if name not in aliases:
            raise OntogenyError(f"components: there is no parameter {name!r}. {_offer(model, aliases)}")
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
        out[target] = mask.bool().cpu()
    if not any(mask is None or bool(mask.any()) for mask in out.values()):
        raise OntogenyError(f"components selects no weights: every mask is empty. {_offer(model, aliases)}")
    return out


def _offer(model: nn.Module, aliases: dict[str, str]) -> str:
    names = list(aliases)
    shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    known = architecture(model)
    components = f"The components are: {known.offer()}, random:COUNT. " if known else ""
    return f"{components}The parameters are: {shown}."


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
        "components must be None, the name of a component, a glob over parameter names, {parameter: mask}, a list of "
        f"those, or {{name: selection}}; got {type(components).__name__}."
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
