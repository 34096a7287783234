"""A model and a loss function as one pure function of the sampled weights; the model itself is never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ontogeny.core.differentiation import differentiated_at_most_once
from ontogeny.core.errors import NotFiniteError, OntogenyError, class_and_first_line
from ontogeny.core.types import Batch, Params
from ontogeny.inputs.components import Masks
from ontogeny.inputs.datasets import Examples
from ontogeny.inputs.fused_activations import fuse_activations, writes_out_activations
from ontogeny.inputs.fused_attention import FusedAttention
from ontogeny.inputs.one_head import OneHead, one_head
from ontogeny.inputs.precision import at_least_float32, forward_dtype, forward_in, frozen_in_forward_dtype
from ontogeny.inputs.shared_forward import CutModel, Entering, shallow_copy
from ontogeny.inputs.slices import slice_of

LossFunction = Callable[[nn.Module, Any], Tensor]


class _Pair(nn.Module):
    """Model and loss function as one module, which is what ``functional_call`` can swap weights in."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: Any) -> Tensor:
        return self.loss_fn(self.model, batch)


class ModuleLoss:
    """``loss_fn(model, batch)`` as ``loss(params, batch) -> (batch,)``, params the selected weights by parameter name.

    Of a parameter that is sampled in part, ``params`` holds that part alone. Every floating-point weight and buffer is
    a copy in the sampling dtype; positions are averaged within an example. With ``cut``, minibatches may be
    :class:`ontogeny.inputs.shared_forward.Entering`, and the forward pass below the cut is left out.

    With ``precision`` "bfloat16" matrices that are not sampled are copies in bfloat16, and matrix products are computed
    in it; losses are averaged in float32. On a language model of 260,032 parameters an example's L(w) - L(w*) is then
    off by 0.7e-3 nats (last layer's weights) to 2.4e-3 (first layer's), at random and however near w is to w*; with
    logits in bfloat16 too, which ``NextToken`` avoids, by 1.9e-3 to 3.0e-3.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        selected: Masks,
        dtype: torch.dtype,
        device: torch.device,
        cut: CutModel | None = None,
        precision: str | None = None,
    ) -> None:
        self._dtype, self._device, self._forward = dtype, device, forward_dtype(precision)
        self.chains_at_once: int | None = None  # all of them
        self._cut, self._head = cut, None
        called = model if cut is None else cut.model
        if writes_out_activations(called):
            called = called if cut is not None else shallow_copy(model, {})
            fuse_activations(called)
        narrow = frozen_in_forward_dtype(model) - set(selected) if self._forward is not None else set()
        copies = {
            f"model.{name}": value.detach().to(
                device=device,
                dtype=self._forward if name in narrow else dtype if value.is_floating_point() else None,
            )
            for name, value in model.named_parameters()
        }
        copies |= {  # copied, since a forward pass may count or average in them
            f"model.{name}": value.detach().to(
                device=device, dtype=dtype if value.is_floating_point() else None, copy=True
            )
            for name, value in model.named_buffers()
        }
        some = {name: mask for name, mask in selected.items() if mask is None or bool(mask.any())}
        self._slices = {name: slice_of(mask, device) for name, mask in some.items()}
        self.center: Params = {name: part.take(copies[f"model.{name}"]).clone() for name, part in self._slices.items()}
        self._frozen = copies
        alone = one_head(model, self._slices) if self._forward is None else None
        if alone is not None:
            called = called if called is not model else shallow_copy(model, {})
            self._head = OneHead(called, *alone)
            self._frozen |= self._head.at_center(copies, "model.")
        self._pair = _Pair(called, loss_fn)

    @property
    def rounding(self) -> float:
        """Relative rounding error of a product in the forward pass."""
        return torch.finfo(self._forward or self._dtype).eps

    @property
    def weights(self) -> int:
        """How many weights the model has, sampled or not."""
        return sum(parameter.numel() for parameter in self._pair.model.parameters())

    @property
    def module(self) -> nn.Module:
        """What the loss function is given as the model."""
        return self._pair.model

    def raw(self, params: Params, batch: Batch) -> Tensor:
        """What the loss function returns, unreduced and unchecked."""
        if self._head is not None:
            weights = self._frozen | self._head.names(params, "model.")
        else:
            weights = dict(self._frozen)
            for name, value in params.items():
                weights[f"model.{name}"] = self._slices[name].put(self._frozen[f"model.{name}"], value)
        with ExitStack() as inside:
            inside.enter_context(forward_in(self._forward, self._device))
            if self._forward is None and differentiated_at_most_once():
                inside.enter_context(FusedAttention())
            if self._head is not None:
                inside.enter_context(self._head.active())
            if isinstance(batch, Entering):
                assert self._cut is not None
                inside.enter_context(self._cut.entered(batch.hidden))
                batch = batch.batch
            return functional_call(self._pair, weights, (batch,))

    def __call__(self, params: Params, batch: Batch) -> Tensor:
        """One loss per example, shape ``(batch,)``."""
        losses = at_least_float32(self.raw(params, batch))
        return losses if losses.dim() == 1 else losses.flatten(1).mean(1)


class Potential:
    """A problem without data: a loss that is a function of the weights alone, around ``w_star``.

    Args:
        function: maps weights shaped as ``w_star`` (a tensor, or a dict of tensors) to a scalar loss.
        w_star: where the chains start and the loss is compared with.

    >>> import torch
    >>> quartic = Potential(lambda w: (w**4).sum(), torch.zeros(1))
    """

    def __init__(self, function: Callable[[Any], Tensor], w_star: Tensor | Params) -> None:
        if not callable(function):
            raise OntogenyError(
                f"function must be a callable of the weights that returns a scalar; got {type(function).__name__}."
            )
        self.function = function
        self.w_star = w_star
        self._bare = isinstance(w_star, Tensor)
        named = {"w": w_star} if isinstance(w_star, Tensor) else w_star
        floating = isinstance(named, dict) and all(
            isinstance(value, Tensor) and value.is_floating_point() and value.numel() for value in named.values()
        )
        if not (floating and named):
            raise OntogenyError(
                "w_star must be a floating-point tensor with at least one weight, or a dict of such tensors; "
                f"got {type(w_star).__name__}. Turn numbers into one with torch.as_tensor."
            )
        self.center: Params = {name: value.detach().clone() for name, value in named.items()}

    def to(self, dtype: torch.dtype, device: torch.device | None) -> Potential:
        """The same problem with its weights in ``dtype`` on ``device``."""
        out = Potential(self.function, self.w_star)
        out.center = {name: value.to(device=device, dtype=dtype) for name, value in self.center.items()}
        return out

    def __call__(self, params: Params, batch: Batch) -> Tensor:
        """The loss as a batch of one, shape ``(1,)``."""
        return self.function(params["w"] if self._bare else params).reshape(1)


def check_potential(problem: Potential) -> None:
    """Try the function once at w_star and refuse what cannot be sampled.

    Raises:
        OntogenyError: if it returns no scalar tensor, is not finite, or does not depend on the weights.
    """
    leaves = {name: value.detach().clone().requires_grad_() for name, value in problem.center.items()}
    with torch.enable_grad():
        value = problem.function(leaves["w"] if isinstance(problem.w_star, Tensor) else leaves)
    if not (isinstance(value, Tensor) and value.numel() == 1):
        came = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise OntogenyError(f"function must return a scalar tensor, the loss at the weights it was given; got {came}.")
    if not bool(value.isfinite()):
        raise OntogenyError("model: the Potential must be finite at w_star; it is NaN or infinite there.")
    if not value.requires_grad:
        raise OntogenyError(
            "function does not depend on the weights it is given, or its gradient is cut off; expected a scalar that "
            "torch can differentiate."
        )


def check_loss(loss: ModuleLoss, examples: Examples, batch_size: int) -> None:
    """Try the loss once at w* and refuse what cannot be sampled.

    Raises:
        OntogenyError: if the loss is no tensor with a value per example (and position), is not finite at w*, or does
            not depend on a selected weight, or if predictions and targets were broadcast against one another.
    """
    leaves = {name: value.detach().clone().requires_grad_() for name, value in loss.center.items()}
    with torch.enable_grad():
        losses = _first_losses(loss, leaves, examples.head(batch_size))
        if not isinstance(losses, Tensor) or losses.dim() == 0 or losses.shape[0] != batch_size:
            came = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
            raise OntogenyError(
                f"loss_fn must return one loss per example, shape ({batch_size},), or per position, "
                f"shape ({batch_size}, positions); got {came}. With torch's losses pass reduction='none'."
            )
        if losses.dim() > 1 and losses.shape[1] == batch_size > 1:
            fewer = loss.raw(leaves, examples.head(batch_size - 1))
            if fewer.dim() > 1 and fewer.shape[1] == batch_size - 1:
                raise OntogenyError(
                    f"loss_fn must return one loss per example; it crosses every example with every other, shape "
                    f"({batch_size}, {batch_size}), as outputs of shape (batch, 1) and targets of shape (batch,) do. "
                    "Give both one shape, as with output.squeeze(1)."
                )
        bad = int((~losses.isfinite()).sum())
        if bad:
            raise NotFiniteError(
                f"loss_fn must be finite at w*: {bad} of {losses.numel()} losses of the first batch are NaN or "
                "infinite. Check the model's weights and the data."
            )
        found: Any = (None,) * len(leaves)
        if losses.requires_grad:
            found = torch.autograd.grad(losses.mean(), list(leaves.values()), allow_unused=True)
    unused = [name for name, gradient in zip(leaves, found, strict=True) if gradient is None]
    if len(unused) == len(leaves):
        raise OntogenyError(
            "loss_fn must be differentiable: its losses have no gradient in any sampled weight, as after argmax, "
            "round, detach or torch.no_grad; use a loss that has one."
        )
    if unused:
        raise OntogenyError(
            f"components: the loss does not depend on {', '.join(unused)}, so no gradient reaches it and only γ would "
            "be sampled there; leave it out of components."
        )


def loss_positions(loss: ModuleLoss, examples: Examples) -> int:
    """How many losses an example has; 1 where it has one."""
    with torch.no_grad():
        losses = _first_losses(loss, loss.center, examples.head(2))
    return max(losses[0].numel(), 1) if isinstance(losses, Tensor) and losses.dim() > 1 else 1


def _first_losses(loss: ModuleLoss, params: Params, batch: Batch) -> Tensor:
    """The caller's code on the first batch; what it raises is said in one sentence, with what it was given."""
    try:
        return loss.raw(params, batch)
    except OntogenyError:
        raise
    except Exception as error:
        raise OntogenyError(
            f"loss_fn(model, batch) fails on the first batch, {_shape(batch)}: {class_and_first_line(error)}; batch "
            "has the form of data (a plain dict of data means several data sets, so tensors by name go in as "
            "{'train': {...}})."
        ) from error


def _shape(batch: Batch) -> str:
    if isinstance(batch, Entering):
        return _shape(batch.batch)
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    if isinstance(batch, dict):
        return "a dict of " + ", ".join(f"{name}: {_shape(part)}" for name, part in batch.items())
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of " + ", ".join(_shape(part) for part in batch)
    return f"a {type(batch).__name__}"


@contextmanager
def undisturbed(model: nn.Module | None) -> Iterator[None]:
    """Evaluation mode inside, the caller's modes and global random state as they were outside.

    Attention runs on its plain path: torch's fused ones, for evaluation and on processors, can be neither batched over
    chains nor differentiated twice.
    """
    modes = {} if model is None else {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.random.fork_rng(), torch.inference_mode(False), sdpa_kernel(SDPBackend.MATH):
            if model is not None:
                model.eval()
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes.items():
            module.training = training
