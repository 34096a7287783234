"""Functions, classes and values told by content: what code computes, as far as Python lets one see it."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError

SIMPLE = (type(None), bool, int, float, complex, str, bytes, PurePath, Enum, torch.dtype, torch.device)
LIBRARIES = {"torch", "transformers", "transformer_lens", "ontogeny"}
"""Told by name wherever they lie; a study's keys hold the version of the last."""
ACCESS = (staticmethod, classmethod, functools.cached_property)


class Code:
    """Tells what functions compute, as JSON: by their code, and by all that it reads of one's own code.

    One's own is the package of what is told, and every other module that was neither installed nor comes with Python;
    what other packages' functions do is told by their names only. A function that occurs again, as one that calls
    itself, is told by its name.

    Args:
        module: the name of the module of what is told.
        unknown: what to tell of a value whose content cannot be told, with how it is read; or it raises.
    """

    def __init__(self, module: str, unknown: Callable[[str, Any], Any]) -> None:
        self._package = _top(module)
        self._unknown = unknown
        self._seen: set[int] = set()

    def of_function(self, function: types.FunctionType) -> list[Any]:
        """Its name, and a digest of its code, its defaults and what it closes over or reads from its module."""
        name = f"{function.__module__}.{function.__qualname__}"
        if id(function) in self._seen:
            return [name]
        self._seen.add(id(function))
        code = function.__code__
        values: dict[str, Any] = {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
        values |= function.__kwdefaults__ or {}
        for free, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if free != "__class__":
                values[free] = _content(cell)
        names = list(dict.fromkeys(_names(code)))
        read = {one: self._read(function.__globals__[one], names) for one in names if one in function.__globals__}
        held = {one: self.of_value(one, value) for one, value in values.items()}
        return [name, digest([_instructions(code, function.__doc__), held, read])]

    def of_class(self, kind: type) -> list[Any]:
        """Its name, and a digest of its methods and attributes and of its own bases."""
        name = f"{kind.__module__}.{kind.__qualname__}"
        if id(kind) in self._seen:
            return [name]
        self._seen.add(id(kind))
        told = {one: self._member(value) for one, value in vars(kind).items() if _matters(one, value)}
        bases = [self.of_class(base) for base in kind.__bases__ if self.is_own(base.__module__)]
        return [name, digest([told, bases])]

    def of_value(self, name: str, value: Any) -> Any:
        """What code was made with; unlike a global, it can differ between two functions of one name."""
        if not isinstance(value, torch.nn.Module):
            if (own := offered(value)) is not None:
                return own
            if isinstance(value, functools.partial):
                held: dict[str, Any] = {"args": list(value.args), **value.keywords}
                return [self.of_value(name, value.func), {key: self.of_value(key, one) for key, one in held.items()}]
            if isinstance(value, types.MethodType):
                return [self.of_value(name, value.__func__), self.of_value(name, value.__self__)]
            if (told := self._code(value)) is not None:
                return told
        return self._plain(f"was made with {name},", value)

    def is_own(self, module: str | None) -> bool:
        """Whether a module of that name is to be told by content."""
        top = _top(module)
        others = sys.stdlib_module_names | LIBRARIES
        return top == self._package or (top not in others and not _installed(top))

    def _code(self, value: Any) -> Any:
        """A function or a class; None: it is neither."""
        if isinstance(value, types.FunctionType):
            return self.of_function(value) if self.is_own(value.__module__) else _name(value)
        if isinstance(value, type):
            return self.of_class(value) if self.is_own(value.__module__) else _name(value)
        if callable(getattr(value, "__wrapped__", None)):  # as lru_cache has it
            return self._code(value.__wrapped__)
        if callable(value) and hasattr(value, "__qualname__"):
            return _name(value)
        return None

    def _read(self, value: Any, names: list[str]) -> Any:
        """A global; of a module of one's own what the same code names."""
        if (own := offered(value)) is not None:
            return own
        if isinstance(value, types.ModuleType):
            inside = vars(value) if self.is_own(value.__name__) and id(value) not in self._seen else {}
            self._seen.add(id(value))
            told = {one: self._read(inside[one], names) for one in names if one in inside}
            self._seen.discard(id(value))
            return [value.__name__, told]
        told = self._code(value)
        return self._plain("reads a global", value) if told is None else told

    def _member(self, value: Any) -> Any:
        if isinstance(value, ACCESS):
            return self._member(value.func if isinstance(value, functools.cached_property) else value.__func__)
        if isinstance(value, property):
            return [None if one is None else self._member(one) for one in (value.fget, value.fset)]
        code = self._code(value)
        if code is not None:
            return code
        try:  # what a class holds beside, as the fields of a dataclass, its methods were made of
            return plain(value)
        except TypeError:
            return offered(value) or type(value).__qualname__

    def _plain(self, how: str, value: Any) -> Any:
        try:
            return plain(value)
        except TypeError:
            return self._unknown(how, value)


def offered(value: Any) -> Any:
    """The ``identity`` that an object offers, a method or an attribute, with its class; None: it offers none.

    Raises:
        OntogenyError: if it is not JSON.
    """
    own = None if isinstance(value, type | types.ModuleType) else getattr(value, "identity", None)
    if own is None:
        return None
    told = own() if callable(own) else own
    try:
        return [f"{type(value).__module__}.{type(value).__qualname__}", json.loads(json.dumps(told))]
    except (TypeError, ValueError):
        raise OntogenyError(
            f"loss_fn.identity must be or return what JSON can hold (numbers, words, lists, dicts); got "
            f"{type(told).__name__}."
        ) from None


def plain(value: Any) -> Any:
    """Numbers, words and arrays, and collections of them, as JSON.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, SIMPLE):
        return repr(value)
    if isinstance(value, Tensor):
        part = value.detach().cpu().contiguous()
        return f"{part.dtype} {tuple(part.shape)} {_sha(part.reshape(-1).view(torch.uint8).numpy().tobytes())}"
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        return f"{value.dtype} {value.shape} {_sha(np.ascontiguousarray(value).tobytes())}"
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(plain(part)) for part in value)
    if isinstance(value, dict | types.MappingProxyType):
        return {repr(key): plain(part) for key, part in value.items()}
    raise TypeError(type(value).__name__)


def digest(parts: Any) -> str:
    """16 hexadecimal digits of something JSON-able."""
    return _sha(json.dumps(parts, sort_keys=True).encode())


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _instructions(code: types.CodeType, doc: str | None) -> list[str]:
    parts = [code.co_code.hex(), repr(code.co_names), repr(code.co_varnames)]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts += _instructions(constant, None)
        elif isinstance(constant, frozenset):
            parts.append(repr(sorted(constant, key=repr)))
        else:  # without a docstring None stands in its place
            parts.append(repr(None if constant == doc else constant))
    return parts


def _names(code: types.CodeType) -> Iterator[str]:
    """What a function and those within it read by name: globals, attributes, modules."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _matters(name: str, value: Any) -> bool:
    """Whether a class's entry is part of what it computes, and not what Python or dataclasses made of the others."""
    if isinstance(value, types.FunctionType) and value.__code__.co_filename == "<string>":
        return False
    about = ("__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__", "__slots__")
    return name not in (*about, "__static_attributes__", "__annotate__", "__abstractmethods__", "_abc_impl")


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _top(module: str | None) -> str:
    return (module or "").split(".")[0]


def _installed(package: str) -> bool:
    """Whether a package lies where installed ones do, or is built into Python."""
    found = sys.modules.get(package)
    if found is None:
        return False
    places = [found.__file__] if getattr(found, "__file__", None) else list(getattr(found, "__path__", []))
    homes = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    return any(PurePath(str(place)).is_relative_to(home) for place in places for home in homes)
