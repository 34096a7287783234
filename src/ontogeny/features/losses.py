"""Losses that target one feature f, each with its minimum, 0, at w* (the natural one need not have it there).

    functional    mean over positions of (g(f(w)) - g(f(w*)))², g a threshold: what the computation of f can vary in
    behavioral    D_KL(p_w* ‖ p): the pass is that of w* throughout, but f has its value at w
    natural       the model's own loss of that same pass, less the loss at w*

f(w) is f of the activation at the site when the model runs with weights w. In the last two only that number of w is
handed on: at w*'s activation h* the intervened pass has h* moved along f's gradient until f(h) = f(w), and everything
above, and everything else at the site, is w*'s. Source: "feature targeted LLC estimation".
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.types import Batch
from ontogeny.features.feature import Feature, Projection
from ontogeny.features.sites import Site, activation, inputs_of, locate, watched
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.losses import LossFunction
from ontogeny.inputs.precision import at_least_float32

GATES = ("relu", "cut")


class Targeted(NamedTuple):
    """A minibatch, and what w* gives on it, one row an example."""

    batch: Batch
    target: Tensor


class OfChain(NamedTuple):
    """A minibatch for a chain that has a direction and a threshold of its own."""

    batch: Batch
    direction: Tensor
    threshold: Tensor


class AtCenter:
    """The model at w*, a frozen copy in evaluation mode, and where the feature is read.

    Args:
        model: the model at w*.
        site: where.
        dtype: of its floating-point weights; None: as they are.
        device: where it is kept; None: where the model is.
    """

    def __init__(
        self, model: nn.Module, site: Site, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> None:
        self.site, self.place = site, locate(model, site)
        # as any module: TransformerLens has a `to` of its own, with other arguments
        self.model = nn.Module.to(copy.deepcopy(model).eval().requires_grad_(False), device=device, dtype=dtype)

    def hidden(self, batch: Batch) -> Tensor:
        """h*, the activation at the site, (batch, ..., width)."""
        return self.seen(self.model, batch)

    def seen(self, model: nn.Module, batch: Batch) -> Tensor:
        """h, the activation at the same site of a model with other weights, in float32 at least."""
        return at_least_float32(activation(model, batch, self.place))

    def logits(self, batch: Batch) -> Tensor:
        """The model's output, (batch, ..., vocabulary)."""
        out = self.model(inputs_of(batch))
        return at_least_float32(out if isinstance(out, Tensor) else out.logits)

    def edited(self, edit: Callable[[Tensor], Tensor], run: Callable[[], Tensor]) -> Tensor:
        """What ``run`` returns when the activation at the site is edited."""
        with watched(self.model, self.place, edit):
            return run()


@dataclass(frozen=True)
class Functional:
    """ℓ(x) = mean over positions of (g(f(w, x)) - g(f(w*, x)))².

    Args:
        threshold: θ in standard deviations of f over positions and examples at w*; None: no threshold, g(p) = p.
        gate: "relu", g(p) = max(p - θ, 0), the default; or "cut", g(p) = p where p > θ, else 0. The latter jumps at θ,
            and a gradient does not see the jump: chains that follow it sample another density than that of this loss.
        log: log(1 + ℓ) of each example in place of ℓ, with the same λ and gentler far from w*; the log of a minibatch's
            mean would be biased.

    Raises:
        OntogenyError: if the threshold is no number, or the gate another word.
    """

    threshold: float | None = 1.0
    gate: str = "relu"
    log: bool = False
    kind: ClassVar[str] = "functional"

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise OntogenyError(f"gate must be one of {', '.join(GATES)}; got {self.gate!r}.")
        value = self.threshold
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value != value):
            raise OntogenyError(
                f"threshold must be a number of standard deviations, or None for no threshold; got {value!r}."
            )

    def target(self, center: AtCenter, batch: Batch) -> Tensor:
        """h*, (batch, ..., width)."""
        return center.hidden(batch)

    def losses(
        self, center: AtCenter, model: nn.Module, batch: Batch, target: Tensor, feature: Feature, threshold: Tensor
    ) -> Tensor:
        """ℓ of each example, (batch,)."""
        found = feature.value(center.seen(model, batch))
        wanted = feature.value(target)
        if self.threshold is not None:
            found, wanted = self._gated(found, threshold), self._gated(wanted, threshold)
        return by_example((found - wanted).square())

    def _gated(self, values: Tensor, threshold: Tensor) -> Tensor:
        return torch.relu(values - threshold) if self.gate == "relu" else values * (values > threshold)


@dataclass(frozen=True)
class Behavioral:
    """ℓ(x) = mean over positions of D_KL(p_w*(x) ‖ p(x)), nats; p is of w*'s pass with f at its value at w.

    Args:
        log: log(1 + ℓ) of each example in place of ℓ.
    """

    log: bool = False
    threshold: ClassVar[None] = None
    kind: ClassVar[str] = "behavioral"

    def target(self, center: AtCenter, batch: Batch) -> Tensor:
        """The logits of w*, (batch, ..., vocabulary)."""
        return center.logits(batch)

    def losses(
        self, center: AtCenter, model: nn.Module, batch: Batch, target: Tensor, feature: Feature, threshold: Tensor
    ) -> Tensor:
        """ℓ of each example, (batch,)."""
        found = feature.value(center.seen(model, batch))
        logits = center.edited(moving(feature, found), lambda: center.logits(batch))
        return by_example(divergence(target, logits))


@dataclass(frozen=True)
class Natural:
    """ℓ(x) = L(x; w*'s pass with f at its value at w) - L(x; w*), L the model's own loss.

    w* need not be a minimum of it: a direction in which the mean loss falls makes λ̂ low, even negative. The short
    descent of ``og.estimate_llc`` says so, of many the gradient's part in ``second_order_features``. log(1 + ℓ) is not
    finite where ℓ falls to -1.

    Args:
        loss_fn: ``loss_fn(model, batch)``, per example or position; None: ``NextToken()``.
        log: log(1 + ℓ) of each example in place of ℓ.
    """

    loss_fn: LossFunction | None = None
    log: bool = False
    threshold: ClassVar[None] = None
    kind: ClassVar[str] = "natural"

    def target(self, center: AtCenter, batch: Batch) -> Tensor:
        """L(x; w*), (batch,)."""
        return by_example(self._own(center, batch))

    def losses(
        self, center: AtCenter, model: nn.Module, batch: Batch, target: Tensor, feature: Feature, threshold: Tensor
    ) -> Tensor:
        """ℓ of each example, (batch,)."""
        found = feature.value(center.seen(model, batch))
        return by_example(center.edited(moving(feature, found), lambda: self._own(center, batch))) - target

    def _own(self, center: AtCenter, batch: Batch) -> Tensor:
        return at_least_float32((self.loss_fn or NextToken())(center.model, batch))


Rule = Functional | Behavioral | Natural
RULES: dict[str, type[Functional] | type[Behavioral] | type[Natural]] = {
    rule.kind: rule for rule in (Functional, Behavioral, Natural)
}


def as_rule(loss: Any) -> Rule:
    """One of the three losses, given as such or by its name.

    Raises:
        OntogenyError: if it is none.
    """
    if isinstance(loss, str) and loss in RULES:
        return RULES[loss]()
    if isinstance(loss, Functional | Behavioral | Natural):
        return loss
    raise OntogenyError(
        f"loss must be one of {', '.join(map(repr, RULES))}, or Functional(...), Behavioral(...), Natural(...); got "
        f"{loss!r}."
    )


class FeatureLoss:
    """``loss_fn(model, batch) -> (batch,)`` of ``og.estimate_llc`` for one feature.

    What w* gives is computed on every minibatch anew, unless the batch is :class:`Targeted` and holds it.

    Args:
        center: the model at w*.
        rule: which of the three losses.
        feature: f.
        threshold: θ in units of f; not read where the rule has none.
    """

    def __init__(self, center: AtCenter, rule: Rule, feature: Feature, threshold: float = 0.0) -> None:
        self.center, self.rule, self.feature, self.threshold = center, rule, feature, threshold

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss per example, shape (batch,)."""
        feature: Feature = self.feature
        threshold: Any = self.threshold
        if isinstance(batch, OfChain):
            batch, feature, threshold = batch.batch, Projection(batch.direction), batch.threshold
        if isinstance(batch, Targeted):
            batch, target = batch
        else:
            with torch.no_grad():
                target = self.rule.target(self.center, batch)
        losses = self.rule.losses(self.center, model, batch, target, feature, threshold)
        return torch.log1p(losses) if self.rule.log else losses


def moving(feature: Feature, values: Tensor) -> Callable[[Tensor], Tensor]:
    """An edit of an activation that brings the feature to these values and follows its normal flow to get there."""
    return lambda hidden: feature.moved(at_least_float32(hidden), values).to(hidden.dtype)


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """D_KL(softmax(before) ‖ softmax(after)) over the last axis, nats, both logits.

    = log Σ p·exp(Δ - m) with Δ = after - before, m = Σ p·Δ, so that the divergence of nearly equal logits is not the
    difference of large numbers.
    """
    p, change = before.softmax(-1), after - before
    centred = change - (p * change).sum(-1, keepdim=True)
    return (p * centred.expm1()).sum(-1).log1p()


def by_example(values: Tensor) -> Tensor:
    """The mean over everything but the first axis, (batch,)."""
    return values if values.dim() == 1 else values.flatten(1).mean(1)
