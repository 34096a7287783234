"""Sources of text under short names that a settings file or a command line can hold.

==================  ===========================================================================================
``dir:PATH``        every text file below a folder; ``glob`` (default ``*``) matches file names at any depth
``file:PATH``       one .txt, a .json list of strings, or .jsonl with the text in ``column`` (default ``text``)
``installed:code``  the .py files of this Python's standard library and packages; ``packages=numpy,scipy``
``installed:docs``  the docstrings in those files, one document a file
``hub:NAME``        a Hugging Face data set, streamed; ``config``, ``split`` (default ``train``), ``column``
                    (default ``text``), ``revision``
==================  ===========================================================================================

Options follow ``?``, joined by ``&``. All take ``most_characters``, which ends the reading. Files of a folder and of
packages are read in an order set by a hash of their relative names and of ``seed`` (default 0), so that a limit takes
a spread of them; files with several documents and the hub are read from their start.
"""

from __future__ import annotations

from functools import partial

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.paths import expanded
from ontogeny.inputs.text.documents import Reader, Source
from ontogeny.inputs.text.files import file_documents, folder_documents
from ontogeny.inputs.text.hub import hub_documents
from ontogeny.inputs.text.installed import installed_code, installed_docs

_OPTIONS = {
    "dir": ("glob", "seed"),
    "file": ("column",),
    "installed": ("packages", "seed"),
    "hub": ("config", "split", "column", "revision"),
}


def parse_source(uri: str) -> Source:
    """The source that a URI names; nothing is read yet.

    Raises:
        OntogenyError: if the kind, an option or its value is not known.

    >>> parse_source("installed:code?packages=json&most_characters=1000").uri
    'installed:code?packages=json&most_characters=1000'
    """
    kind, colon, rest = uri.strip().partition(":")
    place, _, query = rest.partition("?")
    if not colon or kind not in _OPTIONS or not place:
        raise OntogenyError(
            f"source must be dir:PATH, file:PATH, installed:code, installed:docs or hub:NAME; got {uri!r}."
        )
    options = _options(kind, query)
    own = kind in ("dir", "file")
    shown = expanded(place).resolve().name if own else place  # a record is the same wherever the folder lies
    return Source(
        uri=f"{kind}:{shown}" + (f"?{query}" if query else ""),
        read=_reader(kind, place, options),
        most_characters=_whole(options, "most_characters", 1) if "most_characters" in options else None,
        remote=kind == "hub",
    )


def _reader(kind: str, place: str, options: dict[str, str]) -> Reader:
    column = options.get("column", "text")
    if kind == "file":
        return partial(file_documents, expanded(place), column)
    if kind == "hub":
        return partial(
            hub_documents,
            place,
            options.get("config"),
            options.get("split", "train"),
            column,
            options.get("revision"),
        )
    seed = _whole(options, "seed", 0)
    if kind == "dir":
        return partial(folder_documents, expanded(place), options.get("glob", "*"), seed)
    if place not in ("code", "docs"):
        raise OntogenyError(f"source: installed: must be followed by code or docs; got {place!r}.")
    packages = tuple(name.strip() for name in options.get("packages", "").split(",") if name.strip())
    return partial(installed_code if place == "code" else installed_docs, packages, seed)


def _options(kind: str, query: str) -> dict[str, str]:
    known = (*_OPTIONS[kind], "most_characters")
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if name not in known or not equals or not value or name in options:
            raise OntogenyError(
                f"source: options of {kind}: are {', '.join(known)}, each once and as name=value; got {part!r}."
            )
        options[name] = value
    return options


def _whole(options: dict[str, str], name: str, least: int) -> int:
    text = options.get(name, "0")
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise OntogenyError(f"source: {name} must be a whole number of at least {least}; got {text!r}.")
    return int(text)
