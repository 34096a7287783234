"""An architecture put together from module names, and checked against the model's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import nn

from ontogeny.inputs.adapters.layout import Architecture, Layer, Projection
from ontogeny.inputs.masks import parameter_aliases


def is_a(model: nn.Module, package: str, name: str) -> bool:
    """Whether the model's class is, or derives from, the class ``name`` of ``package``; nothing is imported."""
    return any(c.__name__ == name and c.__module__.split(".")[0] == package for c in type(model).__mro__)


def assemble(
    model: nn.Module,
    family: str,
    *,
    heads: int,
    kv_heads: int,
    head_width: int,
    blocks: Sequence[str],
    projections: Callable[[str], Iterable[Projection]],
    inside: Mapping[str, tuple[str, ...]],
    embed: tuple[str, ...],
    unembed: tuple[str, ...],
    final_ln: tuple[str, ...],
    centred: bool,
) -> Architecture | None:
    """The architecture, or None where the model's parameters are not laid out as these names say.

    Args:
        model: the transformer.
        family: what kind it is, for messages.
        heads: attention heads a layer.
        kv_heads: groups of heads that share keys and values.
        head_width: the length of one head's queries.
        blocks: the module names of the layers, in order.
        projections: gives, for the module name of a layer, the parameters that hold its heads; a "….bias" is left
            out where the model has none.
        inside: the submodules of a layer that make up "attn", "mlp" and "ln"; of the last, attention's own first.
        embed: the modules of the embeddings.
        unembed: the modules of the map to logits.
        final_ln: the modules of the layer norm before it.
        centred: whether norms subtract the mean over the width.
    """
    modules = {id(model.get_submodule(block)) for block in blocks}
    if heads % kv_heads or len(modules) < len(blocks):  # a layer that is used twice is in no one place
        return None
    aliases = parameter_aliases(model)
    shapes = {name: tuple(model.get_parameter(alias).shape) for name, alias in aliases.items()}

    def under(owners: Iterable[str]) -> tuple[str, ...]:
        prefixes = tuple(f"{owner}." for owner in owners)
        return tuple(name for name in aliases if name.startswith(prefixes))

    layers = []
    for block in blocks:
        held = []
        for projection in projections(block):
            name = projection.parameter
            if name in shapes and math.prod(projection.view) == math.prod(shapes[name]):
                held.append(projection)
            elif name in shapes or not name.endswith(".bias"):
                return None  # pruned, quantised or adapted: its slices would be guesses
        attn, mlp, ln = (under(f"{block}.{module}" for module in inside[part]) for part in ("attn", "mlp", "ln"))
        layers.append(Layer(block, tuple(held), attn, mlp, ln, under([f"{block}.{inside['ln'][0]}"])))
    return Architecture(
        family=family,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        parts=tuple(layers),
        embed=under(embed),
        unembed=under(unembed),
        final_ln=under(final_ln),
        centred=centred,
        aliases=aliases,
        shapes=shapes,
    )
