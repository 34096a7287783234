"""What a number depends on, told by content: the data, the loss, the model's shape, the selected weights."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from typing import Any

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.execution.code_identity import LIBRARIES, Code, Subject, digest, offered
from ontogeny.inputs.components import Masks
from ontogeny.inputs.datasets import Examples
from ontogeny.inputs.load_weights import REBUILT
from ontogeny.inputs.weight_files import weights_digest, without_repeats

EXAMPLES_AT_ONCE = 4096
PLACE = ("_name_or_path", "name_or_path", "transformers_version")
"""Of a configuration: where the model was read from, and what wrote it."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_OF_EVERY_MODULE = {*vars(nn.Module()), *PLACE, "config", "cfg", "_is_hf_initialized"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def data_digest(examples: Examples) -> str:
    """The content of every example in order, with names, types and shapes: 16 hexadecimal digits.

    The same rows have the same digest, as a tensor or as a data set that hands them out one by one.
    """
    content = hashlib.sha256(str(examples.count).encode())
    for part in torch.arange(examples.count).split(EXAMPLES_AT_ONCE):
        _add(content, examples.take(part))
    return content.hexdigest()[:16]


def _add(content: hashlib._Hash, batch: Any) -> None:
    if isinstance(batch, Tensor):
        content.update(f"{batch.dtype}{tuple(batch.shape)}".encode())
        content.update(_bytes(batch))
    elif isinstance(batch, dict):
        for name, part in batch.items():
            content.update(repr(name).encode())
            _add(content, part)
    elif isinstance(batch, tuple | list):
        content.update(f"{len(batch)} parts".encode())
        for part in batch:
            _add(content, part)
    else:
        content.update(repr(batch).encode())


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def mask_digest(masks: Masks) -> str:
    """Which weights are selected, by parameter: 16 hexadecimal digits; a whole tensor is the same as a mask of ones."""
    content = hashlib.sha256()
    for name in sorted(masks):
        mask = masks[name]
        if mask is not None and not bool(mask.any()):
            continue
        content.update(f"\0{name}\0".encode())
        content.update(b"all" if mask is None or bool(mask.all()) else _bytes(mask.bool()))
    return content.hexdigest()[:16]


def model_identity(model: nn.Module) -> dict[str, Any]:
    """What a number depends on beside the weights that a checkpoint brings, by name, so that a refusal can name it.

    Class and layers, configuration, types, names of one weight, buffers that no checkpoint overwrites, the layers' own
    attributes (numbers, words, tensors, functions, objects of one's own), and the code of all classes but those of
    torch, transformers and TransformerLens, whose versions are not told. An attribute of another kind is told by its
    class alone. Where a model was read from is left out.
    """
    config: Any = getattr(model, "config", getattr(model, "cfg", None))
    known = config.to_dict() if hasattr(config, "to_dict") else getattr(config, "__dict__", None)
    saved = {name for name in model.state_dict() if not name.endswith(REBUILT)}
    buffers = hashlib.sha256()
    for name, value in model.named_buffers():
        if name not in saved:
            buffers.update(name.encode())
            _add(buffers, value)
    code = {
        f"{kind.__module__}.{kind.__qualname__}": Code(kind.__module__, _MODEL).of_class(kind)
        for kind in dict.fromkeys(kind for module in model.modules() for kind in type(module).__mro__)
        if kind is not object and not _of_library(kind)
    }
    types = {name: str(value.dtype) for name, value in model.named_parameters()}
    return {
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "layers": digest(_ADDRESS.sub("", repr(model))),
        "configuration": _without_place(json.loads(_ADDRESS.sub("", json.dumps(known, default=repr)))),
        "attributes": digest({name: _attributes(module) for name, module in model.named_modules()}),
        "code": digest(code),
        "types": types if len({*types.values()}) > 1 else next(iter(types.values()), None),
        "tied": _tied(model),
        "buffers": buffers.hexdigest()[:16],
    }


def _attributes(module: nn.Module) -> Any:
    """What an instance holds beside parameters, buffers and layers, hooks included."""
    if _of_library(type(module)) and _top(type(module)) != "torch":
        return None  # their configuration says it
    own = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
    own |= {name: list(vars(module)[name].values()) for name in _HOOKS if vars(module).get(name)}
    where = "" if _of_library(type(module)) else type(module).__module__
    return {name: Code(where, _MODEL).of_value(name, value) for name, value in own.items()}


def _tied(model: nn.Module) -> list[list[str]]:
    """The names of every weight that has more than one."""
    names: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    return sorted(sorted(those) for those in names.values() if len(those) > 1)


def _with_weights(model: nn.Module) -> dict[str, Any]:
    """What a model computes that no checkpoint is read into, as a reference."""
    return {**model_identity(model), "weights": weights_digest(without_repeats(model.state_dict()))}


def _by_type(how: str, value: Any) -> Any:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return [name, _ADDRESS.sub("", repr(value))] if dataclasses.is_dataclass(value) else name


def _of_library(kind: type) -> bool:
    return _top(kind) in LIBRARIES


def _top(kind: type) -> str:
    return kind.__module__.split(".")[0]


def _without_place(config: Any) -> Any:
    if not isinstance(config, dict):
        return config
    return {name: _without_place(value) for name, value in config.items() if name not in PLACE}


def loss_identity(loss_fn: Any) -> Any:
    """What a loss computes, as JSON.

    An ``identity`` that it offers (a method, or an attribute), where models stand for what they are and their weights;
    of a plain function its module and name with a digest of its code, its defaults, the simple values it closes over or
    reads from its module, and the functions and classes of one's own that it calls or imports, see
    :class:`ontogeny.execution.code_identity.Code`.

    Raises:
        OntogenyError: if it is neither, or closes over something whose content cannot be told.
    """
    if not callable(loss_fn):
        raise OntogenyError(
            f"loss_fn must be a function loss_fn(model, batch) that returns one loss per example; got "
            f"{type(loss_fn).__name__}."
        )
    if (own := offered(loss_fn, _LOSS)) is not None:
        return own
    inner = loss_fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    if isinstance(inner, nn.Module) or not hasattr(inner, "__qualname__"):
        raise OntogenyError(
            f"loss_fn: what {type(loss_fn).__name__} computes cannot be told, so its results could not be found again; "
            "give a function of a module's top level, or an object with a method identity() that returns its settings."
        )
    return Code(getattr(inner, "__module__", None) or "", _LOSS).of_value("a function", loss_fn)


def _refused(how: str, value: Any) -> Any:
    raise OntogenyError(
        f"loss_fn {how} of type {type(value).__name__}, whose content cannot be told, so its results could not "
        "be found again; give an object with a method identity() that returns its settings."
    )


_MODEL = Subject("model", _by_type, _with_weights)
_LOSS = Subject("loss_fn", _refused, _with_weights)
