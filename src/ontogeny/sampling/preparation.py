"""From a checked problem and the caller's settings to chains on w*: every default that is not found by warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.core.trees import tree_map
from ontogeny.core.types import Batch, Params
from ontogeny.inputs.datasets import Examples, check_batch_size
from ontogeny.inputs.losses import ModuleLoss, check_loss, loss_positions
from ontogeny.sampling.at_center import WithCenter, center_table, fits
from ontogeny.sampling.calibration import (
    CONDITION,
    DEFAULT_KERNEL,
    FEWEST_CHAINS,
    SMALL_MODEL,
    default_batch,
    default_chains,
    default_max_draws,
    default_n_beta,
)
from ontogeny.sampling.chains import Chains, placed, start
from ontogeny.sampling.curvature import Curvature
from ontogeny.sampling.evaluation import Evaluation, Mode, choose_mode, evaluation, parts_go_together
from ontogeny.sampling.kernels import Kernel, get_kernel
from ontogeny.sampling.noise import MinibatchStream, minibatch_pair
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.sampling.problem import Problem
from ontogeny.sampling.settings import Settings
from ontogeny.sampling.warm_up import TINY, WarmUp

CURVATURE_EXAMPLES = 1024
MOST_BATCHES = 16
PILOT_STEPS, PILOT_CHAINS, PILOT_ROUNDS = 300, 4, 6
PILOT_SHARE = 0.01
"""Of the gradient evaluations allowed, the most that a round of pilots may take."""
LOOK_SHARE = 0.01
"""The share of the gradient evaluations allowed that one look at the curvature of many chains may take."""
DIAGNOSTICS_SHARE, DIAGNOSTICS_COST = 0.1, 60
"""What looking at curvature and slope at w* may take of a run, and takes, in gradients of each of its batches."""
FEWEST_PAIRS, MOST_PAIRS = 2, 16
CONTROL_SHARE = 0.1
"""The gradient at w* over all examples is worth so large a share of the gradient evaluations allowed."""

PILOT_KERNEL = "baoab"

Parts = tuple[Batch, ...]


@dataclass
class Prepared:
    """Chains on w*, and what is needed to run them."""

    chains: Chains
    posterior: LocalPosterior
    kernel: Kernel
    curvature: Curvature
    name: tuple[str | None, str | None]
    mode: Mode
    n_beta: float
    localization: float
    step_size: float | None
    h_max: float
    batch_size: int
    count: int
    """Chains."""
    max_draws: int
    examples: int
    weights: int
    """Of the whole model."""
    before: int
    """Gradient evaluations for the control variate's gradient at w*."""
    whole_at: Callable[[int], Parts]
    halves_at: Callable[[int], Parts] | None
    """None: full batches, or a kernel that does not compensate."""
    pair_at: Callable[[int], Parts] | None
    """Two independent minibatches; None: full batches."""
    rides_along: bool
    """Whether w* is evaluated on every minibatch, as one more chain."""
    noise_pairs: int
    """Pairs of minibatches that tell their noise."""

    @property
    def dim(self) -> int:
        """d, the number of sampled weights."""
        return self.posterior.dim

    @property
    def cost_of_a_step(self) -> float:
        """Gradient evaluations: one a chain, and one at w* where there is a control variate."""
        return self.count + (1 if self.rides_along else 0)

    @property
    def most_steps(self) -> int:
        """Steps a chain that the bound on gradient evaluations allows."""
        return max(int(self.max_draws / self.cost_of_a_step), 2)

    def steepest(self, chains: Chains) -> float:
        """The largest eigenvalue of nβ·H + γ (of √P(nβ·H + γ)√P under a preconditioner) where the chains are."""
        found = self.curvature.of_chains(chains)
        if chains.metric is None:
            return self.n_beta * found + self.localization
        return self.n_beta * found + self.localization * max(float(value.max()) for value in chains.metric.values())

    @property
    def spent(self) -> int:
        """Gradient evaluations beside those of the steps."""
        return self.curvature.spent + self.before


@dataclass(frozen=True)
class Basis:
    """What is measured and with what means, before any chain of the run is made."""

    kernel: Kernel
    mode: Mode
    curvature: Curvature
    n_beta: float
    localization: float
    h_max: float
    batch_size: int
    count: int
    max_draws: int
    planned: int
    """Gradient evaluations that preparation is held against."""


def basis(problem: Problem, settings: Settings) -> Basis:
    """Complete the settings, and find γ where it was left out.

    γ = nβ·h_max/100, rounded up to 1, 2 or 5 times a power of ten, needs h_max where the chains go: at a singular w*
    the curvature can vanish, and it grows away from it. So a few pilot chains are warmed up with the γ of the moment,
    h_max is measured where they end, and γ is set anew, until h_max grows by less than a fifth (at most six rounds).

    Raises:
        OntogenyError: if the kernel does not take minibatches, or the curvature is needed and is not finite, or
            vanishes wherever the pilots went.
    """
    loss, examples = problem.loss, problem.examples
    kernel, batch_size = checked(problem, settings)
    stack = {key: value.unsqueeze(0) for key, value in problem.center.items()}
    mode = choose_mode(loss, stack, examples.head(min(batch_size, CURVATURE_EXAMPLES)))
    max_draws = settings.max_draws or default_max_draws(problem.weights)
    count = settings.chains or (FEWEST_CHAINS if mode == "serial" else default_chains(problem.weights, max_draws))
    planned = planned_gradients(settings, problem.weights, count, max_draws)
    # of a small model it costs seconds, and where γ is left out h_max decides what is measured
    affordable = (
        math.inf if problem.weights < SMALL_MODEL or settings.localization is None else DIAGNOSTICS_SHARE * planned
    )
    most = int(min(max(affordable / DIAGNOSTICS_COST, 2), MOST_BATCHES))
    batches, worth = curvature_batches(examples, batch_size, settings.seed, most)
    curvature = Curvature(loss, batches, settings.seed, worth, LOOK_SHARE * max_draws, affordable)
    n_beta = settings.n_beta or default_n_beta(examples.count)
    pilot = partial(_pilot, problem, stack, mode, batches, curvature, settings.seed, PILOT_SHARE * max_draws)
    h_max, gamma = curvature.at(problem.center), settings.localization
    unknown_step = settings.step_size is None and (settings.burn_in is not None or not math.isfinite(h_max))
    if gamma is None or unknown_step:
        h_max = _follow_pilots(pilot, problem, n_beta, gamma, h_max)
        gamma = round_up(n_beta * h_max / CONDITION) if gamma is None else gamma
    if not math.isfinite(h_max):  # everything that would follow from it was given
        h_max = 0.0
    return Basis(kernel, mode, curvature, n_beta, gamma, h_max, batch_size, count, max_draws, planned)


def prepare(problem: Problem, settings: Settings, name: tuple[str | None, str | None]) -> Prepared:
    """Complete the settings and put the chains on w*.

    Raises:
        OntogenyError: as :func:`basis`.
    """
    found = basis(problem, settings)
    loss, examples, kernel, mode = problem.loss, problem.examples, found.kernel, found.mode
    n_beta, gamma, h_max, batch_size = found.n_beta, found.localization, found.h_max, found.batch_size
    full = batch_size >= examples.count
    stack = {key: value.unsqueeze(0) for key, value in problem.center.items()}
    posterior = LocalPosterior(loss, stack, _one(n_beta), _one(gamma))
    how = evaluation(loss, mode)
    gradient, baseline, table, before = None, None, None, 0
    if full:
        baseline = how.losses(placed(stack, how.axis), examples.take(None))[0].detach()
    elif examples.count / batch_size <= CONTROL_SHARE * found.planned:
        before = math.ceil(examples.count / batch_size)
        if mode != "stacked" and fits(problem.center, examples.count):
            table = center_table(loss, problem.center, examples, batch_size, mode)
        gradient = full_gradient(how, stack, examples, batch_size) if table is None else table.full_gradient()
    step_size = settings.step_size
    half = batch_size // 2
    compensable = kernel.compensates and not full and half > 0
    chains = start(
        posterior,
        kernel,
        step_size=_one(step_size or kernel.stability / max(n_beta * h_max + gamma, TINY)),
        chains=found.count,
        labels=[name],
        seed=settings.seed,
        mode=mode,
        baseline=baseline,
        gradient=gradient,
        together=compensable
        and mode == "vmap"
        and parts_go_together(loss, stack, [examples.take(torch.arange(k * half, (k + 1) * half)) for k in range(2)]),
    )
    stream = MinibatchStream(settings.seed, examples.count, batch_size)

    def part(chosen: Tensor | None) -> Batch | WithCenter:
        batch = examples.take(chosen)
        return batch if table is None or chosen is None else table.beside(batch, chosen)

    def halves(step: int) -> Parts:
        chosen = stream.at(step)
        assert chosen is not None
        return part(chosen[:half]), part(chosen[half : 2 * half])

    def pair(number: int) -> Parts:
        first, second = minibatch_pair(settings.seed, examples.count, batch_size, number)
        return part(first), part(second)

    return Prepared(
        chains=chains,
        posterior=posterior,
        kernel=kernel,
        curvature=found.curvature,
        name=name,
        mode=mode,
        n_beta=n_beta,
        localization=gamma,
        step_size=step_size,
        h_max=h_max,
        batch_size=batch_size,
        count=found.count,
        max_draws=found.max_draws,
        examples=examples.count,
        weights=problem.weights,
        before=before,
        rides_along=gradient is not None and table is None,
        noise_pairs=int(min(max(LOOK_SHARE * found.planned / found.count, FEWEST_PAIRS), MOST_PAIRS)),
        whole_at=lambda step: (part(stream.at(step)),),
        halves_at=halves if compensable else None,
        pair_at=None if full else pair,
    )


def checked(problem: Problem, settings: Settings) -> tuple[Kernel, int]:
    """Kernel and batch size, once it is clear that the loss can be sampled with them."""
    examples = problem.examples
    kernel = get_kernel(settings.kernel or DEFAULT_KERNEL)
    batch_size = settings.batch_size
    if batch_size is None:
        positions = loss_positions(problem.loss, examples) if isinstance(problem.loss, ModuleLoss) else 1
        batch_size = default_batch(problem.weights, examples.count, positions)
    check_batch_size(batch_size, examples.count)
    if kernel.full_batch_only and batch_size < examples.count:
        raise OntogenyError(
            f"kernel {kernel.name!r} needs full batches, batch_size = {examples.count}, since its Metropolis test "
            f"compares losses; got batch_size = {batch_size}. Give that batch_size, or another kernel."
        )
    if isinstance(problem.loss, ModuleLoss):
        check_loss(problem.loss, examples, batch_size)
    return kernel, batch_size


def round_up(value: float) -> float:
    """The next of …, 1, 2, 5, 10, 20, 50, …: what is measured should not hang on how well h_max was.

    >>> round_up(1.4), round_up(0.05), round_up(63.0)
    (2.0, 0.05, 100.0)
    """
    power = 10.0 ** math.floor(math.log10(value))
    return next(float(f"{step * power:.6g}") for step in (1.0, 2.0, 5.0, 10.0) if value <= step * power * (1 + 1e-9))


def _one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def full_gradient(how: Evaluation, stack: Params, examples: Examples, batch_size: int) -> Params:
    """∇L(w*) over all n examples, with a leading axis of one centre; taken in pieces of the batch's size."""
    total: Params | None = None
    for part in torch.arange(examples.count).split(batch_size):
        gradient, _ = how.gradients(placed(stack, how.axis), examples.take(part))
        share = len(part) / examples.count
        weighted = {name: value.detach() * share for name, value in gradient.items()}
        total = weighted if total is None else tree_map(torch.add, total, weighted)
    assert total is not None
    return {key: value.movedim(-1, 0) if how.axis == -1 else value for key, value in total.items()}


def _follow_pilots(
    pilot: Callable[[float, float, float, int], float],
    problem: Problem,
    n_beta: float,
    gamma: float | None,
    h_max: float,
) -> float:
    if not math.isfinite(h_max):
        raise OntogenyError(
            f"step_size and localization cannot be chosen: the curvature of the loss at w* is {h_max}; give both."
        )
    weights = sum(value.numel() for value in problem.center.values())
    scale = max(math.sqrt(sum(float(value.square().sum()) for value in problem.center.values()) / weights), 1.0)
    for round_ in range(PILOT_ROUNDS):
        # where nothing bends yet, take a curvature that lets the pilots move a tenth of a weight's size
        assumed = h_max if h_max > 0 else 100.0 / (n_beta * scale**2)
        found = pilot(n_beta, n_beta * assumed / CONDITION if gamma is None else gamma, assumed, round_)
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
    problem: Problem,
    stack: Params,
    mode: Mode,
    batches: list[Batch],
    curvature: Curvature,
    seed: int,
    most: float,
    n_beta: float,
    gamma: float,
    assumed: float,
    round_: int,
) -> float:
    """h_max where a few chains are after at most ``PILOT_STEPS`` steps."""
    posterior = LocalPosterior(problem.loss, stack, _one(n_beta), _one(gamma))
    kernel = get_kernel(PILOT_KERNEL)
    steepest = n_beta * assumed + gamma
    count = PILOT_CHAINS if most >= PILOT_CHAINS * PILOT_STEPS else 2
    steps = int(min(max(most / count, 50), PILOT_STEPS))
    chains = start(
        posterior,
        kernel,
        step_size=_one(kernel.stability / steepest),
        chains=count,
        labels=[("pilot", round_)],
        seed=seed,
        mode=mode,
    )
    WarmUp(
        chains,
        lambda step: (batches[step % len(batches)],),
        lambda now: n_beta * curvature.of_chains(now) + gamma,
        steepest,
        problem.dim,
        most_steps=steps,
        run_steps=steps,
        fixed=True,
    ).run()
    curvature.spent += steps * count
    return curvature.of_chains(chains)


def planned_gradients(settings: Settings, weights: int, chains: int, max_draws: int) -> int:
    """The most that the run may take: the bound, or what the draws asked for of a large model take.

    Of a small one preparation costs seconds, and so a run of few draws begins as a run of many does.
    """
    if settings.draws is None or weights < SMALL_MODEL:
        return max_draws
    return chains * (settings.draws + (settings.draws if settings.burn_in is None else settings.burn_in))


def curvature_batches(
    examples: Examples, batch_size: int, seed: int, most_batches: int = MOST_BATCHES
) -> tuple[list[Batch], float]:
    """At most about a thousand examples in batches no larger than the run's own, which were chosen to fit into memory.

    Also what one gradient over all of them costs, in gradients of one minibatch.
    """
    if examples.count <= min(batch_size, CURVATURE_EXAMPLES):
        return [examples.take(None)], 1.0
    count = min(examples.count, CURVATURE_EXAMPLES, most_batches * batch_size)
    chosen = torch.randperm(examples.count, generator=generator(seed, "curvature examples"))[:count]
    parts = chosen.tensor_split(max(count // min(batch_size, count), 1))
    return [examples.take(part) for part in parts], count / batch_size
