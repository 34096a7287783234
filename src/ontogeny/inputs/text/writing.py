"""Documents to rows of tokens: each source a stream cut into rows, the rows of all in one random order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.progress import progress_bar
from ontogeny.core.rng import numpy_generator
from ontogeny.core.temporary_files import remove_left, temporary_beside
from ontogeny.inputs.text.blocks import (
    FORMAT,
    MANIFEST,
    SPLITS,
    TokenBlocks,
    array_digest,
    array_paths,
    load_blocks,
    read_manifest,
)
from ontogeny.inputs.text.documents import HELD_OUT_SHARE, Document, Record, Source, is_held_out
from ontogeny.inputs.text.mixture import Mixture, as_mixture
from ontogeny.inputs.text.tokenizer import Tokenizer

_TOGETHER = 500_000  # characters read ahead, so that documents can be encoded on all cores


def write_blocks(
    folder: str | Path,
    mixture: Mixture | Source | str,
    tokenizer: Tokenizer,
    context: int,
    blocks: int,
    *,
    held_out: int = 0,
    held_out_share: float = HELD_OUT_SHARE,
    seed: int = 0,
    progress: bool = True,
) -> TokenBlocks:
    """Write ``blocks`` rows of ``context`` tokens for training, and ``held_out`` rows of other documents.

    The documents of a source follow one another with an end of text after each, cut into rows without gaps; a source
    has its share of the rows, and so of the tokens, to within one row. Which documents are held out is told by a hash
    of their names alone, at ``held_out_share``, also where no held-out rows are written: what one call trains on no
    other call holds out. Reading ends when there are enough rows. The same files give the same rows.

    The folder appears whole or not at all, with ``tokenizer.json`` beside the rows. Called again for the same, with
    the same text in the sources, it returns what is there; data of the hub are not read again for that. Of several
    processes that write the same at once, one puts its rows there, and all return them.

    Raises:
        OntogenyError: if a number cannot be, a source is too short, or the folder holds something else.
    """
    folder, mixture = Path(folder), as_mixture(mixture)
    _check(context, blocks, held_out, held_out_share)
    request = {
        "mixture": [[share, source.uri] for share, source in mixture.parts],
        "tokenizer": tokenizer.digest,
        "context": context,
        "blocks": blocks,
        "held_out": held_out,
        "held_out_share": held_out_share,
        "seed": seed,
    }
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        _check_holds(folder, request, mixture)
        return load_blocks(folder)
    remove_left(folder)
    temporary = temporary_beside(folder)
    temporary.mkdir(parents=True)
    try:
        record = _write(temporary, mixture, tokenizer, request, progress)
        (temporary / MANIFEST).write_text(json.dumps(record, indent=1), encoding="utf-8")
        tokenizer.save(temporary / "tokenizer.json")
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.exists():
                raise
            _check_holds(folder, request, mixture)  # another process was faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load_blocks(folder)


def _write(
    folder: Path, mixture: Mixture, tokenizer: Tokenizer, request: dict[str, Any], progress: bool
) -> dict[str, Any]:
    """Fill the arrays of both splits; returns the manifest."""
    context, seed = request["context"], request["seed"]
    wanted = {"train": request["blocks"], "held_out": request["held_out"]}
    dtype = np.dtype(np.uint16 if tokenizer.vocabulary <= 2**16 else np.uint32)
    arrays = {
        split: np.lib.format.open_memmap(array_paths(folder, split)[0], "w+", dtype, (rows, context))
        for split, rows in wanted.items()
        if rows
    }
    rows = {split: mixture.apportion(count) for split, count in wanted.items()}
    places = {split: numpy_generator(seed, "rows", split).permutation(count) for split, count in wanted.items()}
    sources = []
    with progress_bar("Writing token blocks", sum(wanted.values()), progress) as done:
        before = dict.fromkeys(SPLITS, 0)
        for i, (share, source) in enumerate(mixture.parts):
            own = {split: rows[split][i] for split in SPLITS}
            stream = _Stream(source, tokenizer, context, own, request["held_out_share"])
            so_far = sum(before.values())
            for split, number, row in stream:
                arrays[split][places[split][before[split] + number]] = row
                so_far += 1
                done(so_far)
            for split in SPLITS:
                if stream.rows[split] < own[split]:
                    _too_short(mixture, i, split, stream.rows[split], request)
                before[split] += own[split]
            sources.append({"share": share, "uri": source.uri, "rows": own, **stream.as_dict()})
    splits: dict[str, Any] = {split: {"rows": 0} for split in SPLITS}
    for split, tokens in arrays.items():
        tokens.flush()
        source_of = np.empty(wanted[split], dtype=np.uint16)
        source_of[places[split]] = np.repeat(np.arange(len(mixture.parts)), rows[split])
        np.save(array_paths(folder, split)[1], source_of)
        splits[split] = {
            "rows": wanted[split],
            "tokens": array_digest(tokens),
            "source": array_digest(source_of),
        }
    return {
        "format": FORMAT,
        "request": request,
        "dtype": dtype.name,
        "vocabulary": tokenizer.vocabulary,
        "end_of_text": tokenizer.end_of_text,
        "splits": splits,
        "sources": sources,
    }


class _Stream:
    """One source as rows of both splits, and what was read for them."""

    def __init__(
        self, source: Source, tokenizer: Tokenizer, context: int, wanted: dict[str, int], held_out_share: float
    ) -> None:
        self._source, self._tokenizer, self._context = source, tokenizer, context
        self._wanted, self._share = wanted, held_out_share
        self.rows = dict.fromkeys(SPLITS, 0)
        self._record = Record()
        self._used: dict[str, list[str]] = {split: [] for split in SPLITS}

    def as_dict(self) -> dict[str, Any]:
        """All documents read, by ``describe``'s names; ``names`` by split has those whose tokens are in its rows."""
        return {**self._record.as_dict(), "names": self._used}

    def __iter__(self) -> Iterator[tuple[str, int, np.ndarray[Any, Any]]]:
        """Each row as (split, number within the split, tokens of shape (context,)), until there are enough."""
        left = {split: np.empty(0, dtype=np.uint32) for split in SPLITS}
        for document, ids in self._encoded():
            split = self._split(document)
            self._used[split].append(document.name)
            stream = np.concatenate([left[split], np.array([*ids, self._tokenizer.end_of_text], dtype=np.uint32)])
            whole = len(stream) // self._context
            for row in stream[: whole * self._context].reshape(whole, self._context):
                if self._full(split):
                    break
                yield split, self.rows[split], row
                self.rows[split] += 1
            left[split] = stream[whole * self._context :]

    def _encoded(self) -> Iterator[tuple[Document, list[int]]]:
        """Documents of splits that want more, with their token ids; each is entered in the record as it is passed."""
        documents = self._source.documents(self._record.skipped)
        while not all(map(self._full, SPLITS)) and (some := _some(documents)):
            wanted = [place for place, document in enumerate(some) if not self._full(self._split(document))]
            encoded = self._tokenizer.encode_each([some[place].text for place in wanted])
            ids = dict(zip(wanted, encoded, strict=True))
            for place, document in enumerate(some):
                if all(map(self._full, SPLITS)):
                    return
                self._record.add(document)
                if not self._full(self._split(document)):
                    yield document, ids[place]

    def _split(self, document: Document) -> str:
        return "held_out" if is_held_out(document.name, self._share) else "train"

    def _full(self, split: str) -> bool:
        return self.rows[split] >= self._wanted[split]


def _some(documents: Iterator[Document]) -> list[Document]:
    """The next documents, as many as are worth encoding at once."""
    some: list[Document] = []
    characters = 0
    for document in documents:
        some.append(document)
        characters += len(document.text)
        if characters >= _TOGETHER:
            break
    return some


def _check(context: int, blocks: int, held_out: int, held_out_share: float) -> None:
    for name, value, least in (("context", context, 2), ("blocks", blocks, 1), ("held_out", held_out, 0)):
        check_whole(name, value, least)
    if not 0 <= held_out_share < 1:
        raise OntogenyError(f"held_out_share must be at least 0 and below 1; got {held_out_share}.")
    if held_out and not held_out_share:
        raise OntogenyError("held_out_share must be above 0 for held-out rows to come from documents of their own.")


def _too_short(mixture: Mixture, place: int, split: str, rows: int, request: dict[str, Any]) -> None:
    """Say how many rows there are, and which number could be asked for.

    Raises:
        OntogenyError: always.
    """
    share, source = mixture.parts[place]
    name = "blocks" if split == "train" else "held_out"
    wanted = mixture.apportion(request[name])[place]
    most = int((rows + 1) / share)
    while mixture.apportion(most)[place] > rows:
        most -= 1
    raise OntogenyError(
        f"{name}: {source.uri} has {rows} rows of {request['context']} tokens for {split}, and "
        f"{wanted} of the {request[name]} are to come from it; ask for at most {most}, "
        "or name more text."
    )


def _check_holds(folder: Path, request: dict[str, Any], mixture: Mixture) -> None:
    """Refuse a folder that holds anything but the rows that are asked for, made of the text there is now.

    Raises:
        OntogenyError: that says what it holds.
    """
    if not (folder / MANIFEST).is_file():
        raise OntogenyError(f"folder: {folder} holds something that is no token blocks; name an empty or a new folder.")
    record = read_manifest(folder)
    for name, asked in request.items():
        held = record["request"].get(name)
        if held != asked:
            raise OntogenyError(
                f"folder: {folder} holds token blocks with {name} {_short(held)}, and this call asks for "
                f"{_short(asked)}; name another folder, or remove that one."
            )
    for split in SPLITS:
        if record["splits"][split]["rows"]:
            load_blocks(folder, split, verify=True)
    for (_, source), held in zip(mixture.parts, record["sources"], strict=True):
        if source.remote:
            continue
        now = Record()
        for document in islice(source.documents(), held["documents"]):
            now.add(document)
        if now.digest != held["digest"]:
            raise OntogenyError(
                f"folder: the rows in {folder} were made of other text than {source.uri} holds now; name another "
                "folder, or remove that one."
            )


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 12 else str(value)
