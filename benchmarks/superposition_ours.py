"""Our side of the superposition benchmark: the problem both sides sample, and the batched loop timed on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ontogeny.inputs.superposition import SuperpositionLoss
    from ontogeny.sampling.chains import Chains

TARGET = 0.02  # relative standard error


class Problem(NamedTuple):
    """A trained toy model and its data set."""

    weight: np.ndarray  # (2, features)
    bias: np.ndarray  # (features,)
    importance: np.ndarray  # (features,)
    x: np.ndarray  # (examples, features)


@dataclass(frozen=True)
class Settings:
    """What both sides sample; the names are those of the peer's file."""

    n_beta: float
    localization: float
    step_size: float
    burn_in: int
    batch_size: int = 300


def canonical() -> tuple[Problem, Settings]:
    """One model trained as the study trains, the study's data set size, and the study's nβ, γ, ε and burn-in."""
    import torch

    from ontogeny.core.rng import generator
    from ontogeny.inputs.superposition import SuperpositionLoss, importances, sparse_features
    from ontogeny.studies.superposition.settings import PRESETS

    study = PRESETS["quick"]
    importance = importances(study.n_features, study.importance_decay).float()
    loss, stream = SuperpositionLoss(importance), generator(0, "benchmark", "training")
    params = {
        "weight": (study.init_scale * torch.randn(2, study.n_features, generator=stream)).requires_grad_(),
        "bias": torch.zeros(study.n_features, requires_grad=True),
    }
    adam = torch.optim.Adam(params.values(), lr=study.learning_rate)
    for _ in range(study.train_steps):
        adam.zero_grad()
        loss(params, sparse_features((study.train_batch, study.n_features), study.sparsity, stream)).mean().backward()
        adam.step()
    shape = (study.dataset_size, study.n_features)
    x = sparse_features(shape, study.sparsity, generator(0, "benchmark", "data"))
    weight, bias = (params[name].detach().numpy() for name in ("weight", "bias"))
    settings = Settings(study.n_beta, study.localization, study.step_size, study.burn_in, study.batch_size)
    return Problem(weight, bias, importance.numpy(), x.numpy()), settings


@lru_cache(maxsize=1)
def _loss(importance: tuple[float, ...]) -> SuperpositionLoss:
    import torch

    from ontogeny.inputs.superposition import SuperpositionLoss

    return SuperpositionLoss(torch.tensor(importance))  # one object, so that the loop compiles it once


def _start(
    problem: Problem, settings: Settings, centers: int, chains: int, compiled: bool, seed: int
) -> tuple[Chains, Any]:
    """`chains` chains on each of `centers` checkpoints, which are copies of one."""
    import torch

    from ontogeny.sampling import chains as loop
    from ontogeny.sampling.kernels import get_kernel
    from ontogeny.sampling.noise import MinibatchStream
    from ontogeny.sampling.posterior import LocalPosterior

    x = torch.tensor(problem.x)
    batches = MinibatchStream(seed, len(x), settings.batch_size)
    weight, bias = torch.tensor(problem.weight), torch.tensor(problem.bias)
    posterior = LocalPosterior(
        _loss(tuple(problem.importance.tolist())),
        {"weight": weight.repeat(centers, 1, 1), "bias": bias.repeat(centers, 1)},
        torch.full((centers,), settings.n_beta),
        torch.full((centers,), settings.localization),
    )
    run = loop.start(
        posterior,
        get_kernel("sgld"),
        step_size=torch.full((centers,), settings.step_size),
        chains=chains,
        labels=list(range(centers)),
        seed=seed,
        mode="stacked",
        compile=compiled,
    )
    return run, lambda step: (x[batches.at(step)],)


def ours_chain_steps_per_second(problem: Problem, settings: Settings, chains: int, compiled: bool) -> float:
    """Chain-steps per second of the batched loop with four chains a checkpoint, as the study runs it.

    Baseline, virial, drift cap and the drawing of noise are part of it; compilation and the first steps are left out.
    The best of three stretches of two whole blocks of noise (one where a step is slow).
    """
    from ontogeny.sampling.chains import advance
    from ontogeny.sampling.noise import block_length

    run, batch_at = _start(problem, settings, chains // 4, 4, compiled, seed=0)
    advance(run, batch_at, 3)
    steps = block_length(problem.weight.size + problem.bias.size) * (2 if compiled else 1)
    seconds = []
    for _ in range(3 if compiled else 2):
        begin = time.perf_counter()
        advance(run, batch_at, steps)
        seconds.append(time.perf_counter() - begin)
    return chains * steps / min(seconds)


def ours_estimates(
    problem: Problem, settings: Settings, chains: int, compiled: bool, seeds: int, levels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Our λ̂ and reported standard error, each (seeds, levels), and the seconds of a step of the whole program."""
    from ontogeny.estimators.uncertainty import standard_error
    from ontogeny.sampling.chains import advance

    llc, claimed = np.empty((seeds, len(levels))), np.empty((seeds, len(levels)))
    seconds = []
    for seed in range(seeds):
        run, batch_at = _start(problem, settings, 1, chains, compiled, seed)
        advance(run, batch_at, 3)
        begin = time.perf_counter()
        advance(run, batch_at, settings.burn_in - 3)
        record = advance(run, batch_at, max(levels))
        seconds.append((time.perf_counter() - begin) / (settings.burn_in - 3 + max(levels)))
        excess = settings.n_beta * (record.loss.double() - record.loss_at_center.double()).numpy().T  # (chains, draws)
        for i, draws in enumerate(levels):
            llc[seed, i] = excess[:, :draws].mean()
            claimed[seed, i] = standard_error(excess[:, :draws])
    return llc, claimed, min(seconds)


def ours_public_call(problem: Problem, settings: Settings, seed: int = 0) -> dict[str, Any]:
    """`og.estimate_llc` to TARGET, everything counted: checks, curvature, burn-in, compilation where it compiles."""
    import torch

    import ontogeny as og
    from ontogeny.inputs.superposition import Superposition

    importance = torch.tensor(problem.importance)
    begin = time.perf_counter()
    found = og.estimate_llc(
        Superposition(torch.tensor(problem.weight), torch.tensor(problem.bias)),
        torch.tensor(problem.x),
        lambda model, x: (importance * (model(x) - x) ** 2).sum(1),
        **asdict(settings),
        target_se=TARGET,
        seed=seed,
        progress=False,
    )
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "llc": float(found["llc"]),
        "llc_se": float(found["llc_se"]),
        "status": str(found["status"].item()),
        "chains": int(found.attrs["chains"]),
        "draws": int(found.attrs["draws"]),
    }
