"""A forward pass cut before the lowest block that is sampled: what enters it is computed once for each example.

Below that block no weight is sampled, so what enters it is the same for all chains, all steps and all components whose
lowest block is the same. Whatever the loss function does with the model stays as it is: it calls a copy of the module
tree, with the same weights, whose blocks below the cut hand on what they are given, and whose block above it takes the
stored tensor in place of its input.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ontogeny.core.types import Batch
from ontogeny.inputs.architecture import architecture
from ontogeny.inputs.components import Masks
from ontogeny.inputs.datasets import Examples

if TYPE_CHECKING:
    from ontogeny.inputs.losses import LossFunction, ModuleLoss

GROUP = 4
"""Examples computed together, always the same ones, so that no number depends on who asked first."""
CLOSE = 32.0
"""Roundings by which a cut and a whole forward pass may differ, or an example alone and with others."""
SPREAD = 8
"""Examples, spread over the data set, that are looked at alone: a loss may cut a batch to its longest text."""
MOST_BYTES = 2**30
"""What is kept for one data set; of a larger one, what enters the block is computed for every minibatch."""


class Entering(NamedTuple):
    """A minibatch, and what enters the lowest sampled block on it, shape ``(batch, ...)``."""

    hidden: Tensor
    batch: Batch


class _ReachedError(Exception):
    """Ends a forward pass at the cut."""


class CutModel:
    """The model's copy, cut before block ``lowest``; ``model`` is called as the original, the cut is out of sight."""

    def __init__(self, model: nn.Module, blocks: Sequence[str], lowest: int) -> None:
        self.model = shallow_copy(model, {})
        self._hidden: Tensor | None = None
        self._catching = False
        self._parts: int | None = None
        """How many parts the output of a block has if it is a tuple; None: it is a tensor."""
        for name in blocks[:lowest]:
            self._replace(name, self._below)
        self._replace(blocks[lowest], self._at)

    def _replace(self, name: str, way: Callable[..., Any]) -> None:
        block = self.model.get_submodule(name)
        original = types.MethodType(type(block).forward, block)
        block.__dict__["forward"] = lambda *args, **named: way(original, *args, **named)

    def _below(self, original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._hidden is not None:
            given = args[0] if args else next(iter(named.values()))
            return given if self._parts is None else (given, *[None] * (self._parts - 1))
        out = original(*args, **named)
        self._parts = len(out) if isinstance(out, tuple) else None
        return out

    def _at(self, original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._catching:
            self._hidden = args[0] if args else next(iter(named.values()))
            raise _ReachedError
        if self._hidden is None:
            return original(*args, **named)
        if args:
            return original(self._hidden, *args[1:], **named)
        return original(**{**named, next(iter(named)): self._hidden})

    def entering(self, run: Callable[[], Any]) -> Tensor:
        """What enters the block while ``run`` calls the model. Raises: RuntimeError where it never comes there."""
        self._catching = True
        try:
            with torch.no_grad():
                run()
        except _ReachedError:
            assert self._hidden is not None
            return self._hidden
        finally:
            self._catching, self._hidden = False, None
        raise RuntimeError("the forward pass ended below the cut")

    @contextmanager
    def entered(self, hidden: Tensor) -> Any:
        """Inside, a call of the model begins at the block, with ``hidden``."""
        self._hidden = hidden
        try:
            yield
        finally:
            self._hidden = None


def shallow_copy(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    """The tree of modules with dicts of its own and the same parameters; a module used twice is copied once."""
    if id(module) not in done:
        twin = done[id(module)] = copy.copy(module)
        twin.__dict__ = {**module.__dict__}
        twin._parameters, twin._buffers = {**module._parameters}, {**module._buffers}
        twin._modules = {
            name: None if child is None else shallow_copy(child, done) for name, child in module._modules.items()
        }
    return done[id(module)]


class Activations:
    """What enters the block, by example; kept once computed, as long as all of it fits into ``MOST_BYTES``."""

    def __init__(self, examples: Examples, entering: Callable[[Batch], Tensor]) -> None:
        self._examples, self._entering = examples, entering
        self._kept: Tensor | None = None
        self._fits = True
        groups = -(-examples.count // GROUP)
        self._done = torch.zeros(groups, dtype=torch.bool)

    def of(self, index: Tensor | None) -> Tensor:
        """For the examples of ``index``, or for all of them."""
        wanted = torch.arange(self._examples.count) if index is None else index.cpu()
        groups = (wanted // GROUP).unique()
        if self._kept is None and self._fits:
            self._begin(groups[0])
        if self._kept is None:
            return self._entering(self._examples.take(index))
        for group in groups[~self._done[groups]].tolist():
            rows = self._rows(group)
            found = self._entering(self._examples.take(torch.arange(rows.start, rows.stop)))
            if found.shape[1:] != self._kept.shape[1:]:  # texts of other lengths
                self._kept, self._fits = None, False
                return self._entering(self._examples.take(index))
            self._kept[rows] = found
            self._done[group] = True
        return self._kept[wanted.to(self._kept.device)]

    def _rows(self, group: int) -> slice:
        return slice(group * GROUP, min((group + 1) * GROUP, self._examples.count))

    def _begin(self, group: Tensor) -> None:
        rows = self._rows(int(group))
        first = self._entering(self._examples.take(torch.arange(rows.start, rows.stop)))
        self._fits = self._examples.count * first[0].numel() * first.element_size() <= MOST_BYTES
        if not self._fits:
            return
        self._kept = first.new_empty((self._examples.count, *first.shape[1:]))
        self._kept[rows] = first
        self._done[int(group)] = True

    def beside(self) -> Examples:
        """The examples, every batch with what enters the block on it."""

        def take(index: Tensor | None) -> Entering:
            return Entering(self.of(index), self._examples.take(index))

        return Examples(self._examples.count, take)


def lowest_sampled(model: nn.Module, selected: Masks) -> tuple[tuple[str, ...], int]:
    """The model's blocks by name, and the lowest that holds or comes before a sampled weight; ((), 0) if unknown."""
    known = architecture(model)
    if known is None or not known.blocks:
        return (), 0
    return known.blocks, min(known.lowest_block(selected), len(known.blocks) - 1)


class SharedForwards:
    """The cut model and its activations for one (model, data, loss, lowest block) at a time.

    Held by a call that measures several components, so that those with the same lowest block share them, and what is
    in memory does not grow with their number.
    """

    def __init__(self) -> None:
        self._objects: tuple[Any, ...] = (None, None, None)
        self._numbers: tuple[Any, ...] = ()
        self._held: tuple[CutModel, Examples] | None = None

    def share(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        data: Any,
        examples: Examples,
        selected: Masks,
        make: Callable[[CutModel | None], ModuleLoss],
    ) -> tuple[ModuleLoss, Examples]:
        """The loss and the examples, cut where that is possible and gives the same losses, else as they are.

        ``make`` makes the loss, on the model itself or on its cut copy.
        """
        plain = make(None)
        blocks, lowest = lowest_sampled(model, selected)
        if not lowest:
            return plain, examples
        first = next(iter(plain.center.values()))
        objects, numbers = (model, data, loss_fn), (lowest, first.dtype, first.device)
        if numbers != self._numbers or any(a is not b for a, b in zip(objects, self._objects, strict=True)):
            self._held = None  # what is not needed any more goes before the next is computed
            self._objects, self._numbers = objects, numbers
            self._held = self._cut(CutModel(model, blocks, lowest), examples, make)
        if self._held is None:
            return plain, examples
        cut, beside = self._held
        return make(cut), beside

    @staticmethod
    def _cut(
        cut: CutModel, examples: Examples, make: Callable[[CutModel | None], ModuleLoss]
    ) -> tuple[CutModel, Examples] | None:
        loss = make(cut)
        activations = Activations(examples, lambda batch: cut.entering(lambda: loss.raw(loss.center, batch)))
        some = torch.arange(min(examples.count, GROUP))
        try:
            away = {name: value + 0.01 * value.square().mean().sqrt() for name, value in loss.center.items()}
            with torch.no_grad():
                whole = make(None).raw(away, examples.take(some))
                again = loss.raw(away, Entering(activations.of(some), examples.take(some)))
            agree = _alike(again, whole, loss.rounding)
            for row in torch.linspace(0, examples.count - 1, SPREAD).long().unique():  # alone as in company
                alone = cut.entering(lambda row=row: loss.raw(loss.center, examples.take(row[None])))  # type: ignore[misc]
                agree = agree and _alike(alone, activations.of(row[None]), loss.rounding)
        except Exception:  # a stranger's model or loss may do anything; uncut it is tried again, and speaks for itself
            return None
        return (cut, activations.beside()) if agree else None


def _alike(found: Tensor, expected: Tensor, rounding: float) -> bool:
    close = CLOSE * rounding
    same = found.shape == expected.shape
    return same and torch.allclose(found, expected, rtol=close, atol=close * float(expected.abs().max()))
