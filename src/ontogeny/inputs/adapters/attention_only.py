"""Our own transformers, whose parameters are named as TransformerLens names them."""

from __future__ import annotations

from typing import Any

from torch import nn

from ontogeny.inputs.adapters import transformer_lens
from ontogeny.inputs.adapters.assemble import is_a
from ontogeny.inputs.adapters.layout import Architecture


def read(model: nn.Module) -> Architecture | None:
    """The architecture of an AttentionOnly or a OneLayerTransformer; None for any other model."""
    family = next((name for name in ("AttentionOnly", "OneLayerTransformer") if is_a(model, "ontogeny", name)), None)
    if family is None:
        return None
    config: Any = model.config
    return transformer_lens.layout(
        model,
        family,
        layers=config.layers,
        heads=config.heads,
        kv_heads=None,
        width=config.width,
        head_width=config.head_width or config.width // config.heads,
        positions=config.positions,
        centred=True,
    )
