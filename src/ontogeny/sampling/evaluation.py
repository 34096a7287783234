"""How the loss and its gradient are computed for many chains at once: stacked, batched by vmap, or one by one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from ontogeny.core.differentiation import at_most_once
from ontogeny.core.rng import generator
from ontogeny.core.trees import tree_map
from ontogeny.core.types import Batch, Loss, LossByChain, Params, StackedLoss

LEFT_FREE = 0.25
"""The share of free memory that chains side by side do not count on."""

Mode = Literal["stacked", "vmap", "serial"]
T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and gradient of every chain.

    ``axis`` is where the chain axis of the parameters lies: last for ``stacked`` (chains innermost in memory), first
    otherwise. ``losses(params, batch) -> (2, chains)``: the mean over the batch, and the mean over its first half less
    that over its second, which tells how much of the first is the batch's doing.
    ``gradients(params, batch) -> (gradients of the mean, (2, chains))``. All three modes compute the same numbers to
    rounding.
    """

    mode: Mode
    axis: int
    losses: Callable[[Params, Batch], Tensor]
    gradients: Callable[[Params, Batch], tuple[Params, Tensor]]
    together: Callable[[Params, Sequence[Batch]], list[tuple[Params, Tensor]]] | None = None
    """``gradients`` of several minibatches of one size in one batched call; None: one after the other."""

    def of_parts(self, params: Params, parts: Sequence[Batch]) -> list[tuple[Params, Tensor]]:
        """``gradients`` on each part of a minibatch."""
        if self.together is None or len(parts) == 1:
            return [self.gradients(params, part) for part in parts]
        return self.together(params, parts)


def mean_and_gap(per_example: Tensor) -> Tensor:
    """Mean over the leading axis, and first half less second half; shape ``(batch, ...) -> (2, ...)``."""
    half = per_example.shape[0] // 2
    mean = per_example.mean(0)
    if not half:
        return torch.stack([mean, torch.zeros_like(mean)])
    return torch.stack([mean, per_example[:half].mean(0) - per_example[half : 2 * half].mean(0)])


def _stacked(loss: StackedLoss) -> Evaluation:
    def losses(params: Params, batch: Batch) -> Tensor:
        return mean_and_gap(loss.stacked(params, batch))

    def total(params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
        per_chain = losses(params, batch)
        return per_chain[0].sum(), per_chain  # chains do not interact, so the sum's gradient is every chain's own

    def gradients(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        gradient, (_, per_chain) = grad_and_value(total, has_aux=True)(params, batch)
        return gradient, per_chain

    return Evaluation("stacked", -1, losses, gradients)


def _once(function: Callable[[Params, Batch], T]) -> Callable[[Params, Batch], T]:
    """The same, with the loss told that it will not be differentiated twice."""

    def told(params: Params, batch: Batch) -> T:
        with at_most_once():
            return function(params, batch)

    return told


def chains_at_once(bytes_per_chain: float, free: float) -> int:
    """How many chains' activations fit into ``free`` bytes, a quarter of which is left to everything else.

    A power of two, so that a little more or less memory in use changes no number.

    >>> chains_at_once(bytes_per_chain=2**30, free=20 * 2**30)
    8
    """
    fit = max(int((1 - LEFT_FREE) * free / max(bytes_per_chain, 1.0)), 1)
    return 2 ** int(math.log2(fit))


def _own(loss: Loss, params: Params) -> Params:
    """What the loss has for each chain beside its weights, with the chain axis first; nothing, for most losses."""
    return loss.of_chains(next(iter(params.values())).shape[0]) if isinstance(loss, LossByChain) else {}


def _vmapped(loss: Loss, together: bool = False) -> Evaluation:
    def over_chains(function: Callable[[Params, Params], T], params: Params, out_dim: int = 0) -> T:
        most, count = getattr(loss, "chains_at_once", None), next(iter(params.values())).shape[0]
        size = None if most is None or count <= most else -(-count // -(-count // most))  # pieces of about equal size
        return vmap(function, out_dims=out_dim, chunk_size=size)(params, _own(loss, params))

    def alone(params: Params, own: Params, batch: Batch) -> tuple[Tensor, Tensor]:
        found = mean_and_gap(loss(params | own, batch))
        return found[0], found

    def losses(params: Params, batch: Batch) -> Tensor:
        return over_chains(lambda p, own: mean_and_gap(loss(p | own, batch)), params, 1)

    def gradients(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        gradient, (_, found) = over_chains(lambda p, own: grad_and_value(alone, has_aux=True)(p, own, batch), params)
        return gradient, found.T

    def of_parts(params: Params, parts: Sequence[Batch]) -> list[tuple[Params, Tensor]]:
        stacked = stack_batches(parts)

        def of_chain(p: Params, own: Params) -> tuple[Params, tuple[Tensor, Tensor]]:
            return vmap(lambda part: grad_and_value(alone, has_aux=True)(p, own, part))(stacked)

        gradient, (_, found) = over_chains(of_chain, params)
        return [
            ({name: value[:, number] for name, value in gradient.items()}, found[:, number].T)
            for number in range(len(parts))
        ]

    return Evaluation("vmap", 0, _once(losses), _once(gradients), _once(of_parts) if together else None)


def _serial(loss: Loss) -> Evaluation:
    def chains(params: Params) -> list[tuple[Params, Params]]:
        count, own = next(iter(params.values())).shape[0], _own(loss, params)
        return [tuple({name: value[i] for name, value in part.items()} for part in (params, own)) for i in range(count)]  # type: ignore[misc]

    def losses(params: Params, batch: Batch) -> Tensor:
        with torch.no_grad():
            return torch.stack([mean_and_gap(loss(p | own, batch)) for p, own in chains(params)], 1)

    def gradients(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        per_chain, values = [], []
        for position, own in chains(params):
            leaves = {name: value.detach().requires_grad_() for name, value in position.items()}
            with torch.enable_grad():
                value = mean_and_gap(loss(leaves | own, batch))
                found = torch.autograd.grad(value[0], list(leaves.values()), allow_unused=True, materialize_grads=True)
            per_chain.append(dict(zip(leaves, found, strict=True)))
            values.append(value.detach())
        return tree_map(lambda *g: torch.stack(g), *per_chain), torch.stack(values, 1)

    return Evaluation("serial", 0, _once(losses), _once(gradients))


def stack_batches(parts: Sequence[Any]) -> Any:
    """Batches of one form and size as one, with a leading axis.

    Raises:
        TypeError: if something in them is no tensor.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.stack(list(parts))
    if isinstance(first, dict):
        return {name: stack_batches([part[name] for part in parts]) for name in first}
    if not isinstance(first, tuple | list):
        raise TypeError(f"{type(first).__name__} cannot be stacked")
    inside = [stack_batches(one) for one in zip(*parts, strict=True)]
    return type(first)(*inside) if hasattr(first, "_fields") else type(first)(inside)


def evaluation(loss: Loss, mode: Mode, together: bool = False) -> Evaluation:
    """The evaluation of ``loss`` in the given mode; ``together``: parts of a minibatch in one call, where batched."""
    if mode == "stacked":
        if not isinstance(loss, StackedLoss):
            raise TypeError("mode 'stacked' needs a loss with a method `stacked`")
        return _stacked(loss)
    return _vmapped(loss, together) if mode == "vmap" else _serial(loss)


def parts_go_together(loss: Loss, center: Params, parts: Sequence[Batch]) -> bool:
    """Whether these parts of a minibatch can be evaluated in one batched call, with the gradients of each alone.

    A loss that can be batched over weights need not be batched over data, as one that looks at values of its batch.
    """
    pair = {name: _beside(name, value[0]) for name, value in center.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="There is a performance drop")
            both = _vmapped(loss, True).of_parts(pair, parts)
        each = _vmapped(loss).of_parts(pair, parts)
    except Exception:  # as in choose_mode
        return False
    noise = getattr(loss, "rounding", 0.0)
    largest = max(float(value.abs().max()) for gradient, _ in each for value in gradient.values())
    atol = (1e-5 + 10 * noise) * largest
    return all(
        torch.allclose(found[name], expected[name], rtol=1e-2, atol=atol)
        and torch.allclose(losses, known, rtol=1e-3 + noise, atol=1e-6)
        for (found, losses), (expected, known) in zip(both, each, strict=True)
        for name in expected
    )


def _beside(name: str, weights: Tensor) -> Tensor:
    """Two positions near w*: at w* itself loss and gradient may be zero but for rounding, and no two ways agree."""
    stream = generator(0, "trial of the evaluation", name)
    away = torch.randn((2, *weights.shape), generator=stream).to(weights)
    return weights + 0.01 * weights.square().mean().sqrt().clamp(min=1.0) * away


def choose_mode(loss: Loss, center: Params, batch: Batch) -> Mode:
    """Stacked where the loss offers it; else vmap where one trial works and agrees with a plain call; else serial.

    ``center`` has a leading axis of centres. Models with data-dependent control flow, ``.item()`` or in-place
    updates of unbatched tensors cannot be batched by ``torch.func.vmap``. On a GPU the trial also tells what a chain
    takes of its memory; where not all fit, ``loss.chains_at_once`` is how many are evaluated together.
    """
    if isinstance(loss, StackedLoss):
        return "stacked"
    pair = {name: _beside(name, value[0]) for name, value in center.items()}
    how = _vmapped(loss)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # torch says so where it batches an operation by looping over it
            warnings.filterwarnings("error", message="There is a performance drop")
            gradient, batched = _measured(loss, lambda: how.gradients(pair, batch), pair)
            with torch.no_grad():  # as the baseline is computed; some modules take another path then
                how.losses(pair, batch)
    except Exception:  # whatever a stranger's model raises inside vmap, it means the same: step chain by chain
        return "serial"
    reference, alone = _serial(loss).gradients(pair, batch)
    largest = max(float(g.abs().max()) for g in reference.values())  # a gradient may be zero but for rounding
    noise = getattr(loss, "rounding", 0.0)
    agree = torch.allclose(batched[0], alone[0], rtol=1e-3 + noise)
    agree = agree and torch.allclose(batched[1], alone[1], rtol=1e-3, atol=1e-8 + noise * float(alone[0].abs().max()))
    agree = agree and all(
        torch.allclose(
            gradient[name],
            reference[name],
            rtol=1e-2,
            atol=max((1e-3 + 10 * noise) * float(reference[name].abs().max()), (1e-5 + noise) * largest),
        )
        for name in gradient
    )
    return "vmap" if agree else "serial"


def _measured(loss: Loss, trial: Callable[[], T], pair: Params) -> T:
    """The trial's result; from the memory that it took on a GPU follows how many chains fit.

    The estimate counts what chains share once a chain, and takes the trial's examples for a whole minibatch. It has not
    been checked on a GPU yet.
    """
    device = next(iter(pair.values())).device
    if device.type != "cuda":
        return trial()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    found = trial()
    per_chain = (torch.cuda.max_memory_allocated(device) - before) / 2
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if hasattr(loss, "chains_at_once"):
        loss.chains_at_once = chains_at_once(per_chain, torch.cuda.mem_get_info(device)[0] + unused)
    return found
