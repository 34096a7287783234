"""Weights in files: safetensors (in shards too) and torch's own files, read without running anything stored in them."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.core.temporary_files import temporary_beside

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
STEMS = ("model", "pytorch_model")
NESTED = ("model", "state_dict", "model_state_dict")
"""Where a torch file keeps the weights when it keeps other things beside them."""


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names (sorted), dtypes, shapes and bytes; its first 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def without_repeats(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights on the processor, in memory of their own, a tied weight only under the first of its names."""
    out: dict[str, Tensor] = {}
    seen = set()
    for name, value in weights.items():
        place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and place in seen:
            continue
        seen.add(place)
        out[name] = value.detach().to("cpu", copy=True).contiguous()
    return out


def is_weights(path: Path) -> bool:
    """Whether this file or folder is one that ``read_weights`` reads, told from names alone."""
    return path.suffix in SUFFIXES if path.is_file() else path.is_dir() and _inside(path) is not None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, or in a folder with model.safetensors, pytorch_model.bin or their index of shards.

    Raises:
        OntogenyError: if there is none, or if it cannot be read without running code stored in it.
    """
    if path.is_dir():
        found = _inside(path)
        if found is None:
            raise OntogenyError(
                f"{path} holds no weights; expected model.safetensors, model.safetensors.index.json or the same for "
                "pytorch_model.bin."
            )
        return read_weights(found)
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in SUFFIXES:
        return _read_torch(path)
    raise OntogenyError(f"{path} is no file of weights; expected one that ends in {', '.join(SUFFIXES)}.")


def _inside(folder: Path) -> Path | None:
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin"), ("model", ".pt")):
        for name in (f"{stem}{suffix}", f"{stem}{suffix}.index.json"):
            if (folder / name).is_file():
                return folder / name
    return None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise OntogenyError(f"{path} does not exist (any more).") from error
    except (SafetensorError, OSError) as error:
        raise OntogenyError(f"{path} cannot be read as safetensors ({error}); it may be cut off or damaged.") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise OntogenyError(
            f"{path} holds more than tensors, and nothing is unpickled here; save the weights alone, with "
            "torch.save(model.state_dict(), path) or as safetensors."
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise OntogenyError(f"{path} cannot be read as a torch file; it may be cut off or damaged.") from error
    candidates = [held, *(held.get(name) for name in NESTED)] if isinstance(held, dict) else []
    for candidate in candidates:
        if isinstance(candidate, dict) and candidate and all(isinstance(part, Tensor) for part in candidate.values()):
            return dict(candidate)
    raise OntogenyError(
        f"{path} holds no state dict; expected tensors by name, at the top or under {', '.join(map(repr, NESTED))}."
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map", {})
    out: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        out |= read_weights(index.parent / Path(name).name)
    missing = [name for name in places if name not in out]
    if missing or not places:
        raise OntogenyError(
            f"{index} does not fit its shards: {', '.join(map(repr, missing[:3])) or 'every weight'} is missing."
        )
    return out


def write_weights(path: Path, weights: Mapping[str, Tensor], record: Mapping[str, Any] | None = None) -> None:
    """Write safetensors under a temporary name, then rename; ``record`` (JSON-able) goes into the same file."""
    from safetensors.torch import save_file

    temporary = temporary_beside(path)
    save_file(dict(weights), temporary, {} if record is None else {"record": json.dumps(record)})
    temporary.replace(path)


def read_record(path: Path) -> dict[str, Any]:
    """What ``write_weights`` was given as ``record``."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        return json.loads((opened.metadata() or {}).get("record", "{}"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name, then rename."""
    temporary = temporary_beside(path)
    temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        OntogenyError: if the file holds something else.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise OntogenyError(f"{path} holds no JSON object; it may be cut off or damaged.")
    return held
