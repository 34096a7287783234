"""A byte-level BPE tokenizer of chosen size, trained on named text; any tokenizer.json can take its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError
from ontogeny.core.temporary_files import temporary_beside
from ontogeny.inputs.text.documents import HELD_OUT_SHARE, Source, is_held_out
from ontogeny.inputs.text.mixture import Mixture, as_mixture

if TYPE_CHECKING:
    import tokenizers

END_OF_TEXT = "<|endoftext|>"
"""The token after each document, with id 0 in the tokenizers trained here."""

FEWEST_TOKENS = 257
"""The 256 bytes and the end of text, so that every text has an encoding that decodes to itself."""

_KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>")


class Tokenizer:
    """Text to token ids and back. What looks like a special token in a text is encoded as the letters it has.

    Args:
        backend: of the ``tokenizers`` package.
        end_of_text: the id of the token that stands after each document.
    """

    def __init__(self, backend: tokenizers.Tokenizer, end_of_text: int) -> None:
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.end_of_text = end_of_text

    @property
    def vocabulary(self) -> int:
        """The number of token ids, all smaller than it: the rows that an embedding needs."""
        return max(self._backend.get_vocab().values()) + 1

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides the encoding and the end of text, in hexadecimal."""
        return hashlib.sha256(f"{self.end_of_text} {self._backend.to_str()}".encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The token ids of a text; no end of text is added."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, encoded on all cores; with TOKENIZERS_PARALLELISM=false on one."""
        return [encoded.ids for encoded in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; the end of text stands in it by its name."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=False)

    def save(self, path: str | Path) -> None:
        """Write a tokenizer.json, which ``load_tokenizer`` and other libraries read; whole or not at all."""
        path = Path(path)
        temporary = temporary_beside(path)
        temporary.write_text(self._backend.to_str(pretty=True), encoding="utf-8")
        temporary.replace(path)


def train_tokenizer(
    mixture: Mixture | Source | str,
    vocabulary: int,
    *,
    sample_characters: int = 5_000_000,
    held_out_share: float = HELD_OUT_SHARE,
) -> Tokenizer:
    """A byte-level BPE with exactly ``vocabulary`` tokens; the same files give the same tokenizer.

    Tokens are the end of text, the 256 bytes, and merges in the order found by Gage (1994) and Sennrich et al.
    (arXiv:1508.07909), on text cut into words as GPT-2's tokenizer cuts it; a merge must be seen twice.

    Args:
        mixture: sources with shares, or its text as in ``parse_mixture``.
        vocabulary: at least 257.
        sample_characters: of each source its share of so many characters are read from its start, or what it has.
        held_out_share: documents that ``write_blocks`` holds out at this share are not looked at.

    Raises:
        OntogenyError: if ``vocabulary`` is below 257 or more than the text yields.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if isinstance(vocabulary, bool) or not isinstance(vocabulary, int) or vocabulary < FEWEST_TOKENS:
        raise OntogenyError(
            f"vocabulary must be a whole number of at least {FEWEST_TOKENS}, for the 256 bytes and the end of text; "
            f"got {vocabulary!r}."
        )
    if sample_characters < 1:
        raise OntogenyError(f"sample_characters must be at least 1; got {sample_characters}.")
    mixture = as_mixture(mixture)
    shares = mixture.apportion(sample_characters)
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END_OF_TEXT],
        show_progress=False,
    )
    texts = (
        text
        for (_, source), characters in zip(mixture.parts, shares, strict=True)
        for text in _sample(source, characters, held_out_share)
    )
    backend.train_from_iterator(texts, trainer)
    reached = backend.get_vocab_size()
    if reached < vocabulary:
        raise OntogenyError(
            f"vocabulary: the text yields {reached} tokens, and {vocabulary} were asked for; ask for fewer, or give "
            "more text (or a larger sample_characters)."
        )
    return Tokenizer(backend, end_of_text=backend.get_vocab()[END_OF_TEXT])


def load_tokenizer(path: str | Path, end_of_text: str | None = None) -> Tokenizer:
    """A tokenizer from its tokenizer.json, written by ``Tokenizer.save`` or by another library.

    Args:
        path: the file, or the folder it lies in.
        end_of_text: the token after each document; found among the common names if not given.

    Raises:
        OntogenyError: if there is none, it cannot be read, or it has no such token.
    """
    from tokenizers import Tokenizer as Backend

    path = Path(path)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise OntogenyError(f"path must be a tokenizer.json or a folder that holds one; {path} is not there.")
    try:
        written = path.read_text(encoding="utf-8")
        json.loads(written)
        backend = Backend.from_str(written)
    except Exception as error:  # the tokenizers package raises bare Exceptions
        raise OntogenyError(f"path: {path} cannot be read as a tokenizer.json: {error}") from None
    names = _KNOWN_ENDS if end_of_text is None else (end_of_text,)
    found = [i for i in map(backend.token_to_id, names) if i is not None]
    if not found:
        raise OntogenyError(
            f"end_of_text: {path} has no token {' or '.join(names)}; name the token that shall stand after a document."
        )
    return Tokenizer(backend, found[0])


def _sample(source: Source, characters: int, held_out_share: float) -> Iterator[str]:
    left = characters
    for document in source.documents() if left else ():
        if is_held_out(document.name, held_out_share):
            continue
        yield document.text[:left]
        left -= len(document.text)
        if left <= 0:
            return
