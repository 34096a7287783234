"""Which law of the targets a loss stands for, told from its derivatives in the model's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError

CLOSE = 1e-3
"""Relative difference that rounding explains."""


@dataclass(frozen=True)
class Law:
    """p(y|z) ∝ exp(-ℓ(z, y)) for every position, and how much each counts in the mean loss.

    "categorical": cross-entropy of softmax(z) over the last axis; "normal": squared error, y around z.
    """

    kind: Literal["categorical", "normal"]
    output: Tensor
    scale: Tensor
    """Categorical: the weight of a position, shape of z without its last axis; normal: ∂²L/∂z², shape of z."""

    def draw(self, stream: torch.Generator) -> Tensor:
        """∂L/∂z up to the square root of the weight, targets drawn from the law: mean 0, covariance ∂²L/∂z².

        With one stream a draw at another checkpoint uses the same random numbers (of Gumbel's law: the target of a
        position stays the same as long as the logits change little).
        """
        noise = torch.rand(self.output.shape, generator=stream, dtype=torch.float64, device=stream.device)
        noise = noise.clamp(min=1e-300).to(self.output.device)
        if self.kind == "normal":
            uniform = (2 * noise - 1).clamp(-1 + 1e-15, 1 - 1e-15)
            return self.scale.sqrt() * torch.erfinv(uniform).mul(2**0.5).to(self.output)
        chosen = (self.output.double() - (-noise.log()).log()).argmax(-1, keepdim=True)
        error = self.output.softmax(-1).scatter_add(-1, chosen, -torch.ones_like(self.output[..., :1]))
        return self.scale.sqrt().unsqueeze(-1) * error


def law_of(output: Tensor, losses: Tensor, name: str = "loss_fn") -> Law:
    """The law that the mean of ``losses`` stands for, ``output`` being in its computation.

    For cross-entropy ∂²L/∂z² is a·(diag(p) - ppᵀ) by position, p = softmax(z), for squared error a·1; a follows from
    one product with a random vector, and the form is checked with another (and a is no function of z). Where a is 0 a
    squared error has no slope; what is added to one that bends nowhere else is not seen.

    Raises:
        OntogenyError: if it is neither.
    """
    (slope,) = torch.autograd.grad(losses.mean(), output, create_graph=True)
    value = output.detach()
    plain = [_normal_like(value, seed) for seed in (0, 1)]
    if slope.requires_grad:

        def bend(vector: Tensor) -> Tensor:
            return torch.autograd.grad(slope, output, vector, create_graph=True)[0]

        if value.dim() > 1 and value.shape[-1] > 1:
            first, second = (_but_for_the_likeliest(value, vector) for vector in plain)
            law = _categorical(value, first, bend(first).detach())
            if _close(_bend(law, second), bend(second).detach()):
                return law
        image = bend(plain[0])
        if not _depends_on(image, output):
            law = _normal(value, plain[0], image.detach())
            flat = law.scale == 0  # as far out in Huber's loss, and everywhere in an absolute error
            if not slope.detach()[flat].any() and _close(_bend(law, plain[1]), bend(plain[1]).detach()):
                return law
    raise OntogenyError(
        f"{name} must be a negative log-likelihood whose targets can be drawn: cross-entropy of logits over the last "
        f"axis of the model's output, or a squared error; its derivatives in the output (shape "
        f"{tuple(value.shape)}) are of neither. og.metrics.empirical_fisher_trace takes any loss."
    )


def _depends_on(image: Tensor, output: Tensor) -> bool:
    """Whether the second derivative changes with the output, as no squared error's does."""
    if not image.requires_grad:
        return False
    (third,) = torch.autograd.grad(image.sum(), output, retain_graph=True, allow_unused=True)
    return third is not None and bool(third.any())


def _but_for_the_likeliest(output: Tensor, vector: Tensor) -> Tensor:
    """The vector with 0 for each position's likeliest class.

    A covariance of classes does not see a constant, and so none is lost; without this all that is left of a position
    where one class has nearly all the probability would be the difference of two numbers that agree to rounding.
    """
    return vector.scatter(-1, output.argmax(-1, keepdim=True), 0.0)


def _categorical(output: Tensor, vector: Tensor, image: Tensor) -> Law:
    covariance = _of_softmax(output, vector)
    size = (vector * covariance).sum(-1)
    scale = (vector * image).sum(-1) / size.clamp(min=torch.finfo(size.dtype).tiny)
    # where one class has all the probability rounding decides, and nothing can be drawn but that class
    return Law("categorical", output, scale.clamp(min=0))


def _normal(output: Tensor, vector: Tensor, image: Tensor) -> Law:
    return Law("normal", output, (image / vector).clamp(min=0))


def _of_softmax(output: Tensor, vector: Tensor) -> Tensor:
    """(diag(p) - ppᵀ)·v."""
    p = output.softmax(-1)
    return p * (vector - (p * vector).sum(-1, keepdim=True))


def _bend(law: Law, vector: Tensor) -> Tensor:
    if law.kind == "normal":
        return law.scale * vector
    return law.scale.unsqueeze(-1) * _of_softmax(law.output, vector)


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= CLOSE * expected.norm().clamp(min=torch.finfo(expected.dtype).tiny))


def _normal_like(value: Tensor, seed: int) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(value.shape, generator=stream, dtype=torch.float64).to(value)
