"""WBIC, functional variance, singular fluctuation and WAIC from per-example losses, as Watanabe defines them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.func import vmap

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import progress_bar
from ontogeny.core.schema import describe
from ontogeny.core.types import Batch, Params
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.estimators.uncertainty import autocorrelation_time
from ontogeny.inputs.datasets import Examples
from ontogeny.inputs.losses import LossFunction, ModuleLoss, Potential, undisturbed
from ontogeny.sampling.calibration import Calibration
from ontogeny.sampling.chains import Chains
from ontogeny.sampling.preparation import prepare
from ontogeny.sampling.problem import build
from ontogeny.sampling.refinement import under
from ontogeny.sampling.run import Run
from ontogeny.sampling.settings import Settings

DRAWS = 100
PILOT_DRAWS = 200
FEWEST_GROUPS = 16
"""Of fewer chains the draws are cut into blocks, so that there are so many groups to leave out."""
LOSSES_AT_ONCE = 2**22


def watanabe(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    components: Any = None,
    n_beta: float | None = None,
    localization: float | None = None,
    step_size: float | None = None,
    batch_size: int | None = None,
    chains: int | None = None,
    draws: int | None = None,
    burn_in: int | None = None,
    kernel: str | None = None,
    max_draws: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    calibration: Calibration | None = None,
    precision: str | None = None,
) -> xr.Dataset:
    """WBIC, functional variance, singular fluctuation and WAIC, each localized: under the posterior around w*.

    With ℓ_i(w) = -log p(x_i|w), which ``loss_fn`` must return for the names to mean what they say, β = nβ/n, and E, Var
    over π(w) ∝ exp(-β Σ ℓ_i(w) - γ/2 ‖w - w*‖²):

    - ``wbic`` = E[Σ ℓ_i], in nats; Watanabe's at β = 1/log n, the rule where nβ is left out. Estimates the free energy
      n·L(w*) + λ·log n, of the neighbourhood that γ leaves. ``free_energy_excess`` = E[Σ ℓ_i] - Σ ℓ_i(w*), in nats.
    - ``functional_variance`` V = Σ_i Var[ℓ_i].
    - ``singular_fluctuation`` ν = (β/2)·V: Watanabe's ν(β) is the limit of its mean over data sets; d/2 for a regular
      model that contains the truth.
    - ``waic`` = T + (β/n)·V per example, T = -(1/n) Σ log E[exp(-ℓ_i)] the Bayes training loss, at this β.

    Losses of all n examples are computed at thinned draws: their mean, variance and log-mean-exp are kept by
    example, chain and block of draws, and pooled. Where ``loss_fn`` returns a loss per position, ℓ_i is the mean over
    positions.

    Args:
        model: as in :func:`ontogeny.estimate_llc`, for one component and one data set; not a Potential.
        data: as there.
        loss_fn: as there.
        components: as there, one selection.
        n_beta: nβ = β·n; by rule n/log n.
        localization: γ, as there.
        step_size: as there.
        batch_size: as there.
        chains: as there.
        draws: draws a chain at which all examples are evaluated; by default 100, and rounded up so that fewer than 16
            chains can be cut into equal blocks.
        burn_in: as there.
        kernel: as there.
        max_draws: bounds the gradient evaluations of the chains, and so the steps between such draws; losses on all
            examples are not counted in it.
        seed: as there.
        device: as there.
        progress: as there.
        calibration: as there.
        precision: as there.

    Returns:
        The variables above with ``…_se``, ``beta``, and ``llc``, ``status``, ``regime`` and ``check_…`` of the chains.
        Errors: jackknife over chains, or, of fewer than 16, the larger of that over chains and that over blocks of
        their draws; it also takes out the bias of first order in 1/groups. They miss what all chains have in common:
        minibatches. NaN where a chain diverged.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: Watanabe (2010), JMLR 11:3571 (V, ν, WAIC); Watanabe (2013), JMLR 14:867 (WBIC).
    """
    if isinstance(model, Potential):
        raise OntogenyError("model must be a torch.nn.Module: a Potential has no examples, and so no loss of each.")
    wanted = Settings(
        n_beta, localization, step_size, batch_size, chains, draws, burn_in, None, max_draws, kernel, seed, device,
        precision,
    )  # fmt: skip
    settings = wanted if calibration is None else under(calibration, wanted)
    with undisturbed(model):
        problem = build(
            model, data, loss_fn, components, settings.n_beta, settings.device, precision=settings.precision
        )
        assert isinstance(problem.loss, ModuleLoss)
        prepared = prepare(problem, settings, (None, None))
        run = Run(prepared, settings, calibration)
        blocks = math.ceil(FEWEST_GROUPS / prepared.count)
        length = max(math.ceil((settings.draws or DRAWS) / blocks), 2)
        points = blocks * length
        kept = _Moments(blocks, prepared.count, problem.examples.count, length)
        with progress_bar("sampling, with losses of all examples", None, progress) as tick:
            run.warm_up(tick)
            run.extend(max(min(PILOT_DRAWS, prepared.most_steps), 1), tick)
            thin = _thinning(run, points)
            for number in range(points):
                run.extend(thin, tick)
                for rows, losses in _losses(problem.loss, prepared.chains, prepared.batch_size, problem.examples):
                    kept.add(number, rows, losses)
        estimate = llc_from_draws(run.result())
        at_center = sum(
            float(problem.loss(problem.center, part).detach().double().sum()) for _, part in _parts(problem.examples)
        )
    out = estimate.assign(_criteria(kept, prepared.n_beta, at_center))
    for name in list(out.data_vars):
        if name in CRITERIA:
            out[name] = out[name].where(out["chains_lost"] == 0)
    out.attrs |= {"thinning": thin, "evaluated_draws": points}
    return describe(out)


NAMES = ("wbic", "free_energy_excess", "functional_variance", "singular_fluctuation", "bayes_training_loss", "waic")
CRITERIA = (*NAMES, *(f"{name}_se" for name in NAMES))


@dataclass
class _Moments:
    """Mean, sum of squared deviations and log-sum-exp of -ℓ by block of draws, chain and example; float64.

    Shape ``(blocks, chains, n)``; every block holds ``length`` draws.
    """

    blocks: int
    chains: int
    examples: int
    length: int
    mean: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)
    log_sum: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.mean, self.squares = np.zeros((2, self.blocks, self.chains, self.examples))
        self.log_sum = np.full((self.blocks, self.chains, self.examples), -np.inf)

    def add(self, number: int, rows: slice, losses: np.ndarray) -> None:
        """The losses of some examples at draw ``number``, shape ``(chains, rows)``, by Welford's update."""
        block, before = divmod(number, self.length)
        at = (block, slice(None), rows)
        away = losses - self.mean[at]
        self.mean[at] += away / (before + 1)
        self.squares[at] += away * (losses - self.mean[at])
        self.log_sum[at] = np.logaddexp(self.log_sum[at], -losses)


def _thinning(run: Run, points: int) -> int:
    """Steps between evaluations: two autocorrelation times of the loss, as far as the bound allows."""
    series = run.excess()
    if not np.isfinite(series).all():
        return 1
    wanted = math.ceil(2.0 * float(autocorrelation_time(series).mean()))
    left = run.most_steps - run.draws - run.calibration.burn_in
    return max(min(wanted, left // points), 1)


def _parts(examples: Examples, size: int = 1024) -> Iterator[tuple[slice, Batch]]:
    if size >= examples.count:
        yield slice(0, examples.count), examples.take(None)
        return
    for first in range(0, examples.count, size):
        rows = slice(first, min(first + size, examples.count))
        yield rows, examples.take(torch.arange(rows.start, rows.stop))


def _losses(
    loss: ModuleLoss, chains: Chains, batch_size: int, examples: Examples
) -> Iterator[tuple[slice, np.ndarray]]:
    """ℓ_i at every chain's draw, in pieces of the batch size, ``(rows, losses of shape (chains, rows))``."""
    params = chains.positions
    first = next(iter(params.values()))
    count = first.shape[0]
    each: Callable[[Params, Batch], Tensor]
    if chains.evaluation.mode == "serial":

        def each(params: Params, batch: Batch) -> Tensor:
            return torch.stack([loss({name: v[i] for name, v in params.items()}, batch) for i in range(count)])

    else:

        def each(params: Params, batch: Batch) -> Tensor:
            return vmap(lambda p: loss(p, batch), chunk_size=loss.chains_at_once)(params)

    with torch.no_grad():
        for rows, batch in _parts(examples, max(batch_size, min(1024, LOSSES_AT_ONCE // count))):
            yield rows, each(params, batch).double().cpu().numpy()


def _criteria(kept: _Moments, n_beta: float, at_center: float) -> dict[str, float]:
    """Every criterion, from the moments of all groups of draws, with its jackknife error."""
    n = kept.examples
    beta = n_beta / n
    centre, top = kept.mean.mean((0, 1)), kept.log_sum.max((0, 1))
    away = kept.mean - centre  # from the mean of all, so that sums of squares keep their digits
    sums = {
        "away": kept.length * away,
        "squares": kept.squares + kept.length * away**2,
        "masses": np.exp(kept.log_sum - top),
    }

    def of(total: dict[str, np.ndarray], draws: int) -> np.ndarray:
        shift = total["away"] / draws
        variance = float((total["squares"] - draws * shift**2).sum()) / (draws - 1)
        with np.errstate(divide="ignore"):
            training = -float((top + np.log(total["masses"] / draws)).mean())
        energy = float((centre + shift).sum())
        criteria = (energy, energy - at_center, variance, 0.5 * beta * variance, training)
        return np.array([*criteria, training + beta / n * variance])

    found, errors = np.full((2, len(NAMES)), np.nan)
    groups = {name: values.reshape(-1, n) for name, values in sums.items()}
    if len(groups["away"]) > 1 and np.isfinite(kept.mean).all():
        found, errors = _jackknife(of, groups, kept.length)
        if kept.chains > 1 and kept.blocks > 1:
            by_chain = {name: values.sum(0) for name, values in sums.items()}
            errors = np.maximum(errors, _jackknife(of, by_chain, kept.blocks * kept.length)[1])
    return {"beta": beta} | dict(zip(CRITERIA, (float(value) for value in (*found, *errors)), strict=True))


def _jackknife(
    of: Callable[[dict[str, np.ndarray], int], np.ndarray], groups: dict[str, np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values without their bias of first order in 1/groups, and standard errors, from leaving out one group a time."""
    whole, count = {name: values.sum(0) for name, values in groups.items()}, len(groups["away"])
    left = (count - 1) * length
    without = np.stack([of({name: whole[name] - v[g] for name, v in groups.items()}, left) for g in range(count)])
    errors = np.sqrt((count - 1) / count * ((without - without.mean(0)) ** 2).sum(0))
    return count * of(whole, count * length) - (count - 1) * without.mean(0), errors
