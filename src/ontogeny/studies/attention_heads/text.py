"""The study's text: a tokenizer, rows to train on, and the rows of each data set that is measured on.

All of it is written once into the study's folder, and read from there ever after: what is installed on the machine
later changes nothing, and a resumed study goes on with the text that it began with.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.text import (
    TokenBlocks,
    Tokenizer,
    load_blocks,
    load_tokenizer,
    parse_mixture,
    parse_source,
    train_tokenizer,
    write_blocks,
)
from ontogeny.inputs.text.blocks import MANIFEST
from ontogeny.inputs.text.documents import HELD_OUT_SHARE
from ontogeny.studies.attention_heads.settings import TEXT, AttentionHeadsSettings, source

TRAINING = "training"
"""The folder of the rows that models are trained on."""


class StudyText(NamedTuple):
    """What there is to read."""

    tokenizer: Tokenizer
    training: TokenBlocks
    """Rows that models are trained on."""
    datasets: dict[str, Tensor]
    """Rows (examples, context) by name, int64: ``TEXT`` first, then those of the settings."""


def prepare_text(settings: AttentionHeadsSettings, folder: Path, progress: bool = True) -> StudyText:
    """Write what is not there yet, and read it.

    A data set of a kind of source that the mixture has too (``installed:``, ``dir:`` …) is of held-out documents, since
    the others may have been trained on; one of another kind may be any of its documents.

    Raises:
        OntogenyError: if a source cannot be read or is too short; the sentence names the data set.
    """
    tokenizer_file = folder / "tokenizer.json"
    if not tokenizer_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        train_tokenizer(
            settings.mixture, settings.model.vocabulary, sample_characters=settings.tokenizer_characters
        ).save(tokenizer_file)
    tokenizer = load_tokenizer(tokenizer_file)
    training = folder / TRAINING
    if not (training / MANIFEST).exists():
        write_blocks(
            training,
            settings.mixture,
            tokenizer,
            settings.model.context,
            settings.training.rows,
            held_out=settings.examples,
            seed=settings.seed,
            progress=progress,
        )
    trained_on = {part.uri.partition(":")[0] for _, part in parse_mixture(settings.mixture).parts}
    datasets = {TEXT: _rows(load_blocks(training, "held_out"), settings.examples)}
    for name, uri in settings.datasets.items():
        here = folder / folder_of(name)
        unseen = uri.partition(":")[0] not in trained_on
        if not (here / MANIFEST).exists():
            _write(settings, here, name, uri, tokenizer, unseen, progress)
        datasets[name] = _rows(load_blocks(here, "train" if unseen else "held_out"), settings.examples)
    return StudyText(tokenizer, load_blocks(training), datasets)


def folder_of(dataset: str) -> str:
    """What the folder of a data set is called."""
    return dataset.replace(" ", "_")


def _write(
    settings: AttentionHeadsSettings,
    folder: Path,
    name: str,
    uri: str,
    tokenizer: Tokenizer,
    unseen: bool,
    progress: bool,
) -> None:
    try:
        write_blocks(
            folder,
            parse_source(source(uri)),
            tokenizer,
            settings.model.context,
            settings.examples if unseen else 1,
            held_out=0 if unseen else settings.examples,
            held_out_share=0.0 if unseen else HELD_OUT_SHARE,
            seed=settings.seed,
            progress=progress,
        )
    except OntogenyError as error:
        raise OntogenyError(
            f"data set {name!r}, {uri}: {error} A data set can be left out or replaced: datasets= of the study's run()."
        ) from error


def _rows(blocks: TokenBlocks, most: int) -> Tensor:
    return blocks.take(torch.arange(min(most, len(blocks))))
