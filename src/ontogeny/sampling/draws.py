"""From what the loop recorded to labelled draws, with who diverged and what the checks need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ontogeny.core.schema import describe
from ontogeny.core.trees import chain_sum, tree_map
from ontogeny.core.types import Batch
from ontogeny.sampling.chains import Chains, Record
from ontogeny.sampling.posterior import LocalPosterior


def diverged(record: Record, n_beta: Tensor, localization: Tensor, dim: int, burn_in: int) -> Tensor:
    """Which chains are lost, shape ``(chains,)``; ``record`` covers the run from its first step.

    A chain is lost if anything it recorded is not finite; if its energy nβ(L_B(w) - L_B(w*)) + (γ/2)‖w - w*‖², about
    d/2 at stationarity, ever passes 100·(d + 10); or if more than 1 % of its steps after burn-in had to be capped: a
    chain beyond its stability limit grows into finite nonsense before it grows to infinity.
    """
    finite = record.loss.isfinite() & record.loss_at_center.isfinite() & record.virial.isfinite()
    energy = n_beta * (record.loss - record.loss_at_center) + 0.5 * localization * record.distance_squared
    too_high = (energy > 100.0 * (dim + 10)).any(0)
    capped = record.capped[burn_in:].double().mean(0) > 0.01
    return ~finite.all(0) | too_high | capped


def label(
    record: Record, posterior: LocalPosterior, step_size: Tensor, chains: int, burn_in: int, lost: Tensor
) -> xr.Dataset:
    """Draws after burn-in with dims ``(center, chain, draw)``, and the settings of each centre."""
    kept = {
        name: value[burn_in:].T.reshape(posterior.centers, chains, -1).cpu().numpy()
        for name, value in record._asdict().items()
    }
    settings = {
        "n_beta": posterior.n_beta,
        "localization": posterior.localization,
        "step_size": step_size,
        "rounding": rounding(posterior, step_size),
        "dim": torch.full((posterior.centers,), posterior.dim),
    }
    return describe(
        xr.Dataset(
            {name: (("center", "chain", "draw"), value) for name, value in kept.items()}
            | {"diverged": (("center", "chain"), lost.reshape(posterior.centers, chains).cpu().numpy())}
            | {name: ("center", value.double().cpu().numpy()) for name, value in settings.items()},
            attrs={"burn_in": burn_in},
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


def gradient_noise(
    run: Chains, posterior: LocalPosterior, batch_pair: Callable[[int], tuple[Batch, Batch]], chains: int, pairs: int
) -> np.ndarray:
    """Variance of the minibatch gradient, summed over weights: E‖g_B - g_B'‖²/2 at the chains' last positions.

    Two independent minibatches a pair, averaged over pairs and the chains of a centre; shape ``(centers,)``.
    """
    axis, total = run.evaluation.axis, torch.zeros(())
    masks = posterior.masks
    for number in range(pairs):
        first, second = (run.evaluation.gradients(run.params, batch)[0] for batch in batch_pair(number))
        difference = tree_map(torch.sub, first, second)
        if masks is not None:
            difference = {name: value * masks[name].unsqueeze(axis) for name, value in difference.items()}
        total = total + 0.5 * chain_sum(tree_map(torch.square, difference), axis).detach().cpu().double()
    return (total / pairs).reshape(posterior.centers, chains).mean(1).numpy()
