"""A step of the chain loop as a CUDA graph, and the plain one where that fails.

Of a small model a step is hundreds of kernels of some microseconds, and launching them one by one from Python, through
``vmap`` and automatic differentiation, takes far longer than they do. A graph launches all of them at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ontogeny.core.errors import class_and_first_line

PLAIN_STEPS = 3
"""Steps before a graph is made: libraries set themselves up in the first, and short runs do without."""
MOST_NUMBERS = 2**27
"""Tensors that a step takes in are copied for a graph; beyond so many numbers launching is not what takes long."""
TOLERANCE = 1e-4
"""Relative difference at which a graph and a plain step count as different."""

_SAID: set[str] = set()
"""Why steps stay plain, said once a process."""


class CapturedStep:
    """A pure function of tensors as CUDA graphs, one for every form and shape of its arguments.

    The first replay is compared with a plain step. Where it differs, where capturing fails, as with a loss that reads a
    number back, or off the GPU, every step is plain. Not for a step that draws random numbers of its own.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        self._step = step
        self._plain_steps: dict[Any, int] = {}
        self._graphs: dict[Any, _Graph] = {}
        self._gave_up = False

    def __call__(self, *arguments: Any) -> Any:
        """The step's result, in tensors of its own."""
        if self._gave_up:
            return self._step(*arguments)
        try:
            tensors, form = flatten(arguments)
        except TypeError:  # a batch of words, say
            self._gave_up = True
            return self._step(*arguments)
        if form in self._graphs:
            return self._graphs[form].replay(tensors)
        done = self._plain_steps[form] = self._plain_steps.get(form, 0) + 1
        large = sum(tensor.numel() for tensor in tensors) > MOST_NUMBERS
        if done <= PLAIN_STEPS or large or not all(tensor.is_cuda for tensor in tensors):
            return self._step(*arguments)
        result = self._step(*arguments)
        try:
            graph = _Graph(self._step, tensors, form)
            same = _close(graph.replay(tensors), result)
            reason = "its first replay gave other numbers"
        except Exception as error:  # CUDA's own and the model's, of many classes
            same, reason = False, class_and_first_line(error)
        if same:
            self._graphs[form] = graph
        else:
            self._gave_up = True
            if reason not in _SAID:
                _SAID.add(reason)
                print(f"ontogeny: going on without CUDA graphs, with the same draws: {reason}", file=sys.stderr)
        return result


class _Graph:
    """One graph, with the tensors that it reads and writes."""

    def __init__(self, step: Callable[..., Any], tensors: list[Tensor], form: Any) -> None:
        self._inputs = [tensor.detach().clone() for tensor in tensors]
        self._sources: list[tuple[Tensor, int] | None] = [None] * len(tensors)
        arguments = rebuild(form, iter(self._inputs))
        self._graph = torch.cuda.CUDAGraph()
        # a capture that fails does not find back to the stream it came from by itself
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(self._graph):
            result = step(*arguments)
        self._outputs, self._form = flatten(result)

    def replay(self, tensors: list[Tensor]) -> Any:
        """The step's result for these arguments; those that are as they were last time are not copied again."""
        changed = [
            number
            for number, (tensor, source) in enumerate(zip(tensors, self._sources, strict=True))
            if source is None or source[0] is not tensor or source[1] != tensor._version
        ]
        torch._foreach_copy_([self._inputs[number] for number in changed], [tensors[number] for number in changed])
        for number in changed:
            self._sources[number] = (tensors[number], tensors[number]._version)
        self._graph.replay()
        results = [torch.empty_like(output) for output in self._outputs]
        torch._foreach_copy_(results, self._outputs)
        return rebuild(self._form, iter(results))


class _Of(NamedTuple):
    """The place of a tensor in a form."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def flatten(value: Any) -> tuple[list[Tensor], Any]:
    """The tensors of dicts, lists and tuples in each other, in order, and the hashable form that they were in.

    Raises:
        TypeError: if anything else than None, True and False is among them.

    >>> tensors, form = flatten({"a": torch.zeros(2), "b": (None, True)})
    >>> rebuild(form, iter(tensors))
    {'a': tensor([0., 0.]), 'b': (None, True)}
    """
    tensors: list[Tensor] = []

    def form(part: Any) -> Any:
        if isinstance(part, Tensor):
            tensors.append(part)
            return _Of(tuple(part.shape), part.dtype, part.device)
        if isinstance(part, dict):
            return dict, tuple(part), tuple(form(one) for one in part.values())
        if isinstance(part, tuple | list):
            return type(part), None, tuple(form(one) for one in part)
        if part is None or isinstance(part, bool):
            return None, part, ()
        raise TypeError(type(part).__name__)

    return tensors, form(value)


def rebuild(form: Any, tensors: Iterator[Tensor]) -> Any:
    """The inverse of :func:`flatten`."""
    if isinstance(form, _Of):
        return next(tensors)
    kind, keys, inside = form
    if kind is None:
        return keys
    if kind is dict:
        return dict(zip(keys, [rebuild(one, tensors) for one in inside], strict=True))
    parts = [rebuild(one, tensors) for one in inside]
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def _close(found: Any, expected: Any) -> bool:
    pairs = zip(flatten(found)[0], flatten(expected)[0], strict=True)
    return all(
        torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * _largest(other), equal_nan=True)
        if other.is_floating_point()
        else torch.equal(one, other)
        for one, other in pairs
    )


def _largest(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
