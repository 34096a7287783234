"""Functions, classes and values told by content: what code computes, as far as Python lets one see it."""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.util
import inspect
import json
import pickle
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError

SIMPLE = (type(None), bool, int, float, complex, str, bytes, PurePath, enum.Enum, torch.dtype, torch.device)
LIBRARIES = {"torch", "transformers", "transformer_lens", "ontogeny"}
"""Told by name wherever they lie; a study's keys hold the version of the last."""
OPEN = ("types.", "dataclasses.", "torch.distributions.")
"""Whose classes' objects are told by what they hold, as those of one's own are."""
ACCESS = (staticmethod, classmethod, functools.cached_property)


class Subject(NamedTuple):
    """What identities are asked of, and what is told where :class:`Code` can tell nothing."""

    name: str
    """The argument, for messages."""
    unknown: Callable[[str, Any], Any]
    """What to tell of a value whose content cannot be told, with how it is read; or it raises."""
    model: Callable[[nn.Module], Any]
    """What to tell of a model that an object holds in the identity it offers."""


_FIELDS = (types.MemberDescriptorType, types.GetSetDescriptorType, enum.property, type(vars(Subject)["name"]))
"""How slots, members and the fields of named tuples are reached; their names say all."""
_MADE = {
    *("__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__", "__slots__"),
    *("__static_attributes__", "__annotate__", "__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__"),
    *("__type_params__", "__protocol_attrs__", "__non_callable_proto_members__"),
}


class Code:
    """Tells what functions compute, as JSON: by their code, and by all that it reads of one's own code.

    One's own is the package of what is told, and every other module that was neither installed nor comes with Python;
    what other packages' functions do is told by their names only. Objects of one's own classes are told by what
    pickling would keep of them. What occurs again, as a function that calls itself, is told by its name and number.

    Args:
        module: the name of the module of what is told.
        subject: what it belongs to.
    """

    def __init__(self, module: str, subject: Subject) -> None:
        self._package = _top(module)
        self._subject = subject
        self._seen: dict[int, Any] = {}
        self._within: list[int] = []

    def of_function(self, function: types.FunctionType) -> list[Any]:
        """Its name, and a digest of its code, its defaults and what it closes over, imports or reads globally."""
        if (before := self._before(function)) is not None:
            return [_name(function), before]
        code, space = function.__code__, function.__globals__
        values: dict[str, Any] = {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
        values |= function.__kwdefaults__ or {}
        for free, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if free != "__class__":
                values[free] = _content(cell)
        names = list(dict.fromkeys(_names(code)))
        read = {one: self._read(space[one], names) for one in names if one in space}
        imported = [self._read(module, names) for module in self._imported(code, space)]
        held = {one: self.of_value(one, value) for one, value in values.items()}
        return [_name(function), digest([_instructions(code, function.__doc__), held, read, imported])]

    def of_class(self, kind: type) -> list[Any]:
        """Its name, and a digest of its methods and attributes and of its own bases."""
        if (before := self._before(kind)) is not None:
            return [_name(kind), before]
        held = {one: value for one, value in vars(kind).items() if _matters(one, value)}
        told = {one: self._member(f"reads {kind.__qualname__}.{one},", value) for one, value in held.items()}
        bases = [self.of_class(base) for base in kind.__bases__ if self.is_own(base.__module__)]
        return [_name(kind), digest([told, bases])]

    def of_value(self, name: str, value: Any) -> Any:
        """What code was made with; unlike a global, it can differ between two functions of one name."""
        return self._told(f"was made with {name},", value)

    def is_own(self, module: str | None) -> bool:
        """Whether a module of that name is to be told by content."""
        top = _top(module)
        others = top in LIBRARIES or top in sys.stdlib_module_names
        return top == self._package or not (others or _installed(top))

    def _before(self, value: Any) -> int | None:
        """Which of all that was told this is; None: it is new, and kept from now on, so that none takes its id."""
        if id(value) in self._seen:
            return list(self._seen).index(id(value))
        self._seen[id(value)] = value
        return None

    def _imported(self, code: types.CodeType, space: dict[str, Any]) -> Iterator[types.ModuleType]:
        """The modules of one's own that a function imports where it is called."""
        for name, level, wanted in _imports(code):
            top = _top(space.get("__name__") if level else name)
            if self.is_own(top) and not _installed(top):  # what an installed package imports late can be large
                with suppress(ImportError):  # then the call, should it come to that line, has no number to give
                    yield __import__(name, space, None, wanted, level)

    def _told(self, how: str, value: Any) -> Any:
        if (own := offered(value, self._subject)) is not None:
            return own
        if (code := self._code(how, value)) is not None:
            return code
        with suppress(TypeError):
            return plain(value)
        if isinstance(value, dataclasses.Field):
            return [self._told(how, one) for one in (value.default, value.default_factory)]
        if self._is_open(type(value)):
            return self._object(how, value)
        if isinstance(value, list | tuple | dict | types.MappingProxyType):
            return self._collection(how, value)
        return self._subject.unknown(how, value)

    def _code(self, how: str, value: Any) -> Any:
        """A function or a class, with what it is bound to; None: it is neither."""
        if isinstance(value, types.FunctionType):
            return self.of_function(value) if self.is_own(value.__module__) else _name(value)
        if isinstance(value, type):
            return self.of_class(value) if self.is_own(value.__module__) else _name(value)
        if isinstance(value, functools.partial | functools.partialmethod):
            held = {"args": list(value.args), **value.keywords}
            return [self._told(how, value.func), {key: self.of_value(key, one) for key, one in held.items()}]
        if isinstance(value, types.MethodType):
            return [self._told(how, value.__func__), self._told(how, value.__self__)]
        if callable(getattr(value, "__wrapped__", None)):  # as lru_cache has it
            return self._told(how, value.__wrapped__)
        if callable(value) and hasattr(value, "__qualname__"):
            holder = getattr(value, "__self__", None)
            return [_name(value), None if isinstance(holder, types.ModuleType) else self._told(how, holder)]
        return None

    def _is_open(self, kind: type) -> bool:
        held = self.is_own(kind.__module__) or f"{kind.__module__}.".startswith(OPEN)
        return held and not issubclass(kind, nn.Module)

    def _object(self, how: str, value: Any) -> Any:
        if (before := self._before(value)) is not None:
            return [_name(type(value)), before]
        try:
            kept = value.__reduce_ex__(2)
        except (TypeError, pickle.PicklingError):
            return self._subject.unknown(how, value)
        return self._told(how, [list(part) if isinstance(part, Iterator) else part for part in kept])

    def _collection(self, how: str, value: Any) -> Any:
        if id(value) in self._within:  # it holds itself: so many collections up
            return self._within[::-1].index(id(value))
        self._within.append(id(value))
        if isinstance(value, list | tuple):
            told: Any = [self._told(how, part) for part in value]
        else:
            told = {repr(key): self._told(how, part) for key, part in value.items()}
        self._within.pop()
        return told

    def _read(self, value: Any, names: list[str]) -> Any:
        """A global; of a module of one's own what the same code names."""
        if not isinstance(value, types.ModuleType):
            return self._told("reads a global", value)
        inside = vars(value) if self.is_own(value.__name__) and id(value) not in self._within else {}
        self._within.append(id(value))
        told = {one: self._read(inside[one], names) for one in names if one in inside}
        self._within.pop()
        return [value.__name__, told]

    def _member(self, how: str, value: Any) -> Any:
        if isinstance(value, ACCESS):
            return self._member(how, value.func if isinstance(value, functools.cached_property) else value.__func__)
        if isinstance(value, property):
            return [None if one is None else self._told(how, one) for one in (value.fget, value.fset)]
        if isinstance(value, _FIELDS):
            return type(value).__qualname__
        return self._told(how, value)


def offered(value: Any, subject: Subject) -> Any:
    """The ``identity`` that an object offers, a method or an attribute, with its class; None: it offers none.

    A method that needs arguments, a tensor or a layer of that name is something else.

    Raises:
        OntogenyError: if it is no JSON, apart from models in it.
    """
    own = None if isinstance(value, type | types.ModuleType) else getattr(value, "identity", None)
    if own is None or isinstance(own, Tensor | nn.Module) or (callable(own) and not _needs_nothing(own)):
        return None
    told = own() if callable(own) else own

    def part(held: Any) -> Any:
        if isinstance(held, nn.Module):
            return subject.model(held)
        raise TypeError

    try:
        return [_name(type(value)), json.loads(json.dumps(told, default=part))]
    except (TypeError, ValueError):
        raise OntogenyError(
            f"{subject.name}: the identity of {type(value).__name__} must be or return what JSON can hold (numbers, "
            f"words, lists, dicts), or models; got {type(told).__name__}."
        ) from None


def plain(value: Any) -> Any:
    """Numbers, words and arrays, and tuples and sets of them, as JSON.

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
    if type(value) is tuple:
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(plain(part)) for part in value)
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


def _imports(code: types.CodeType) -> Iterator[tuple[str, int, Any]]:
    """Name, level and what is wanted of it, for every import in a function and those within it."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for (level, wanted), step in zip(pairwise(steps), steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            yield step.argval, level.argval, wanted.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _imports(constant)


def _needs_nothing(method: Any) -> bool:
    """Whether a method or function can be called without arguments."""
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):
        return False
    return True


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _matters(name: str, value: Any) -> bool:
    """Whether a class's entry is part of what it computes, and not what Python or dataclasses made of the others."""
    if isinstance(value, types.FunctionType) and value.__code__.co_filename == "<string>":
        return False
    return name not in _MADE


def _name(value: Any) -> str:
    where = getattr(value, "__module__", None) or getattr(value, "__objclass__", type(value)).__module__
    return f"{where}.{value.__qualname__}"


def _top(module: str | None) -> str:
    return (module or "").split(".")[0]


def _installed(package: str) -> bool:
    """Whether a package lies where installed ones do, or is built into Python."""
    found = sys.modules.get(package)
    if found is None:
        spec = importlib.util.find_spec(package) if package else None
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    else:
        places = [found.__file__] if getattr(found, "__file__", None) else list(getattr(found, "__path__", []))
    homes = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    return any(PurePath(str(place)).is_relative_to(home) for place in places for home in homes)
