"""What the sweep measures and how, with the reasons; training is that of the superposition study.

One (nβ, γ) = (1000, 100) for every sparsity, seed and checkpoint, that of the superposition study, and each of its
neighbours beside it. The largest Hessian eigenvalue met from S = 0.3 to 0.9 is 5.8, so nβ·h_max/γ is at most 58.

The kernel is baoab with minibatch noise compensated: with ε = 1e-4, so that ε(nβ·h_max + γ) = 0.59 at most, and
friction 2√γ = 20, the slowest direction forgets where it was in max(1.5·friction/γ, 3/friction)/√ε = 30 steps. 500
steps of burn-in and 2500 draws gave standard errors two thirds as large as 2000 and 8000 steps of the superposition
study's sgld (80 checkpoints of 10 seeds at S = 0.7, the same λ̂ within the errors); 400 and 1600 give about the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ontogeny.sampling.calibration import Calibration
from ontogeny.studies.superposition.settings import SuperpositionSettings

SPARSITIES = (0.3, 0.5, 0.7, 0.9)
CANONICAL, QUIET = 0.7, 0.3
"""The sparsity whose curvature "equal_curvature" gives to all others, and the one at which nothing is said to form."""

FROZEN, EQUAL_CURVATURE = "frozen", "equal_curvature"
NEIGHBOURS = {
    "half_n_beta": (0.5, 1.0),
    "twice_n_beta": (2.0, 1.0),
    "half_localization": (1.0, 0.5),
    "twice_localization": (1.0, 2.0),
}
"""Factors of (nβ, γ)."""


@dataclass(frozen=True)
class SweepSettings(SuperpositionSettings):
    """One sparsity of the sweep at one setting of (nβ, γ)."""

    kernel: str = "baoab"
    step_size: float = 1e-4
    friction: float = 20.0
    """2√γ, in 1/time with unit mass."""
    burn_in: int = 400
    draws: int = 1600
    common_checkpoints: int = 40
    jump_checkpoints: int = 0
    """None around jumps: where an indicator is looked at must not tell where the event is."""
    h_max: float = 5.8
    """The largest Hessian eigenvalue met from S = 0.3 to 0.9."""

    def identity(self) -> dict[str, Any]:
        """What names the study in its folder."""
        return {"study": "sparsity-sweep", **asdict(self), "sparsity": list(SPARSITIES)}

    @property
    def calibration(self) -> Calibration:
        """What is frozen for every checkpoint and seed, as a value."""
        return replace(super().calibration, friction=self.friction, compensate=True)

    def at(self, sparsity: float) -> SweepSettings:
        """The same setting at another sparsity."""
        return replace(self, sparsity=sparsity)

    def scaled(self, times_n_beta: float, times_localization: float) -> SweepSettings:
        """Another (nβ, γ), with ε(nβ·h_max + γ) and friction/√γ as they are."""
        n_beta, gamma = self.n_beta * times_n_beta, self.localization * times_localization
        steepest = self.n_beta * self.h_max + self.localization
        return replace(
            self,
            n_beta=n_beta,
            localization=gamma,
            step_size=self.step_size * steepest / (n_beta * self.h_max + gamma),
            friction=self.friction * times_localization**0.5,
        )


PRESETS = {"quick": SweepSettings("quick")}

DESCRIPTIONS = {"quick": "4 sparsities, 40 checkpoints a seed, 4 chains × 1600 draws, at six settings of (nβ, γ)"}
