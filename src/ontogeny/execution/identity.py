"""What a number depends on, told by content: the data, the loss, the model's shape, the selected weights."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import types
from typing import Any

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.components import Masks
from ontogeny.inputs.datasets import Examples

EXAMPLES_AT_ONCE = 4096
SIMPLE = (type(None), bool, int, float, complex, str, bytes)


def data_digest(examples: Examples) -> str:
    """The content of every example in order, with names, types and shapes: 16 hexadecimal digits.

    The same rows have the same digest, as a tensor or as a data set that hands them out one by one.
    """
    digest = hashlib.sha256(str(examples.count).encode())
    for part in torch.arange(examples.count).split(EXAMPLES_AT_ONCE):
        _add(digest, examples.take(part))
    return digest.hexdigest()[:16]


def _add(digest: hashlib._Hash, batch: Any) -> None:
    if isinstance(batch, Tensor):
        digest.update(f"{batch.dtype}{tuple(batch.shape)}".encode())
        digest.update(_bytes(batch))
    elif isinstance(batch, dict):
        for name, part in batch.items():
            digest.update(repr(name).encode())
            _add(digest, part)
    elif isinstance(batch, tuple | list):
        digest.update(f"{len(batch)} parts".encode())
        for part in batch:
            _add(digest, part)
    else:
        digest.update(repr(batch).encode())


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def mask_digest(masks: Masks) -> str:
    """Which weights are selected, by parameter: 16 hexadecimal digits; a whole tensor is the same as a mask of ones."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        mask = masks[name]
        if mask is not None and not bool(mask.any()):
            continue
        digest.update(f"\0{name}\0".encode())
        digest.update(b"all" if mask is None or bool(mask.all()) else _bytes(mask.bool()))
    return digest.hexdigest()[:16]


def model_identity(model: nn.Module) -> list[Any]:
    """What a number depends on beside the weights: class, layers, configuration, types, buffers."""
    config: Any = getattr(model, "config", getattr(model, "cfg", None))
    known = config.to_dict() if hasattr(config, "to_dict") else getattr(config, "__dict__", None)
    buffers = hashlib.sha256()
    for name, value in model.named_buffers():
        buffers.update(name.encode())
        _add(buffers, value)
    layers = f"{model!r} {json.dumps(known, sort_keys=True, default=repr)}"
    return [
        f"{type(model).__module__}.{type(model).__qualname__}",
        hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", layers).encode()).hexdigest()[:16],
        sorted({str(value.dtype) for value in model.parameters()}),
        buffers.hexdigest()[:16],
    ]


def loss_identity(loss_fn: Any) -> Any:
    """What a loss computes, as JSON.

    An ``identity`` that it offers (a method, or an attribute); of a plain function its module and name with a digest of
    its code, its defaults, the simple values it closes over or reads from its module, and the functions of its own
    package that it calls. What other packages' functions do is told by their names only.

    Raises:
        OntogenyError: if it is neither, or closes over something whose content cannot be told.
    """
    if not callable(loss_fn):
        raise OntogenyError(
            f"loss_fn must be a function loss_fn(model, batch) that returns one loss per example; got "
            f"{type(loss_fn).__name__}."
        )
    return _of_callable(loss_fn, ())


def _of_callable(function: Any, callers: tuple[types.CodeType, ...]) -> Any:
    own = getattr(function, "identity", None)
    if own is not None:
        return _offered(function, own)
    if isinstance(function, functools.partial):
        values = {"args": list(function.args), **function.keywords}
        told = {name: _told(function, name, value, callers) for name, value in values.items()}
        return ["partial", _of_callable(function.func, callers), told]
    if isinstance(function, types.FunctionType):
        return [f"{function.__module__}.{function.__qualname__}", _code_of(function, callers)]
    if isinstance(function, types.BuiltinFunctionType | type) and not callers:
        return [f"{function.__module__}.{function.__qualname__}"]
    raise OntogenyError(
        f"loss_fn: what {type(function).__name__} computes cannot be told, so its results could not be found again; "
        "give a function of a module's top level, or an object with a method identity() that returns its settings."
    )


def _offered(function: Any, own: Any) -> Any:
    told = own() if callable(own) else own
    try:
        kind = type(function)
        return [f"{kind.__module__}.{kind.__qualname__}", json.loads(json.dumps(told))]
    except (TypeError, ValueError):
        raise OntogenyError(
            f"loss_fn.identity must be or return what JSON can hold (numbers, words, lists, dicts); got "
            f"{type(told).__name__}."
        ) from None


def _code_of(function: types.FunctionType, callers: tuple[types.CodeType, ...]) -> str:
    code = function.__code__
    parts: list[Any] = [_instructions(code, function.__doc__)]
    if code not in callers:  # a function may call itself
        inside = (*callers, code)
        values: dict[str, Any] = {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
        values |= function.__kwdefaults__ or {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            values[name] = cell.cell_contents
        parts.append({name: _told(function, name, value, inside) for name, value in values.items()})
        parts.append({name: _read(function, value, inside) for name, value in _globals(function, code).items()})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


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


def _globals(function: types.FunctionType, code: types.CodeType) -> dict[str, Any]:
    found = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _globals(function, constant)
    return found


def _read(function: types.FunctionType, value: Any, callers: tuple[types.CodeType, ...]) -> Any:
    """A global: simple values and functions of the loss's own package by content, other code by its name."""
    package = (function.__module__ or "").split(".")[0]
    if isinstance(value, types.FunctionType) and (value.__module__ or "").split(".")[0] == package:
        return _of_callable(value, callers)
    if isinstance(value, types.ModuleType):
        return value.__name__
    if hasattr(value, "__qualname__") and hasattr(value, "__module__"):
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return _plain(value)
    except TypeError:
        raise OntogenyError(
            f"loss_fn reads a global of type {type(value).__name__}, whose content cannot be told, so its results "
            "could not be found again; give an object with a method identity() that returns its settings."
        ) from None


def _told(function: Any, name: str, value: Any, callers: tuple[types.CodeType, ...]) -> Any:
    """What a loss was made with; unlike a global, it can differ between two losses of one name."""
    if callable(value) and not isinstance(value, type | nn.Module):
        return _of_callable(value, callers)
    try:
        return _plain(value)
    except TypeError:
        raise OntogenyError(
            f"loss_fn was made with {name}, of type {type(value).__name__}, whose content cannot be told, so its "
            "results could not be found again; give an object with a method identity() that returns its settings."
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, SIMPLE):
        return repr(value)
    if isinstance(value, Tensor):
        digest = hashlib.sha256()
        _add(digest, value)
        return digest.hexdigest()[:16]
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(part)) for part in value)
    if isinstance(value, dict):
        return {repr(key): _plain(part) for key, part in value.items()}
    raise TypeError(type(value).__name__)
