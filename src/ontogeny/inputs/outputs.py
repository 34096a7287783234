"""Where the model hands over to the loss: its output, caught while the loss function runs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.types import Batch, Params
from ontogeny.inputs.losses import ModuleLoss
from ontogeny.operators.gauss_newton import Outputs


def split_at_output(loss: ModuleLoss, params: Params, batch: Batch) -> Outputs:
    """What the model returns when the loss function calls it, z, and the losses that are made of it, ``(batch,)``.

    z is a tensor, or the ``logits`` of what is returned. So no loss function has to be written in two parts.

    Raises:
        OntogenyError: if the model is not called exactly once, or returns neither.
    """
    caught: list[Any] = []

    def catch(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        caught.append(output if isinstance(output, Tensor) else getattr(output, "logits", output))

    hook = loss.module.register_forward_hook(catch)
    try:
        losses = loss(params, batch)
    finally:
        hook.remove()
    if len(caught) != 1:
        raise OntogenyError(
            f"loss_fn must call the model once, as loss_fn(model, batch) does with model(inputs), for its output to be "
            f"told from its loss; it called it {len(caught)} times. og.metrics.hessian_trace and "
            "og.metrics.empirical_fisher_trace take any loss."
        )
    if not isinstance(caught[0], Tensor):
        raise OntogenyError(
            "model must return a tensor, or an object with a tensor called logits, for its output to be told from its "
            f"loss; it returned {type(caught[0]).__name__}."
        )
    return Outputs(caught[0], losses)
