"""Which transformer a model is: its layers and heads, and what its components are called on every library's models."""

from __future__ import annotations

from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.adapters import attention_only, hugging_face, transformer_lens
from ontogeny.inputs.adapters.layout import Architecture

__all__ = ["Architecture", "architecture", "refuse_bridge", "why_unknown"]


def architecture(model: nn.Module) -> Architecture | None:
    """Where the heads, layers and embeddings of a transformer lie; None for a module that is no known transformer.

    Known are AttentionOnly, OneLayerTransformer, the transformers causal language models gpt2, gpt_neox, llama, mistral
    and qwen2, and TransformerLens 3.9's HookedTransformer. No library is imported to find out.
    """
    for adapter in (attention_only, hugging_face, transformer_lens):
        found = adapter.read(model)
        if found is not None:
            return found
    return None


def refuse_bridge(model: nn.Module) -> None:
    """Refuse TransformerLens 4's kind of model.

    Raises:
        OntogenyError: for a TransformerBridge; the names of its parameters are those of the model that it wraps, so
            its weights cannot be replaced by name.
    """
    if any(c.__name__ == "TransformerBridge" for c in type(model).__mro__):
        raise OntogenyError(
            "model is a TransformerBridge, and of TransformerLens only HookedTransformer, of version 3.9, is "
            "supported; load it as one, or give the transformers model itself."
        )


def why_unknown(model: nn.Module) -> str:
    """One sentence on a model without a known architecture: what is supported, and the way out."""
    kind = type(model).__name__
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    what = f"{kind} of model type {model_type!r}" if isinstance(model_type, str) else kind
    types = ", ".join(hugging_face.MODEL_TYPES)
    return (
        f"the heads and layers of a {what} are not known: they are for AttentionOnly, transformers' causal language "
        f"models {types} as they come, and TransformerLens 3.9's HookedTransformer; use globs over parameter names"
    )
