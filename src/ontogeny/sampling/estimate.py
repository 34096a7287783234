"""The public entry points: og.sample and og.estimate_llc, for any module, data and loss."""

from __future__ import annotations

from typing import Any

import xarray as xr
from torch import nn

from ontogeny.core.progress import piece, progress_bar
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.inputs.losses import LossFunction, Potential, undisturbed
from ontogeny.sampling.calibration import Calibration, one_for_all
from ontogeny.sampling.refinement import Refinement
from ontogeny.sampling.settings import Settings


def sample(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    n_beta: float | None = None,
    localization: float | None = None,
    step_size: float | None = None,
    batch_size: int | None = None,
    chains: int | None = None,
    draws: int | None = None,
    burn_in: int | None = None,
    kernel: str | None = None,
    target_se: float | None = None,
    max_draws: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    calibration: Calibration | None = None,
    precision: str | None = None,
) -> xr.Dataset:
    """Draws from the local posterior π(w) ∝ exp(-nβ·L(w) - γ/2·‖w - w*‖²) around the model's weights w*.

    The arguments are those of :func:`estimate_llc`.

    Returns:
        A Dataset with dims ``chain`` and ``draw`` (and ``component``, ``dataset`` when several were given): ``loss``
        and ``loss_at_center``, both on the draw's own minibatch, before its update; ``virial`` (w - w*)·∇U,
        ``distance_squared`` ‖w - w*‖², ``capped``; ``diverged`` by chain; settings as variables and in ``attrs``.
        Burn-in is not in it. Where several runs went on for different numbers of draws, all go on to the longest.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    settings = Settings(
        n_beta, localization, step_size, batch_size, chains, draws, burn_in, target_se, max_draws, kernel, seed,
        device, precision,
    )  # fmt: skip
    with undisturbed(model if isinstance(model, nn.Module) else None):
        call = Refinement(model, data, loss_fn, components, settings, calibration)
        results, unequal = {}, {}
        for number, (key, run) in enumerate(call.runs()):
            with piece(number, len(call.keys)):
                run.until_done(progress)
            if draws is None:  # it may have to go on, and so stays in memory
                unequal[key] = run
            else:
                results[key] = run.result()
        longest = max((run.draws for run in unequal.values()), default=0)
        for key, run in unequal.items():
            run.extend(longest - run.draws)
            results[key] = run.result()
        return call.side_by_side(results)


def estimate_llc(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    n_beta: float | None = None,
    localization: float | None = None,
    step_size: float | None = None,
    batch_size: int | None = None,
    chains: int | None = None,
    draws: int | None = None,
    burn_in: int | None = None,
    kernel: str | None = None,
    target_se: float | None = None,
    max_draws: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    calibration: Calibration | None = None,
    precision: str | None = None,
) -> xr.Dataset:
    """Local learning coefficient λ̂(nβ, γ) = nβ·(E_π[L(w)] - L(w*)) with its standard error, tests and status.

    π(w) ∝ exp(-nβ·L(w) - γ/2·‖w - w*‖²), L the mean loss over the n examples of ``data``, w* the model's weights.

    Args:
        model: any module at w*, never changed; or a :class:`Potential`, which takes the place of data and loss_fn.
        data: a tensor, a tuple or mapping of tensors, a map-style dataset; a plain dict always means {name: data set},
            so tensors by name go in as {"train": {"inputs": x, "labels": y}}.
        loss_fn: ``loss_fn(model, batch)`` -> one loss per example, ``(batch,)``, or position, ``(batch, positions)``.
        components: None for all weights; "1:3" (layer:head), "1:attn", "1:mlp", "embed", a glob over parameter names,
            "random:2000" (always the same so many weights; "random:2000:1" others), {parameter: mask}; a list, or
            {name: selection}, to refine by weights, a selection being a list to unite; "heads" and "layers" are lists.
            Below the lowest sampled layer the forward pass runs once, for all chains and components.
        n_beta: nβ in 1/loss; by rule n/log n, the smallest over several data sets.
        localization: γ in 1/weight²; by rule nβ·h_max/100 rounded up to 1, 2 or 5 times a power of ten, the
            largest over several components and data sets, so that what stands side by side is measured alike. h_max
            has chance in it: to compare estimates from several calls, give γ or pass a calibration.
        step_size: ε in weight²; by rule a constant of the kernel (0.64 for baoab, 0.1 for sgld) over nβ·h_max + γ, the
            steepest curvature that the chains meet, and less where minibatch noise asks for it.
        batch_size: examples a step; by rule 256 below 10,000 weights of the model, 64 above (of texts so many
            as hold 1024 positions, at least 4), or all n if fewer.
        chains: by rule 128 up to 128 weights of the model, fewer for more, down to 4; no more than leave each 2000
            steps. On a GPU as many are evaluated together as fit into its memory.
        draws: exactly so many a chain; None: until ``target_se`` or ``max_draws``.
        burn_in: steps dropped at the start of each chain; by rule until the virial E[(w - w*)·∇U] has settled at its
            stationary value, a third of ``max_draws`` at most.
        kernel: "baoab" by rule; or "sgld", "lm_sgld", "rmsprop_sgld", "sgnht", and with full batches "mala", "hmc".
        target_se: relative standard error to reach, 0.02 where ``draws`` is None.
        max_draws: gradient evaluations over all chains, burn-in counted, at least one draw (and what finding γ and the
            step takes, up to about 3000); by rule 4 million below 10,000 weights of the model, 20,000 above. Never a
            wall-clock limit.
        seed: of all random streams; the global random state is neither read nor changed.
        device: where to sample; None: where the model is.
        progress: show a progress bar on a terminal.
        calibration: what :func:`calibrate` returned, in place of the numbers above that it holds.
        precision: of the forward pass, "float32" or "bfloat16"; None: float32, or float64 where sampled weights are.
            Sampled weights and their updates stay float32. Rounding in bfloat16 moves an example's L(w) - L(w*) by
            some 2e-3 nats at random (seen on a small language model), and so λ̂ by about 2e-3·√n/log n. For GPUs and
            large models; of one of 3 million weights on an H200 a step took as long as in float32.

    Returns:
        A Dataset: ``llc`` and ``llc_se`` (dimensionless; the error of λ̂(nβ, γ) for these n examples), ``r_hat``,
        ``ess``, ``chains_lost``, ``n_beta``, ``localization``, ``step_size``, ``status``, ``regime`` and the
        ``check_…`` values behind them (see :func:`describe_status`). ``component`` and ``dataset`` are dims when
        several were given. ``attrs`` hold every setting, the seed and the version.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: Lau et al., arXiv:2308.12108; refinements: Wang et al., arXiv:2410.02984.

    >>> import torch
    >>> well = Potential(lambda w: 0.5 * (w**2).sum(), torch.zeros(4))  # λ̂ = ½·4·nβ/(nβ + γ) = 1.98
    >>> found = estimate_llc(well, n_beta=100.0, localization=1.0, progress=False)
    >>> abs(float(found.llc) - 1.98) < 0.3, found.status.item()
    (True, 'ok')
    """
    settings = Settings(
        n_beta, localization, step_size, batch_size, chains, draws, burn_in, target_se, max_draws, kernel, seed,
        device, precision,
    )  # fmt: skip
    with undisturbed(model if isinstance(model, nn.Module) else None):
        call, results = Refinement(model, data, loss_fn, components, settings, calibration), {}
        for number, (key, run) in enumerate(call.runs()):
            with piece(number, len(call.keys)):
                run.until_done(progress)
            results[key] = llc_from_draws(run.result(), run.target_se)
        return call.side_by_side(results)


def calibrate(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    n_beta: float | None = None,
    localization: float | None = None,
    step_size: float | None = None,
    batch_size: int | None = None,
    chains: int | None = None,
    burn_in: int | None = None,
    kernel: str | None = None,
    max_draws: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    precision: str | None = None,
) -> Calibration:
    """Find (nβ, γ), step size, friction, burn-in and chains once, for many estimates that are to be made alike.

    The arguments are those of :func:`estimate_llc`, which finds the same numbers where no calibration is passed. With
    several components or data sets one calibration serves all: the smallest nβ, the largest γ, the smallest step and
    the longest burn-in.

    Returns:
        A :class:`Calibration`, to be passed as ``calibration=`` and stored with the results.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    settings = Settings(
        n_beta, localization, step_size, batch_size, chains, None, burn_in, None, max_draws, kernel, seed, device,
        precision,
    )  # fmt: skip
    with undisturbed(model if isinstance(model, nn.Module) else None):
        found = []
        for _, run in Refinement(model, data, loss_fn, components, settings, None).runs():
            with progress_bar("calibrating", run.most_steps, progress) as tick:
                found.append(run.warm_up(tick))
    return one_for_all(found)
