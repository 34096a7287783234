"""The attention-only transformer: embedding, layers of attention heads that add to one residual stream, unembedding.

With two layers it is the model of Olsson et al. (2022), Hoogland et al. (arXiv:2402.02364) and Wang et al.
(arXiv:2410.02984, appendix F.1); with none or one, that model's smaller siblings. Names and shapes of the weights are
TransformerLens's (``attn_only=True``), so that weights go from one to the other as they are. b: batch, p: positions,
d: width, h: heads, e: head width, V: vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.rng import generator

LAYER_NORM_EPS = 1e-5
POSITIONS = ("shortformer", "standard")
POSITION_STARTS = ("normal", "sinusoidal")


@dataclass(frozen=True)
class AttentionOnlyConfig:
    """The shape of an attention-only transformer.

    Args:
        vocabulary: V, how many different tokens there are.
        context: how many positions are learned, so the longest sequence.
        width: d, of the residual stream.
        layers: attention layers; 0 gives a bigram model.
        heads: h, attention heads a layer.
        head_width: e; None: width / heads, as whole numbers.
        layer_norm: whether layers and unembedding read the residual stream through a layer norm.
        positions: "shortformer", position vectors are added to what queries and keys read, in every layer (Press et al.
            2021); or "standard", to the embedded tokens, once.
        position_start: what position vectors begin as, "normal", like every matrix, or "sinusoidal", sines and cosines
            of the position of amplitude 1 (Vaswani et al. 2017; Press et al. keep them so). They are learned either
            way. With the latter the step to the token before is one rotation and heads that take it form sooner.

    Raises:
        OntogenyError: if a size is no whole number in its range, the heads do not divide the width, or positions is
            another word.
    """

    vocabulary: int
    context: int = 1024
    width: int = 256
    layers: int = 2
    heads: int = 8
    head_width: int | None = None
    layer_norm: bool = True
    positions: str = "shortformer"
    position_start: str = "normal"

    def __post_init__(self) -> None:
        for name in ("vocabulary", "context", "width", "layers", "heads", "head_width"):
            least, value = int(name != "layers"), getattr(self, name)
            if name == "head_width" and value is None:
                continue
            check_whole(name, value, least)
        if not isinstance(self.layer_norm, bool):
            raise OntogenyError(f"layer_norm must be True or False; got {self.layer_norm!r}.")
        if self.positions not in POSITIONS:
            raise OntogenyError(f"positions must be {' or '.join(map(repr, POSITIONS))}; got {self.positions!r}.")
        if self.position_start not in POSITION_STARTS:
            words = " or ".join(map(repr, POSITION_STARTS))
            raise OntogenyError(f"position_start must be {words}; got {self.position_start!r}.")
        if self.head_width is None:
            if self.width % self.heads:
                raise OntogenyError(
                    f"heads must divide width; got {self.heads} heads and a width of {self.width}. Give head_width, or "
                    "another width."
                )
            object.__setattr__(self, "head_width", self.width // self.heads)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AttentionOnlyConfig:
        """What ``to_dict`` gave, for instance ``Checkpoints.config``.

        Raises:
            OntogenyError: if a name is not a setting of this model.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in values if name not in known]
        if unknown or "vocabulary" not in values:
            raise OntogenyError(
                f"values must hold 'vocabulary' and otherwise only {', '.join(known[1:])}; "
                f"got {', '.join(map(repr, values)) or 'nothing'}. It may be another model's configuration."
            )
        return cls(**values)


class Embed(nn.Module):
    """Token -> its row of W_E (V, d)."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(config.vocabulary, config.width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, p) -> (b, p, d)."""
        return functional.embedding(tokens, self.W_E)


class PositionEmbed(nn.Module):
    """One learned vector a position, W_pos (context, d); no parameter where nothing reads it."""

    W_pos: Tensor

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        values = torch.zeros(config.context, config.width)
        if config.layers or config.positions == "standard":
            self.W_pos = nn.Parameter(values)
        else:
            self.register_buffer("W_pos", values)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, p) -> (p, d)."""
        return self.W_pos[: tokens.shape[1]]


class LayerNorm(nn.Module):
    """w·(x - mean)/√(variance + 1e-5) + b over the width, the variance with 1/d."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(config.width))
        self.b = nn.Parameter(torch.zeros(config.width))

    def forward(self, x: Tensor) -> Tensor:
        """(b, p, d) -> (b, p, d)."""
        return functional.layer_norm(x, (x.shape[-1],), self.w, self.b, LAYER_NORM_EPS)


class Attention(nn.Module):
    """Heads that each move information from earlier positions to this one; what they write is added up.

    Every ``hook_…`` does nothing: they are where forward hooks can read or replace queries, keys and values, the
    attention pattern, and each head's mixed values before W_O, at the places and in the shapes of TransformerLens.
    """

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        heads, width, head_width = config.heads, config.width, config.head_width or 0  # never None: set at construction
        self.W_Q = nn.Parameter(torch.empty(heads, width, head_width))
        self.W_K = nn.Parameter(torch.empty(heads, width, head_width))
        self.W_V = nn.Parameter(torch.empty(heads, width, head_width))
        self.W_O = nn.Parameter(torch.empty(heads, head_width, width))
        self.b_Q = nn.Parameter(torch.zeros(heads, head_width))
        self.b_K = nn.Parameter(torch.zeros(heads, head_width))
        self.b_V = nn.Parameter(torch.zeros(heads, head_width))
        self.b_O = nn.Parameter(torch.zeros(width))
        self.add_hooks()

    def add_hooks(self) -> None:
        """The places where forward hooks can see and replace what the heads compute."""
        self.hook_q, self.hook_k, self.hook_v = nn.Identity(), nn.Identity(), nn.Identity()
        self.hook_pattern, self.hook_z = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """Normed residual (b, p, d) and position vectors (p, d) -> what is added to the residual, (b, p, d)."""
        placed = x if positions is None else x + positions  # read by queries and keys, never by values
        q = self.hook_q(torch.einsum("bpd,hde->bphe", placed, self.W_Q) + self.b_Q)  # (b, p, h, e)
        k = self.hook_k(torch.einsum("bpd,hde->bphe", placed, self.W_K) + self.b_K)  # (b, p, h, e)
        v = self.hook_v(torch.einsum("bpd,hde->bphe", x, self.W_V) + self.b_V)  # (b, p, h, e)
        if self.hook_pattern._forward_hooks or self.hook_pattern._forward_pre_hooks:
            z = self._with_pattern(q, k, v)
        else:  # the same, without a pattern that anybody could read
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (b, h, p, e)
            z = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        return torch.einsum("bphe,hed->bpd", self.hook_z(z), self.W_O) + self.b_O  # (b, p, d)

    def _with_pattern(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries, keys and values (b, p, h, e) -> each head's mixed values, (b, p, h, e)."""
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(q.shape[-1])  # (b, h, query, key)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        pattern = self.hook_pattern(scores.masked_fill(later, -math.inf).softmax(-1))  # rows sum to 1
        return torch.einsum("bhqk,bkhe->bqhe", pattern, v)


class Block(nn.Module):
    """One layer: residual + attention(norm(residual))."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        self.ln1 = LayerNorm(config) if config.layer_norm else nn.Identity()
        self.attn = Attention(config)

    def forward(self, residual: Tensor, positions: Tensor | None) -> Tensor:
        """(b, p, d) and position vectors (p, d), if layers add them -> the new residual, (b, p, d)."""
        return residual + self.attn(self.ln1(residual), positions)


class Unembed(nn.Module):
    """Residual -> one logit an output, of a language model a token: W_U (d, V), b_U (V)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(width, outputs))
        self.b_U = nn.Parameter(torch.zeros(outputs))

    def forward(self, residual: Tensor) -> Tensor:
        """(b, p, d) -> (b, p, V)."""
        return residual @ self.W_U + self.b_U


def draw_initial_weights(model: nn.Module, width: int, seed: int) -> None:
    """Every matrix ~ N(0, 0.64/width), from a stream named by seed and parameter; the others stay as they are."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.rpartition(".")[2].startswith("W_"):
                drawn = torch.randn(weight.shape, generator=generator(seed, "initial weights", name))
                weight.copy_(drawn * 0.8 / math.sqrt(width))


def sinusoids(context: int, width: int) -> Tensor:
    """sin and cos of p/10000^(2i/width), i < width/2, side by side, shape (context, width).

    >>> sinusoids(2, 2)
    tensor([[0.0000, 1.0000],
            [0.8415, 0.5403]])
    """
    angles = torch.arange(context)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :width]


class AttentionOnly(nn.Module):
    """Tokens (b, p) -> logits of the next token (b, p, V).

    Initial weights: every matrix N(0, 0.64/d), TransformerLens's default (positions as the config says); biases 0,
    layer norms the identity. A residual of unit variance then gives logits of variance 0.64, so a first loss of about
    ln V + 0.32. Each tensor has a stream of its own, named by its name, so another number of layers or another
    vocabulary leaves the others as they are; the global random state is neither read nor moved.

    Args:
        config: sizes.
        seed: of the initial weights.
    """

    def __init__(self, config: AttentionOnlyConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embed = Embed(config)
        self.pos_embed = PositionEmbed(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_final = LayerNorm(config) if config.layer_norm else nn.Identity()
        self.unembed = Unembed(config.width, config.vocabulary)
        draw_initial_weights(self, config.width, seed)
        if config.position_start == "sinusoidal" and isinstance(self.pos_embed.W_pos, nn.Parameter):
            with torch.no_grad():
                self.pos_embed.W_pos.copy_(sinusoids(config.context, config.width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Integer tokens (b, p) -> logits (b, p, V).

        Raises:
            OntogenyError: if tokens are no integers of shape (batch, positions), or more positions than the context.
        """
        return self.unembed(self.residual(tokens))

    def residual(self, tokens: Tensor) -> Tensor:
        """What the unembedding reads, (b, p, d): the residual stream after the last layer and the final norm."""
        _check(tokens, self.config.context)
        positions: Tensor | None = self.pos_embed(tokens)  # (p, d)
        residual = self.embed(tokens)  # (b, p, d)
        if self.config.positions == "standard":
            residual, positions = residual + positions, None
        for block in self.blocks:
            residual = block(residual, positions)  # (b, p, d)
        return self.ln_final(residual)


def _check(tokens: Tensor, context: int) -> None:
    if tokens.dim() != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise OntogenyError(
            "tokens must be an int64 or int32 tensor of shape (batch, positions); "
            f"got {tokens.dtype} of shape {tuple(tokens.shape)}."
        )
    if tokens.shape[1] > context:
        raise OntogenyError(
            f"tokens: sequences of {tokens.shape[1]} tokens are longer than the model's context of {context}; "
            "cut them, or train a model with a longer context."
        )
