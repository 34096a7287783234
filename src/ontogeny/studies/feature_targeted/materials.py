"""What the study needs before it measures: tokens, a model, a sparse autoencoder; each made once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.features import activations, interleaved, random_directions, sae_directions
from ontogeny.features.feature import normalised
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.load_weights import load_into
from ontogeny.inputs.named.models import named_model, tokenizer_file
from ontogeny.inputs.paths import expanded
from ontogeny.inputs.text import load_blocks, load_tokenizer, train_tokenizer, write_blocks
from ontogeny.inputs.weight_files import read_weights, weights_digest
from ontogeny.store import write_text
from ontogeny.studies.feature_targeted.settings import KINDS, FeatureTargetedSettings
from ontogeny.training.language_model import train_language_model
from ontogeny.training.sparse_autoencoder import train_sparse_autoencoder

HELD_OUT = 0.05
"""Of the documents; the data set of λ̂ is of those where the study trains the model."""
SAMPLE_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class Materials:
    """The files of one study, by its folder; cheap to send, read where it is used."""

    settings: FeatureTargetedSettings
    folder: Path

    def __reduce__(self) -> tuple[type[Materials], tuple[FeatureTargetedSettings, Path]]:
        return Materials, (self.settings, self.folder)  # what was read is read anew by whoever needs it

    @property
    def quality_file(self) -> Path:
        """What was found of an autoencoder that was trained here."""
        return self.folder / "sae" / "quality.json"

    def make(self, progress: bool) -> None:
        """Make whatever is not there yet.

        Raises:
            OntogenyError: if the autoencoder is no good, or something cannot be had.
        """
        settings = self.settings
        if settings.trained is not None:
            trained, config = settings.trained, settings.trained.config(settings.positions)
            self._write_text(progress)
            rows = load_blocks(self.folder / "text")
            train_language_model(
                AttentionOnly(config, settings.seed),
                rows.tokens,
                trained.training(settings.seed),
                self.folder / "model",
                progress=progress,
                device=settings.device,
            )
        elif not settings.tokens:
            self._write_text(progress)
        if not settings.sae and not self.quality_file.exists():
            self._train_sae(progress)
        if self.quality is not None and not bool(self.quality["good"]):
            raise OntogenyError(str(self.quality["said"]))

    def _write_text(self, progress: bool) -> None:
        settings, folder = self.settings, self.folder / "text"
        trained = settings.trained
        if trained is None:
            file = tokenizer_file(settings.model)
            if file is None:
                raise OntogenyError(
                    f"model: {settings.model} comes without a tokenizer.json; name a file of tokens in settings.tokens."
                )
            tokenizer, source = load_tokenizer(file), settings.text
            blocks, held_out = settings.sequences + settings.sae_sequences, 0
        else:
            source, blocks, held_out = trained.text, trained.blocks, settings.sequences
            saved = folder / "tokenizer.json"
            tokenizer = (
                load_tokenizer(saved)
                if saved.exists()
                else train_tokenizer(
                    source, trained.vocabulary, sample_characters=SAMPLE_CHARACTERS, held_out_share=HELD_OUT
                )
            )
        write_blocks(
            folder, source, tokenizer, settings.positions, blocks, held_out=held_out, held_out_share=HELD_OUT,
            seed=settings.seed, progress=progress,
        )  # fmt: skip

    def _train_sae(self, progress: bool) -> None:
        settings = self.settings
        seen = activations(self.model(), self.training_rows, settings.site)
        autoencoder, quality = train_sparse_autoencoder(seen, settings.autoencoder(), progress=progress)
        said = ""
        try:
            quality.check()
        except OntogenyError as error:
            said = str(error)
        autoencoder.save(self.folder / "sae", f"blocks.{settings.layer}.hook_{settings.hook}")
        write_text(self.quality_file, json.dumps({**quality._asdict(), "good": not said, "said": said}, indent=1))

    @property
    def quality(self) -> dict[str, float | bool | str] | None:
        """Explained variance, L0 and dead share of an autoencoder trained here; None: it was given."""
        return json.loads(self.quality_file.read_text(encoding="utf-8")) if self.quality_file.exists() else None

    @property
    def checkpoints(self) -> Checkpoints | None:
        """Of a model that was trained here."""
        return Checkpoints.from_folder(self.folder / "model") if self.settings.trained is not None else None

    def model(self, step: int | None = None) -> nn.Module:
        """The model at a checkpoint, by default the last, on the processor."""
        if self.settings.trained is not None:
            model: nn.Module = AttentionOnly(self.settings.trained.config(self.settings.positions))
            run = self.checkpoints
            assert run is not None
        else:
            model, of = named_model(self.settings.model)
            run = of()
        load_into(model, run.weights(run.steps[-1] if step is None else step))
        return model

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        """The data set of λ̂, and the rows that the autoencoder is trained on."""
        settings = self.settings
        if settings.tokens:
            held = read_weights(expanded(settings.model) / settings.tokens)
            tokens = next(iter(held.values())).long()
            whole = tokens.shape[1] // settings.positions * settings.positions
            rows = tokens[:, :whole].reshape(-1, settings.positions)
            if len(rows) < settings.sequences:
                raise OntogenyError(
                    f"tokens: {settings.tokens} holds {len(rows)} rows of {settings.positions} tokens, and "
                    f"{settings.sequences} are asked for."
                )
            return rows[: settings.sequences], rows[-settings.sae_sequences :]
        trained = settings.trained is not None
        first = load_blocks(self.folder / "text")
        if not trained:
            every = first.take(range(settings.sequences + settings.sae_sequences))
            return every[: settings.sequences], every[settings.sequences :]
        held_out = load_blocks(self.folder / "text", "held_out")
        return held_out.take(range(settings.sequences)), first.take(range(min(settings.sae_sequences, len(first))))

    @property
    def data(self) -> Tensor:
        """The n sequences that λ̂ and the baselines refer to, int64 (sequences, positions)."""
        return self._rows[0]

    @property
    def training_rows(self) -> Tensor:
        """The sequences whose activations the autoencoder is trained on."""
        return self._rows[1]

    @cached_property
    def directions(self) -> tuple[Tensor, list[str]]:
        """SAE features and random directions by turns, and which is which; the measurements see the first only."""
        settings = self.settings
        features = sae_directions(settings.sae or self.folder / "sae", settings.features)
        random = random_directions(settings.features, features.shape[1], settings.seed)
        if settings.centred:
            features, random = (normalised(rows - rows.mean(1, keepdim=True)) for rows in (features, random))
        return interleaved(features, random, KINDS)

    @cached_property
    def digests(self) -> dict[str, str]:
        """What measurements depend on, by content."""
        model = self.model()
        return {
            "model": weights_digest(model.state_dict()),
            "data": weights_digest({"data": self.data}),
            "directions": weights_digest({"directions": self.directions[0]}),
        }

    def decoder(self) -> Callable[[list[int]], str]:
        """Token ids to text."""
        settings = self.settings
        inside = expanded(settings.model.removeprefix("hf:")) / "vocab.json"
        if settings.tokens and inside.is_file():
            words = json.loads(inside.read_text(encoding="utf-8"))
            by_id = words if isinstance(words, list) else {number: word for word, number in words.items()}
            return lambda ids: "".join(by_id[i] for i in ids)
        return load_tokenizer(self.folder / "text" / "tokenizer.json").decode
