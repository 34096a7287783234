"""Data of any common kind behind one small interface: how many examples there are, and a batch of some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.core.types import Batch


@dataclass(frozen=True)
class Examples:
    """n examples; ``take(indices)`` is a batch, ``take(None)`` all of them in order."""

    count: int
    take: Callable[[Tensor | None], Batch]
    in_memory: bool = False
    """Whether they are tensors, so that having all of them costs nothing."""

    @property
    def whole(self) -> Batch | None:
        """All examples as one batch; None where each would have to be made first."""
        return self.take(None) if self.in_memory else None

    def head(self, most: int) -> Batch:
        """The first ``most`` examples as one batch."""
        return self.take(None if most >= self.count else torch.arange(most))


def as_examples(data: Any, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Examples:
    """Wrap a tensor, a tuple or list or mapping of tensors, or a map-style dataset (torch or Hugging Face).

    What is wrapped already stays as it is. An array (NumPy, pandas, whatever NumPy can read) counts as the tensor of
    its values; a memory map is read into memory. Floating-point tensors are moved to ``dtype``, the dtype of the
    sampled weights, all to ``device``.

    Raises:
        OntogenyError: if it is none of these, is empty, its tensors differ in length, one part is neither tensor nor
            array, an array holds no numbers, or a tensor holds NaN.
    """
    if isinstance(data, Examples):
        return data
    if _is_array(data):
        tensor = _ready(_as_tensor(data, "data"), "data", device, dtype)
        return Examples(len(tensor), lambda index: tensor if index is None else tensor[index.to(tensor.device)], True)
    if isinstance(data, tuple | list) and any(_is_array(part) for part in data):
        tensors = [_as_tensor(part, f"data[{i}]") for i, part in enumerate(data)]
        parts = tuple(_ready(part, f"data[{i}]", device, dtype) for i, part in enumerate(tensors))
        if len({len(part) for part in parts}) > 1:
            lengths = ", ".join(str(len(part)) for part in parts)
            raise OntogenyError(f"data: its tensors must have one row per example each; their lengths are {lengths}.")
        return Examples(
            len(parts[0]),
            lambda index: parts if index is None else tuple(part[index.to(part.device)] for part in parts),
            in_memory=True,
        )
    if isinstance(data, Mapping) and data and all(_is_array(part) for part in data.values()):
        named = list(data)
        rows = as_examples(tuple(data.values()), device, dtype)
        return Examples(rows.count, lambda index: dict(zip(named, rows.take(index), strict=True)), in_memory=True)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | Mapping):
        return _map_style(data, device, dtype)
    raise OntogenyError(
        "data must be a tensor, a tuple or mapping of tensors (or arrays), or a map-style dataset with __len__ and "
        f"__getitem__; got {type(data).__name__}. Of a DataLoader pass its .dataset; an iterable of "
        "tensors can be collected first: torch.stack(list(data))."
    )


def _is_array(part: Any) -> bool:
    return isinstance(part, Tensor) or (hasattr(part, "__array__") and not isinstance(part, np.generic))


def _as_tensor(part: Any, name: str) -> Tensor:
    if isinstance(part, Tensor):
        return part
    if not _is_array(part):
        raise OntogenyError(
            f"{name} must be a tensor or an array, as other parts of data are; got {type(part).__name__}. "
            "Turn it into one with numpy.asarray."
        )
    part = np.asarray(part)
    wide = part.dtype.kind == "u" and part.dtype.itemsize > 1  # torch can hardly index or embed with these
    dtype = np.dtype(np.int64) if wide else part.dtype.newbyteorder("=")
    try:
        return torch.from_numpy(np.require(part, dtype, ["C", "W"]))
    except TypeError:
        raise OntogenyError(
            f"{name} must hold numbers that torch knows; got an array of dtype {part.dtype}. Convert it first, "
            "as with array.astype, or give a map-style dataset."
        ) from None


def _ready(tensor: Tensor, name: str, device: torch.device | None, dtype: torch.dtype | None) -> Tensor:
    if tensor.dim() == 0 or len(tensor) == 0:
        raise OntogenyError(f"{name} must have at least one example along its first axis; got {tuple(tensor.shape)}.")
    if tensor.is_floating_point():
        bad = int(tensor.isnan().sum())
        if bad:
            raise OntogenyError(f"{name} must hold no NaN; {bad} of {tensor.numel()} values are. Drop those examples.")
        return tensor.to(device=device, dtype=dtype)
    return tensor.to(device=device)


def _map_style(data: Any, device: torch.device | None, dtype: torch.dtype | None) -> Examples:
    from torch.utils.data import default_collate

    if len(data) == 0:
        raise OntogenyError("data must have at least one example; the dataset is empty.")

    def place(batch: Any) -> Any:
        if isinstance(batch, Tensor):
            return _ready(batch, "data", device, dtype)
        if isinstance(batch, Mapping):
            return {key: place(value) for key, value in batch.items()}
        if isinstance(batch, tuple | list):
            return tuple(place(value) for value in batch)
        return batch

    def take(index: Tensor | None) -> Batch:
        chosen = range(len(data)) if index is None else index.tolist()
        return place(default_collate([_numbers_as_tensors(data[i]) for i in chosen]))

    return Examples(len(data), take)


def _numbers_as_tensors(example: Any) -> Any:
    """Lists of numbers, as in Hugging Face data sets, as tensors: collated as lists they come out transposed."""
    if isinstance(example, Mapping):
        return {key: _numbers_as_tensors(value) for key, value in example.items()}
    if isinstance(example, tuple):
        return tuple(_numbers_as_tensors(value) for value in example)
    if isinstance(example, list):
        return torch.as_tensor(example)
    return example


def check_batch_size(batch_size: int, count: int) -> None:
    """Refuse a batch that is empty or larger than the data set.

    Raises:
        OntogenyError: naming both sizes.
    """
    if not 1 <= batch_size <= count:
        raise OntogenyError(
            f"batch_size must be between 1 and the number of examples in data, {count}; got {batch_size}. "
            "Leave it out to have it chosen."
        )
