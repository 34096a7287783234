"""What is known of a transformer: where its heads lie in its parameters, and what its components are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.masks import Masks, tidy, union

NAME = re.compile(r"(?P<layer>\d+):(?:(?P<group>kv)?(?P<index>\d+)|(?P<part>attn|mlp|ln))|(?P<whole>embed|unembed|ln)")
"""1:3, 1:kv1, 1:attn, 1:mlp, 1:ln, embed, unembed, ln."""

KEYS_AND_VALUES: tuple[Literal["k"], Literal["v"]] = ("k", "v")


@dataclass(frozen=True)
class Projection:
    """Where the heads lie in one parameter of an attention layer.

    The parameter reshaped to ``view`` counts heads along ``axis``: a transformers ``q_proj.weight`` of shape
    (heads·head_width, width) has view (heads, head_width, width) and axis 0. In a fused parameter ``fused`` is the
    axis, of length 3, along which queries, keys and values follow one another: GPT-2's ``c_attn.weight``, of shape
    (width, 3·width), has view (width, 3, heads, head_width), axis 2 and fused 1. ``residual`` is the axis of the
    residual stream; None for a bias.
    """

    parameter: str
    view: tuple[int, ...]
    axis: int
    holds: Literal["q", "k", "v", "qkv", "o"]
    fused: int | None = None
    residual: int | None = None

    def matrix(self, values: Tensor, index: int, of: Literal["q", "k", "v", "o"]) -> Tensor:
        """One head's W_Q, W_K, W_V or W_O out of the parameter's ``values``: (width, head_width), W_O transposed."""
        assert self.residual is not None
        where: list[int | slice] = [slice(None)] * len(self.view)
        where[self.axis] = index
        if self.fused is not None:
            where[self.fused] = "qkv".index(of)
        out = values.reshape(self.view)[tuple(where)]
        left = [axis for axis in range(len(self.view)) if axis not in (self.axis, self.fused)]
        return out if left[0] == self.residual else out.T

    def mask(self, index: int, shape: Iterable[int], only_kv: bool = False) -> Tensor:
        """True at the weights of one head (of one group where this holds keys or values), False elsewhere."""
        mask = torch.zeros(self.view, dtype=torch.bool)
        where: list[int | slice] = [slice(None)] * len(self.view)
        where[self.axis] = index
        if only_kv and self.fused is not None:
            where[self.fused] = slice(1, 3)
        mask[tuple(where)] = True
        return mask.reshape(*shape)


@dataclass(frozen=True)
class Layer:
    """One layer: the name of its module, its projections, and the names of the parameters of each part.

    ``attn_norm`` are those of ``ln`` through which attention reads the residual stream.
    """

    block: str
    projections: tuple[Projection, ...]
    attn: tuple[str, ...]
    mlp: tuple[str, ...]
    ln: tuple[str, ...]
    attn_norm: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """A transformer whose components can be named.

    Attributes:
        family: what kind of model it is, for messages.
        heads: attention heads a layer.
        kv_heads: groups of heads that share keys and values; ``heads`` without grouped queries.
        head_width: the length of one head's queries.
        parts: the layers in order.
        embed: names of the token and learned position embeddings.
        unembed: names of the map from the residual stream to logits.
        final_ln: names of the layer norm before it.
        centred: whether norms subtract the mean over the width, as layer norms do and RMS norms do not.
        aliases: every parameter name -> the name that stands for it.
        shapes: the shape of every parameter.
    """

    family: str
    heads: int
    kv_heads: int
    head_width: int
    parts: tuple[Layer, ...]
    embed: tuple[str, ...]
    unembed: tuple[str, ...]
    final_ln: tuple[str, ...]
    centred: bool
    aliases: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.parts)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The module names of the layers, in order."""
        return tuple(part.block for part in self.parts)

    def names(self) -> list[str]:
        """Every component there is, one name each: "0:0", …, "1:attn", …, "embed", "unembed", "ln"."""
        return [name for run in self._runs() for name in run]

    def offer(self) -> str:
        """The same in one line, for messages: "0:0 … 1:7, 0:kv0 … 1:kv3, 0:attn … 1:attn, …, embed, unembed, ln"."""
        return ", ".join(run[0] if len(run) == 1 else f"{run[0]} … {run[-1]}" for run in self._runs())

    def _runs(self) -> list[list[str]]:
        layers = range(self.layers)
        runs = [
            [f"{layer}:{head}" for layer in layers for head in range(self.heads)],
            [f"{layer}:kv{group}" for layer in layers for group in range(self.kv_heads)],
            *([f"{i}:{part}" for i in layers if getattr(self.parts[i], part)] for part in ("attn", "mlp", "ln")),
            *([whole] for whole in ("embed", "unembed", "ln") if self._whole(whole)),
        ]
        return [run for run in runs if run]

    def component(self, name: str) -> Masks:
        """The weights of one component, as masks by parameter; None where a whole tensor belongs to it.

        "1:3" is head 3 of layer 1: its slices of the query, key, value and output projections and of the first three's
        biases, not the output bias, which all heads share. With grouped queries the keys and values are those of the
        head's group, so that two heads of one group overlap; "1:kv1" is the keys and values of group 1 alone. "1:attn"
        is all of the layer's attention, "1:mlp" its MLP, "1:ln" its layer norms, "ln" all layer norms with the final
        one, "embed" the token and learned position embeddings, "unembed" the map to logits.

        Raises:
            OntogenyError: for what the model does not have; the message lists what it has.
        """
        found = NAME.fullmatch(name)
        if found is None:
            raise self._missing(name, "is no name of a component")
        if found["whole"]:
            return self._of(name, self._whole(name))
        layer = int(found["layer"])
        if layer >= self.layers:
            raise self._missing(name, f"asks for layer {layer}, and {_range('layers', self.layers)}")
        part = self.parts[layer]
        if found["part"]:
            return self._of(name, getattr(part, found["part"]))
        index, group = int(found["index"]), bool(found["group"])
        if group and index >= self.kv_heads:
            raise self._missing(name, f"asks for key-value group {index}, and {_range('groups', self.kv_heads)}")
        if not group and index >= self.heads:
            raise self._missing(name, f"asks for head {index}, and {_range('heads', self.heads)}")
        return self._heads(part.projections, index, group)

    def lowest_block(self, parameters: Iterable[str]) -> int:
        """The lowest layer that reads any of these parameters; the forward pass below it does without them.

        Where it is l > 0, the input of layer l (after the last layer, for l = ``layers``) stays as it is whatever
        these parameters become. It is 0 for embeddings, tied or not, for positions that every layer reads, and for
        parameters that this architecture does not place; ``layers`` where there are only the final layer norm and the
        unembedding.

        Raises:
            OntogenyError: for a name that is no parameter.
        """
        wanted = set()
        for name in parameters:
            if name not in self.aliases:
                raise OntogenyError(f"parameters: there is no parameter {name!r} in this {self.family}.")
            wanted.add(self.aliases[name])
        return min(
            (self._block_of(name) for name, alias in self.aliases.items() if alias in wanted), default=self.layers
        )

    def _block_of(self, name: str) -> int:
        for index, part in enumerate(self.parts):
            if name.startswith(f"{part.block}."):
                return index
        return self.layers if name in self.unembed or name in self.final_ln else 0

    def _whole(self, name: str) -> tuple[str, ...]:
        every_ln = tuple(ln for part in self.parts for ln in part.ln) + self.final_ln
        return {"embed": self.embed, "unembed": self.unembed, "ln": every_ln}[name]

    def _of(self, name: str, parameters: tuple[str, ...]) -> Masks:
        if not parameters:
            raise self._missing(name, "selects no weights")
        return tidy(dict.fromkeys(self.aliases[one] for one in parameters), self.aliases.values())

    def _heads(self, projections: tuple[Projection, ...], index: int, only_kv: bool) -> Masks:
        chosen = [one for one in projections if not only_kv or one.holds in ("k", "v", "qkv")]
        masks = union(
            {
                self.aliases[one.parameter]: one.mask(
                    index if only_kv else self._place(one, index), self.shapes[one.parameter], only_kv
                )
            }
            for one in chosen
        )
        return tidy(masks, self.aliases.values())

    def _place(self, projection: Projection, head: int) -> int:
        """Where a head's weights lie along the projection's axis: keys and values once a group."""
        return head // (self.heads // self.kv_heads) if projection.holds in ("k", "v") else head

    def head_matrix(
        self, weights: Mapping[str, Tensor], layer: int, head: int, of: Literal["q", "k", "v", "o"]
    ) -> Tensor:
        """One head's W_Q, W_K, W_V or W_O, (width, head_width), W_O transposed; ``weights`` by parameter name."""
        projection = next(one for one in self.parts[layer].projections if of in one.holds and one.residual is not None)
        return projection.matrix(weights[projection.parameter], self._place(projection, head), of)

    def _missing(self, name: str, why: str) -> OntogenyError:
        return OntogenyError(f"components: {name!r} {why}. This {self.family} has {self.offer()}.")


def _range(what: str, number: int) -> str:
    return f"{what} go from 0 to {number - 1}" if number else f"there are no {what}"
