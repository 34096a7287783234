"""One estimate's chains from start to end: settings completed, chains advanced until done, draws labelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import progress_bar
from ontogeny.core.rng import generator
from ontogeny.core.types import Params
from ontogeny.core.version import __version__
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.inputs.datasets import Examples, check_batch_size
from ontogeny.inputs.losses import ModuleLoss, Potential, check_loss
from ontogeny.sampling.calibrate import SMALL_MODEL, calibrate, default_max_draws, default_n_beta, largest_curvature
from ontogeny.sampling.chains import Chains, Record, advance, compiler_available, start
from ontogeny.sampling.draws import diverged, gradient_noise, label
from ontogeny.sampling.evaluation import choose_mode
from ontogeny.sampling.kernels import get_kernel
from ontogeny.sampling.noise import MinibatchStream, minibatch_pair
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.sampling.problem import build
from ontogeny.sampling.settings import DEFAULT_KERNEL, Settings

FIRST_DRAWS = 1000
TARGET_SE = 0.02
CHAINS_SMALL, CHAINS_LARGE = 16, 4
"""A step of few weights costs the same for 16 chains as for 4."""
DEFAULT_BATCH = 256
CURVATURE_EXAMPLES = 1024
MOST_BATCHES = 16
NOISE_PAIRS = 16
COMPILE_FROM = 20_000
"""Steps of a small model from which compiling (about 5 s) pays."""


class Run:
    """The chains of one (component, data set); ``extend`` takes more draws, ``result`` labels those taken so far."""

    def __init__(
        self,
        posterior: LocalPosterior,
        chains: Chains,
        batch_at: Callable[[int], Any],
        batch_pair: Callable[[int], tuple[Any, Any]] | None,
        curvature: Callable[[Params], float],
        step_size: Tensor,
        plan: dict[str, Any],
    ) -> None:
        self._posterior, self._chains, self._batch_at, self._batch_pair = posterior, chains, batch_at, batch_pair
        self._curvature, self._step_size, self._plan = curvature, step_size, plan
        self._records: list[Record] = []
        self.target_se: float | None = plan["target_se"]

    @classmethod
    def prepare(
        cls,
        model: nn.Module | Potential,
        data: Any,
        loss_fn: Any,
        selection: Any,
        settings: Settings,
        name: tuple[str | None, str | None],
    ) -> Run:
        """Check every input, choose what was left out, and put the chains on w*."""
        problem = build(model, data, loss_fn, selection, settings.n_beta, settings.device)
        loss, examples = problem.loss, problem.examples
        if isinstance(loss, Potential) and settings.batch_size is not None:
            raise OntogenyError("batch_size has no meaning for a Potential, which has no data; leave it out.")
        batch_size = settings.batch_size or min(DEFAULT_BATCH, examples.count)
        check_batch_size(batch_size, examples.count)
        if isinstance(loss, ModuleLoss):
            check_loss(loss, examples.head(batch_size), batch_size)
        small = problem.dim < SMALL_MODEL
        count = settings.chains or (CHAINS_SMALL if small else CHAINS_LARGE)
        max_draws = settings.max_draws or default_max_draws(problem.dim)
        stack = {key: value.unsqueeze(0) for key, value in problem.center.items()}
        mode = choose_mode(loss, stack, examples.head(min(batch_size, CURVATURE_EXAMPLES)))
        curvature_batches = _curvature_batches(examples, batch_size, settings.seed)
        found = calibrate(
            loss,
            problem.center,
            curvature_batches,
            mode=mode,
            masks=problem.masks,
            n_beta=settings.n_beta or default_n_beta(examples.count),
            localization=settings.localization,
            step_size=settings.step_size,
            burn_in=settings.burn_in,
            max_steps=max_draws // count,
            seed=settings.seed,
        )
        posterior = LocalPosterior(
            loss,
            stack,
            torch.tensor([found.n_beta], dtype=torch.float64),
            torch.tensor([found.localization], dtype=torch.float64),
            problem.masks,
        )
        step_size = torch.tensor([found.step_size], dtype=torch.float64)
        kernel = DEFAULT_KERNEL if settings.kernel is None else settings.kernel
        planned = found.burn_in + (settings.draws or FIRST_DRAWS)
        compiled = mode != "serial" and planned >= COMPILE_FROM and small and compiler_available()
        chains = start(
            posterior,
            get_kernel(kernel),
            step_size=step_size,
            chains=count,
            labels=[name],
            seed=settings.seed,
            mode=mode,
            compile=compiled,
        )
        stream = MinibatchStream(settings.seed, examples.count, batch_size)
        plan = asdict(settings) | asdict(found)
        plan |= {
            "components": "all" if selection is None else selection if isinstance(selection, str) else repr(name[0]),
            "batch_size": batch_size,
            "chains": count,
            "kernel": kernel,
            "max_draws": max_draws,
            "target_se": settings.target_se or (TARGET_SE if settings.draws is None else None),
            "examples": examples.count,
            "mode": mode,
            "compiled": compiled,
        }
        full = batch_size >= examples.count

        def pair(number: int) -> tuple[Any, Any]:
            first, second = minibatch_pair(settings.seed, examples.count, batch_size, number)
            return examples.take(first), examples.take(second)

        return cls(
            posterior,
            chains,
            lambda step: examples.take(stream.at(step)),
            None if full else pair,
            lambda position: largest_curvature(loss, position, curvature_batches, problem.masks, settings.seed),
            step_size,
            plan,
        )

    @property
    def measured_at(self) -> tuple[float, float]:
        """(nβ, γ), given or chosen: what is measured."""
        return float(self._plan["n_beta"]), float(self._plan["localization"])

    @property
    def draws(self) -> int:
        """Draws a chain taken so far, burn-in not counted."""
        return max(self._chains.next_step - int(self._plan["burn_in"]), 0)

    def extend(self, draws: int, tick: Callable[[int], None] = lambda steps: None) -> None:
        """Take so many more draws a chain, burn-in first where it was not taken yet, in pieces so that a bar moves."""
        last = max(self._chains.next_step, self._plan["burn_in"]) + draws
        piece = max((last - self._chains.next_step) // 100, 1)
        while self._chains.next_step < last:
            now = min(piece, last - self._chains.next_step)
            self._records.append(advance(self._chains, self._batch_at, now))
            tick(self._chains.next_step)

    def until_done(self, progress: bool) -> None:
        """Take the draws asked for, or go on until the target or the bound on gradient evaluations is met."""
        wanted, burn_in = self._plan["draws"], self._plan["burn_in"]
        most = wanted or max(self._plan["max_draws"] // self._plan["chains"] - burn_in, 1)
        with progress_bar("sampling", burn_in + most, progress) as tick:
            self.extend(wanted or min(FIRST_DRAWS, most), tick)
            while wanted is None and self.draws < most and not self._target_met():
                self.extend(min(self.draws, most - self.draws), tick)

    def _target_met(self) -> bool:
        found = llc_from_draws(self._labelled())
        return bool(found["chains_lost"] > 0) or bool(found["llc_se"] <= (self.target_se or 0) * abs(found["llc"]))

    def _labelled(self) -> xr.Dataset:
        record = Record(*(torch.cat(parts) for parts in zip(*self._records, strict=True)))
        self._records = [record]
        posterior, burn_in = self._posterior, self._plan["burn_in"]
        lost = diverged(record, posterior.n_beta, posterior.localization, posterior.dim, burn_in)
        return label(record, posterior, self._step_size, self._plan["chains"], burn_in, lost).isel(center=0)

    def result(self) -> xr.Dataset:
        """The draws taken so far, with every setting in ``attrs``."""
        out = self._labelled()
        out["h_max"] = self._steepest()
        if self._batch_pair is not None:
            out["gradient_noise"] = gradient_noise(
                self._chains, self._posterior, self._batch_pair, self._plan["chains"], NOISE_PAIRS
            )[0]
        settings = {key: value for key, value in self._plan.items() if value is not None and key != "h_max"}
        out.attrs |= settings | {"draws": self.draws, "ontogeny_version": __version__}
        return out

    def _steepest(self) -> float:
        """h_max at w*, along the pilots and where two chains are now: at a singular w* it can vanish at w* alone."""
        axis, found = self._chains.evaluation.axis, float(self._plan["h_max"])
        for chain in range(min(2, int(self._plan["chains"]))):
            position = {name: value.select(axis, chain) for name, value in self._chains.params.items()}
            if all(bool(value.isfinite().all()) for value in position.values()):
                found = max(found, self._curvature(position))
        return found


def _curvature_batches(examples: Examples, batch_size: int, seed: int) -> list[Any]:
    """About a thousand examples in batches no larger than the run's own, which were chosen to fit into memory."""
    if examples.count <= min(batch_size, CURVATURE_EXAMPLES):
        return [examples.take(None)]
    count = min(examples.count, CURVATURE_EXAMPLES, MOST_BATCHES * batch_size)
    chosen = torch.randperm(examples.count, generator=generator(seed, "curvature examples"))[:count]
    return [examples.take(part) for part in chosen.tensor_split(max(count // min(batch_size, count), 1))]
