"""Losses of language models per position: next-token cross-entropy, and divergence from a reference model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ontogeny.core.differentiation import differentiated_at_most_once
from ontogeny.core.errors import OntogenyError, first_line
from ontogeny.core.types import Batch
from ontogeny.inputs.architecture import architecture
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.precision import at_least_float32, in_full, is_lowered
from ontogeny.inputs.unembedding import next_token_losses


class _OfTokens:
    """A loss whose data are tokens, so that they can be looked at before anything is sampled."""

    def check_data(self, model: nn.Module, whole: Batch) -> None:
        """Refuse tokens that a known transformer has no embedding for; ``whole``: all examples, None where unknown.

        Raises:
            OntogenyError: naming the token and the vocabulary.
        """
        known = architecture(model)
        if known is None or whole is None:
            return
        tokens, vocabulary = tokens_of(whole), model.get_parameter(known.embed[0]).shape[0]
        for token in map(int, tokens.aminmax()):
            if not 0 <= token < vocabulary:
                raise OntogenyError(
                    f"data must hold tokens of the model's vocabulary, 0 to {vocabulary - 1}; token {token} is among "
                    "them. Encode the text with the model's own tokenizer."
                )


class NextToken(_OfTokens):
    """-log f_w(t_{k+1} | t_1 … t_k) in nats, shape (batch, positions - 1): equation (1) of Wang et al. (2024).

    ``batch`` is token ids of shape (batch, positions), or a mapping with ``input_ids``; an ``attention_mask`` or
    ``labels`` that leave positions out are refused, since an example's loss is the mean over all its positions.
    The model maps tokens to logits, as a tensor or with an attribute ``logits``.

    >>> import torch
    >>> from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
    >>> model = AttentionOnly(AttentionOnlyConfig(vocabulary=7, context=5, width=8, layers=1, heads=2))
    >>> tuple(NextToken()(model, torch.zeros(3, 5, dtype=torch.long)).shape)
    (3, 4)
    """

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss per position, shape (batch, positions - 1)."""
        tokens = tokens_of(batch)
        targets = tokens[:, 1:].long()
        once = differentiated_at_most_once()
        parts = split(model) if once or is_lowered(tokens.device) else None
        if parts is None:
            logits = logits_of(model, tokens)[:, :-1]
        elif once:
            hidden = parts.hidden(tokens)[:, :-1]
            losses = next_token_losses(hidden.flatten(0, 1), parts.weight, parts.bias, targets.flatten())
            return losses.reshape(targets.shape)
        else:
            logits = parts.logits(tokens)[:, :-1]
        return torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none")

    def identity(self) -> dict[str, str]:
        """What a number computed with this loss depends on."""
        return {"loss": "next token"}


class DivergenceFrom(_OfTokens):
    """D_KL(M(t_1 … t_k) ‖ f_w(t_1 … t_k)) in nats per position, shape (batch, positions - 1): M generates the data.

    Equation (11) of Wang et al. (2024), appendix F.3, with a plus sign (the minus printed there is a slip: at w = M
    the loss has its minimum, 0). The data are contexts; what follows in them is not read, M says what is to be
    predicted. M is a model of the same tokens; a copy of it as it is now, in evaluation mode, is what is kept.

    Raises:
        OntogenyError: if M is no module, or speaks of another vocabulary than the model.
    """

    def __init__(self, reference: nn.Module) -> None:
        if not isinstance(reference, nn.Module):
            raise OntogenyError(
                f"reference must be a torch.nn.Module that maps tokens to logits; got {type(reference).__name__}."
            )
        # a copy, so that M stays where it is when it is the model that is sampled
        self.reference = copy.deepcopy(reference).eval().requires_grad_(False)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """One divergence per position, shape (batch, positions - 1)."""
        tokens = tokens_of(batch)
        try:
            with torch.no_grad():
                wanted = logits_of(self.reference, tokens)[:, :-1].log_softmax(-1)
        except IndexError as error:  # what looking up a token that an embedding lacks raises
            raise OntogenyError(
                "reference must have the model's vocabulary; the tokens of data go beyond what it knows "
                f"({first_line(error)})."
            ) from error
        found = logits_of(model, tokens)[:, :-1].log_softmax(-1)
        if found.shape[-1] != wanted.shape[-1]:
            raise OntogenyError(
                f"reference must have the model's vocabulary, {found.shape[-1]} tokens; it has {wanted.shape[-1]}."
            )
        return (wanted.exp() * (wanted - found)).sum(-1)

    def identity(self) -> dict[str, Any]:
        """What a number computed with this loss depends on; M is told by its content, weights included."""
        return {"loss": "divergence from a reference", "reference": self.reference}


def tokens_of(batch: Batch) -> Tensor:
    """Token ids of shape (batch, positions) from a tensor, a tuple of one, or a mapping with ``input_ids``.

    Raises:
        OntogenyError: for anything else, or fewer than two positions.
    """
    tokens = batch
    if isinstance(batch, Mapping):
        extra = {"attention_mask", "labels"} & set(batch)
        masked = "attention_mask" in extra and not bool((batch["attention_mask"] == 1).all())
        relabelled = "labels" in extra and not bool((batch["labels"] == batch.get("input_ids")).all())
        if masked or relabelled:
            raise OntogenyError(
                "data: attention_mask and labels that leave positions out are not supported, since an example's loss "
                "is the mean over all its positions; cut the texts into rows of equal length, without padding."
            )
        tokens = batch.get("input_ids")
    elif isinstance(batch, tuple | list) and len(batch) == 1:
        tokens = batch[0]
    if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dim() != 2 or tokens.shape[1] < 2:
        came = f"a tensor of shape {tuple(tokens.shape)}, {tokens.dtype}" if isinstance(tokens, Tensor) else type(batch)
        raise OntogenyError(
            "data must be token ids, whole numbers of shape (examples, positions) with at least two positions, or a "
            f"mapping with input_ids; got {came}."
        )
    return tokens


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Logits of shape (batch, positions, vocabulary) from a model that returns them bare or as ``.logits``."""
    out = model(tokens)
    return at_least_float32(out if isinstance(out, Tensor) else out.logits)


class Split(NamedTuple):
    """A model as what comes before the unembedding, tokens -> (batch, positions, d), and logits = hidden·W + b."""

    hidden: Callable[[Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits in float32 where the rest is computed in less: rounded, they would drown L(w) - L(w*)."""
        hidden = at_least_float32(self.hidden(tokens))
        with in_full(tokens.device):
            logits = hidden @ at_least_float32(self.weight)
            return logits if self.bias is None else logits + at_least_float32(self.bias)


def split(model: nn.Module) -> Split | None:
    """The model before its unembedding, where its class is known to end in one linear map; None: unknown.

    A subclass may do anything, and so may a hook on the model or its head: they are called as they are.
    """
    kind: type[nn.Module] = type(model)
    if kind is AttentionOnly and _as_written(model, model.unembed):  # type: ignore[arg-type]
        return Split(model.residual, model.unembed.W_U, model.unembed.b_U)  # type: ignore[union-attr, arg-type]
    if kind.__name__ in PLAIN_HEADS and kind.__module__.startswith("transformers."):
        known: Any = model
        head, body = known.get_output_embeddings(), known.base_model
        if type(head) is nn.Linear and _as_written(model, head):
            return Split(lambda tokens: body(tokens).last_hidden_state, head.weight.T, head.bias)
    return None


def _as_written(*modules: nn.Module) -> bool:
    """Whether the modules do what their classes say: no hook on them, no forward of their own."""
    return not any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__ for module in modules
    )


PLAIN_HEADS = (
    "GPT2LMHeadModel",
    "GPTNeoXForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
)
"""Models of transformers whose logits are one linear map of the last hidden state."""
