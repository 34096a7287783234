"""An AttentionOnly whose heads are written by hand: a previous-token, a current-token and an induction head.

The residual stream has three parts: the token, one-hot; the token before, one-hot, empty until the previous-token head
writes there; and what shall come next, one-hot, read by the unembedding.
"""

import torch

from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig

VOCABULARY, CONTEXT = 40, 64
SHARP = 60.0
"""Attention scores of a match; of anything else 0, or -SHARP·(distance) for positions."""
CONFIDENT = 8.0
"""Logit of what the induction head says comes next."""


def planted(sharp=SHARP):
    """Heads 0:0 previous token, 0:1 current token (writes nothing), 1:0 induction, 1:1 everywhere alike (silent)."""
    v, width = VOCABULARY, 3 * VOCABULARY + CONTEXT
    e = max(VOCABULARY, CONTEXT)
    config = AttentionOnlyConfig(v, CONTEXT, width, layers=2, heads=2, head_width=e, layer_norm=False)
    model = AttentionOnly(config)
    token, before, after = (slice(n * v, (n + 1) * v) for n in range(3))
    place = slice(3 * v, 3 * v + CONTEXT)
    scale = sharp * e**0.5
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed.W_E[:, token] = torch.eye(v)
        model.pos_embed.W_pos[:, place] = torch.eye(CONTEXT)
        first, second = (block.attn for block in model.blocks)
        first.W_Q[0, place, :CONTEXT] = scale * torch.eye(CONTEXT).roll(-1, 1)  # from p to the place p - 1
        first.W_Q[1, place, :CONTEXT] = scale * torch.eye(CONTEXT)
        first.W_K[:, place, :CONTEXT] = torch.eye(CONTEXT)
        first.W_V[0, token, :v] = torch.eye(v)
        first.W_O[0, :v, before] = torch.eye(v)
        second.W_Q[0, token, :v] = scale * torch.eye(v)
        second.W_K[0, before, :v] = torch.eye(v)
        second.W_V[0, token, :v] = torch.eye(v)
        second.W_O[0, :v, after] = CONFIDENT * torch.eye(v)
        model.unembed.W_U[after] = torch.eye(v)
    return model.eval()
