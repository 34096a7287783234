"""Which weights are sampled: names of components, globs over parameter names, masks, unions; resolved to masks here."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError, first_line
from ontogeny.inputs.adapters.layout import NAME
from ontogeny.inputs.architecture import Architecture, architecture, refuse_bridge, why_unknown
from ontogeny.inputs.masks import Masks, packed, parameter_aliases, shared, tidy, union
from ontogeny.inputs.random_weights import RANDOM, random_weights

SEVERAL = {"heads": r"\d+:\d+", "layers": r"\d+:(attn|mlp)"}
"""Words for many components, and which."""


def resolve(model: nn.Module, selection: Any) -> Masks:
    """Turn one selection into masks by parameter name.

    ``None``: all weights. A string: the name of a component, on every known transformer the same ("1:3" for layer 1,
    head 3; "1:kv1"; "1:attn", "1:mlp", "1:ln"; "embed", "unembed", "ln"; see :class:`Architecture`); "random:2000",
    so many weights drawn at random, as a control ("random:2000:7" with seed 7, "random:2000@1:attn" inside another
    selection); or a glob over parameter names ("blocks.1.*"). ``{parameter: mask}``: masks of 0 and 1 shaped as the
    parameters (True or None: the whole tensor). A list of any of these: their union, overlaps counted once.

    Returns:
        Masks by parameter in the order of the model, None for a whole tensor, no mask full or empty. A tied weight is
        there once, under the first of its names. Masks are on the CPU. Parts of a union may overlap, but not under
        two names of one tied weight; a glob that matches several of its names is one naming.

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
    return tidy(_resolve(model, aliases, selection).masks, aliases.values())


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


def overlaps_in_words(model: nn.Module, selections: Mapping[str, Any]) -> str:
    """The same as "1:0 & 1:1: 140 weights, …", empty where no two share any."""
    return ", ".join(f"{a} & {b}: {count} weights" for (a, b), count in overlaps(model, selections).items())


class _Found(NamedTuple):
    """What one part of a selection comes to."""

    masks: Masks
    names: set[str]
    """Of the parameters, as the part has them: not the stand-ins of tied ones."""


def _resolve(model: nn.Module, aliases: dict[str, str], selection: Any) -> _Found:
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


def _union(model: nn.Module, aliases: dict[str, str], parts: Iterable[Any]) -> _Found:
    parts = list(parts)
    texts = [part for part in parts if isinstance(part, str)]
    twice = next((text for text in texts if text in aliases and texts.count(text) > 1), None)
    if twice is not None:
        raise OntogenyError(f"components names {twice!r} twice; name each parameter once. {_offer(model, aliases)}")
    found = [(part, _resolve(model, aliases, part)) for part in parts]
    several = {alias for name, alias in aliases.items() if name != alias}
    for (one, first), (other, second) in combinations(found, 2):
        for tied in first.masks.keys() & second.masks.keys() & several:
            ours, theirs = (sorted(name for name in side.names if aliases[name] == tied) for side in (first, second))
            if not set(ours) & set(theirs):
                raise _named_twice(model, aliases, [_said(ours[0], one), _said(theirs[0], other)])
    return _Found(union(each.masks for _, each in found), set().union(*(each.names for _, each in found)))


def _said(name: str, part: Any) -> str:
    return repr(name) + (f" (in {part!r})" if isinstance(part, str) and part != name else "")


def _named_twice(model: nn.Module, aliases: dict[str, str], names: list[str]) -> OntogenyError:
    return OntogenyError(
        f"components names one tied weight twice, as {' and '.join(names)}; "
        f"name it once: it is sampled once, under all its names. {_offer(model, aliases)}"
    )


def _named_or_glob(model: nn.Module, aliases: dict[str, str], text: str) -> _Found:
    drawn = RANDOM.fullmatch(text)
    if drawn is not None:
        among = drawn["among"]
        pool = _resolve(model, aliases, "*" if among is None else among)
        masks = tidy(pool.masks, aliases.values())
        return _Found(random_weights(model, text, masks, int(drawn["count"]), int(drawn["seed"] or 0)), pool.names)
    is_name = NAME.fullmatch(text) is not None
    known = architecture(model) if is_name else None
    if known is not None:
        masks = known.component(text)
        return _Found(masks, _names(known, text, masks))
    names = {name for name in aliases if fnmatch.fnmatchcase(name, text)}
    if names:
        return _Found(dict.fromkeys(aliases[name] for name in aliases if name in names), names)
    why = f": {why_unknown(model)}" if is_name else ""
    raise OntogenyError(f"components: {text!r} selects no weights{why}. {_offer(model, aliases, text)}")


def _names(known: Architecture, component: str, masks: Masks) -> set[str]:
    """The names that parameters have within a component: of a tied weight, "unembed" has another than "embed"."""
    layer, colon, _ = component.partition(":")
    names = {name for name, alias in known.aliases.items() if alias in masks}
    if colon:
        return {name for name in names if name.startswith(f"{known.blocks[int(layer)]}.")}
    return names & set({"embed": known.embed, "unembed": known.unembed}.get(component, names))


def _masks(model: nn.Module, aliases: dict[str, str], selection: Mapping[str, Any]) -> _Found:
    out: Masks = {}
    for name, mask in selection.items():
        if name not in aliases:
            raise OntogenyError(f"components: there is no parameter {name!r}. {_offer(model, aliases, name)}")
        target = aliases[name]
        if target in out:
            others = [other for other, stand_in in aliases.items() if stand_in == target and other in selection]
            raise _named_twice(model, aliases, [repr(other) for other in others])
        out[target] = None if mask is None or mask is True else _mask(model, aliases, name, mask)
    if not any(mask is None or bool(mask.any()) for mask in out.values()):
        raise OntogenyError(f"components selects no weights: every mask is empty. {_offer(model, aliases)}")
    return _Found(out, set(selection))


def _mask(model: nn.Module, aliases: dict[str, str], name: str, value: Any) -> Tensor:
    shape = tuple(model.get_parameter(name).shape)
    try:
        mask = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OntogenyError(
            f"components[{name!r}]: the mask must be an array of 0 and 1 of the parameter's shape {shape}; got "
            f"{type(value).__name__} ({first_line(error)})."
        ) from None
    if tuple(mask.shape) != shape:
        raise OntogenyError(
            f"components[{name!r}]: the mask must have the parameter's shape {shape}; got {tuple(mask.shape)}. "
            f"{_offer(model, aliases)}"
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise OntogenyError(f"components[{name!r}]: the mask must hold only 0 and 1, or False and True.")
    return mask.bool().cpu()


def _offer(model: nn.Module, aliases: dict[str, str], text: object = None) -> str:
    names = list(aliases)
    shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    known = architecture(model)
    components = f"The components are: {known.offer()}, random:COUNT. " if known else ""
    return f"{_near(text, names)}{components}The parameters are: {shown}."


def _near(text: object, names: list[str]) -> str:
    """A question for the one who mistyped a parameter's name, which may be one of hundreds not shown."""
    near = get_close_matches(text, names, 1, 0.8) if isinstance(text, str) else []
    return f"Did you mean {near[0]!r}? " if near else ""


def by_name(model: nn.Module, components: Any) -> dict[str, Any] | None:
    """Several selections as {name: selection}, or None when ``components`` is a single one.

    A list makes one entry an element, and the words "heads" and "layers" one for each. A dict is {parameter: mask} when
    all its values are masks, else {name: selection}.

    Raises:
        OntogenyError: for another type, a name given twice, a dict in a list, or masks and selections in one dict.
    """
    if isinstance(components, str) and components in SEVERAL:
        components = [components]
    if components is None or isinstance(components, str):
        return None
    if isinstance(components, Mapping):
        return _named(model, components)
    if isinstance(components, list | tuple | set):
        if any(isinstance(part, Mapping) for part in components):
            raise OntogenyError(
                "components: a list holds names, globs and lists of these, and a dict among them has no name to stand "
                "in the result; use {name: selection}, as {'mine': {parameter: mask}, '1:3': '1:3'}."
            )
        components = [
            one
            for part in components
            for one in (several(model, part) if isinstance(part, str) and part in SEVERAL else [part])
        ]
        names = [str(part) for part in components]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise OntogenyError(f"components names {twice!r} twice; name each selection once.")
        return dict(zip(names, components, strict=True))
    raise OntogenyError(
        "components must be None, the name of a component, a glob over parameter names, {parameter: mask}, a list of "
        f"those, or {{name: selection}}; got {type(components).__name__}."
    )


def _named(model: nn.Module, components: Mapping[str, Any]) -> dict[str, Any] | None:
    aliases = parameter_aliases(model)
    masks = [name for name, value in components.items() if _is_mask(value) or (value is None and name in aliases)]
    if len(masks) == len(components):
        return None
    mixed = [name for name in masks if components[name] is not None]
    if mixed:
        raise OntogenyError(
            f"components must hold either masks by parameter or selections by name, not both; {mixed[0]!r} is a mask. "
            "Name it: {'mine': {" + repr(mixed[0]) + ": mask}}."
        )
    for name, value in components.items():
        if isinstance(value, list | tuple | set) and not value:
            raise OntogenyError(f"components selects no weights for {name!r}: got {value!r}. {_offer(model, aliases)}")
    return dict(components)


def several(model: nn.Module, word: str) -> list[str]:
    """The components that "heads" (every head) or "layers" (attention and MLP of every layer) stands for.

    Raises:
        OntogenyError: if the model's heads and layers are not known, or it has none of them.
    """
    known = architecture(model)
    if known is None:
        raise OntogenyError(f"components: {word!r} cannot be told: {why_unknown(model)}.")
    found = [name for name in known.names() if re.fullmatch(SEVERAL[word], name)]
    if not found:
        raise OntogenyError(f"components: {word!r} selects nothing: this {known.family} has {known.offer()}.")
    return found


def in_words(selection: Any) -> str:
    """One selection as text, for the settings of a result: "all", "1:0, 1:1", "masks of embed.W_E"."""
    if selection is None:
        return "all"
    if isinstance(selection, str):
        return selection
    if isinstance(selection, Mapping):
        return "masks of " + ", ".join(map(str, selection))
    return ", ".join(sorted(map(in_words, selection)) if isinstance(selection, set) else map(in_words, selection))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_mask(value: Any) -> bool:
    """Whether a value can only be meant as a mask: an array, True or False, or a (nested) list of numbers."""
    if isinstance(value, list):
        return bool(value) and all(_is_mask(part) or isinstance(part, int | float) for part in value)
    return _is_array(value) or isinstance(value, bool)
