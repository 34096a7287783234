"""Causal language models of transformers: GPT-2, GPT-NeoX (Pythia), Llama, Mistral, Qwen2.

Weights of ``nn.Linear`` are (outputs, inputs), those of GPT-2's ``Conv1D`` (inputs, outputs). Per layer, with H heads
of width w in G key-value groups and residual width d:

    gpt2                    c_attn (d, 3·H·w): queries, then keys, then values, each head after head;   c_proj (H·w, d)
    gpt_neox                query_key_value (H·3·w, d): head after head, each queries, keys, values;    dense (d, H·w)
    llama, mistral, qwen2   q_proj (H·w, d), k_proj and v_proj (G·w, d);                                o_proj (d, H·w)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from ontogeny.inputs.adapters.assemble import assemble, is_a
from ontogeny.inputs.adapters.layout import KEYS_AND_VALUES, Architecture, Projection


class _Sizes(NamedTuple):
    heads: int
    groups: int
    head_width: int
    width: int


class _Names(NamedTuple):
    """Module names of one model type, those inside a layer relative to it."""

    layers: str
    attn: str
    mlp: str
    ln: tuple[str, ...]
    embed: tuple[str, ...]
    final_ln: str
    projections: Callable[[str, _Sizes], list[Projection]]
    centred: bool


def _gpt2(attn: str, of: _Sizes) -> list[Projection]:
    heads, _, head_width, width = of
    return [
        Projection(f"{attn}.c_attn.weight", (width, 3, heads, head_width), 2, "qkv", fused=1, residual=0),
        Projection(f"{attn}.c_attn.bias", (3, heads, head_width), 1, "qkv", fused=0),
        Projection(f"{attn}.c_proj.weight", (heads, head_width, width), 0, "o", residual=2),
    ]


def _gpt_neox(attn: str, of: _Sizes) -> list[Projection]:
    heads, _, head_width, width = of
    return [
        Projection(f"{attn}.query_key_value.weight", (heads, 3, head_width, width), 0, "qkv", fused=1, residual=3),
        Projection(f"{attn}.query_key_value.bias", (heads, 3, head_width), 0, "qkv", fused=1),
        Projection(f"{attn}.dense.weight", (width, heads, head_width), 1, "o", residual=0),
    ]


def _llama(attn: str, of: _Sizes) -> list[Projection]:
    heads, groups, head_width, width = of
    return [
        Projection(f"{attn}.q_proj.weight", (heads, head_width, width), 0, "q", residual=2),
        Projection(f"{attn}.q_proj.bias", (heads, head_width), 0, "q"),
        *(
            Projection(f"{attn}.{of}_proj.weight", (groups, head_width, width), 0, of, residual=2)
            for of in KEYS_AND_VALUES
        ),
        *(Projection(f"{attn}.{of}_proj.bias", (groups, head_width), 0, of) for of in KEYS_AND_VALUES),
        Projection(f"{attn}.o_proj.weight", (width, heads, head_width), 1, "o", residual=0),
    ]


_LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")
_LLAMA = _Names("layers", "self_attn", "mlp", _LAYER_NORMS, ("embed_tokens",), "norm", _llama, False)
MODEL_TYPES = {
    "gpt2": _Names("h", "attn", "mlp", ("ln_1", "ln_2"), ("wte", "wpe"), "ln_f", _gpt2, True),
    "gpt_neox": _Names("layers", "attention", "mlp", _LAYER_NORMS, ("embed_in",), "final_layer_norm", _gpt_neox, True),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
}


def read(model: nn.Module) -> Architecture | None:
    """The architecture of a causal language model of one of ``MODEL_TYPES``; None for any other model."""
    if not is_a(model, "transformers", "PreTrainedModel"):
        return None
    causal: Any = model
    config = causal.config
    names = MODEL_TYPES.get(config.model_type)
    base = causal.base_model_prefix
    to_logits = causal.get_output_embeddings()
    unembed = next((name for name, module in model.named_modules() if module is to_logits), None)
    if names is None or not hasattr(causal, base) or unembed is None:
        return None
    heads = config.num_attention_heads
    width = config.hidden_size
    groups = getattr(config, "num_key_value_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or width // heads
    sizes = _Sizes(heads, groups, head_width, width)
    return assemble(
        model,
        f"{config.model_type} model",
        heads=heads,
        kv_heads=groups,
        head_width=head_width,
        blocks=[f"{base}.{names.layers}.{layer}" for layer in range(config.num_hidden_layers)],
        projections=lambda block: names.projections(f"{block}.{names.attn}", sizes),
        inside={"attn": (names.attn,), "mlp": (names.mlp,), "ln": names.ln},
        embed=tuple(f"{base}.{name}" for name in names.embed),
        unembed=(unembed,),
        final_ln=(f"{base}.{names.final_ln}",),
        centred=names.centred,
    )
