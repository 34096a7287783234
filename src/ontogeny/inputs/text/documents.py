"""What every source of text gives: documents in a fixed order, each content once, and a record of what was read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ontogeny.core.rng import stream_key

HELD_OUT_SHARE = 0.1
"""The share of documents that training rows and tokenizers leave alone."""


class Document(NamedTuple):
    """One text under the name it has within its source, never an absolute path."""

    name: str
    text: str


Reader = Callable[[Counter[str]], Iterator[Document]]
"""Reads a source from its start; what it leaves out it counts under the reason."""


@dataclass(frozen=True)
class Source:
    """Documents under one URI, read lazily and always in the same order.

    Args:
        uri: what the source is called in records; folders stand in it by their last name only.
        read: the documents as they lie there.
        most_characters: the reading ends after so many; the last document is cut.
        remote: its documents come over the network, so that a record is not checked by reading them again.
    """

    uri: str
    read: Reader
    most_characters: int | None = None
    remote: bool = False

    def documents(self, skipped: Counter[str] | None = None) -> Iterator[Document]:
        """The documents; empty ones, repeated contents and what is no Unicode are left out and counted in ``skipped``.

        >>> source = Source("two", lambda skipped: iter([Document("a", "same"), Document("b", "same")]))
        >>> [document.name for document in source.documents()]
        ['a']
        """
        skipped = Counter() if skipped is None else skipped
        seen: set[bytes] = set()
        left = self.most_characters
        for document in self.read(skipped):
            if not document.text.strip():
                skipped["empty"] += 1
                continue
            try:
                content = hashlib.sha256(document.text.encode("utf-8")).digest()
            except UnicodeEncodeError:  # half of a surrogate pair, as a string literal may hold
                skipped["not UTF-8"] += 1
                continue
            if content in seen:
                skipped["repeated"] += 1
                continue
            seen.add(content)
            if left is not None and len(document.text) >= left:
                yield Document(document.name, document.text[:left])
                return
            yield document
            left = None if left is None else left - len(document.text)

    def describe(self) -> dict[str, Any]:
        """Read it all and say what is there: see ``Record.as_dict``. Set ``most_characters`` for large sources."""
        record = Record()
        for document in self.documents(record.skipped):
            record.add(document)
        return {"uri": self.uri, **record.as_dict()}


@dataclass
class Record:
    """What has been read of a source, told by content: names, number of documents and characters, and a digest."""

    names: list[str] = field(default_factory=list)
    characters: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, document: Document) -> None:
        """Enter one document; the order counts."""
        for part in document:
            content = part.encode("utf-8", "surrogateescape")
            self._digest.update(f"{len(content)} ".encode() + content)
        self.names.append(document.name)
        self.characters += len(document.text)

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents in the order of reading, in hexadecimal."""
        return str(self._digest.hexdigest())

    def as_dict(self) -> dict[str, Any]:
        """``documents``, ``characters``, ``digest``, ``skipped`` (count by reason) and the list of ``names``."""
        return {
            "documents": len(self.names),
            "characters": self.characters,
            "digest": self.digest,
            "skipped": dict(sorted(self.skipped.items())),
            "names": list(self.names),
        }


def spread(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order set by a hash of each and the seed, so that any beginning is a spread of the whole.

    A name keeps its place among the others when files come or go.
    """
    return sorted(names, key=lambda name: (stream_key(seed, "document", name), name))


def is_held_out(name: str, share: float) -> bool:
    """Whether a document is held out, told by its name alone: a file is so in every source, seed and mixture.

    What is held out at one share is held out at every larger one.

    >>> sum(is_held_out(f"page {i}", 0.1) for i in range(10_000))
    958
    """
    return stream_key(0, "held out", name) < share * 2**63
