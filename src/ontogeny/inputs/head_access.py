"""What each attention head of a known transformer reads, attends to and hands on: seen or replaced in a forward pass.

    queries, keys, values (b, p, h, e) ─► pattern (b, h, query, key) ─► z (b, p, h, e) ─► z·W_O, added to the residual

``z`` is the mixed values of a head before W_O; replacing it replaces the head's output, z·W_O. The places differ by
library and follow from where the heads lie in the parameters: AttentionOnly and HookedTransformer have a ``hook_…``
for each, in a transformers model queries, keys and values are outputs of their projections and z is the input of the
output projection. Forward hooks do it, and are gone afterwards; the model's weights and settings stay as they are.
b: batch, p: positions, h: heads (of keys and values: groups), e: head width, d: width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.adapters.layout import Projection
from ontogeny.inputs.architecture import architecture, why_unknown

Place = Literal["q", "k", "v", "z"]
Edit = Callable[[Tensor], Tensor]
"""Of what is at one place of one layer, (b, p, h, e), to what shall be there, in the same shape."""


class Head(NamedTuple):
    """Head ``number`` of layer ``layer``, written "layer:number"."""

    layer: int
    number: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.number}"


@dataclass
class Seen:
    """What was at the places that were looked at, of the latest forward pass; by layer, and by place and layer.

    ``patterns[layer]`` has shape (b, h, query, key), rows sum to 1; ``at["z", layer]`` (b, p, h, e).
    """

    patterns: dict[int, Tensor] = field(default_factory=dict)
    at: dict[tuple[Place, int], Tensor] = field(default_factory=dict)


class HeadAccess:
    """The heads of a model, and forward passes in which they are seen or replaced.

    Args:
        model: AttentionOnly, OneLayerTransformer, a causal language model of transformers (gpt2, gpt_neox, llama,
            mistral, qwen2), or TransformerLens 3.9's HookedTransformer.

    Raises:
        OntogenyError: if its heads are not known.

    >>> from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
    >>> model = AttentionOnly(AttentionOnlyConfig(vocabulary=7, context=5, width=8, layers=2, heads=2))
    >>> heads = HeadAccess(model)
    >>> with heads.active(patterns=[1]) as seen:
    ...     logits = model(torch.zeros(3, 5, dtype=torch.long))
    >>> heads.names, tuple(seen.patterns[1].shape)
    (['0:0', '0:1', '1:0', '1:1'], (3, 2, 5, 5))
    """

    def __init__(self, model: nn.Module) -> None:
        known = architecture(model)
        if known is None:
            raise OntogenyError(f"model: {why_unknown(model)}.")
        self.model, self.known = model, known

    @property
    def names(self) -> list[str]:
        """Every head as "layer:head", layer by layer."""
        return [f"{layer}:{head}" for layer in range(self.known.layers) for head in range(self.known.heads)]

    def head(self, name: str, argument: str = "heads") -> Head:
        """The head of that name.

        Raises:
            OntogenyError: if there is none; ``argument`` is what the caller called it.
        """
        if name not in self.names:
            raise OntogenyError(
                f"{argument}: there is no head {name!r}; the heads of this {self.known.family} go from 0:0 to "
                f"{self.known.layers - 1}:{self.known.heads - 1}, layer before head."
            )
        return Head(*map(int, name.split(":")))

    def chosen(self, names: Collection[str] | None, argument: str = "heads") -> list[Head]:
        """The heads of these names, None: all.

        Raises:
            OntogenyError: if one is not there, is named twice, or a text stands in place of a list.
        """
        if isinstance(names, str):
            raise OntogenyError(f"{argument} must be a list of heads; got {names!r}. Write [{names!r}].")
        wanted = self.names if names is None else list(names)
        if not wanted or len(set(wanted)) < len(wanted):
            raise OntogenyError(f"{argument} must name at least one head, each once; got {wanted}.")
        return [self.head(name, argument) for name in wanted]

    def group(self, head: int) -> int:
        """Which keys and values a head reads: its own number, without grouped queries."""
        return head // (self.known.heads // self.known.kv_heads)

    def output_matrix(self, head: Head) -> Tensor:
        """W_O of one head as it is in the model, (e, d): its output is z·W_O."""
        weights = {name: self.model.get_parameter(alias) for name, alias in self.known.aliases.items()}
        return self.known.head_matrix(weights, head.layer, head.number, "o").T

    @contextmanager
    def active(
        self,
        *,
        patterns: Collection[int] = (),
        keep: Collection[tuple[Place, int]] = (),
        edits: Mapping[tuple[Place, int], Edit] | None = None,
        entering: Mapping[int, Edit] | None = None,
    ) -> Iterator[Seen]:
        """Inside, forward passes of the model fill what is yielded and go through the edits.

        Args:
            patterns: layers whose attention patterns are kept. transformers models compute attention eagerly inside,
                as their fused kernels have no pattern.
            keep: places that are kept, such as ("z", 0), as they are after any edit.
            edits: by place, what replaces what is there.
            entering: by layer, what replaces the residual stream (b, p, d) that enters it.
        """
        seen, edits, entering = Seen(), dict(edits or {}), dict(entering or {})
        with ExitStack() as inside:
            if patterns and hasattr(self.model, "set_attn_implementation"):
                inside.enter_context(_eager(self.model))
            for layer in patterns:
                inside.callback(self._watch_pattern(layer, seen).remove)
            for place, layer in dict.fromkeys([*edits, *keep]):
                edit = edits.get((place, layer))
                inside.callback(self._watch(place, layer, seen, (place, layer) in keep, edit).remove)
            for layer, edit in entering.items():
                block = self.model.get_submodule(self.known.blocks[layer])
                inside.callback(block.register_forward_pre_hook(_on_first(edit), with_kwargs=True).remove)
            yield seen

    def _attention(self, layer: int) -> nn.Module:
        owner = self._projection(layer, "o").parameter.rpartition(".")[0]
        module = self.model.get_submodule(owner)
        return module if hasattr(module, "hook_pattern") else self.model.get_submodule(owner.rpartition(".")[0])

    def _projection(self, layer: int, of: str) -> Projection:
        held = self.known.parts[layer].projections
        return next(one for one in held if of in one.holds and one.residual is not None)

    def _watch_pattern(self, layer: int, seen: Seen) -> Any:
        attention = self._attention(layer)

        def look(module: nn.Module, args: Any, out: Any) -> None:
            seen.patterns[layer] = out[1] if isinstance(out, tuple) else out

        return getattr(attention, "hook_pattern", attention).register_forward_hook(look)

    def _watch(self, place: Place, layer: int, seen: Seen, kept: bool, edit: Edit | None) -> Any:
        projection = self._projection(layer, "o" if place == "z" else place)
        owner = self.model.get_submodule(projection.parameter.rpartition(".")[0])
        layout = _Layout.of(projection, place)

        def through(value: Tensor) -> Tensor | None:
            if edit is not None:
                value = layout.put(value, edit(layout.take(value)))
            if kept:
                seen.at[place, layer] = layout.take(value)
            return None if edit is None else value

        if hasattr(owner, f"hook_{place}"):
            return getattr(owner, f"hook_{place}").register_forward_hook(lambda module, args, out: through(out))
        if place == "z":
            return owner.register_forward_pre_hook(lambda module, args: through(args[0]))
        return owner.register_forward_hook(lambda module, args, out: through(out))


class _Layout(NamedTuple):
    """Where one place's (h, e) lies in the last axes of a tensor: the parameter's view without the residual axis."""

    view: tuple[int, ...]
    fused: int | None
    which: int

    @classmethod
    def of(cls, projection: Projection, place: Place) -> _Layout:
        axes = [axis for axis in range(len(projection.view)) if axis != projection.residual]
        fused = None if projection.fused is None else axes.index(projection.fused)
        return cls(tuple(projection.view[axis] for axis in axes), fused, "qkvz".index(place))

    def take(self, value: Tensor) -> Tensor:
        """(b, p, …) -> (b, p, h, e)."""
        apart = value.reshape(*value.shape[:2], *self.view)
        return apart if self.fused is None else apart.select(2 + self.fused, self.which)

    def put(self, value: Tensor, part: Tensor) -> Tensor:
        """The whole tensor with another (b, p, h, e) in it; the given ones stay as they are."""
        if self.fused is None:
            return part.reshape(value.shape)
        apart = value.reshape(*value.shape[:2], *self.view).clone()
        apart.select(2 + self.fused, self.which).copy_(part)
        return apart.reshape(value.shape)


def _on_first(edit: Edit) -> Callable[..., Any]:
    """A pre-hook that edits the first argument, by whatever name it was given."""

    def hook(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (edit(args[0]), *args[1:]), named
        first = next(iter(named))
        return args, {**named, first: edit(named[first])}

    return hook


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Attention of a transformers model computed so that there is a pattern to be seen; as it was, afterwards."""
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
        yield
    finally:
        model.set_attn_implementation(before)


def replace_heads(heads: Collection[Head], values: Tensor | float | Edit) -> Edit:
    """An edit that puts ``values`` in place of some heads' part of (b, p, h, e) and leaves the others.

    ``values``: a number; a tensor that broadcasts to (b, p, h, e); or a function of what was there.
    """
    index = [head.number for head in heads]

    def edit(there: Tensor) -> Tensor:
        new = values(there) if callable(values) else torch.as_tensor(values, dtype=there.dtype, device=there.device)
        out = there.clone()
        out[:, :, index] = new.expand_as(there)[:, :, index]
        return out

    return edit


def by_layer(heads: Collection[Head]) -> dict[int, list[Head]]:
    """The heads of each layer, layers in order."""
    return {layer: [head for head in heads if head.layer == layer] for layer in sorted({h.layer for h in heads})}
