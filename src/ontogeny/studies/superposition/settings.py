"""The canonical configuration of the superposition study and its presets, with the reasons.

The document this study follows ("When Does the Local Learning Coefficient Track Circuit Formation?") does not state its
settings. The training configuration was chosen from about 200 tried by how many of its statements about
trajectories it reproduces, without looking at any LLC; `benchmarks/superposition_training.py` prints the figures below.

- n = 6, importances 0.8^i, weights 0.1·N(0, 1), biases 0, Adam 3e-3 for 8000 steps of 128 fresh examples. Of 400
  seeds 20 % [16, 25] stay on a plateau (rank 1.81 to 1.87) and then jump to 2.00 (the document: about 25 % of 20), and
  31 % [26, 36] end on the plateau (the document: one in five); at S = 0.3 all of 200 seeds keep exactly two features.
- Importance decay sets the level of the plateau: 0.8 gives 1.81-1.87 (an antipodal pair plus one single feature, of
  unlike lengths), 0.9 gives 1.86-1.88; with equal importances S = 0.3 keeps three features in 99 of 100 seeds. Larger
  initial scales give early rises. Batch size matters little.
- Not reproduced: emergence near step 700 (half of the features that stay reach half their final length by step 110;
  with Adam at 1e-3 by step 300, but 35 % of the seeds are then stuck), and a plateau at exactly 1.81 in all seeds.
  "Stuck" means stuck at step 8000.

The local posterior is the same at every checkpoint and seed: nβ = 1000 (n/log n = 1086 for n = 10,000 examples) and
γ = 100. The largest Hessian eigenvalue met over training and over S from 0.3 to 0.9 is 5.8, so nβ·h_max/γ stays below
60, where 300 is what 2000 steps of burn-in can serve, and one setting serves a sweep over sparsities. A smaller γ would
not do: the plateau is no protected minimum, a basin lower by about 0.012 (12 in units of nβL) lies 0.8 away, and
only (γ/2)·0.8² = 32 keeps the chains from sliding there. ε = 5e-5 makes ε(nβ·h_max + γ) at most 0.13 at S = 0.7,
a step bias of 3 % along the steepest direction and under 1 % of λ̂; the slowest relaxation time of the loss is 1/(εγ) =
200 steps, and burn-in is ten of them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ontogeny.sampling.calibration import Calibration


@dataclass(frozen=True)
class SuperpositionSettings:
    """Everything the study's numbers depend on, except which seeds are run."""

    preset: str

    sparsity: float = 0.7
    n_features: int = 6
    importance_decay: float = 0.8
    init_scale: float = 0.1
    learning_rate: float = 3e-3
    train_steps: int = 8000
    train_batch: int = 128
    record_every: int = 10
    """Weights are kept every so many training steps."""

    dataset_size: int = 10_000
    n_beta: float = 1000.0
    localization: float = 100.0
    step_size: float = 5e-5
    batch_size: int = 300
    burn_in: int = 2000
    kernel: str = "sgld"
    h_max: float = 2.5
    """The largest Hessian eigenvalue met at S = 0.7, at w* and where chains went; what ε was chosen by."""

    chains: int = 4
    draws: int = 8000
    common_checkpoints: int = 28
    """Checkpoints at the same steps in every seed: a third spaced evenly in log step, the others in step."""
    jump_checkpoints: int = 12
    """Checkpoints around each seed's own jump of the effective rank, found from the weights alone."""
    seed: int = 0
    """The seed of every random stream of the study; training seeds are numbered from 0 whatever it is."""

    def identity(self) -> dict[str, Any]:
        """What names the study in its folder."""
        return {"study": "superposition", **asdict(self)}

    @property
    def checkpoints(self) -> int:
        """Checkpoints a seed."""
        return self.common_checkpoints + self.jump_checkpoints

    @property
    def calibration(self) -> Calibration:
        """What is frozen for every checkpoint and seed, as a value; chosen by hand, with no warm-up of its own."""
        return Calibration(
            kernel=self.kernel,
            n_beta=self.n_beta,
            localization=self.localization,
            step_size=self.step_size,
            friction=0.0,
            burn_in=self.burn_in,
            batch_size=self.batch_size,
            chains=self.chains,
            max_draws=self.chains * (self.burn_in + self.draws),
            compensate=False,
            h_max=self.h_max,
            settled=True,
            gradient_evaluations=0,
        )

    @property
    def relaxation(self) -> float:
        """1/(εγ), steps in which the loss of the slowest direction, κ = γ, falls by e towards its mean."""
        return 1.0 / (self.step_size * self.localization)

    def provenance(self) -> dict[str, str]:
        """Where each number of the calibration comes from, in words; stored with the results."""
        steepest = self.n_beta * self.h_max + self.localization
        return {
            "n_beta": f"round number near n/log n = {self.dataset_size / math.log(self.dataset_size):.0f}, "
            f"n = {self.dataset_size:,} examples",
            "localization": "large enough that chains do not slide from the plateau into a basin that lies 0.8 away "
            f"and 12 lower in nβL; nβ·h_max/γ = {self.n_beta * self.h_max / self.localization:.3g}",
            "h_max": "largest met in earlier runs at S = 0.7, at w* and where chains went; measured again at every "
            "checkpoint",
            "step_size": f"ε(nβ·h_max + γ) = {self.step_size * steepest:.2g}: a step bias of at most "
            f"{100 * self.step_size * steepest / 4:.2g} % along the steepest direction",
            "kernel": "the kernel of the LLC literature",
            "batch_size": f"{100 * self.batch_size / self.dataset_size:.2g} % of the examples; what its noise adds is "
            "measured at every checkpoint",
            "burn_in": f"{self.burn_in / self.relaxation:.3g} times 1/(εγ) = {self.relaxation:.0f} steps, the slowest "
            "relaxation time; whether it was enough is tested at every checkpoint",
            "chains": "given by the preset",
            "max_draws": f"{self.chains} chains of {self.burn_in:,} + {self.draws:,} steps",
        }


PRESETS = {
    "quick": SuperpositionSettings("quick"),
    "full": SuperpositionSettings("full", chains=20, common_checkpoints=60, jump_checkpoints=40),
}

DESCRIPTIONS = {
    "quick": "40 checkpoints a seed, 4 chains × 8000 draws",
    "full": "100 checkpoints a seed, 40 of them around its jump, 20 chains × 8000 draws",
}

DEFAULT_SEEDS = 20
SEEDS_A_GROUP = 20
"""Seeds trained in one batch; always whole groups, so that asking for more seeds changes none."""
CHAINS_A_PROGRAM = 320
"""Chains in one compiled program: what fits into the second-level cache of one core."""
