"""FT-LLCs of many directions at once: chains of several features step as one program, each with a loss of its own.

All features have the same w*, minibatches, noise, (nβ, γ), step size and burn-in, found by one rule that is not told
which direction is of which kind. So an estimate does not depend on its company: it is that of ``og.estimate_llc`` for
the feature alone, under the same calibration and seed, to rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.progress import progress_bar
from ontogeny.core.rng import generator
from ontogeny.core.types import Params
from ontogeny.core.version import __version__
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.features.common import CommonGround, ManyFeatures, bytes_a_chain, checked_directions, features_at_once
from ontogeny.features.feature import Projection
from ontogeny.features.sites import Site
from ontogeny.inputs.losses import ModuleLoss, undisturbed
from ontogeny.operators.eigenvalues import krylov_top
from ontogeny.operators.hessian import mean_hessian_product
from ontogeny.sampling.around_centers import ChainsAround
from ontogeny.sampling.calibration import SMALL_MODEL, Calibration, check_calibration, default_batch, one_for_all
from ontogeny.sampling.curvature import LANCZOS_STEPS, SETTLED
from ontogeny.sampling.evaluation import Mode, choose_mode
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.sampling.preparation import basis, curvature_batches
from ontogeny.sampling.problem import build
from ontogeny.sampling.run import Run
from ontogeny.sampling.settings import Settings

MEMORY = 2**29
"""Bytes that chains side by side may take on a processor, by default; on a GPU three quarters of what is free."""
CURVATURE_BATCHES = 2
MOST_LOOKED_AT = 64
"""Directions whose curvature a calibration looks at; a steeper one's status says if the step was too large for it."""
NO_MINIMUM = (
    "w* need not be a minimum of the natural loss: a direction along which it falls makes λ̂ low, even negative; "
    "second_order_features(..., loss='natural') says by how much, in second_order_llc_gradient."
)
ALONE = (None, None)
"""What an estimate of its own is called, so that noise is the same in company."""


def calibrate_features(
    model: nn.Module,
    data: Any,
    directions: Tensor,
    site: Site,
    *,
    loss: Any = "functional",
    components: Any = None,
    n_beta: float | None = None,
    localization: float | None = None,
    batch_size: int | None = None,
    chains: int | None = None,
    draws: int | None = None,
    kernel: str | None = None,
    max_draws: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Calibration:
    """One (nβ, γ), step size, friction and burn-in for all these directions, by the rules of ``og.calibrate``.

    Of 64 directions drawn at random, where there are more, the one whose loss is steepest at w* and the one of median
    steepness are calibrated: γ = nβ·h_max/100, rounded up to 1, 2 or 5 times a power of ten, h_max where pilot chains
    go, and then a step and a burn-in. The larger γ, the smaller step and the longer of the two burn-ins are taken
    for all; each burn-in was found at its own step, so that ``settled`` and the statuses say whether it was enough.
    Which direction is of which kind is not known here.

    Args:
        model: as for :func:`estimate_features`, and so are data, directions, site, loss, components and device.
        data: see there.
        directions: all that shall be compared.
        site: see there.
        loss: see there.
        components: see there.
        n_beta: nβ, 1/loss; None: n/log n.
        localization: γ, 1/weight²; None: by rule.
        batch_size: as for ``og.calibrate``.
        chains: as for ``og.calibrate``.
        draws: how many will be taken of a chain; they bound the burn-in.
        kernel: as for ``og.calibrate``.
        max_draws: as for ``og.calibrate``.
        seed: as for ``og.calibrate``.
        device: where.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    common = CommonGround(model, data, site, loss, components, device)
    rows = checked_directions(directions, common)
    given = Settings(
        n_beta, localization, None, batch_size, chains, draws, None, None, max_draws, kernel, seed, device
    )  # fmt: skip
    with undisturbed(model):
        if len(rows) > MOST_LOOKED_AT:  # drawn, not taken evenly: kinds that come by turns would be told apart
            drawn = torch.randperm(len(rows), generator=generator(seed, "directions that calibrate"))
            rows = rows[drawn[:MOST_LOOKED_AT].to(rows.device)]
        features = [Projection(row) for row in rows]
        thresholds = common.thresholds(features)
        size = batch_size or default_batch(SMALL_MODEL, common.examples.count, common.positions)
        steepness = _Losses(common, rows, thresholds, size, seed).steepness(rows, thresholds)
        order = np.argsort(steepness)
        if not np.isfinite(steepness).all():
            raise OntogenyError(
                "directions: the curvature of a direction's loss at w* is not finite; look at the model."
            )
        if localization is None and not steepness[order[-1]] > 0:
            raise OntogenyError(
                "localization cannot be chosen: no direction's loss has curvature at w*; give localization, and look "
                "whether the site is above the weights that are sampled."
            )
        places = dict.fromkeys((int(order[-1]), int(order[len(order) // 2])))
        problems = [common.problem(features[place], float(thresholds[place])) for place in places]
        if localization is None:
            needed = [basis(build(*problem, n_beta, device), given).localization for problem in problems]
            given = replace(given, localization=max(needed))
        found = [Run.prepare(*problem, given, ALONE).warm_up() for problem in problems]
    return one_for_all(found)


def estimate_features(
    model: nn.Module,
    data: Any,
    directions: Tensor,
    site: Site,
    *,
    loss: Any = "functional",
    components: Any = None,
    calibration: Calibration | None = None,
    draws: int = 100,
    seed: int = 0,
    device: str | None = None,
    at_once: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """The FT-LLC of every direction, λ̂(nβ, γ) = nβ·E[ℓ(w) - ℓ(w*)], with its standard error, checks and status.

    Args:
        model: at w*; never changed.
        data: a tensor of tokens (examples, positions), or whatever the model takes.
        directions: (features, width), normalised here to norm 1; put kinds that are to be compared in by turns.
        site: where the directions lie.
        loss: "functional", "behavioral" or "natural", or ``Functional(threshold=2.0, gate="cut", log=True)`` and so on.
        components: weights to sample; None: all that the activation depends on, no others.
        calibration: from :func:`calibrate_features`, for all that shall be compared; None: found for these directions.
        draws: of every chain.
        seed: of all random streams. Features share noise and minibatches, so that their differences are sharper than
            their errors say.
        device: where to sample; None: where the model is.
        at_once: features whose chains step together; None: as many as about half a gigabyte holds, on a GPU as many as
            fit. No number depends on it beyond rounding.
        progress: show a bar on a terminal.

    Returns:
        What ``og.estimate_llc`` returns, with dim ``feature`` and ``threshold``, θ in units of the projection.

    Warns:
        UserWarning: for the natural loss, of which w* need not be a minimum.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: "feature targeted LLC estimation", with the sampler and the errors of this library.
    """
    common = CommonGround(model, data, site, loss, components, device)
    if common.rule.kind == "natural":
        warnings.warn(NO_MINIMUM, stacklevel=2)
    rows = checked_directions(directions, common)
    check_whole("draws", draws)
    if at_once is not None:
        check_whole("at_once", at_once)
    if calibration is None:
        calibration = calibrate_features(
            model, data, rows, site, loss=common.rule, components=common.components, draws=draws, seed=seed,
            device=device,
        )  # fmt: skip
    check_calibration(calibration, "calibrate_features")
    with undisturbed(model):
        thresholds = common.thresholds([Projection(row) for row in rows])
        sampled = _Sampled(common, rows[:1], thresholds[:1], calibration, seed)
        size = at_once or _fitting(common, sampled.loss, calibration)
        steps, parts = calibration.burn_in + draws, []
        with progress_bar("feature-targeted LLCs", len(rows) * steps, progress) as done:
            for first in range(0, len(rows), size):
                some = slice(first, first + size)
                count = len(rows[some])
                ended = partial(_told, done, first * steps, count * steps)
                parts.append(sampled.draw(rows[some], thresholds[some], draws, ended))
    found = llc_from_draws(xr.concat(parts, "center", combine_attrs="drop")).rename(center="feature")
    found["threshold"] = ("feature", thresholds.double().numpy())
    frozen = {name: int(v) if isinstance(v, bool) else v for name, v in calibration.to_dict().items()}
    found.attrs = {
        **frozen,
        "loss": repr(common.rule),
        "site": str(site),
        "examples": common.examples.count,
        "draws": draws,
        "seed": seed,
        "mode": sampled.mode,
        "ontogeny_version": __version__,
    }
    return found


class _Losses:
    """The loss common to all features, prepared once, and its curvature for each."""

    def __init__(self, common: CommonGround, rows: Tensor, thresholds: Tensor, batch_size: int, seed: int) -> None:
        problem = common.problem(Projection(rows[0]), float(thresholds[0]))
        built = build(*problem, None, str(common.device))
        assert isinstance(built.loss, ModuleLoss)
        self.loss, self.examples, self._seed = built.loss, built.examples, seed
        size = min(batch_size, self.examples.count)
        self._batches, _ = curvature_batches(self.examples, size, seed, CURVATURE_BATCHES)

    def steepness(self, rows: Tensor, thresholds: Tensor, position: Params | None = None) -> np.ndarray:
        """The largest Hessian eigenvalue of each direction's loss, by a few Lanczos steps, (features,), loss/weight².

        A lower bound, within some per cent; on at most two minibatches. ``position`` None: at w*.
        """
        at = self.loss.center if position is None else position
        each = (slice(number, number + 1) for number in range(len(rows)))
        return np.array([self._steepest_of(rows[some], thresholds[some], at) for some in each])

    def _steepest_of(self, row: Tensor, threshold: Tensor, at: Params) -> float:
        one = ManyFeatures(self.loss, row, threshold, 1)
        own = {name: value[0] for name, value in one.of_chains(1).items()}
        product = mean_hessian_product(lambda params, batch: one(params | own, batch), at, self._batches, keep=True)
        stream = generator(self._seed, "curvature")
        begin = {name: torch.randn(value.shape, generator=stream).to(value) for name, value in at.items()}
        return krylov_top(product, begin, LANCZOS_STEPS, SETTLED)[0]


class _Sampled(_Losses):
    """What draws from the posteriors of some features at a time."""

    def __init__(
        self, common: CommonGround, row: Tensor, threshold: Tensor, calibration: Calibration, seed: int
    ) -> None:
        super().__init__(common, row, threshold, calibration.batch_size, seed)
        self._frozen, self._natural = calibration, common.rule.kind == "natural"
        one = ManyFeatures(self.loss, row, threshold, 2)
        stack = {name: value.unsqueeze(0) for name, value in self.loss.center.items()}
        self.mode: Mode = choose_mode(one, stack, self.examples.head(min(calibration.batch_size, self.examples.count)))
        self._most_chains = one.chains_at_once

    def draw(self, rows: Tensor, thresholds: Tensor, draws: int, tick: Callable[[float], None]) -> xr.Dataset:
        """Draws of these features' chains, dims (center, chain, draw); ``tick`` is told the share done."""
        frozen, count = self._frozen, len(rows)
        loss = ManyFeatures(self.loss, rows, thresholds, frozen.chains)
        loss.chains_at_once = self._most_chains
        center = {name: value.expand(count, *value.shape) for name, value in self.loss.center.items()}
        every = torch.ones(count, dtype=torch.float64)
        around = ChainsAround(
            LocalPosterior(loss, center, frozen.n_beta * every, frozen.localization * every),
            self.examples,
            frozen,
            labels=[ALONE] * count,
            seed=self._seed,
            mode=self.mode,
            # the other losses are 0 at w* on any example, and their gradients too
            control=self._natural and frozen.batch_size < self.examples.count,
            vanishes=not self._natural,
        )
        around.take(draws, tick)
        return around.draws(self._steepest(rows, thresholds, around.chains.positions))

    def _steepest(self, rows: Tensor, thresholds: Tensor, positions: Params) -> np.ndarray:
        """h_max of each feature where its chain that is farthest from w* ended; at w* where a chain was lost."""
        chains, found = self._frozen.chains, []
        distance = torch.stack(
            [(value - self.loss.center[name]).square().flatten(1).sum(1) for name, value in positions.items()]
        ).sum(0)
        for number in range(len(rows)):
            some, own = slice(number, number + 1), slice(number * chains, (number + 1) * chains)
            farthest = number * chains + int(distance[own].argmax())
            gone = not bool(distance[own].isfinite().all())
            there = self.loss.center if gone else {name: value[farthest] for name, value in positions.items()}
            found.append(self.steepness(rows[some], thresholds[some], there)[0])
        return np.array(found)


def _fitting(common: CommonGround, loss: ModuleLoss, calibration: Calibration) -> int:
    weights = sum(value.numel() for value in loss.center.values())
    free: float = MEMORY
    if common.device.type == "cuda":
        free = 0.75 * torch.cuda.mem_get_info(common.device)[0]
    return features_at_once(bytes_a_chain(common, weights, calibration.batch_size), calibration.chains, free)


def _told(done: Callable[[float], None], before: int, these: int, share: float) -> None:
    """Steps done before, and a share of these."""
    done(before + share * these)
