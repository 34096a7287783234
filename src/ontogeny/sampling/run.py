"""One estimate's chains from start to end: settings completed, chains advanced until done, draws labelled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import progress_bar, report_progress
from ontogeny.core.types import Params
from ontogeny.core.version import __version__
from ontogeny.estimators.diagnostics import r_hat
from ontogeny.estimators.status import R_HAT_LIMIT
from ontogeny.estimators.uncertainty import autocorrelation_time, standard_error
from ontogeny.inputs.components import in_words
from ontogeny.inputs.losses import Potential
from ontogeny.inputs.shared_forward import SharedForwards
from ontogeny.sampling.calibration import Calibration, longest_warm_up
from ontogeny.sampling.chains import Record, advance
from ontogeny.sampling.descent import descent
from ontogeny.sampling.draws import diverged, label, noise_share
from ontogeny.sampling.preparation import Prepared, prepare
from ontogeny.sampling.problem import build
from ontogeny.sampling.settings import Settings
from ontogeny.sampling.spectrum import MOST_WEIGHTS, second_order
from ontogeny.sampling.warm_up import WarmUp

FIRST_DRAWS = 500
TARGET_SE = 0.02
WARM_UP_SHARE = 1 / 3
"""The most that warm-up may take of the gradient evaluations allowed."""
ENOUGH_TIMES = 30
"""Draws a chain, in autocorrelation times, from which on R̂ of mixed chains is below 1.05."""
MOST_RESTARTS = 3
"""Where chains were lost with a step chosen by rule, they start again from w* with a quarter of it."""
OUTGROWN_DRAWS, MOST_CAPPED_DRAWS = 2.0, 1e-3
"""Curvature so many times that of warm-up, or so many drifts capped, and the draws so far count as burn-in."""
WORTH_COMPENSATING = 0.004
"""Minibatch heating, relative to 2λ̂, from which on a step takes its minibatch in two halves."""


class Run:
    """The chains of one (component, data set); ``extend`` takes more draws, ``result`` labels those taken so far."""

    def __init__(self, prepared: Prepared, settings: Settings, calibration: Calibration | None) -> None:
        self._prepared, self._settings, self._given = prepared, settings, calibration
        self._chains = prepared.chains
        self._records: list[Record] = []
        self._warm_up: WarmUp | None = None
        self._at_w_star, self._restarts = self._chains.snapshot(), 0
        self._compensate = prepared.halves_at is not None and (calibration is None or calibration.compensate)
        self.selection = "all"
        self.target_se = settings.target_se or (TARGET_SE if settings.draws is None else None)

    @classmethod
    def prepare(
        cls,
        model: nn.Module | Potential,
        data: Any,
        loss_fn: Any,
        selection: Any,
        settings: Settings,
        name: tuple[str | None, str | None],
        calibration: Calibration | None = None,
        forwards: SharedForwards | None = None,
    ) -> Run:
        """Check every input, choose what was left out, and put the chains on w*."""
        problem = build(model, data, loss_fn, selection, settings.n_beta, settings.device, forwards, settings.precision)
        if isinstance(problem.loss, Potential) and settings.batch_size is not None and calibration is None:
            raise OntogenyError("batch_size has no meaning for a Potential, which has no data; leave it out.")
        prepared = prepare(problem, settings, name)
        run = cls(prepared, settings, calibration)
        run.selection = in_words(selection)
        return run

    @property
    def measured_at(self) -> tuple[float, float]:
        """(nβ, γ), given or chosen: what is measured."""
        return self._prepared.n_beta, self._prepared.localization

    @property
    def most_steps(self) -> int:
        """Steps a chain that the bound on gradient evaluations allows."""
        return self._prepared.most_steps

    @property
    def draws(self) -> int:
        """Draws a chain taken so far, burn-in not counted."""
        return sum(len(record.loss) for record in self._records)

    def excess(self) -> np.ndarray:
        """nβ·(L_B(w) - L_B(w*)) of the draws taken so far, shape ``(chains, draws)``, float64."""
        return (self._prepared.n_beta * self._collected().excess.double()).T.cpu().numpy()

    def warm_up(self, tick: Callable[[int], None] = lambda steps: None) -> Calibration:
        """Take the chains from w* to where draws count; returns what was found on the way."""
        prepared, settings, given = self._prepared, self._settings, self._given
        run_steps = prepared.most_steps
        if settings.draws is not None:
            run_steps = max(run_steps, settings.draws)
        fixed = settings.burn_in if given is None else given.burn_in
        self._warm_up = WarmUp(
            self._chains,
            self._parts_at(),
            prepared.steepest,
            (prepared.n_beta * prepared.h_max + prepared.localization) * 4**self._restarts,
            prepared.dim,
            self._longest_warm_up(run_steps) if fixed is None else fixed,
            run_steps,
            step_size=prepared.step_size if given is None else given.step_size,
            friction_given=None if given is None else given.friction,
            fixed=fixed is not None,
        )
        self._warm_up.run(tick)
        self._note_curvature(self._warm_up.seen)
        if given is None and self._warm_up.records:
            worth = WORTH_COMPENSATING * max(self._warm_up.llc, 1e-3) if np.isfinite(self._warm_up.llc) else 0.0
            self._compensate = self._compensate and self._warm_up.share > worth
        return self.calibration

    def _longest_warm_up(self, run_steps: int) -> int:
        """A third of the run; where few draws were asked for, not much longer than they take."""
        longest = max(int(run_steps * WARM_UP_SHARE), 1)
        wanted = self._settings.draws
        return longest if wanted is None else min(longest, longest_warm_up(wanted, self._prepared.weights))

    @property
    def calibration(self) -> Calibration:
        """What is sampled and how, once warmed up."""
        assert self._warm_up is not None
        prepared, warm = self._prepared, self._warm_up
        return Calibration(
            kernel=prepared.kernel.name,
            n_beta=prepared.n_beta,
            localization=prepared.localization,
            step_size=warm.epsilon,
            friction=warm.friction if prepared.kernel.momentum else 0.0,
            burn_in=warm.taken,
            batch_size=prepared.batch_size,
            chains=prepared.count,
            max_draws=prepared.max_draws,
            compensate=self._compensate,
            h_max=prepared.h_max,
            settled=warm.settled,
            gradient_evaluations=self._spent,
        )

    @property
    def _spent(self) -> int:
        """Gradient evaluations so far: chains, their control variate, and Hessian-vector products, two each."""
        prepared = self._prepared
        return int(self._chains.next_step * prepared.cost_of_a_step) + prepared.spent

    def _parts_at(self) -> Callable[[int], tuple[Any, ...]]:
        """The minibatch of each step. No method of this run, or the warm-up it holds would hold it in turn."""
        prepared = self._prepared
        return prepared.halves_at if self._compensate and prepared.halves_at is not None else prepared.whole_at

    def add_cost(self, gradient_evaluations: int) -> None:
        """Count what was spent elsewhere on finding this run's numbers."""
        self._prepared.before += gradient_evaluations

    def extend(self, draws: int, tick: Callable[[int], None] = lambda steps: None) -> None:
        """Take so many more draws a chain, in pieces so that a bar moves."""
        if self._warm_up is None:
            self.warm_up(tick)
        piece, left, parts_at = max(draws // 100, 1), draws, self._parts_at()
        while left:
            now = min(piece, left)
            self._records.append(advance(self._chains, parts_at, now))
            left -= now
            tick(self._chains.next_step)

    def until_done(self, progress: bool) -> None:
        """Take the draws asked for, or go on until the target or the bound on gradient evaluations is met."""
        prepared, wanted = self._prepared, self._settings.draws
        burn_in = self._settings.burn_in
        longest = self._longest_warm_up(prepared.most_steps) if burn_in is None else burn_in
        planned = prepared.most_steps if wanted is None else wanted + longest
        way = "one chain at a time" if prepared.mode == "serial" else "chains batched"
        title = (
            f"sampling, {way}, at most {prepared.max_draws if wanted is None else planned * prepared.count:,} gradients"
        )
        with progress_bar(title, planned, progress) as bar:

            def tick(step: int) -> None:
                bar(step)
                drawn = min(self.draws / (wanted or prepared.most_steps), 1.0)
                report_progress(0.5 + 0.5 * drawn if drawn else 0.5 * min(step / max(longest, 1), 1.0))

            self.warm_up(tick)
            if wanted is not None:
                self.extend(wanted, tick)
                return
            while True:
                if not self.draws:
                    self.extend(min(FIRST_DRAWS, self._left()), tick)
                if self._worth_another_try():
                    self._chains.go_back(self._at_w_star)
                    self._records, self._restarts = [], self._restarts + 1
                    self.warm_up(tick)
                elif self._outgrown():
                    self._start_again()
                else:
                    more = self._draws_wanted()
                    if more <= 0 or self._left() <= 0:
                        return
                    self.extend(min(more, self._left()), tick)

    def _left(self) -> int:
        """Steps that the bound on gradient evaluations still allows, at least one draw in all."""
        allowed = int((self._prepared.max_draws - self._spent) / self._prepared.cost_of_a_step)
        return max(allowed, 0) if self.draws else max(allowed, 1)

    def _draws_wanted(self) -> int:
        """Draws a chain still missing for the target and for R̂, at most as many again as there are."""
        if bool(self._lost(self._collected()).any()):
            return 0
        values = self.excess()
        error, mean = float(standard_error(values)), abs(float(values.mean()))
        target = (self.target_se or 0.0) * mean
        if target == 0.0:  # nothing moved, or nothing but zero was asked for: more draws would not tell more
            return 0
        times = autocorrelation_time(values[:: max(len(values) // 8, 1)]).mean()
        needed = max(self.draws * (error / target) ** 2, ENOUGH_TIMES * float(times))
        if not np.isfinite(needed):
            needed = 2.0 * self.draws
        if needed <= self.draws and not float(r_hat(values)) < R_HAT_LIMIT:
            needed = 1.5 * self.draws
        missing = needed - self.draws
        return 0 if missing <= 0 else int(min(max(1.1 * missing, 0.1 * self.draws), self.draws)) + 1

    def _worth_another_try(self) -> bool:
        """Whether chains were lost with a step chosen here, and half of the gradient evaluations are left."""
        if self._given is not None or self._settings.step_size is not None or self._restarts >= MOST_RESTARTS:
            return False
        return bool(self._lost(self._collected()).any()) and 2 * self._spent < self._prepared.max_draws

    def _outgrown(self) -> bool:
        """Whether the chains have come to where the step is too large, so that their draws cannot count."""
        if (
            self._given is not None
            or self._settings.step_size is not None
            or self._left() < min(self.draws, FIRST_DRAWS)
        ):
            return False
        assert self._warm_up is not None
        record = self._collected()
        if bool(self._lost(record).any()):
            return False
        capped = float(record.capped.double().mean()) > MOST_CAPPED_DRAWS
        return capped or self._prepared.steepest(self._chains) > OUTGROWN_DRAWS * self._warm_up.steepest

    def _start_again(self) -> None:
        """Count the draws so far as burn-in and go on with a step that fits."""
        assert self._warm_up is not None
        found, assumed = self._prepared.steepest(self._chains), self._warm_up.steepest
        self._warm_up.step_down(max(found if np.isfinite(found) else 0.0, OUTGROWN_DRAWS * assumed), self.draws)
        self._records = []

    def _collected(self) -> Record:
        self._records = [Record(*(torch.cat(parts) for parts in zip(*self._records, strict=True)))]
        return self._records[0]

    def _lost(self, record: Record) -> torch.Tensor:
        assert self._warm_up is not None
        prepared = self._prepared
        return diverged(record, prepared.n_beta, prepared.localization, prepared.dim) | self._warm_up.lost

    def _note_curvature(self, steepest: float) -> None:
        """Let h_max be at least what this eigenvalue of nβ·H + γ tells; of a preconditioned one it tells nothing."""
        prepared = self._prepared
        if np.isfinite(steepest) and self._chains.metric is None:
            prepared.h_max = max(prepared.h_max, (steepest - prepared.localization) / prepared.n_beta)

    def _full_gradient(self) -> Params | None:
        """∇L(w*) over all examples, where the control variate has it."""
        gradient, axis = self._chains.constants.gradient, self._chains.evaluation.axis
        return None if gradient is None else {name: value.select(axis, 0) for name, value in gradient.items()}

    def result(self) -> xr.Dataset:
        """The draws taken so far, with every setting in ``attrs``."""
        prepared, warm, record = self._prepared, self._warm_up, self._collected()
        assert warm is not None
        self._note_curvature(prepared.steepest(self._chains))
        noise = np.zeros(1)
        if prepared.pair_at is not None and not self._compensate:
            pairs = prepared.noise_pairs
            prepared.before += int(2 * pairs * prepared.cost_of_a_step)
            noise = noise_share(self._chains, prepared.posterior, prepared.pair_at, prepared.count, pairs)
        out = label(
            record,
            prepared.posterior,
            self._chains,
            prepared.count,
            lost=self._lost(record),
            h_max=np.array([prepared.h_max]),
            noise_share=None if self._compensate else noise,
        ).isel(center=0)
        center = {name: value[0] for name, value in prepared.posterior.center.items()}
        fall, cost = descent(
            prepared.posterior.loss,
            center,
            prepared.curvature.batches,
            n_beta=prepared.n_beta,
            h_max=prepared.h_max,
            all_examples=prepared.pair_at is None,
        )
        prepared.before += math.ceil(cost * prepared.curvature.worth / len(prepared.curvature.batches))
        out["descent"] = fall
        if prepared.dim <= MOST_WEIGHTS:
            prepared.before += int(2 * prepared.dim * prepared.curvature.worth)
        share, slope = second_order(
            prepared.posterior.loss,
            center,
            prepared.curvature.batches,
            prepared.n_beta,
            prepared.localization,
            gradient=self._full_gradient(),
        )
        found = replace(self.calibration, gradient_evaluations=self._spent)
        out["second_order"], out["second_order_gradient"] = share, slope
        out["step_size"].values[...] = warm.epsilon  # the chains have it in their own dtype
        out.attrs |= {
            "components": self.selection,
            "examples": prepared.examples,
            "mode": prepared.mode,
            "seed": self._settings.seed,
            "precision": self._settings.precision or str(next(iter(center.values())).dtype).removeprefix("torch."),
            "draws": self.draws,
            "ontogeny_version": __version__,
        }
        out.attrs |= {key: int(value) if isinstance(value, bool) else value for key, value in found.to_dict().items()}
        if self.target_se is not None:
            out.attrs["target_se"] = self.target_se
        out["warm_up"] = (("chain", "warm_up_step"), warm.trace())
        return out
