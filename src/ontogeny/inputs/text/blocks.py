"""Rows of tokens on disk: what they are, how they are read, and what is recorded of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError

FORMAT = 1
"""Raised when the meaning of stored rows changes."""

SPLITS = ("train", "held_out")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class TokenBlocks:
    """Rows of token ids of one split, memory-mapped, in random order.

    Args:
        tokens: shape ``(rows, context)``, uint16 or uint32.
        source: shape ``(rows,)``, the place of each row's source in ``record["sources"]``.
        split: ``train`` or ``held_out``.
        record: the manifest: the request, each source's documents and digest, and the rows.
    """

    tokens: np.ndarray[Any, Any]
    source: np.ndarray[Any, Any]
    split: str
    record: dict[str, Any]

    def __len__(self) -> int:
        return len(self.tokens)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.tokens, dtype=dtype, copy=copy)

    def take(self, indices: Tensor | np.ndarray[Any, Any] | Sequence[int]) -> Tensor:
        """The rows at ``indices`` as an int64 tensor of shape ``(len(indices), context)``, in memory of their own."""
        return torch.from_numpy(self.tokens[np.asarray(indices, dtype=np.int64)].astype(np.int64))

    @property
    def digest(self) -> str:
        """SHA-256 over the split's tokens, from the record."""
        return str(self.record["splits"][self.split]["tokens"])


def load_blocks(folder: str | Path, split: str = "train", *, verify: bool = False) -> TokenBlocks:
    """What ``write_blocks`` wrote; nothing is read into memory.

    Args:
        folder: where it was written.
        split: ``train`` or ``held_out``.
        verify: read the rows and hold them against their recorded digest.

    Raises:
        OntogenyError: if there are no rows, none of that split, or they are not those of the record.
    """
    folder = Path(folder)
    record = read_manifest(folder)
    if split not in SPLITS or not record["splits"][split]["rows"]:
        held = [f"{name} ({record['splits'][name]['rows']} rows)" for name in SPLITS if record["splits"][name]["rows"]]
        raise OntogenyError(f"split must be one that {folder} holds: {', '.join(held)}; got {split!r}.")
    shape = (record["splits"][split]["rows"], record["request"]["context"])
    try:
        arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in array_paths(folder, split)]
    except (OSError, ValueError) as error:
        raise OntogenyError(f"folder: the rows in {folder} cannot be read: {error}. Write them again.") from None
    tokens, source = arrays
    as_recorded = tokens.shape == shape and tokens.dtype == record["dtype"] and source.shape == shape[:1]
    if as_recorded and verify:
        held_digests = {"tokens": array_digest(tokens), "source": array_digest(source)}
        as_recorded = held_digests.items() <= record["splits"][split].items()
    if not as_recorded:
        raise OntogenyError(f"folder: the rows of {split} in {folder} are not those of its manifest; write them again.")
    return TokenBlocks(tokens, source, split, record)


def array_paths(folder: Path, split: str) -> tuple[Path, Path]:
    """Where a split's tokens and the sources of its rows lie."""
    return folder / f"{split}.npy", folder / f"{split}_source.npy"


def array_digest(array: np.ndarray[Any, Any]) -> str:
    """SHA-256 over dtype, shape and values, read a part at a time; hexadecimal."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    for start in range(0, len(array), 8192):
        digest.update(np.ascontiguousarray(array[start : start + 8192]).tobytes())
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The record of a folder of rows.

    Raises:
        OntogenyError: if it has none that can be read.
    """
    try:
        record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise OntogenyError(f"folder must hold token blocks; {folder} has no {MANIFEST} that can be read.") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise OntogenyError(f"folder: {folder} holds no token blocks that this version reads; write them again.")
    return record
