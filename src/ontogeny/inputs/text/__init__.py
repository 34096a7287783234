"""Text from named sources, a byte-level tokenizer trained on it, and rows of tokens on disk.

>>> from ontogeny.inputs.text import parse_mixture
>>> [round(share, 2) for share, source in parse_mixture("4*installed:docs + 1*installed:code").parts]
[0.8, 0.2]
"""

from ontogeny.inputs.text.blocks import TokenBlocks, load_blocks
from ontogeny.inputs.text.documents import Document, Source
from ontogeny.inputs.text.mixture import Mixture, parse_mixture
from ontogeny.inputs.text.sources import parse_source
from ontogeny.inputs.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from ontogeny.inputs.text.writing import write_blocks

__all__ = [
    "Document",
    "Mixture",
    "Source",
    "TokenBlocks",
    "Tokenizer",
    "load_blocks",
    "load_tokenizer",
    "parse_mixture",
    "parse_source",
    "train_tokenizer",
    "write_blocks",
]
