"""Text from a data set of the Hugging Face hub, streamed, so that only what is used is downloaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ontogeny.core.errors import OntogenyError, first_line
from ontogeny.inputs.text.documents import Document
from ontogeny.inputs.text.files import text_of


def hub_documents(
    name: str, config: str | None, split: str, column: str, revision: str | None, skipped: Counter[str]
) -> Iterator[Document]:
    """Rows of ``split`` in the data set's own order, named ``train#0``, ``train#1`` and so on.

    Raises:
        OntogenyError: if ``datasets`` is missing, the data set cannot be had, or a row has no text in ``column``.
    """
    for number, row in enumerate(_rows(name, config, split, revision)):
        yield Document(f"{split}#{number}", text_of(row, column, f"row {number} of {name}"))


def _rows(name: str, config: str | None, split: str, revision: str | None) -> Iterator[Any]:
    try:
        import datasets
    except ImportError:
        raise OntogenyError('source: hub: needs the extra: pip install "ontogeny[hub]"') from None
    try:
        yield from datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
    except Exception as error:  # that library raises whatever its network and its formats do
        raise OntogenyError(
            f"source: the data set {name!r} (config {config}, split {split}) cannot be had from the hub: "
            f"{first_line(error)}."
        ) from error
