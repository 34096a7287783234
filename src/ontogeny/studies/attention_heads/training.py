"""Training of the study's models: every seed, and references with fewer layers on the same rows."""

from __future__ import annotations

from pathlib import Path

from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.studies.attention_heads.settings import ONE_LAYER, ZERO_LAYER, AttentionHeadsSettings
from ontogeny.studies.attention_heads.text import StudyText
from ontogeny.training.language_model import train_language_model

REFERENCES = {ZERO_LAYER: 0, ONE_LAYER: 1}
"""Layers of each."""


def train_seed(
    settings: AttentionHeadsSettings, text: StudyText, folder: Path, seed: int, progress: bool = True
) -> Checkpoints:
    """The checkpoints of one training seed, trained in this process with all its threads where they are not there yet.

    A seed decides the initial weights and the order of the rows. Training is stopped and resumed within a seed.
    """
    model = AttentionOnly(settings.model.config(), seed)
    return train_language_model(
        model, text.training, settings.training.of_seed(seed), folder / f"seed-{seed}", progress=progress
    )


def train_references(
    settings: AttentionHeadsSettings, text: StudyText, folder: Path, progress: bool = True
) -> dict[str, AttentionOnly]:
    """The zero- and one-layer models of seed 0, trained as the others are; one of each serves all seeds."""
    out = {}
    for name, layers in REFERENCES.items():
        model = AttentionOnly(settings.model.config(layers), 0)
        train_language_model(
            model,
            text.training,
            settings.training.of_seed(0),
            folder / name.replace(" ", "-"),
            progress=progress,
        )
        out[name] = model
    return out


def measured(settings: AttentionHeadsSettings, trained: Checkpoints) -> Checkpoints:
    """Those checkpoints that are measured: chosen by their steps alone, alike for every seed.

    Even in log(step), three quarters of them would lie before the first head that attends to the token before.
    """
    return trained.select(settings.checkpoints, spacing="cube root")


def early_step(settings: AttentionHeadsSettings, steps: tuple[int, ...]) -> int:
    """Of the measured steps, the one nearest a sixth of the training but not its last."""
    return min(steps[1:-1] or steps, key=lambda step: abs(step - settings.training.steps / 6))
