"""A calibration: how an estimate is to be sampled, as a value that can be stored, shown and passed on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ontogeny.core.errors import OntogenyError

CONDITION = 100.0
"""K: where γ is left out, γ = nβ·h_max/K, so that the posterior's condition number is at most K + 1."""

SMALL_MODEL = 10_000
MAX_DRAWS_SMALL, MAX_DRAWS_LARGE = 4_000_000, 20_000
"""Gradient evaluations over all chains, below and above 10,000 weights of the model."""

DEFAULT_KERNEL = "baoab"
"""The smallest total error for a given number of gradient evaluations; BENCHMARKS.md has the table."""

POSITIONS_LARGE, FEWEST_EXAMPLES = 1024, 4
DEFAULT_BATCH_SMALL, DEFAULT_BATCH_LARGE = 256, 64
"""Examples a step, below and above 10,000 weights of the model."""
FEWEST_CHAINS, MOST_CHAINS = 4, 128
WEIGHTS_AT_ONCE = 2**14
LEAST_STEPS = 2000


@dataclass(frozen=True)
class Calibration:
    """Everything that decides what is measured (nβ, γ) and how it is sampled; from :func:`ontogeny.calibrate`.

    Passed to ``estimate_llc(..., calibration=...)`` it is used as it is, so that a study makes all its estimates alike.
    """

    kernel: str
    n_beta: float
    """nβ, 1/loss."""
    localization: float
    """γ, 1/weight²."""
    step_size: float
    """ε, weight²."""
    friction: float
    """Of kernels with momentum, in 1/time, unit mass; 0 for others, which do not read it."""
    burn_in: int
    """Steps a chain."""
    batch_size: int
    chains: int
    max_draws: int
    """The bound on gradient evaluations over all chains."""
    compensate: bool
    """Whether minibatch noise is taken out of the injected noise."""
    h_max: float
    """The largest Hessian eigenvalue met, loss/weight²."""
    settled: bool
    """Whether the virial had settled when burn-in ended."""
    gradient_evaluations: int
    """What finding these numbers took."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and words, for JSON and ``attrs``; :meth:`from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Calibration:
        """The calibration that :meth:`to_dict` wrote.

        Raises:
            OntogenyError: if a name is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            came = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise OntogenyError(f"values must be a dict with exactly {', '.join(sorted(names))}; got {came}.")
        return cls(**values)

    def describe(self) -> str:
        """One sentence with all numbers, the bound on gradient evaluations included."""
        noise = " with minibatch noise compensated" if self.compensate else ""
        friction = f", friction {self.friction:.3g}" if self.friction else ""
        return (
            f"{self.kernel}{noise} at nβ = {self.n_beta:.4g}, γ = {self.localization:.4g} (nβ·h_max/γ = "
            f"{self.localisation_ratio:.3g}): ε = {self.step_size:.3g}{friction}, {self.chains} chains, burn-in "
            f"{self.burn_in} steps, batches of {self.batch_size}, at most {self.max_draws:,} gradient evaluations."
        )

    @property
    def localisation_ratio(self) -> float:
        """nβ·h_max/γ, how much steeper than γ the loss is."""
        return self.n_beta * self.h_max / self.localization if self.localization else math.inf

    def __str__(self) -> str:
        return self.describe()


def check_calibration(calibration: object, maker: str = "og.calibrate") -> None:
    """Refuse what is no calibration; ``maker`` is the function that the caller's users have it from.

    Raises:
        OntogenyError: naming what came.
    """
    if not isinstance(calibration, Calibration):
        raise OntogenyError(
            f"calibration must be what {maker} returned, an og.Calibration; got {type(calibration).__name__}."
        )


def one_for_all(found: Sequence[Calibration]) -> Calibration:
    """The calibration that serves all of these, measured at one (nβ, γ): the smallest step, the longest burn-in."""
    return replace(
        min(found, key=lambda one: one.step_size),
        friction=max(one.friction for one in found),
        burn_in=max(one.burn_in for one in found),
        batch_size=min(one.batch_size for one in found),
        chains=min(one.chains for one in found),
        max_draws=min(one.max_draws for one in found),
        compensate=any(one.compensate for one in found),
        h_max=max(one.h_max for one in found),
        settled=all(one.settled for one in found),
        gradient_evaluations=sum(one.gradient_evaluations for one in found),
    )


def default_n_beta(examples: int) -> float:
    """nβ = n/log n (Watanabe 2013, the temperature of WBIC), n the size of the data set, never of the batch."""
    return examples / math.log(max(examples, 3))


def default_max_draws(weights: int) -> int:
    """The bound on gradient evaluations over all chains."""
    return MAX_DRAWS_SMALL if weights < SMALL_MODEL else MAX_DRAWS_LARGE


def default_batch(weights: int, examples: int, positions: int = 1) -> int:
    """256 examples, 64 from 10,000 weights of the model on, or all n if fewer.

    Where an example is a text of so many ``positions``, of a large model as many as hold 1024 of them, at least 4:
    with the baseline paired and the control variate on, longer chains are worth more than larger batches.
    """
    if weights < SMALL_MODEL:
        return min(DEFAULT_BATCH_SMALL, examples)
    return min(max(POSITIONS_LARGE // positions, FEWEST_EXAMPLES), DEFAULT_BATCH_LARGE, examples)


def longest_warm_up(draws: int, weights: int) -> int:
    """Steps after which warm-up ends, settled or not, where so many draws a chain were asked for.

    20 times the draws, at least 2000; of a large model, whose steps cost, 5 times, at least 500.
    """
    return max(20 * draws, 2000) if weights < SMALL_MODEL else max(5 * draws, 500)


def default_chains(weights: int, max_draws: int) -> int:
    """As many as a step of a small model takes at little cost: 128 up to 128 weights, 4 from 4096 on.

    Fewer where the gradient evaluations allowed would leave a chain less than 2000 steps.
    """
    cheap = 2 ** int(math.log2(max(WEIGHTS_AT_ONCE / weights, 1)))
    return max(min(cheap, MOST_CHAINS, max_draws // LEAST_STEPS), FEWEST_CHAINS)
