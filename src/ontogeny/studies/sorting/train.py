"""A training seed of a variant, from its data to the weights at its checkpoints; runs in worker processes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.rng import generator
from ontogeny.studies.sorting.settings import SortingSettings, Variant
from ontogeny.training.generated_data import train_on_generated_data
from ontogeny.training.schedule import checkpoint_steps

BLOCK = 64
"""Batches of training data made at once."""


class Training(NamedTuple):
    """One seed of one variant."""

    settings: SortingSettings
    variant: Variant
    seed: int


def steps_of(settings: SortingSettings, variant: Variant) -> tuple[int, ...]:
    """Steps at which a variant is measured: half of them early, as many for every variant of the same length."""
    return checkpoint_steps(variant.steps, settings.early, settings.linear)


def train(task: Training) -> xr.Dataset:
    """Train one seed; weights at its checkpoints, and loss and accuracy on fresh lists. Dim ``checkpoint``."""
    settings, variant = task.settings, task.variant
    steps = steps_of(settings, variant)
    batches: dict[int, Tensor] = {}

    def batch_at(step: int) -> Tensor:
        number, place = divmod(step, BLOCK)
        if number not in batches:
            batches.clear()
            stream = generator(settings.seed, "training data", *variant.data, task.seed, number)
            batches[number] = variant.task.rows(BLOCK * settings.train_batch, stream)
        return batches[number][place * settings.train_batch : (place + 1) * settings.train_batch]

    model = variant.model(task.seed)
    kept = train_on_generated_data(
        model,
        variant.loss,
        batch_at,
        learning_rate=settings.learning_rate,
        weight_decay=variant.weight_decay,
        steps=variant.steps,
        keep=steps,
    )
    told = [_performance(settings, variant, weights) for weights in kept]
    out = xr.Dataset({name: ("checkpoint", [row[name] for row in told]) for name in told[0]})
    out["weights"] = (("checkpoint", "weight"), np.stack([flat(weights) for weights in kept]))
    return out.assign_coords(step=("checkpoint", list(steps)))


def flat(weights: dict[str, Tensor]) -> np.ndarray:
    """All weights one after the other."""
    return torch.cat([value.flatten() for value in weights.values()]).numpy()


def loaded(variant: Variant, weights: np.ndarray) -> nn.Module:
    """The model of flat weights."""
    model, start = variant.model(), 0
    for value in model.state_dict().values():
        count = value.numel()
        value.copy_(torch.from_numpy(np.asarray(weights[start : start + count])).reshape(value.shape))
        start += count
    return model


def _performance(settings: SortingSettings, variant: Variant, weights: dict[str, Tensor]) -> dict[str, float]:
    model = variant.model()
    model.load_state_dict(weights)
    stream = generator(settings.seed, "fresh lists", variant.numbers, variant.length, variant.cumulative)
    rows = variant.fresh_task.rows(settings.fresh, stream)
    correct = variant.loss.correct(model, rows).double()
    with torch.no_grad():
        fresh = variant.loss(model, rows).double().mean(1)
        own = variant.loss(model, data_of(settings, variant)).double().mean(1)
    lists = correct.prod(1)
    return {
        "loss": float(own.mean()),
        "loss_se": float(own.std() / len(own) ** 0.5),
        "fresh_loss": float(fresh.mean()),
        "token_accuracy": float(correct.mean()),
        "token_accuracy_se": float(correct.mean(1).std() / len(rows) ** 0.5),
        "list_accuracy": float(lists.mean()),
        "list_accuracy_se": float(lists.std() / len(rows) ** 0.5),
    }


def data_of(settings: SortingSettings, variant: Variant) -> Tensor:
    """The n examples that every LLC of the variant refers to, drawn as its training data are."""
    return variant.task.rows(settings.examples, generator(settings.seed, "data set", *variant.data))
