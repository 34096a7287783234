"""nβ, γ, ε and burn-in chosen by rule where the caller left them out, from the curvature met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.core.trees import tree_map
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.operators.hessian import hessian_vector_product, largest_eigenvalue
from ontogeny.sampling.chains import advance, start
from ontogeny.sampling.evaluation import Mode
from ontogeny.sampling.kernels import get_kernel
from ontogeny.sampling.posterior import LocalPosterior

CONDITION = 100.0
"""K: where γ is left out, γ = nβ·h_max/K, so that the posterior's condition number is at most K + 1."""

STEP = 0.1
"""ε·(nβ·h_max + γ) where ε is left out: a step bias of at most 2.6 % along the steepest direction."""

PILOT_STEPS = 200
SMALL_MODEL = 10_000
MAX_DRAWS_SMALL, MAX_DRAWS_LARGE = 4_000_000, 20_000
"""Gradient evaluations over all chains, burn-in counted, below and above 10,000 sampled weights."""


@dataclass(frozen=True)
class Calibration:
    """The numbers a run needs, chosen or given; units as in LocalPosterior, ``h_max`` in loss/weight²."""

    n_beta: float
    localization: float
    step_size: float
    burn_in: int
    h_max: float


def default_n_beta(examples: int) -> float:
    """nβ = n/log n (Watanabe 2013, the temperature of WBIC), n the size of the data set, never of the batch."""
    return examples / math.log(max(examples, 3))


def default_max_draws(dim: int) -> int:
    """The bound on gradient evaluations over all chains."""
    return MAX_DRAWS_SMALL if dim < SMALL_MODEL else MAX_DRAWS_LARGE


def largest_curvature(loss: Loss, position: Params, batches: Sequence[Batch], masks: Params | None, seed: int) -> float:
    """h_max of the loss, averaged over ``batches``, at one position (no chain axis) over the sampled weights."""
    stream = generator(seed, "curvature")
    first = {name: torch.randn(value.shape, generator=stream).to(value) for name, value in position.items()}

    def product(vector: Params) -> Params:
        images = [hessian_vector_product(loss, position, batch, vector) for batch in batches]
        return tree_map(lambda *parts: torch.stack(parts).mean(0), *images)

    return largest_eigenvalue(product, first, masks)


def calibrate(
    loss: Loss,
    center: Params,
    batches: Sequence[Batch],
    *,
    mode: Mode,
    masks: Params | None,
    n_beta: float,
    localization: float | None,
    step_size: float | None,
    burn_in: int | None,
    max_steps: int,
    seed: int,
) -> Calibration:
    """Choose what was left out, from the curvature at w* and where pilot chains go.

    The curvature at w* alone would not do: at a singular w* it can vanish, and it grows away from it. So pilot chains
    of 200 steps are run with the settings of the moment, h_max is measured where they end, and the rules are applied
    again, until it grows by less than a fifth (at most six rounds of two pilots; they and the products behind h_max
    are not counted in ``max_steps``).

    Rules: γ = nβ·h_max/100; ε = 0.1/(nβ·h_max + γ); burn-in 3/(εγ) steps, three times the slowest relaxation time
    of squared distances, at most half of ``max_steps``.

    Raises:
        OntogenyError: if the curvature is needed and is not finite, or vanishes wherever the pilots went.
    """
    h_max = largest_curvature(loss, center, batches, masks, seed)
    if localization is None or step_size is None:
        h_max = _follow_pilots(loss, center, batches, mode, masks, n_beta, localization, h_max, seed)
    gamma = n_beta * h_max / CONDITION if localization is None else localization
    epsilon = STEP / (n_beta * h_max + gamma) if step_size is None else step_size
    if burn_in is None:
        needed = 3.0 / (epsilon * gamma) if epsilon * gamma > 0 else math.inf
        burn_in = int(min(max(needed, 100.0), max_steps // 2))
    return Calibration(n_beta, gamma, epsilon, burn_in, h_max)


def _follow_pilots(
    loss: Loss,
    center: Params,
    batches: Sequence[Batch],
    mode: Mode,
    masks: Params | None,
    n_beta: float,
    localization: float | None,
    h_max: float,
    seed: int,
) -> float:
    if not math.isfinite(h_max):
        raise OntogenyError(
            f"step_size and localization cannot be chosen: the curvature of the loss at w* is {h_max}; give both."
        )
    weights = sum(value.numel() for value in center.values())
    scale = max(math.sqrt(sum(float(value.square().sum()) for value in center.values()) / weights), 1.0)
    for round_ in range(6):
        # where nothing bends yet, take a curvature that lets the pilots move a tenth of a weight's size
        assumed = h_max if h_max > 0 else 100.0 / (n_beta * scale**2)
        gamma = n_beta * assumed / CONDITION if localization is None else localization
        ends = _pilot(
            loss, center, batches, mode, masks, n_beta, gamma, STEP / (n_beta * assumed + gamma), seed, round_
        )
        found = max(largest_curvature(loss, end, batches, masks, seed) for end in ends)
        if not math.isfinite(found):
            raise OntogenyError(
                "step_size cannot be chosen: the curvature of the loss is not finite where the pilot chains went; "
                "give step_size and a larger localization."
            )
        grew, h_max = found > 1.2 * h_max, max(found, h_max)
        if h_max > 0 and not grew:
            return h_max
    if h_max > 0:
        return h_max
    raise OntogenyError(
        "step_size and localization cannot be chosen: the loss has no curvature at w* nor where the pilot chains went; "
        "give both."
    )


def _pilot(
    loss: Loss,
    center: Params,
    batches: Sequence[Batch],
    mode: Mode,
    masks: Params | None,
    n_beta: float,
    gamma: float,
    epsilon: float,
    seed: int,
    round_: int,
) -> list[Params]:
    posterior = LocalPosterior(
        loss,
        {name: value.unsqueeze(0) for name, value in center.items()},
        torch.tensor([n_beta], dtype=torch.float64),
        torch.tensor([gamma], dtype=torch.float64),
        masks,
    )
    run = start(
        posterior,
        get_kernel("sgld"),
        step_size=torch.tensor([epsilon], dtype=torch.float64),
        chains=2,
        labels=[("pilot", round_)],
        seed=seed,
        mode=mode,
    )
    advance(run, lambda step: batches[step % len(batches)], PILOT_STEPS)
    axis = run.evaluation.axis
    ends = [{name: value.select(axis, i) for name, value in run.params.items()} for i in range(2)]
    return [end for end in ends if all(bool(value.isfinite().all()) for value in end.values())] or [center]
