"""The canonical configuration of the superposition study and its presets, with the reasons.

The document this study follows ("When Does the Local Learning Coefficient Track Circuit Formation?") does not state
its settings. The training configuration was chosen from about 180 tried, 96 to 480 seeds each, by how many of its
statements about trajectories it reproduces, without looking at any LLC:

- n = 6, importances 0.8^i, weights 0.1·N(0, 1), biases 0, Adam 3e-3 for 8000 steps of 128 fresh examples. Of 480
  seeds 26 % stayed near rank 1.81-1.87 and then jumped to 2.00 (the document: about 25 %), 27 % ended on the plateau
  (about one in five), and at S = 0.3 all of 192 seeds kept exactly two features.
- Importance decay sets the level of the plateau: 0.8 gives 1.81-1.87 (an antipodal pair plus one single feature of
  unlike lengths), 0.9 gives 1.87; with equal importances S = 0.3 keeps mostly three features. Initial scales of 0.3 and
  more give mostly early rises. Batch size matters little.
- Not reproduced: emergence near step 700 (features reach half their final length at steps 80-200 here; Adam at 1e-3
  puts it at 240-500 but leaves 47 % of the seeds stuck), and a plateau at exactly 1.81 in all seeds. "Stuck" means
  stuck at step 8000: most such seeds leave the plateau within 80,000 steps at this learning rate.

The local posterior is the same at every checkpoint and seed: nβ = 1000 (n/log n = 1086 for n = 10,000 examples) and
γ = 100. The largest Hessian eigenvalue met over training and over S from 0.3 to 0.9 is 5.8, so nβ·h_max/γ stays below
60, where 300 is what 2000 steps of burn-in can serve, and one setting serves a sweep over sparsities. A smaller γ would
not do: the plateau is no protected minimum, a basin lower by about 0.012 (12 in units of nβL) lies 0.8 away, and
only (γ/2)·0.8² = 32 keeps the chains from sliding there. ε = 5e-5 makes ε(nβ·h_max + γ) at most 0.13 at S = 0.7,
a step bias of 3 % along the steepest direction and under 1 % of λ̂; the slowest relaxation time of the loss is 1/(εγ) =
200 steps, and burn-in is ten of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
