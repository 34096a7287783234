"""Text from the user's own files: a folder of them, or one that holds several documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.text.documents import Document, spread


def folder_documents(folder: Path, glob: str, seed: int, skipped: Counter[str]) -> Iterator[Document]:
    """The files below ``folder`` that match ``glob`` at any depth, hidden ones left out, in the order of ``spread``.

    Raises:
        OntogenyError: if there is no such folder, ``glob`` is no pattern below it, or no file in it matches.
    """
    if not folder.is_dir():
        raise OntogenyError(f"source: dir: must name a folder of text files; {folder} is none.")
    try:
        found = [path.relative_to(folder) for path in folder.rglob(glob) if path.is_file()]
    except (NotImplementedError, ValueError) as error:
        raise OntogenyError(
            f"source: glob must match file names below the folder, as *.md or notes/*.txt; got {glob!r} ({error})."
        ) from None
    names = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    if not names:
        raise OntogenyError(f"source: no file below {folder} matches {glob!r}; set ?glob=, as in dir:notes?glob=*.md.")
    yield from decoded(((name, folder / name) for name in spread(names, seed)), skipped)


def decoded(files: Iterator[tuple[str, Path]], skipped: Counter[str]) -> Iterator[Document]:
    """Each file that is UTF-8 and has no NUL; others, and those that cannot be read, are counted."""
    for name, path in files:
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            skipped["not UTF-8"] += 1
            continue
        except OSError:
            skipped["not readable"] += 1
            continue
        if "\0" in text:
            skipped["not text"] += 1
            continue
        yield Document(name, text)


def file_documents(path: Path, column: str, skipped: Counter[str]) -> Iterator[Document]:
    """One file: .txt is a document, .json a list of strings, .jsonl an object with ``column`` a line.

    Raises:
        OntogenyError: if it is not there, not UTF-8, or of another form.
    """
    if not path.is_file():
        raise OntogenyError(f"source: file: must name a file; {path} is none. For a folder write dir:.")
    try:
        if path.suffix == ".txt":
            yield Document(path.name, path.read_text(encoding="utf-8-sig"))
        elif path.suffix == ".json":
            for i, text in enumerate(_strings(json.loads(path.read_text(encoding="utf-8-sig")), path)):
                yield Document(f"{path.name}#{i}", text)
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8-sig") as lines:
                for i, line in enumerate(lines):
                    if line.strip():
                        yield Document(f"{path.name}#{i}", text_of(json.loads(line), column, f"line {i + 1} of {path}"))
        else:
            raise OntogenyError(f"source: file: must end in .txt, .json or .jsonl; got {path.name}.")
    except UnicodeDecodeError as error:
        raise OntogenyError(f"source: {path} must be UTF-8; byte {error.start} is not.") from None
    except json.JSONDecodeError as error:
        raise OntogenyError(f"source: {path} must be {path.suffix[1:]}; it cannot be parsed: {error}.") from None


def text_of(row: Any, column: str, where: str) -> str:
    """The text of one row of a table.

    Raises:
        OntogenyError: if the row has no string under that name.
    """
    text = row.get(column) if isinstance(row, dict) else None
    if isinstance(text, str):
        return text
    there = f"it has {', '.join(map(str, row))}" if isinstance(row, dict) else f"it is a {type(row).__name__}"
    raise OntogenyError(f"source: {where} has no text in the column {column!r}; {there}. Name one with ?column=.")


def _strings(value: Any, path: Path) -> list[str]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise OntogenyError(f"source: {path} must hold a JSON list of strings; for objects use .jsonl, one a line.")
