"""What is computed for a seed group and for a chunk of checkpoints; both run in worker processes."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ontogeny.core.progress import report_progress
from ontogeny.core.rng import generator
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.superposition import HIDDEN, SuperpositionLoss, importances, sparse_features
from ontogeny.metrics import geometry
from ontogeny.operators.hessian import dense_hessian
from ontogeny.sampling.around_centers import ChainsAround
from ontogeny.sampling.compiled import compiler_available
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.studies.superposition import curvature
from ontogeny.studies.superposition.settings import SEEDS_A_GROUP, SuperpositionSettings
from ontogeny.training.many_seeds import train_many_seeds

DATA_BLOCK = 100
LOSS_EXAMPLES = 2000


class SeedGroup(NamedTuple):
    """Training seeds ``first`` … ``first + SEEDS_A_GROUP - 1``."""

    settings: SuperpositionSettings
    first: int


class CheckpointChunk(NamedTuple):
    """Some checkpoints of some seeds; ``weight`` (task, hidden, feature), ``bias`` (task, feature)."""

    settings: SuperpositionSettings
    seed: np.ndarray
    checkpoint: np.ndarray
    step: np.ndarray
    weight: np.ndarray
    bias: np.ndarray


def _loss(settings: SuperpositionSettings) -> SuperpositionLoss:
    return _one_loss(settings.n_features, settings.importance_decay)


@lru_cache(maxsize=4)
def _one_loss(features: int, decay: float) -> SuperpositionLoss:
    """One object for all settings that share it: the sampler's program is compiled once an object."""
    return SuperpositionLoss(importances(features, decay).float())


def dataset(settings: SuperpositionSettings) -> Tensor:
    """The n examples every LLC refers to, shape (n, features)."""
    return _examples((settings.dataset_size, settings.n_features), settings.sparsity, settings.seed)


@lru_cache(maxsize=4)
def _examples(shape: tuple[int, int], sparsity: float, seed: int) -> Tensor:
    return sparse_features(shape, sparsity, generator(seed, "dataset", sparsity))


def train(group: SeedGroup) -> xr.Dataset:
    """Train one group of seeds; weights every ``record_every`` steps and what follows from them."""
    settings, seeds = group.settings, range(group.first, group.first + SEEDS_A_GROUP)
    shape = (HIDDEN, settings.n_features)
    weight = [torch.randn(shape, generator=generator(settings.seed, "init", seed)) for seed in seeds]
    initial = {
        "weight": settings.init_scale * torch.stack(weight, -1),
        "bias": torch.zeros(settings.n_features, SEEDS_A_GROUP),
    }

    @lru_cache(maxsize=1)
    def block(number: int) -> Tensor:
        size = (DATA_BLOCK, settings.train_batch, settings.n_features)
        per_seed = [
            sparse_features(size, settings.sparsity, generator(settings.seed, "training data", seed, number))
            for seed in seeds
        ]
        return torch.stack(per_seed, -1)

    kept = range(0, settings.train_steps + 1, settings.record_every)
    path = train_many_seeds(
        _loss(settings),
        initial,
        lambda step: block(step // DATA_BLOCK)[step % DATA_BLOCK],
        learning_rate=settings.learning_rate,
        steps=settings.train_steps,
        keep=kept,
    )
    out = xr.Dataset(
        {
            "weight": (("time", "hidden", "feature", "seed"), path["weight"].numpy()),
            "bias": (("time", "feature", "seed"), path["bias"].numpy()),
        },
        coords={"seed": list(seeds), "step": ("time", list(kept))},
    ).transpose("seed", "time", ...)
    out["effective_rank"] = geometry.effective_rank(out["weight"])
    out["feature_norm"] = geometry.feature_norm(out["weight"])
    out["loss"] = (("seed", "time"), _losses(settings, out["weight"].values, out["bias"].values, LOSS_EXAMPLES))
    return out


def _losses(settings: SuperpositionSettings, weight: np.ndarray, bias: np.ndarray, examples: int) -> np.ndarray:
    """Mean loss on the first examples of the data set, for leading axes of any number."""
    data, loss = dataset(settings)[:examples], _loss(settings)
    flat_weight = torch.from_numpy(weight).reshape(-1, *weight.shape[-2:])
    flat_bias = torch.from_numpy(bias).reshape(-1, bias.shape[-1])
    mean = torch.func.vmap(lambda w, b: loss({"weight": w, "bias": b}, data).mean(), chunk_size=64)
    return mean(flat_weight, flat_bias).double().reshape(weight.shape[:-2]).numpy()


def measure(chunk: CheckpointChunk) -> xr.Dataset:
    """Every indicator of a chunk of checkpoints: LLC ± s.e. with its tests, loss, curvature, geometry; dim ``task``."""
    settings, tasks = chunk.settings, len(chunk.step)
    center = {"weight": torch.from_numpy(chunk.weight), "bias": torch.from_numpy(chunk.bias)}
    posterior = LocalPosterior(
        _loss(settings),
        center,
        torch.full((tasks,), settings.n_beta),
        torch.full((tasks,), settings.localization),
    )
    out = _sample(chunk, posterior)
    weight = xr.DataArray(chunk.weight, dims=("task", "hidden", "feature"))
    out["weight"], out["bias"] = weight, (("task", "feature"), chunk.bias)
    out["loss"] = ("task", _losses(settings, chunk.weight, chunk.bias, settings.dataset_size))
    out["effective_rank"] = geometry.effective_rank(weight)
    out["feature_norm"] = geometry.feature_norm(weight)
    out["weight_norm"] = (weight.astype(np.float64) ** 2).sum(("hidden", "feature")) ** 0.5
    out["features_represented"] = geometry.features_represented(out["feature_norm"])
    out["cosine_similarity"] = geometry.cosine_similarity(weight)
    out = out.merge(geometry.closest_polygon(weight))
    where = {"seed": chunk.seed, "checkpoint": chunk.checkpoint, "step": chunk.step}
    return out.assign_coords({name: ("task", values) for name, values in where.items()})


def _sample(chunk: CheckpointChunk, posterior: LocalPosterior) -> xr.Dataset:
    settings = chunk.settings
    around = ChainsAround(
        posterior,
        as_examples(dataset(settings)),
        settings.calibration,
        labels=[(int(seed), int(step)) for seed, step in zip(chunk.seed, chunk.step, strict=True)],
        seed=settings.seed,
        mode="stacked",
        compile=compiler_available(),
    )
    around.take(settings.draws, report_progress)
    data, chains = dataset(settings), around.chains
    ends = {name: value[..., :: settings.chains].movedim(-1, 0) for name, value in chains.params.items()}
    groups = curvature.hessians_of_groups(posterior, data, posterior.center)
    gradient = curvature.gradients(posterior, data)
    at_center = curvature.curvature(
        groups,
        gradient,
        n_beta=settings.n_beta,
        localization=settings.localization,
        share=min(curvature.EXAMPLES / len(data), 1.0),
    )
    at_ends = torch.linalg.eigvalsh(dense_hessian(posterior.loss, ends, data[: curvature.EXAMPLES]))[:, -1].double()
    h_max = np.maximum(at_center["hessian_max"].values, at_ends.numpy())  # it grows along a chain
    found = llc_from_draws(around.draws(h_max)).rename(center="task").assign_attrs(asdict(settings))
    return found.merge(at_center).assign(gradient_norm=("task", gradient.norm(dim=1).numpy()))
