"""Data sets by name, as rows of tokens: token blocks, a file of token ids, or a text and a tokenizer.

==================  ===========================================================================================
``FOLDER``          token blocks that ``write_blocks`` wrote; ``FOLDER#held_out`` for those of held-out documents
``FILE``            .npy, or .safetensors with one tensor or ``FILE#TENSOR`` (default ``input_ids``): whole numbers of
                    shape (rows, positions), or one long sequence, which is cut into rows
text                a source or mixture as in ``ontogeny.inputs.text``, for instance ``dir:books``; cut into rows by
                    ``write_blocks``, and ``#held_out`` for the documents that this holds out
==================  ===========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError, first_line
from ontogeny.inputs.paths import expanded
from ontogeny.inputs.text.blocks import MANIFEST, SPLITS, load_blocks
from ontogeny.inputs.text.tokenizer import Tokenizer
from ontogeny.inputs.text.writing import write_blocks

TEXT = re.compile(r"(?:.*\*)?\s*(?:dir|file|installed|hub):.*", re.DOTALL)
ROWS_OF_TEXT = 1000
"""Cut from a text where nothing else is asked."""


@dataclass(frozen=True)
class RowsOfTokens:
    """How data sets become rows of tokens.

    Args:
        tokenizer: gives the tokenizer of texts; called if there is any.
        context: tokens a row of text; longer rows of files are cut to it, where it is asked for.
        cut: whether it is asked for.
        examples: the first so many rows; None: all of a file or folder, ``ROWS_OF_TEXT`` of a text.
        vocabulary: the model's, which no token may reach; None: unknown.
        written: a folder a data set's rows of text, from an earlier call.
        fresh: the same for those that are not there yet.
    """

    tokenizer: Callable[[], Tokenizer]
    context: int
    cut: bool
    examples: int | None
    vocabulary: int | None
    written: Path
    fresh: Path

    def read(self, name: str, where: str) -> Tensor:
        """The rows of one data set, int64 of shape (rows, positions).

        Raises:
            OntogenyError: if there are none, they are no tokens, or not the model's.
        """
        if TEXT.fullmatch(where) and not Path(where).exists():
            rows = self._of_text(name, where)
        else:
            rows = self._of_tokens(name, where)
        if rows.dim() != 2 or len(rows) == 0 or rows.shape[1] < 2:
            raise OntogenyError(
                f"data {name!r}: {where} must hold token ids of shape (rows, positions), with at least two positions; "
                f"got shape {tuple(rows.shape)}."
            )
        if int(rows.min()) < 0:
            raise OntogenyError(
                f"data {name!r}: {where} holds the token {int(rows.min())}, and tokens must not be negative; cut off "
                "what rows were filled up with."
            )
        if self.vocabulary is not None and int(rows.max()) >= self.vocabulary:
            raise OntogenyError(
                f"data {name!r}: tokens go from {int(rows.min())} to {int(rows.max())}, and the model's vocabulary is "
                f"0 to {self.vocabulary - 1}; use the tokenizer that the model was made for."
            )
        return rows

    def _of_tokens(self, name: str, where: str) -> Tensor:
        place, _, part = where.partition("#")
        at = expanded(place)
        if at.is_dir():
            if not (at / MANIFEST).is_file():
                raise OntogenyError(
                    f"data {name!r}: the folder {at} holds no token blocks; for the text files in it write dir:{place}."
                )
            blocks = load_blocks(at, part or SPLITS[0])
            return self._cut(blocks.take(range(min(len(blocks), self.examples or len(blocks)))))
        if at.suffix not in (".npy", ".safetensors"):
            raise OntogenyError(
                f"data {name!r} must be a folder of token blocks, a .npy or .safetensors file, or a text as "
                f"dir:PATH, file:PATH, installed:code, installed:docs or hub:NAME; got {where!r}."
            )
        held = _array(at) if at.suffix == ".npy" else _tensor(at, part)
        if not _whole(held):
            raise OntogenyError(f"data {name!r}: {where} must hold token ids, whole numbers; got {held.dtype}.")
        rows = torch.as_tensor(held)
        if rows.dim() == 1:
            rows = rows[: len(rows) // self.context * self.context].reshape(-1, self.context)
        if rows.dim() == 2:
            rows = self._cut(rows[: self.examples])
        tokens = rows.long()
        if rows.dtype == torch.uint64 and bool((tokens < 0).any()):
            largest = 2**64 + int(tokens[tokens < 0].max())
            raise OntogenyError(
                f"data {name!r}: {where} holds the token {largest}, and tokens must be below 2**63; cut off what rows "
                "were filled up with."
            )
        return tokens

    def _cut(self, rows: Tensor) -> Tensor:
        return rows[:, : self.context] if self.cut else rows

    def _of_text(self, name: str, where: str) -> Tensor:
        """Rows by ``write_blocks``, so the text they are made of is on record beside them."""
        text, _, split = where.rpartition("#")
        if split not in SPLITS:
            text, split = where, SPLITS[0]
        count = self.examples or ROWS_OF_TEXT
        blocks, held_out = (count, 0) if split == SPLITS[0] else (1, count)
        folder = self.written / name if (self.written / name).exists() else self.fresh / name
        try:
            write_blocks(folder, text, self.tokenizer(), self.context, blocks, held_out=held_out)
        except OntogenyError as error:
            raise OntogenyError(f"data {name!r}: {error}") from error
        return load_blocks(folder, split).take(range(count))


def blocks_tokenizer(places: Iterable[str]) -> Path | None:
    """The tokenizer.json of the first of these data sets that is a folder of token blocks; None: there is none."""
    files = (expanded(place.partition("#")[0]) / "tokenizer.json" for place in places)
    return next((file for file in files if file.is_file()), None)


def _array(path: Path) -> np.ndarray[Any, Any]:
    try:
        with path.open("rb") as file:
            held = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise OntogenyError(f"data: {path} cannot be read as .npy: {first_line(error)}.") from error
    return held.astype(held.dtype.newbyteorder("="), copy=False)


def _tensor(path: Path, name: str) -> Tensor:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
            if not names:
                raise OntogenyError(f"data: {path} holds no tensors; expected token ids of shape (rows, positions).")
            wanted = name or (names[0] if len(names) == 1 else "input_ids")
            if wanted not in names:
                raise OntogenyError(
                    f"data: {path} holds the tensors {', '.join(names)}; name one as {path}#{names[0]}."
                )
            return opened.get_tensor(wanted)
    except (OSError, SafetensorError) as error:
        raise OntogenyError(f"data: {path} cannot be read as safetensors: {error}.") from error


def _whole(held: np.ndarray[Any, Any] | Tensor) -> bool:
    if isinstance(held, np.ndarray):
        return held.dtype.kind in "iu"
    return not (held.dtype.is_floating_point or held.dtype.is_complex or held.dtype == torch.bool)
