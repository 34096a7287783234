"""Sequences of tokens that a language model draws itself, and how likely another checkpoint finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ontogeny.core.errors import check_whole
from ontogeny.core.rng import generator
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.language_losses import logits_of, tokens_of
from ontogeny.inputs.losses import undisturbed


@dataclass(frozen=True)
class Sequences:
    """Tokens drawn from p(t_2 … t_K | t_1, w), and their log probabilities under the model that drew them."""

    tokens: Tensor
    """Shape ``(count, K)``."""
    log_probabilities: Tensor
    """log p(t_{k+1} | t_1 … t_k), in nats, shape ``(count, K - 1)``."""


def sample_sequences(model: nn.Module, data: Any, count: int, seed: int = 0, length: int | None = None) -> Sequences:
    """``count`` sequences from the model itself, token by token; only first tokens are taken from ``data``.

    A model of the next token has no p(t_1); first tokens are those of rows of ``data`` drawn at random, and ``length``
    is that of its rows by rule. With one seed the random numbers (Gumbel's, added to the log probabilities, the
    largest taken) are the same at every checkpoint, so that a sequence changes only where the model does.

    Raises:
        OntogenyError: if data are not token ids, or a number is out of range.
    """
    rows = as_examples(data, next(model.parameters()).device)
    given = tokens_of(rows.head(1))
    length = given.shape[1] if length is None else length
    for name, value, least in (("count", count, 1), ("length", length, 2)):
        check_whole(name, value, least)
    first = torch.randint(rows.count, (count,), generator=generator(seed, "first tokens"))
    stream = generator(seed, "sequences")
    with undisturbed(model), torch.no_grad():
        tokens = tokens_of(rows.take(first))[:, :1].long()
        found = []
        for _ in range(length - 1):
            logits = logits_of(model, tokens)[:, -1].double().log_softmax(-1)
            noise = torch.rand(logits.shape, generator=stream, dtype=torch.float64).clamp(min=1e-300).to(logits.device)
            chosen = (logits - (-noise.log()).log()).argmax(-1, keepdim=True)
            found.append(logits.gather(-1, chosen))
            tokens = torch.cat([tokens, chosen], 1)
    return Sequences(tokens, torch.cat(found, 1))


def importance_weights(model: nn.Module, sequences: Sequences) -> Tensor:
    """How much more likely the model finds t_1 … t_k than the model that drew it, a position k, shape ``(count, K)``.

    ω_ik ∝ p(t_2 … t_k | t_1, w)/p(t_2 … t_k | t_1, w₀), mean 1 over the sequences at every k: each position is weighted
    by what precedes it alone, so that early positions keep nearly equal weights. With them sequences drawn once serve
    several checkpoints.
    """
    with undisturbed(model), torch.no_grad():
        logits = logits_of(model, sequences.tokens)[:, :-1].double().log_softmax(-1)
        now = logits.gather(-1, sequences.tokens[:, 1:, None])[..., 0]
    ratio = (now - sequences.log_probabilities.to(now)).cumsum(1)
    ratio = torch.cat([torch.zeros_like(ratio[:, :1]), ratio], 1)
    return (ratio - ratio.logsumexp(0)).exp() * len(ratio)
