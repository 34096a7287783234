"""Every kind of transformer whose heads are known, as small as it can be, with no weight at its initial zero or one."""

import warnings

import torch

from ontogeny.core.rng import generator
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig

LAYERS, HEADS, HEAD_WIDTH, WIDTH, VOCABULARY = 2, 4, 4, 16, 20
TOKENS = torch.randint(VOCABULARY, (3, 9), generator=generator(0, "tokens"))


def attention_only(**others):
    return AttentionOnly(AttentionOnlyConfig(VOCABULARY, context=12, width=WIDTH, heads=HEADS, **others))


def transformer(config_name, model_name, **settings):
    import transformers

    settings = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0} | settings
    return getattr(transformers, model_name)(getattr(transformers, config_name)(**settings))


GPT2_SIZES = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 12}
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}


def gpt2(tied=True):
    return transformer("GPT2Config", "GPT2LMHeadModel", tie_word_embeddings=tied, **GPT2_SIZES)


def gpt_neox():
    return transformer("GPTNeoXConfig", "GPTNeoXForCausalLM", **SIZES)


def llama(kind="Llama", groups=2, **others):
    return transformer(f"{kind}Config", f"{kind}ForCausalLM", num_key_value_heads=groups, **SIZES, **others)


def hooked(groups=None, **others):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        config = HookedTransformerConfig(
            n_layers=LAYERS,
            d_model=WIDTH,
            n_ctx=12,
            d_head=HEAD_WIDTH,
            n_heads=HEADS,
            d_vocab=VOCABULARY,
            act_fn="gelu",
            device="cpu",
            n_key_value_heads=groups,
            **others,
        )
        return HookedTransformer(config)


MODELS = {
    "attention_only": attention_only,
    "attention_only without layer norm": lambda: attention_only(layer_norm=False),
    "gpt2": gpt2,
    "gpt_neox": gpt_neox,
    "llama, grouped": llama,
    "llama, tied, all biases": lambda: llama(groups=4, attention_bias=True, tie_word_embeddings=True),
    "llama, wide heads": lambda: llama(head_dim=6),
    "mistral": lambda: llama("Mistral"),
    "qwen2": lambda: llama("Qwen2"),
    "hooked": hooked,
    "hooked, grouped": lambda: hooked(
        2, normalization_type="RMS", positional_embedding_type="rotary", rotary_dim=HEAD_WIDTH, gated_mlp=True
    ),
    "hooked, shortformer": lambda: hooked(attn_only=True, positional_embedding_type="shortformer"),
}
GROUPS = {"llama, grouped": 2, "llama, wide heads": 2, "mistral": 2, "qwen2": 2, "hooked, grouped": 2}

_built = {}


def built(name):
    """The model of that name, made once, all its weights moved at random."""
    if name not in _built:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = MODELS[name]().eval()
        with torch.no_grad():
            for key, weight in model.named_parameters():
                weight += 0.2 * torch.randn(weight.shape, generator=generator(0, key))
        _built[name] = model
    return _built[name]
