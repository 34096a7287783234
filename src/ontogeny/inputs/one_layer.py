"""A transformer of one attention layer and one MLP, with outputs of its own number: for the cumulative-sum task.

Names and shapes of the weights are TransformerLens's. b: batch, p: positions, d: width, m: MLP width, C: outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ontogeny.core.errors import check_whole
from ontogeny.inputs.attention_only import (
    AttentionOnlyConfig,
    Block,
    Embed,
    LayerNorm,
    PositionEmbed,
    Unembed,
    draw_initial_weights,
)


@dataclass(frozen=True)
class OneLayerConfig:
    """Sizes, as in :class:`AttentionOnlyConfig`; ``mlp_width`` m hidden units and ``outputs`` C classes.

    Raises:
        OntogenyError: if a size is no whole number in its range.
    """

    vocabulary: int
    outputs: int
    context: int
    width: int = 96
    heads: int = 1
    head_width: int = 48
    mlp_width: int = 384
    layer_norm: bool = True
    positions: str = "standard"
    layers: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for name in ("outputs", "mlp_width"):
            check_whole(name, getattr(self, name))
        self.attention()  # refuses the other sizes

    def attention(self) -> AttentionOnlyConfig:
        """The same without the MLP."""
        return AttentionOnlyConfig(
            vocabulary=self.vocabulary,
            context=self.context,
            width=self.width,
            layers=1,
            heads=self.heads,
            head_width=self.head_width,
            layer_norm=self.layer_norm,
            positions=self.positions,
        )


class MLP(nn.Module):
    """relu(x·W_in + b_in)·W_out + b_out: W_in (d, m), W_out (m, d)."""

    def __init__(self, config: OneLayerConfig) -> None:
        super().__init__()
        self.W_in = nn.Parameter(torch.empty(config.width, config.mlp_width))
        self.b_in = nn.Parameter(torch.zeros(config.mlp_width))
        self.W_out = nn.Parameter(torch.empty(config.mlp_width, config.width))
        self.b_out = nn.Parameter(torch.zeros(config.width))

    def forward(self, x: Tensor) -> Tensor:
        """(b, p, d) -> (b, p, d)."""
        return functional.relu(x @ self.W_in + self.b_in) @ self.W_out + self.b_out


class BlockWithMLP(Block):
    """residual + attention(norm(residual)), then + MLP(norm(residual))."""

    def __init__(self, config: OneLayerConfig) -> None:
        super().__init__(config.attention())
        self.ln2 = LayerNorm(config.attention()) if config.layer_norm else nn.Identity()
        self.mlp = MLP(config)

    def forward(self, residual: Tensor, positions: Tensor | None) -> Tensor:
        """(b, p, d) and position vectors (p, d), if layers add them -> the new residual, (b, p, d)."""
        residual = super().forward(residual, positions)
        return residual + self.mlp(self.ln2(residual))


class OneLayerTransformer(nn.Module):
    """Tokens (b, p) -> logits of the classes at every position (b, p, C); initial weights as in AttentionOnly."""

    def __init__(self, config: OneLayerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        attention = config.attention()
        self.embed, self.pos_embed = Embed(attention), PositionEmbed(attention)
        self.blocks = nn.ModuleList([BlockWithMLP(config)])
        self.ln_final = LayerNorm(attention) if config.layer_norm else nn.Identity()
        self.unembed = Unembed(config.width, config.outputs)
        draw_initial_weights(self, config.width, seed)

    def forward(self, tokens: Tensor) -> Tensor:
        """Integer tokens (b, p) -> logits (b, p, C)."""
        positions: Tensor | None = self.pos_embed(tokens)  # (p, d)
        residual = self.embed(tokens)  # (b, p, d)
        if self.config.positions == "standard":
            residual, positions = residual + positions, None
        residual = self.blocks[0](residual, positions)
        return self.unembed(self.ln_final(residual))
