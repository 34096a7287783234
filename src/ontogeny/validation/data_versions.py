"""Data sets whose mean loss is a problem's potential exactly: whitened inputs, and residuals orthogonal to them.

Each function here makes a ``DataVersion``: (examples, seed, label noise) -> model at w*, data, loss_fn, in float64.
The model's parameters, flattened in order, move as the problem's weights do: L(w* + u) has the same u.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.inputs.losses import LossFunction

if TYPE_CHECKING:
    from ontogeny.validation.problem import DataVersion

Version = tuple[nn.Module, tuple[Tensor, ...], LossFunction]


def _normal(*shape: int, stream: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=stream, dtype=torch.float64)


def need(examples: int, least: int, multiple: int = 1) -> None:
    """Raises OntogenyError unless ``examples`` is a multiple of ``multiple`` and at least ``least``."""
    if examples < least or examples % multiple:
        every = f", a multiple of {multiple}" if multiple > 1 else ""
        raise OntogenyError(f"examples must be at least {least}{every} for this problem's data; got {examples}.")


def white_inputs(examples: int, dim: int, stream: torch.Generator) -> Tensor:
    """X of shape (examples, dim) with XᵀX/n = I exactly."""
    q, _ = torch.linalg.qr(_normal(examples, dim, stream=stream))
    return q * examples**0.5


def residuals(inputs: Tensor, outputs: int, size: float, stream: torch.Generator) -> Tensor:
    """E of shape (examples, outputs) with XᵀE = 0 exactly and mean square ``size``² in each column."""
    noise = _normal(len(inputs), outputs, stream=stream)
    q, _ = torch.linalg.qr(inputs)
    for _ in range(2):  # the second pass removes what rounding left
        noise = noise - q @ (q.T @ noise)
    return noise * (size / noise.square().mean(0).sqrt()) if size else torch.zeros_like(noise)


class LinearNetwork(nn.Sequential):
    """x -> W_L … W_1 x, without biases, from given layer weights."""

    def __init__(self, layers: Sequence[Tensor]) -> None:
        super().__init__(*(nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=torch.float64) for w in layers))
        for layer, weight in zip(self.children(), layers, strict=True):
            layer.weight = nn.Parameter(weight.detach().clone())


def half_squares(model: nn.Module, batch: Any) -> Tensor:
    """½‖y - model(x)‖², one value per example."""
    inputs, targets = batch
    return 0.5 * (targets - model(inputs)).square().sum(-1)


def squares(model: nn.Module, batch: Any) -> Tensor:
    """‖y - model(x)‖², one value per example."""
    return 2 * half_squares(model, batch)


def linear_regression(factor: Tensor) -> DataVersion:
    """½(y - w·x)² with XᵀX/n = F Fᵀ, F of shape (d, rank): the quadratic with that Hessian, at a random truth."""

    def make(examples: int, seed: int, label_noise: float) -> Version:
        stream = generator(seed, "linear regression")
        rank = factor.shape[1]
        need(examples, rank + 1)
        white = white_inputs(examples, rank, stream)
        truth = _normal(1, len(factor), stream=stream)
        inputs = white @ factor.T
        targets = inputs @ truth.T + residuals(white, 1, label_noise, stream)
        return LinearNetwork([truth]), (inputs, targets), half_squares

    return make


def linear_network(w_star: Sequence[Tensor]) -> DataVersion:
    """½‖y - W_L … W_1 x‖² with XᵀX/n = I and y = truth·x + residual, the truth being the product at w*."""

    def make(examples: int, seed: int, label_noise: float) -> Version:
        stream = generator(seed, "linear network")
        layers = [weight.double() for weight in w_star]
        need(examples, layers[0].shape[1] + 1)
        inputs = white_inputs(examples, layers[0].shape[1], stream)
        model = LinearNetwork(layers)
        noise = residuals(inputs, layers[-1].shape[0], label_noise, stream)
        return model, (inputs, model(inputs).detach() + noise), half_squares

    return make


class Monomial(nn.Module):
    """x -> x·∏ w_i^{k_i}, x of shape (batch, 1)."""

    def __init__(self, powers: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(powers), dtype=torch.float64))
        self.powers = tuple(powers)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, 1)."""
        product = self.weight[0] ** self.powers[0]
        for i, power in enumerate(self.powers[1:], start=1):
            product = product * self.weight[i] ** power
        return x * product


def monomial_regression(powers: Sequence[int]) -> DataVersion:
    """(y - x·∏ w_i^{k_i})² with mean x² = 1 and y a residual orthogonal to x."""

    def make(examples: int, seed: int, label_noise: float) -> Version:
        stream = generator(seed, "monomial")
        need(examples, 2)
        inputs = white_inputs(examples, 1, stream)
        return Monomial(powers), (inputs, residuals(inputs, 1, label_noise, stream)), squares

    return make


class Bias(nn.Module):
    """The same logits for every example."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes, dtype=torch.float64))

    def forward(self, labels: Tensor) -> Tensor:
        """Shape (batch, classes)."""
        return self.bias.expand(len(labels), -1)


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """-log softmax(model(labels))[label], one value per example."""
    (labels,) = batch
    return functional.cross_entropy(model(labels), labels, reduction="none")


def softmax_labels(classes: int) -> DataVersion:
    """As many examples of each class, in random order."""

    def make(examples: int, seed: int, label_noise: float) -> Version:
        need(examples, classes, classes)
        order = torch.randperm(examples, generator=generator(seed, "softmax"))
        return Bias(classes), ((torch.arange(examples) % classes)[order],), cross_entropy

    return make


def log_loss(model: nn.Module, batch: Any) -> Tensor:
    """Negative log likelihood of labels in {0, 1} under σ(model(x)), one value per example."""
    inputs, labels = batch
    return functional.softplus(model(inputs)[:, 0]) - labels * model(inputs)[:, 0]


def logistic_regression(inputs: Tensor, ones_of_four: Sequence[int], w_star: Tensor) -> DataVersion:
    """Each row of ``inputs`` equally often, with ``ones_of_four`` quarters of its labels one."""

    def make(examples: int, seed: int, label_noise: float) -> Version:
        rows = len(inputs)
        need(examples, 4 * rows, 4 * rows)
        index = torch.arange(examples)
        row, quarter = index % rows, index // rows % 4
        labels = (quarter < torch.tensor(ones_of_four)[row]).double()
        order = torch.randperm(examples, generator=generator(seed, "logistic"))
        model = LinearNetwork([w_star.double()[None]])
        return model, (inputs.double()[row][order], labels[order]), log_loss

    return make


class TanhUnits(nn.Module):
    """x -> Σ a_i tanh(b_i x), x of shape (batch, 1)."""

    def __init__(self, outgoing: Tensor, incoming: Tensor) -> None:
        super().__init__()
        self.outgoing = nn.Parameter(outgoing.double())
        self.incoming = nn.Parameter(incoming.double())

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, 1)."""
        return (torch.tanh(x * self.incoming) * self.outgoing).sum(-1, keepdim=True)


def tanh_regression(positive: Tensor, outgoing: Tensor, incoming: Tensor) -> DataVersion:
    """½(y - Σ a_i tanh(b_i x))², x each of ±``positive`` equally often, residuals of mean zero at every x."""

    def make(examples: int, seed: int, label_noise: float) -> Version:
        stream = generator(seed, "tanh")
        values = torch.cat([-positive, positive]).double()
        groups = len(values)
        need(examples, 2 * groups if label_noise else groups, groups)
        inputs = values.repeat(examples // groups)
        model = TanhUnits(outgoing, incoming)
        membership = functional.one_hot(torch.arange(examples) % groups, groups).double()
        noise = residuals(membership, 1, label_noise, stream)
        order = torch.randperm(examples, generator=stream)
        data = inputs[order, None], (model(inputs[:, None]).detach() + noise)[order]
        return model, data, half_squares

    return make
