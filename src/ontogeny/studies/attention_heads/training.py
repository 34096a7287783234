"""Training of the study's models: every seed, and references with fewer layers on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from ontogeny.core.version import __version__
from ontogeny.execution.chunks import Chunk
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.text import TokenBlocks
from ontogeny.store import content_key
from ontogeny.studies.attention_heads.settings import ONE_LAYER, ZERO_LAYER, AttentionHeadsSettings
from ontogeny.studies.attention_heads.text import StudyText
from ontogeny.training.language_model import train_language_model

REFERENCES = {ZERO_LAYER: 0, ONE_LAYER: 1}
"""Layers of each."""


class ModelToTrain(NamedTuple):
    """One model of the study, and where its checkpoints go."""

    settings: AttentionHeadsSettings
    seed: int
    layers: int
    folder: Path


def models_of(settings: AttentionHeadsSettings, folder: Path, seeds: int) -> list[ModelToTrain]:
    """Every seed's model and the references, the longest to train first."""
    each = [ModelToTrain(settings, seed, settings.model.layers, _seed_folder(folder, seed)) for seed in range(seeds)]
    each += [ModelToTrain(settings, 0, layers, _folder(folder, name)) for name, layers in REFERENCES.items()]
    return sorted(each, key=lambda one: -one.layers)


def training_chunks(models: list[ModelToTrain], text: TokenBlocks) -> list[Chunk]:
    """One for each model, to train them beside one another."""
    return [
        Chunk(
            content_key(
                "attention heads, train", __version__, asdict(one.settings.model), asdict(one.settings.training),
                text.digest, one.seed, one.layers,
            ),
            one,
            f"training a model of {one.layers} layers, seed {one.seed}",
        )
        for one in models
    ]  # fmt: skip


def train(one: ModelToTrain, shared: Mapping[str, Any]) -> xr.Dataset:
    """Train a model into its folder, from where it was stopped; ``shared``: text (a `TokenBlocks`) and device.

    Returns:
        ``loss``, nats a token, by ``step``, of every checkpoint kept; the weights are in the folder.
    """
    trained = _trained(one, shared["text"], progress=False, device=shared["device"])
    return xr.Dataset(
        {"loss": ("step", [trained.loss(step) for step in trained.steps])}, coords={"step": list(trained.steps)}
    )


def train_seed(
    settings: AttentionHeadsSettings, text: StudyText, folder: Path, seed: int, progress: bool = True
) -> Checkpoints:
    """The checkpoints of one training seed, trained in this process with all its threads where they are not there yet.

    A seed decides the initial weights and the order of the rows. Training is stopped and resumed within a seed.
    """
    one = ModelToTrain(settings, seed, settings.model.layers, _seed_folder(folder, seed))
    return _trained(one, text.training, progress)


def references(
    settings: AttentionHeadsSettings, text: StudyText, folder: Path, progress: bool = True
) -> dict[str, AttentionOnly]:
    """The zero- and one-layer models of seed 0, trained as the others are; one of each serves all seeds."""
    out = {}
    for name, layers in REFERENCES.items():
        held = _trained(ModelToTrain(settings, 0, layers, _folder(folder, name)), text.training, progress)
        out[name] = AttentionOnly(settings.model.config(layers), 0)
        out[name].load_state_dict(held.weights(held.steps[-1]))
    return out


def _trained(one: ModelToTrain, text: TokenBlocks, progress: bool, device: str | None = None) -> Checkpoints:
    model = AttentionOnly(one.settings.model.config(one.layers), one.seed)
    training = one.settings.training.of_seed(one.seed)
    return train_language_model(model, text, training, one.folder, progress=progress, device=device)


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


def _folder(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "-")


def measured(settings: AttentionHeadsSettings, trained: Checkpoints) -> Checkpoints:
    """Those checkpoints that are measured: chosen by their steps alone, alike for every seed.

    Even in log(step), three quarters of them would lie before the first head that attends to the token before.
    """
    return trained.select(settings.checkpoints, spacing="cube root")


def early_step(settings: AttentionHeadsSettings, steps: tuple[int, ...]) -> int:
    """Of the measured steps, the one nearest a sixth of the training but not its last."""
    return min(steps[1:-1] or steps, key=lambda step: abs(step - settings.training.steps / 6))
