"""From what the loop recorded to labelled draws, with who diverged and what the checks need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ontogeny.core.schema import describe
from ontogeny.core.trees import chain_sum, repeat_chains, tree_map
from ontogeny.core.types import Batch
from ontogeny.sampling.at_center import WithCenter
from ontogeny.sampling.chains import Chains, Record
from ontogeny.sampling.posterior import LocalPosterior

MOST_CAPPED = 0.01


def diverged(record: Record, n_beta: Tensor | float, localization: Tensor | float, dim: int) -> Tensor:
    """Which chains are lost, shape ``(chains,)``.

    A chain is lost if anything it recorded is not finite; if its energy nβ(L_B(w) - L_B(w*)) + (γ/2)‖w - w*‖², about
    d/2 at stationarity, ever passes 100·(d + 10); or if more than 1 % of its steps had to be capped: a chain beyond its
    stability limit grows into finite nonsense before it grows to infinity. ``n_beta`` and ``localization`` by chain.
    """
    finite = record.loss.isfinite() & record.loss_at_center.isfinite() & record.virial.isfinite()
    energy = n_beta * record.excess + 0.5 * localization * record.distance_squared
    too_high = (energy > 100.0 * (dim + 10)).any(0)
    return ~finite.all(0) | too_high | (record.capped.double().mean(0) > MOST_CAPPED)


def label(
    record: Record,
    posterior: LocalPosterior,
    run: Chains,
    chains: int,
    *,
    lost: Tensor,
    h_max: np.ndarray,
    noise_share: np.ndarray | None = None,
) -> xr.Dataset:
    """Draws with dims ``(center, chain, draw)``, and by centre the settings and what the checks compare with.

    ``h_max`` in loss/weight²; ``noise_share``: minibatch noise that is not compensated, in units of the injected noise
    and summed over weights; None: taken from the record of runs that compensate it.
    """
    kept = {
        name: value.T.reshape(posterior.centers, chains, -1).cpu().numpy() for name, value in record._asdict().items()
    }
    share, removed = kept.pop("noise_share"), kept.pop("noise_removed")
    step_size = run.constants.step_size[::chains].double().cpu()
    kappa = posterior.n_beta.double().cpu() * torch.as_tensor(h_max) + posterior.localization.double().cpu()
    quarter = step_size * kappa / 4.0
    kernel, dim = run.kernel, posterior.dim
    first_order = kernel.first_order
    bound = torch.where(quarter < 1, quarter / (1 - quarter), torch.inf) if first_order else quarter.square()
    expected = dim * (1.0 + (step_size * posterior.localization.double().cpu() / 4.0 if first_order else 0.0 * quarter))
    heating = np.maximum((share - removed).mean((1, 2)), 0.0) if noise_share is None else noise_share
    settings = {
        "n_beta": posterior.n_beta,
        "localization": posterior.localization,
        "step_size": step_size,
        "rounding": rounding(posterior, step_size),
        "dim": torch.full((posterior.centers,), dim),
        "virial_expected": expected,
        "step_bias_bound": bound * (0.0 if kernel.coins else 1.0),
    }
    return describe(
        xr.Dataset(
            {name: (("center", "chain", "draw"), value) for name, value in kept.items()}
            | {"diverged": (("center", "chain"), lost.reshape(posterior.centers, chains).cpu().numpy())}
            | {name: ("center", value.double().cpu().numpy()) for name, value in settings.items()}
            | {"h_max": ("center", h_max), "heating": ("center", heating)}
            | {"gradient_noise_share": ("center", (share.mean((1, 2)) if noise_share is None else noise_share) / dim)},
        )
    )


def rounding(posterior: LocalPosterior, step_size: Tensor) -> Tensor:
    """Half a unit in the last place of a typical weight over the noise √ε of a step, per centre; 1 loses the noise."""
    squares = torch.stack(
        [value.reshape(posterior.centers, -1).square().sum(1).double() for value in posterior.center.values()]
    ).sum(0)
    weights = sum(value[0].numel() for value in posterior.center.values())
    eps = torch.finfo(next(iter(posterior.center.values())).dtype).eps
    return 0.5 * eps * (squares / weights).sqrt() / step_size.to(squares).sqrt()


def noise_share(
    run: Chains, posterior: LocalPosterior, batch_pair: Callable[[int], tuple[Batch, Batch]], chains: int, pairs: int
) -> np.ndarray:
    """Minibatch noise of a move in units of the injected noise, summed over weights, at the chains' positions.

    gain²·(nβ)²·E‖g_B - g_B'‖²/2 with two independent minibatches a pair, each less its control variate where the run
    has one; averaged over pairs and the chains of a centre. Shape ``(centers,)``.
    """
    axis, total, fixed = run.evaluation.axis, torch.zeros(()), run.constants

    def gradient(part: Batch | WithCenter) -> dict[str, Tensor]:
        if isinstance(part, WithCenter):
            found, at_center = run.evaluation.gradients(run.params, part.batch)[0], part.gradient
        else:
            found = run.evaluation.gradients(run.params, part)[0]
            if fixed.gradient is None:
                return found
            at_center = run.evaluation.gradients(fixed.centers, part)[0]
        return tree_map(torch.sub, found, repeat_chains(at_center, chains, axis))

    for number in range(pairs):
        first, second = (gradient(batch) for batch in batch_pair(number))
        difference = tree_map(torch.sub, first, second)
        total = total + 0.5 * chain_sum(tree_map(torch.square, difference), axis).detach().cpu().double()
    gain = run.kernel.gain(fixed.step_size.double(), fixed.friction.double()).cpu()
    share = (gain * fixed.n_beta.double().cpu()).square() * total / pairs
    return share.reshape(posterior.centers, chains).mean(1).numpy()
