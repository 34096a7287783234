"""The chain loop: all chains of all centres step together in one tensor program.

Per step and chain: the loss L_B(w) at the position BEFORE the update, the paired baseline L_B(w*) on the same
minibatch, the virial (w - w*)·∇U and the squared distance; then drift, cap and the kernel's move.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ontogeny.core.trees import chain_sum, repeat_chains, spread, tree_map, unflatten
from ontogeny.core.types import Batch, Loss, Params
from ontogeny.sampling.evaluation import Evaluation, Mode, evaluation
from ontogeny.sampling.kernels import Kernel
from ontogeny.sampling.noise import NoiseStream
from ontogeny.sampling.posterior import LocalPosterior


class Record(NamedTuple):
    """What one step leaves behind, each of shape ``(chains,)`` (``(steps, chains)`` once collected)."""

    loss: Tensor
    loss_at_center: Tensor
    virial: Tensor
    distance_squared: Tensor
    capped: Tensor


@dataclass
class Chains:
    """The state of a run: kernel state, next step, and what is needed to go on. Chain c belongs to centre c // K."""

    state: Any
    next_step: int
    evaluation: Evaluation
    noise: NoiseStream
    advance_one: Callable[..., tuple[Any, Record]]
    constants: tuple[Params, Params, Params | None, Tensor, Tensor, Tensor]

    @property
    def params(self) -> Params:
        """Positions, with the chain axis where the evaluation has it."""
        return self.state.params


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
    loss: Loss, kernel: Kernel, chains_per_center: int, mode: Mode, dim: int
) -> Callable[..., tuple[Any, Record]]:
    """One step of all chains as a pure function of tensors, so that it can be compiled."""
    how = evaluation(loss, mode)
    axis = how.axis

    def step(
        state: Any,
        batch: Batch,
        xi: Tensor,
        centers: Params,
        center: Params,
        masks: Params | None,
        n_beta: Tensor,
        localization: Tensor,
        step_size: Tensor,
    ) -> tuple[Any, Record]:
        gradient, losses = how.gradients(state.params, batch)
        baseline = how.losses(centers, batch).repeat_interleave(chains_per_center)
        offset = tree_map(torch.sub, state.params, center)
        drift = LocalPosterior.drift(gradient, offset, n_beta, localization, axis)
        noise = unflatten(xi, state.params, axis)
        if masks is not None:
            drift, noise = tree_map(torch.mul, drift, masks), tree_map(torch.mul, noise, masks)
        virial = -chain_sum(tree_map(torch.mul, offset, drift), axis)
        distance_squared = chain_sum(tree_map(torch.square, offset), axis)
        drift, capped = cap_drift(drift, step_size, dim, axis)
        state = kernel.step(state, drift, noise, step_size=step_size, axis=axis)
        return state, Record(losses, baseline, virial, distance_squared, capped)

    return step


class _CompiledStep:
    """A step through ``torch.compile``; the plain one where that fails, and it says so."""

    def __init__(self, step: Callable[..., tuple[Any, Record]]) -> None:
        # the compiler keeps its programs by code object and gives up after eight; a copy of its own for every loss
        step.__code__ = step.__code__.replace(co_name=f"step_{next(_COPIES)}")
        self._plain, self._run, self._works = step, torch.compile(step, dynamic=False), False

    def __call__(self, *tensors: Any) -> tuple[Any, Record]:
        if self._works:
            return self._run(*tensors)
        try:
            result = self._run(*tensors)
        except Exception as error:  # the compiler's own, of many classes; an error of the loss comes again below
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"ontogeny: going on without torch.compile, with the same draws: {reason}", file=sys.stderr)
            self._run, result = self._plain, self._plain(*tensors)
        self._works = True
        return result


_COPIES = itertools.count()


@lru_cache(maxsize=8)
def _compiled_step(loss: Loss, kernel: Kernel, chains_per_center: int, mode: Mode, dim: int) -> _CompiledStep:
    """Kept, so that a loss is compiled once a process; plain steps are not, since they hold on to their model."""
    return _CompiledStep(_step_function(loss, kernel, chains_per_center, mode, dim))


def compiler_available() -> bool:
    """Whether this machine has what ``torch.compile`` needs: a C++ compiler and Python's headers."""
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    return headers.exists() and any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def start(
    posterior: LocalPosterior,
    kernel: Kernel,
    *,
    step_size: Tensor,
    chains: int,
    labels: Sequence[object],
    seed: int,
    mode: Mode,
    compile: bool = False,
) -> Chains:
    """Put ``chains`` chains on each centre's w*.

    Args:
        posterior: the density, with G centres.
        kernel: the transition rule.
        step_size: ε of each centre, shape ``(G,)``.
        chains: K, chains a centre; the program steps G·K chains.
        labels: G names of the centres; with the seed and the chain's number they name the noise stream.
        seed: the seed of all streams.
        mode: how losses and gradients are evaluated.
        compile: hand the step to ``torch.compile``; same draws, results equal to rounding.
    """
    how = evaluation(posterior.loss, mode)
    axis = how.axis
    make = _compiled_step if compile else _step_function
    advance_one = make(posterior.loss, kernel, chains, mode, posterior.dim)
    centers = {
        name: (value.movedim(0, -1) if axis == -1 else value).contiguous() for name, value in posterior.center.items()
    }
    masks = posterior.masks
    if masks is not None:
        masks = {name: mask.unsqueeze(axis).to(centers[name].dtype) for name, mask in masks.items()}
    center = repeat_chains(centers, chains, axis)
    first = next(iter(center.values()))
    per_chain = [
        value.to(first).repeat_interleave(chains) for value in (posterior.n_beta, posterior.localization, step_size)
    ]
    noise_dim = sum(value.numel() for value in centers.values()) // posterior.centers
    names = [(label, chain) for label in labels for chain in range(chains)]
    return Chains(
        state=kernel.init({name: value.clone() for name, value in center.items()}),
        next_step=0,
        evaluation=how,
        noise=NoiseStream(seed, names, noise_dim, axis, first.dtype, first.device),
        advance_one=advance_one,
        constants=(centers, center, masks, per_chain[0], per_chain[1], per_chain[2]),
    )


def advance(run: Chains, batch_at: Callable[[int], Batch], steps: int) -> Record:
    """Take ``steps`` more steps; returns what was recorded, each of shape ``(steps, chains)``, float32 or float64."""
    kept: Record | None = None
    for i in range(steps):
        with torch.no_grad():
            state, record = run.advance_one(
                run.state, batch_at(run.next_step), run.noise.at(run.next_step), *run.constants
            )
        if kept is None:
            kept = Record(
                *(torch.empty((steps, *value.shape), dtype=value.dtype, device=value.device) for value in record)
            )
        for store, value in zip(kept, record, strict=True):
            store[i] = value
        run.state, run.next_step = state, run.next_step + 1
    if kept is None:
        raise ValueError("steps must be positive")
    return kept
