"""Warm-up: the step size found while the chains leave w*, the friction from how they move, burn-in until it shows.

Windows of growing length. After each the curvature where the chains are is measured; if it has outgrown the step size,
the window is taken back and repeated with a smaller step, so that no chain is ever kept that a step too large has
thrown out of the valley. Nothing of the warm-up is averaged into λ̂.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.types import Batch
from ontogeny.estimators.uncertainty import standard_error
from ontogeny.sampling.chains import Chains, Record, advance

TINY = 1e-30
FIRST_WINDOW = 10
GROWTH = 1.5
"""Each window is so many times as long as the one before."""
OUTGROWN = 1.5
"""Curvature so many times that assumed takes the window back; the margin to the stability limit is larger."""
FLAT_SHARE = 0.1
"""Friction may be so large that the flattest direction, κ = γ, needs this share of the run to reach its spread."""
NOISE_SHARE, NOISE_BIAS = 0.5, 0.02
"""Minibatch noise is kept below so many units of injected noise, or below such a share of λ̂, whichever is more."""
REJECTED = 4.0
"""ε is divided by so much where proposals are rejected window after window."""
LEAST_FRICTION = 0.01
"""In units of √(nβ·h_max + γ)."""
UNSTABLE = 4.0
"""ε·κ from which on no kernel here is stable on a quadratic."""
NOISY_CHAINS = 0.95
"""The quantile of chains for which room is made."""
SMALLER = 8.0
"""At most so many times smaller is ε for the sake of minibatch noise."""
WITHIN = 3.0
"""Standard errors that the virial may be away from its stationary value when burn-in ends."""
SHARP = 0.1
"""How sharply the virial must be known for that to mean something: 3 standard errors relative to d."""
SLACK = 0.01
"""Or this share of it: what no estimate of λ̂ needs to be better than."""


def _ignore(steps: int) -> None:
    """Without a progress bar nobody is told."""


@dataclass
class WarmUp:
    """Chains on their way from w* to stationarity.

    Args:
        chains: freshly started; their step size and friction are set here.
        parts_at: the minibatch of each step.
        curvature: the largest eigenvalue of nβ·H + γ where the chains are now.
        steepest: that eigenvalue at w*, where windows begin.
        most_steps: the longest warm-up.
        run_steps: steps a chain the whole run may take, which bounds the friction.
    """

    chains: Chains
    parts_at: Callable[[int], tuple[Batch, ...]]
    curvature: Callable[[Chains], float]
    steepest: float
    dim: int
    most_steps: int
    run_steps: int
    step_size: float | None = None
    """Given by the caller; then neither it nor the friction is touched."""
    friction_given: float | None = None
    fixed: bool = False
    """Take exactly ``most_steps``, settled or not."""

    friction: float = field(init=False)
    epsilon: float = field(init=False)
    taken: int = field(init=False, default=0)
    records: list[Record] = field(init=False, default_factory=list)
    settled: bool = field(init=False, default=False)
    adapting: bool = field(init=False)
    seen: float = field(init=False, default=0.0)
    """The largest eigenvalue where windows that were kept ended."""
    share: float = field(init=False, default=0.0)
    """Minibatch noise of the last window, in units of injected noise."""

    def __post_init__(self) -> None:
        self.gamma = float(self.chains.constants.localization[0])
        self.n_beta = float(self.chains.constants.n_beta[0])
        self.steepest = max(self.steepest, self.gamma, TINY)  # at a maximum of the loss the curvature is negative
        self.adapting = self.chains.kernel.adapt is not None
        self.friction = self._least_friction()
        self._raw_noise = 0.0
        self.llc = math.nan
        self._retune()

    def run(self, tick: Callable[[int], None] = _ignore) -> None:
        """Take windows until the virial has settled, or ``most_steps``.

        ``tick`` is told the number of the next step, for a progress bar; it is not kept, since it may hold this.
        """
        window, since = FIRST_WINDOW, 0
        virials: list[tuple[float, float]] = []
        while self.taken < self.most_steps and (self.fixed or not self.settled):
            steps = max(min(window, self.most_steps - self.taken), 1)
            before = self.chains.snapshot()
            record = advance(self.chains, self.parts_at, steps, adapting=self.adapting)
            self.taken += steps
            tick(self.chains.next_step)
            if self.step_size is None and self._outgrown(record):
                self.chains.go_back(before)
                self._retune()
                window, virials, since = max(window // 4, FIRST_WINDOW), [], 0
                continue
            if not bool(record.virial.isfinite().all()):  # diverged with a step that was given; the draws will say so
                self.records.append(record)
                return
            if self.step_size is not None and not self.fixed and self.epsilon * self.steepest >= UNSTABLE:
                return  # no burn-in helps; the draws will say so
            since += steps
            self.records.append(record)
            self._observe(record)
            self._retune()
            virials.append(_virial(record))
            if since >= min(self.relaxation(), FLAT_SHARE * self.run_steps) and self._still(virials[-2:]):
                if not self.adapting:
                    self.settled = True
                self.adapting, virials, since = False, [], 0
            window = math.ceil(GROWTH * window)

    def _least_friction(self) -> float:
        """Critical damping of the flattest direction, κ = γ; where nothing bounds that, memory of a hundred steps."""
        return max(2.0 * math.sqrt(self.gamma), LEAST_FRICTION * math.sqrt(self.steepest))

    def _best_friction(self, covariance: float) -> float:
        """Where the modes that matter to λ̂ forget soonest, from λ̂ and its covariance with ‖w - w*‖².

        √(2λ̂/Cov), which for a quadratic is the root of 2Σ(nβh/κ)/Σ(nβh/κ²), at most √(2κ_max). Where the loss slopes at
        w*, chains go far for a loss that falls, and Cov has little of the modes: then √(2κ_max) is all that is known.
        Where λ̂ itself is negative the slope is what matters; of a loss linear in w the autocorrelation time is
        friction/κ, and the least friction is the best.
        """
        if self.llc <= 0:
            return 0.0
        most = math.sqrt(2.0 * self.steepest)
        return min(math.sqrt(2.0 * self.llc / covariance), most) if covariance > 0 else most

    def step_down(self, steepest: float, steps: int) -> None:
        """Go on with the step that ``steepest`` asks for; the ``steps`` since count as warm-up."""
        self.steepest, self.taken = max(steepest, self.steepest), self.taken + steps
        self._retune()

    @property
    def lost(self) -> torch.Tensor:
        """Which chains met something that is not finite, shape ``(chains,)``."""
        chains = self.chains.constants.n_beta.shape[0]
        bad = torch.zeros(chains, dtype=torch.bool, device=self.chains.constants.n_beta.device)
        for record in self.records:
            bad |= ~(record.loss.isfinite() & record.virial.isfinite()).all(0)
        return bad

    def trace(self) -> np.ndarray:
        """nβ(L_B(w) - L_B(w*)) of the windows kept, thinned to at most 500 steps; shape ``(chains, steps)``."""
        if not self.records:
            return np.empty((self.chains.constants.n_beta.shape[0], 0))
        excess = torch.cat([record.excess for record in self.records])
        return (self.n_beta * excess[:: -(-len(excess) // 500)]).T.double().cpu().numpy()

    def relaxation(self) -> float:
        """Steps in which the flattest direction, κ = γ, comes to within 5 % of its variance."""
        delta = math.sqrt(self.epsilon)
        if self.gamma == 0:
            return math.inf
        if self.chains.kernel.momentum:
            return max(1.5 * self.friction / self.gamma, 3.0 / self.friction) / delta
        return 3.0 / (self.epsilon * self.gamma)

    def _outgrown(self, record: Record) -> bool:
        """Whether the curvature has outgrown the step; ``steepest`` follows it, by at most a factor of 16 at once."""
        found = self.curvature(self.chains)
        capped = float(record.capped.double().mean())
        if not math.isfinite(found) or found > OUTGROWN * self.steepest:
            if self.steepest > 1e30:
                raise OntogenyError(
                    "step_size cannot be chosen: the curvature of the loss is not finite where the chains go from w*; "
                    "give step_size and a larger localization."
                )
            highest = 16.0 * self.steepest
            self.steepest = min(found, highest) if math.isfinite(found) else highest
            return True
        if capped > 1e-3 and self.taken < self.most_steps / 2:
            self.steepest = max(2.0 * self.steepest, found)
            return True
        if self._rejecting(record):
            self.steepest *= REJECTED
            return True
        self.steepest, self.seen = max(self.steepest, found), max(self.seen, found)
        return False

    def _rejecting(self, record: Record) -> bool:
        """Whether the Metropolis test held most chains where they were for a whole window, long enough to tell."""
        if not self.chains.kernel.coins:
            return False
        steps = len(record.distance_squared)
        trajectory = math.pi / 2.0 / (self.friction * math.sqrt(self.epsilon)) if self.chains.kernel.momentum else 1.0
        stayed = (record.distance_squared == record.distance_squared[0]).all(0)
        return steps >= 3.0 * trajectory and float(stayed.double().mean()) > 0.5

    def _observe(self, record: Record) -> None:
        """What the window says about λ̂, the friction that measures it best, and minibatch noise."""
        half = record.loss.shape[0] // 2
        excess = self.n_beta * record.excess[half:].double()
        distance = record.distance_squared[half:].double()
        self.llc = float(excess.mean())
        if self.step_size is None:
            covariance = float(((excess - excess.mean()) * (distance - distance.mean())).mean())
            slowest = FLAT_SHARE * self.run_steps * self.gamma * math.sqrt(self.epsilon) / 1.5
            self.friction = max(self._least_friction(), min(self._best_friction(covariance), slowest))
        self.share = float(record.noise_share[half:].double().mean())
        kernel, like = self.chains.kernel, torch.tensor(self.epsilon, dtype=torch.float64)
        gain = float(kernel.gain(like, self.chains.constants.friction[0].double())) ** 2
        # chains far from w* may meet several times the noise of the others
        worst = float(record.noise_share[half:].double().mean(0).quantile(NOISY_CHAINS))
        self._raw_noise = worst / gain if gain > 0 else 0.0

    def _retune(self) -> None:
        """ε from the curvature, friction as observed, and both so that minibatch noise stays small."""
        if self.step_size is not None:
            self.epsilon = self.step_size
            self.friction = self.friction if self.friction_given is None else self.friction_given
            self.chains.set_step(self.epsilon, self.friction)
            return
        kernel = self.chains.kernel
        epsilon = kernel.stability / self.steepest / self.dim**kernel.shrink
        allowed = max(NOISE_SHARE, NOISE_BIAS * self.llc) if math.isfinite(self.llc) else math.inf
        if self._raw_noise > 0 and math.isfinite(allowed):
            if kernel.momentum:
                # a step for which the friction that is best without noise is enough: compensation is exact to first
                # order in εκ, and friction over √ε, which the flat directions' speed hangs on, stays as it is
                enough = (2.0 * self.friction * allowed / self._raw_noise) ** 2
                epsilon = min(max(enough, epsilon / SMALLER), epsilon)
            epsilon = min(epsilon, 3.6 * allowed / self._raw_noise)
            if kernel.momentum:
                # the share is (ε/4)·raw·coth(friction·√ε/2)
                quarter = min(epsilon * self._raw_noise / 4.0 / allowed, 0.999)
                self.friction = max(self.friction, 2.0 * math.atanh(quarter) / math.sqrt(epsilon))
        self.epsilon = epsilon
        self.chains.set_step(self.epsilon, self.friction)

    def _still(self, virials: list[tuple[float, float]]) -> bool:
        """Whether the last two windows agree with the stationary virial and with one another."""
        if len(virials) < 2:
            return False
        (first, first_error), (last, last_error) = virials
        slack = SLACK * self.dim
        highest = float(self.dim)
        if self.chains.kernel.first_order:
            quarter = self.epsilon * self.steepest / 4.0
            highest = self.dim / (1.0 - quarter) if quarter < 1 else math.inf
        highest += self.share
        sharp = WITHIN * last_error <= SHARP * self.dim
        inside = self.dim - max(WITHIN * last_error, slack) <= last <= highest + max(WITHIN * last_error, slack)
        return sharp and inside and abs(last - first) <= max(WITHIN * math.hypot(first_error, last_error), slack)


def _virial(record: Record) -> tuple[float, float]:
    values = record.virial.double().T.cpu().numpy()
    with np.errstate(invalid="ignore"):
        return float(values.mean()), float(standard_error(values))
