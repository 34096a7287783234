"""HookedTransformer of TransformerLens 3.9: one tensor a head along the first axis of W_Q, W_K, W_V and W_O.

    W_Q, W_K, W_V: (heads, width, head_width);   W_O: (heads, head_width, width);   b_Q, b_K, b_V: (heads, head_width)

With grouped queries the keys and values are stored once a group, as ``_W_K``, ``_W_V``, ``_b_K`` and ``_b_V``; W_K and
W_V are then copies made as they are read, and no parameters.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ontogeny.inputs.adapters.assemble import assemble, is_a
from ontogeny.inputs.adapters.layout import KEYS_AND_VALUES, Architecture, Projection


def read(model: nn.Module) -> Architecture | None:
    """The architecture of a HookedTransformer; None for any other model."""
    if not is_a(model, "transformer_lens", "HookedTransformer"):
        return None
    cfg: Any = model.cfg
    return layout(
        model,
        "HookedTransformer",
        layers=cfg.n_layers,
        heads=cfg.n_heads,
        kv_heads=cfg.n_key_value_heads,
        width=cfg.d_model,
        head_width=cfg.d_head,
        positions=cfg.positional_embedding_type,
        centred=not str(cfg.normalization_type).startswith("RMS"),
    )


def layout(
    model: nn.Module,
    family: str,
    *,
    layers: int,
    heads: int,
    kv_heads: int | None,
    width: int,
    head_width: int,
    positions: str,
    centred: bool,
) -> Architecture | None:
    """An architecture with TransformerLens's parameter names; ``kv_heads`` None: every head has keys of its own.

    ``positions`` says which position embeddings are read: "standard", "shortformer" (by the layers only), or others,
    which leave ``pos_embed`` unread.
    """
    groups, stored = (heads, "") if kv_heads is None else (kv_heads, "_")

    def projections(block: str) -> list[Projection]:
        attn = f"{block}.attn"
        return [
            Projection(f"{attn}.W_Q", (heads, width, head_width), 0, "q", residual=1),
            Projection(f"{attn}.b_Q", (heads, head_width), 0, "q"),
            *(
                Projection(f"{attn}.{stored}W_{of.upper()}", (groups, width, head_width), 0, of, residual=1)
                for of in KEYS_AND_VALUES
            ),
            *(Projection(f"{attn}.{stored}b_{of.upper()}", (groups, head_width), 0, of) for of in KEYS_AND_VALUES),
            Projection(f"{attn}.W_O", (heads, head_width, width), 0, "o", residual=2),
        ]

    read_positions = positions == "standard" or (positions == "shortformer" and layers > 0)
    return assemble(
        model,
        family,
        heads=heads,
        kv_heads=groups,
        head_width=head_width,
        blocks=[f"blocks.{layer}" for layer in range(layers)],
        projections=projections,
        inside={"attn": ("attn",), "mlp": ("mlp",), "ln": ("ln1", "ln1_post", "ln2", "ln2_post")},
        embed=("embed", "pos_embed") if read_positions else ("embed",),
        unembed=("unembed",),
        final_ln=("ln_final",),
        centred=centred,
    )
