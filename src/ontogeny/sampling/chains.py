"""The chain loop: all chains of all centres step together in one tensor program.

Per step and chain: the loss L_B(w) at the position BEFORE the update, the paired baseline L_B(w*) on the same
minibatch, the virial (w - w*)·∇U and the squared distance; then drift, cap and the kernel's move.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ontogeny.core.rng import generator
from ontogeny.core.trees import chain_sum, repeat_chains, spread, tree_map, unflatten
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.sampling.at_center import WithCenter
from ontogeny.sampling.captured import CapturedStep
from ontogeny.sampling.compiled import CompiledStep
from ontogeny.sampling.evaluation import Evaluation, Mode, evaluation
from ontogeny.sampling.kernels import Kernel
from ontogeny.sampling.kernels.signal import Signal
from ontogeny.sampling.noise import NoiseStream
from ontogeny.sampling.posterior import LocalPosterior


class Record(NamedTuple):
    """What one step leaves behind, each of shape ``(chains,)`` (``(steps, chains)`` once collected)."""

    loss: Tensor
    loss_at_center: Tensor
    gap: Tensor
    """L(w) - L(w*) on the first half of the minibatch less that on the second."""
    control: Tensor
    """(∇L_B(w*) - ∇L(w*))·(w - w*): what the minibatch adds to the loss to first order; its mean is 0."""
    control_gap: Tensor
    """That of the minibatch's first half less that of its second; NaN where the minibatch was not cut."""
    virial: Tensor
    distance_squared: Tensor
    noise_share: Tensor
    """‖u‖², u the minibatch error of the move in units of the injected noise; 0 where it is not measured."""
    noise_removed: Tensor
    """How much of that was taken out of the injected noise, in the same units."""
    capped: Tensor

    @property
    def excess(self) -> Tensor:
        """L_B(w) - L_B(w*) less what the minibatch adds to first order; times nβ, its mean is λ̂."""
        return self.loss - self.loss_at_center - self.control


class Constants(NamedTuple):
    """What stays the same from step to step; by chain unless noted."""

    centers: Params
    """w* of every centre."""
    center: Params
    """w* of every chain's centre."""
    n_beta: Tensor
    localization: Tensor
    step_size: Tensor
    friction: Tensor
    baseline: Tensor | None
    """L(w*) by centre where every step sees the full batch; None: computed on each minibatch."""
    gradient: Params | None
    """∇L(w*) over all n examples by centre, for the control variate; None: without it."""


@dataclass
class Chains:
    """The state of a run: kernel state, next step, and what is needed to go on. Chain c belongs to centre c // K."""

    state: Any
    next_step: int
    evaluation: Evaluation
    kernel: Kernel
    noise: NoiseStream
    advance_one: Callable[..., tuple[Any, Params | None, Record]]
    constants: Constants
    debt: Params | None = None
    """Minibatch error of the drift that the injected noise of earlier steps was too small to make room for."""
    last: Record | None = None
    """What the chains' current draws recorded, which kernels with a Metropolis test repeat."""

    @property
    def params(self) -> Params:
        """Positions, with the chain axis where the evaluation has it."""
        return self.state.params

    @property
    def positions(self) -> Params:
        """Where the chains stand; with a Metropolis test ``params`` is what it is about to judge."""
        return getattr(self.state, "current", self.params)

    @property
    def metric(self) -> Params | None:
        """The preconditioner P of kernels that have one, shaped as ``params``."""
        return getattr(self.state, "metric", None)

    def snapshot(self) -> Chains:
        """These chains as they are now; going on with them leaves the snapshot alone."""
        return replace(self)

    def go_back(self, snapshot: Chains) -> None:
        """Return to where the chains were, with the step number, and so the random numbers, going on from here."""
        self.state, self.debt, self.last = snapshot.state, snapshot.debt, snapshot.last
        self.constants = snapshot.constants

    def set_step(self, step_size: Tensor | float, friction: Tensor | float) -> None:
        """Go on with another step size and friction."""
        like = self.constants.step_size
        self.constants = self.constants._replace(
            step_size=torch.zeros_like(like) + step_size, friction=torch.zeros_like(like) + friction
        )


def cap_drift(drift: Params, step_size: Tensor, dim: int, axis: int) -> tuple[Params, Tensor]:
    """Shorten a chain's drift so that (ε/2)·‖drift‖ is at most √ε·(√d + 4); returns the drift and who was capped.

    Langevin steps on quartic or steeper valleys make rare excursions that explode. The bound is four standard
    deviations above the length of the step's own noise, so a mixed chain with a sound ε practically never meets it.
    """
    length = 0.5 * step_size * chain_sum(tree_map(torch.square, drift), axis).sqrt()
    most = step_size.sqrt() * (dim**0.5 + 4.0)
    capped = length > most
    factor = torch.where(capped, most / length, torch.ones_like(length))
    return {name: value * spread(factor, value, axis) for name, value in drift.items()}, capped


def _step_function(
    loss: Loss,
    kernel: Kernel,
    chains_per_center: int,
    mode: Mode,
    dim: int,
    together: bool = False,
    vanishes: bool = False,
) -> Callable[..., tuple[Any, Params | None, Record]]:
    """One step of all chains as a pure function of tensors, so that it can be compiled."""
    how = evaluation(loss, mode, together)
    axis = how.axis

    def of_chains(values: Params) -> Params:
        return repeat_chains(values, chains_per_center, axis)

    def step(
        state: Any,
        parts: tuple[Batch, ...],
        xi: Tensor,
        coins: Tensor | None,
        debt: Params | None,
        last: Record | None,
        fixed: Constants,
        adapting: bool,
    ) -> tuple[Any, Params | None, Record]:
        offset = tree_map(torch.sub, state.params, fixed.center)
        control: Sequence[Tensor]
        if fixed.gradient is not None:
            found, losses, at_w_star, baselines = zip(
                *_beside_w_star(how, state.params, fixed.centers, parts), strict=True
            )
            errors = [of_chains(tree_map(torch.sub, gradient, fixed.gradient)) for gradient in at_w_star]
            gradients = tuple(tree_map(torch.sub, both, error) for both, error in zip(found, errors, strict=True))
            control = [chain_sum(tree_map(torch.mul, error, offset), axis) for error in errors]
        else:
            gradients, losses = zip(*how.of_parts(state.params, parts), strict=True)
            control = [torch.zeros_like(losses[0][0])]
            if vanishes:
                baselines = tuple(torch.zeros_like(value[:, ::chains_per_center]) for value in losses)
            elif fixed.baseline is None:
                baselines = tuple(how.losses(fixed.centers, part) for part in parts)
            else:
                baselines = (torch.stack([fixed.baseline, torch.zeros_like(fixed.baseline)]),)
        zero = torch.zeros_like(losses[0][0])
        baselines = tuple(value.repeat_interleave(chains_per_center, 1) for value in baselines)
        if fixed.baseline is not None:  # the full batch adds nothing of its own, however it is cut in two
            losses = (torch.stack([losses[0][0], zero]),)
        gradient, drift_noise = _mean_and_noise(gradients, fixed.n_beta, axis)
        if len(parts) == 1:
            loss_now, at_w_star, gap = losses[0][0], baselines[0][0], losses[0][1] - baselines[0][1]
        else:
            loss_now, at_w_star = (losses[0][0] + losses[1][0]) / 2, (baselines[0][0] + baselines[1][0]) / 2
            gap = (losses[0][0] - baselines[0][0]) - (losses[1][0] - baselines[1][0])
        drift = LocalPosterior.drift(gradient, offset, fixed.n_beta, fixed.localization, axis)
        noise = unflatten(xi, state.params, axis)
        virial = -chain_sum(tree_map(torch.mul, offset, drift), axis)
        distance_squared = chain_sum(tree_map(torch.square, offset), axis)
        energy = fixed.n_beta * (loss_now - at_w_star) + 0.5 * fixed.localization * distance_squared
        drift, capped = cap_drift(drift, fixed.step_size, dim, axis)
        share = removed = zero
        if drift_noise is not None:
            gain = kernel.gain(fixed.step_size, fixed.friction)
            metric = getattr(state, "metric", None)
            share = gain.square() * _norm_squared(drift_noise, metric, axis)
            drift_noise, debt, removed = _with_debt(drift_noise, debt, gain, metric, axis)
        record = Record(
            loss_now,
            at_w_star,
            gap,
            torch.stack(list(control)).mean(0),
            control[0] - control[1] if len(control) == 2 else torch.full_like(zero, torch.nan),
            virial,
            distance_squared,
            share,
            removed,
            capped,
        )
        if adapting and kernel.adapt is not None:
            state = kernel.adapt(state, gradient, axis)
        signal = Signal(drift, energy, coins, drift_noise)
        state, accepted = kernel.step(
            state, signal, noise, step_size=fixed.step_size, friction=fixed.friction, axis=axis
        )
        if accepted is not None and last is not None:
            record = Record(*(torch.where(accepted, new, old) for new, old in zip(record, last, strict=True)))
        return state, debt, record

    return step


def _beside_w_star(
    how: Evaluation, params: Params, centers: Params, parts: tuple[Batch | WithCenter, ...]
) -> list[tuple[Params, Tensor, Params, Tensor]]:
    """Gradients and losses of the chains, and those of w*, on each part of a minibatch.

    Where nobody has computed the latter before, w* goes along as one more chain of each centre.
    """
    if isinstance(parts[0], WithCenter):
        found = how.of_parts(params, [part.batch for part in parts])
        return [(*one, part.gradient, part.losses) for one, part in zip(found, parts, strict=True)]
    axis = how.axis
    everywhere = tree_map(lambda w, c: torch.cat([w, c], axis), params, centers)
    chains = next(iter(params.values())).shape[axis]
    out = []
    for both, values in how.of_parts(everywhere, parts):
        first = {name: value.narrow(axis, 0, chains) for name, value in both.items()}
        last = {name: value.narrow(axis, chains, value.shape[axis] - chains) for name, value in both.items()}
        out.append((first, values[:, :chains], last, values[:, chains:]))
    return out


def _with_debt(
    drift_noise: Params, debt: Params | None, gain: Tensor, metric: Params | None, axis: int
) -> tuple[Params, Params | None, Tensor]:
    """The error to be compensated now, what is left of it for the next step, and how much of it goes now.

    Noise can be left out along u up to one unit; what ‖u‖² is above that waits. The halves of a minibatch are as good
    in either order, so new and waiting parts are uncorrelated and their squares add.
    """
    if debt is not None:
        drift_noise = tree_map(torch.add, drift_noise, debt)
    total = gain.square() * _norm_squared(drift_noise, metric, axis)
    removed = total.clamp(max=1.0)
    left = ((total - removed).clamp(max=MOST_DEBT) / total.clamp(min=1.0)).sqrt()
    return drift_noise, {name: value * spread(left, value, axis) for name, value in drift_noise.items()}, removed


def _norm_squared(values: Params, metric: Params | None, axis: int) -> Tensor:
    """‖√P·values‖² by chain, P the preconditioner; None: 1."""
    squares = tree_map(torch.square, values)
    return chain_sum(squares if metric is None else tree_map(torch.mul, squares, metric), axis)


MOST_DEBT = 10.0
"""Units of injected noise that may wait; where minibatches bring more for long, no waiting helps."""


def _mean_and_noise(gradients: Sequence[Params], n_beta: Tensor, axis: int) -> tuple[Params, Params | None]:
    """The gradient of the whole minibatch; from its halves also one draw of the drift's error, nβ(g₁ - g₂)/2."""
    if len(gradients) == 1:
        return gradients[0], None
    noise = tree_map(lambda a, b: 0.5 * spread(n_beta.to(a), a, axis) * (a - b), *gradients)
    return tree_map(lambda a, b: 0.5 * (a + b), *gradients), noise


@lru_cache(maxsize=8)
def _compiled_step(
    loss: Loss, kernel: Kernel, chains_per_center: int, mode: Mode, dim: int, vanishes: bool
) -> CompiledStep:
    """Kept, so that a loss is compiled once a process; plain steps are not, since they hold on to their model."""
    return CompiledStep(_step_function(loss, kernel, chains_per_center, mode, dim, vanishes=vanishes))


def placed(values: Params, axis: int) -> Params:
    """Tensors with a leading axis of centres, with that axis where the evaluation has it."""
    return {name: (value.movedim(0, -1) if axis == -1 else value).contiguous() for name, value in values.items()}


def start(
    posterior: LocalPosterior,
    kernel: Kernel,
    *,
    step_size: Tensor,
    chains: int,
    labels: Sequence[Hashable],
    seed: int,
    mode: Mode,
    compile: bool = False,
    friction: Tensor | None = None,
    baseline: Tensor | None = None,
    gradient: Params | None = None,
    together: bool = False,
    vanishes: bool = False,
) -> Chains:
    """Put ``chains`` chains on each centre's w*.

    Args:
        posterior: the density, with G centres.
        kernel: the transition rule.
        step_size: ε of each centre, shape ``(G,)``.
        chains: K, chains a centre; the program steps G·K chains.
        labels: G names of the centres; with the seed and the chain's number they name the noise stream. Centres of one
            name have the same noise.
        seed: the seed of all streams.
        mode: how losses and gradients are evaluated.
        compile: hand the step to ``torch.compile``; same draws, results equal to rounding.
        friction: of each centre, for kernels with momentum; by default 2√γ.
        baseline: L(w*) of each centre, shape ``(G,)``, where every step sees the full batch.
        gradient: ∇L(w*) over all examples with a leading axis of centres: the control variate.
        together: evaluate both halves of a minibatch in one call; see :func:`parts_go_together`. Not compiled.
        vanishes: whether the loss is 0 at every w* on any example, and need not be computed there.
    """
    if vanishes and (baseline is not None or gradient is not None):
        raise ValueError("a loss that vanishes at w* needs neither a baseline nor a control variate")
    how = evaluation(posterior.loss, mode)
    axis = how.axis
    first = next(iter(posterior.center.values()))
    advance_one: Callable[..., tuple[Any, Params | None, Record]]
    if compile:
        advance_one = _compiled_step(posterior.loss, kernel, chains, mode, posterior.dim, vanishes)
    else:
        advance_one = _step_function(posterior.loss, kernel, chains, mode, posterior.dim, together, vanishes)
    if first.is_cuda and not compile and mode != "serial":
        advance_one = CapturedStep(advance_one)

    centers = placed(posterior.center, axis)
    center = repeat_chains(centers, chains, axis)
    if friction is None:
        friction = 2.0 * posterior.localization.sqrt()
    per_chain = [
        value.to(first).repeat_interleave(chains)
        for value in (posterior.n_beta, posterior.localization, step_size, friction)
    ]
    noise_dim = sum(value.numel() for value in centers.values()) // posterior.centers
    names = [(label, chain) for label in labels for chain in range(chains)]
    velocity = unflatten(_velocities(seed, names, noise_dim, first, axis), center, axis)
    return Chains(
        state=kernel.init({name: value.clone() for name, value in center.items()}, velocity, axis),
        next_step=0,
        evaluation=how,
        kernel=kernel,
        noise=NoiseStream(seed, names, noise_dim, axis, first.dtype, first.device, extra=kernel.coins),
        advance_one=advance_one,
        constants=Constants(
            centers, center, per_chain[0], per_chain[1], per_chain[2], per_chain[3],
            None if baseline is None else baseline.to(first),
            None if gradient is None else placed(gradient, axis),
        ),
    )  # fmt: skip


def _velocities(seed: int, names: Sequence[Hashable], dim: int, like: Tensor, axis: int) -> Tensor:
    at = like.device
    drawn = {
        name: torch.randn(dim, generator=generator(seed, "velocity", name, device=at), dtype=torch.float32, device=at)
        for name in dict.fromkeys(names)
    }
    rows = [drawn[name] for name in names]
    stacked = torch.stack(rows)
    return (stacked.T if axis == -1 else stacked).contiguous().to(like)


def advance(run: Chains, parts_at: Callable[[int], tuple[Batch, ...]], steps: int, *, adapting: bool = False) -> Record:
    """Take ``steps`` more steps; returns what was recorded, each of shape ``(steps, chains)``, float32 or float64.

    ``parts_at(step)`` is the step's minibatch, as one part, or as two halves where its noise is to be compensated.
    """
    kept: Record | None = None
    for i in range(steps):
        noise, coins = run.noise.at(run.next_step)
        with torch.no_grad():
            parts = parts_at(run.next_step)
            state, debt, record = run.advance_one(
                run.state, parts, noise, coins, run.debt, run.last, run.constants, adapting
            )
        if kept is None:
            kept = Record(
                *(torch.empty((steps, *value.shape), dtype=value.dtype, device=value.device) for value in record)
            )
        for store, value in zip(kept, record, strict=True):
            store[i] = value
        run.state, run.debt, run.next_step = state, debt if len(parts) > 1 else None, run.next_step + 1
        run.last = record if run.kernel.coins else None
    if kept is None:
        raise ValueError("steps must be positive")
    return kept
