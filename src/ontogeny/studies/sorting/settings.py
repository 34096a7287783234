"""The sorting study's variants and presets, with the reasons for what the document leaves open.

"Structure Formation in Algorithmic Transformers" gives width 96, head width 48, one attention-only layer, lists of 10
distinct numbers 0-50, Adam, and for some models the number of steps. It does not state batch, learning rate, decay,
how the LLC was sampled, or the size of the cumulative-sum model.

- Batches of 256 fresh lists, learning rate 1e-3, and weight decay 1e-3 as part of Adam's gradient. Tried on one seed of
  the two-head model, with a throw-away program: so the overlap of the OV circuits falls from 0.36 (step 100) to 0.23
  (1000) and 0.16 (2000), and their ranks from 43 to 20 (4000), about when the document's do; with decoupled decay
  (AdamW, 0.005) both were nearly as at step 100 after 1000 steps.
- The local posterior and its sampler are the same for all variants, checkpoints and seeds: nβ and γ below, BAOAB with
  ε and burn-in below. Tried on a two-head model after 4000 steps (4 × 200 draws, batches of 16): at nβ = 30 and γ from
  30 to 300 the chains mix and λ̂ is 131 to 142, but E[L] - L(w*) is over 4 nats, more than that of a uniform guess, and
  λ̂ doubles with nβ: nothing local is measured. At nβ = 100 and γ = 10,000 it is 0.43 nats (λ̂ 43.2 ± 0.6, and 25.8 and
  68.3 at half and twice nβ); ε = 3e-7, 7e-7, 1.5e-6 and one found by rule gave 42.4 ± 0.8, 43.2 ± 0.6, 43.2 ± 0.7 and
  42.1 ± 1.1. At nβ = 1000 and γ = 10,000 it is 0.15 nats, for six times the steps. So λ̂ here is strongly localised.
- λ̂ at twice and half nβ and γ, and that of every head, is measured at several of the checkpoints. The data set of the
  LLC is ``examples`` lists drawn as the training data are; variants of one task share it, and the fresh lists.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from ontogeny.inputs.algorithmic_tasks import CumulativeSums, SignOfSum, SortedLists, SortedPart
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.one_layer import OneLayerConfig, OneLayerTransformer
from ontogeny.sampling.calibration import Calibration

WEIGHT_DECAY = 1e-3
WIDTH, HEAD_WIDTH = 96, 48


@dataclass(frozen=True)
class Variant:
    """One model on one task; ``steps`` of training."""

    name: str
    title: str
    steps: int
    heads: int = 2
    layer_norm: bool = True
    weight_decay: float = WEIGHT_DECAY
    numbers: int = 51
    length: int = 10
    swaps: bool = False
    cumulative: bool = False

    @property
    def task(self) -> SortedLists | CumulativeSums:
        """What makes its data."""
        return CumulativeSums() if self.cumulative else SortedLists(self.numbers, self.length, self.swaps)

    @property
    def data(self) -> tuple[int, int, bool, bool]:
        """What its data depend on, so that variants of one task see the same."""
        return self.numbers, self.length, self.swaps, self.cumulative

    @property
    def fresh_task(self) -> SortedLists | CumulativeSums:
        """What accuracy is told on: without the noise."""
        return CumulativeSums() if self.cumulative else SortedLists(self.numbers, self.length)

    @property
    def loss(self) -> SortedPart | SignOfSum:
        """Cross-entropy at the positions that are to be predicted."""
        return SignOfSum(CumulativeSums().largest) if self.cumulative else SortedPart(self.length)

    @property
    def tokens(self) -> range:
        """The tokens that circuits are shown for: the numbers, without the separator."""
        return range(CumulativeSums().vocabulary if self.cumulative else self.numbers)

    def model(self, seed: int = 0) -> nn.Module:
        """The untrained model."""
        task = self.task
        if self.cumulative:
            config = OneLayerConfig(
                task.vocabulary, 3, task.positions, WIDTH, self.heads, HEAD_WIDTH, 4 * WIDTH, self.layer_norm
            )
            return OneLayerTransformer(config, seed)
        return AttentionOnly(
            AttentionOnlyConfig(
                vocabulary=task.vocabulary,
                context=task.positions,
                width=WIDTH,
                layers=1,
                heads=self.heads,
                head_width=HEAD_WIDTH,
                layer_norm=self.layer_norm,
                positions="standard",
            ),
            seed,
        )


@dataclass(frozen=True)
class SortingSettings:
    """Everything the study's numbers depend on, except which seeds are run."""

    preset: str
    variants: tuple[Variant, ...]
    early: int
    """Checkpoints evenly spaced in log step."""
    linear: int
    """Checkpoints evenly spaced in step."""
    seeds: int
    """Training seeds of every variant; ``--seeds`` asks for more."""
    several: int
    """How many of the checkpoints have an LLC at twice and half nβ and γ, and for every head."""
    baseline_seeds: int = 1
    """At least so many of the baseline, which the others are held against."""

    train_batch: int = 256
    learning_rate: float = 1e-3
    examples: int = 2000
    kernel: str = "baoab"
    n_beta: float = 100.0
    localization: float = 10_000.0
    chains: int = 4
    draws: int = 200
    step_size: float = 7e-7
    burn_in: int = 100
    """ε in weight² and steps dropped."""
    batch_size: int = 16
    fresh: int = 1000
    """Lists that accuracy is told on."""
    seed: int = 0
    """Of every random stream of the study; training seeds are numbered from 0 whatever it is."""

    @property
    def sampler(self) -> dict[str, Any]:
        """How every λ̂ is sampled, as arguments of ``og.estimate_llc``; nβ and γ are the caller's."""
        names = ("kernel", "step_size", "batch_size", "chains", "draws", "burn_in")
        return {name: getattr(self, name) for name in names}

    @property
    def calibration(self) -> Calibration:
        """The same, for chains of many checkpoints side by side; friction 2√γ, minibatch noise compensated.

        Both are what :func:`ontogeny.calibrate` chose for a two-head model after 5000 steps, given the rest; there
        nβ·h_max/γ was 0.56.
        """
        return Calibration(
            kernel=self.kernel,
            n_beta=self.n_beta,
            localization=self.localization,
            step_size=self.step_size,
            friction=2.0 * self.localization**0.5,
            burn_in=self.burn_in,
            batch_size=self.batch_size,
            chains=self.chains,
            max_draws=self.chains * (self.burn_in + self.draws),
            compensate=True,
            h_max=0.56 * self.localization / self.n_beta,
            settled=True,
            gradient_evaluations=0,
        )

    def identity(self) -> dict[str, Any]:
        """What names the study in its folder."""
        return {"study": "sorting", **asdict(self)}

    def seeds_of(self, variant: Variant, asked: int) -> int:
        """How many seeds of the variant there are where ``asked`` of every one were asked for."""
        return max(asked, self.baseline_seeds) if variant.name == BASELINE else asked

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(one for one in self.variants if one.name == name)


BASELINE = "2 heads"
FROZEN = "frozen"
NEIGHBOURS = {
    FROZEN: (1.0, 1.0),
    "twice nβ": (2.0, 1.0),
    "half nβ": (0.5, 1.0),
    "twice γ": (1.0, 2.0),
    "half γ": (1.0, 0.5),
}
"""What λ̂ is measured at, by the factors of nβ and γ."""

_ALL = (
    Variant("1 head", "one head", 5_000, heads=1),
    Variant("2 heads", "two heads, the baseline", 5_000),
    Variant("3 heads", "three heads", 5_000, heads=3),
    Variant("4 heads", "four heads", 5_000, heads=4),
    Variant("no layer norm", "two heads, no layer norm", 5_000, layer_norm=False),
    Variant("no decay", "two heads, no weight decay", 5_000, weight_decay=0.0),
    Variant("neither", "two heads, neither layer norm nor decay", 5_000, layer_norm=False, weight_decay=0.0),
    Variant("noise", "two heads, neighbours swapped", 5_000, swaps=True),
    Variant("202 tokens", "two heads, a vocabulary of 202", 5_000, numbers=201),
    Variant("20 numbers", "two heads, lists of 20", 3_000, length=20),
    Variant("cumulative sum", "sign of the cumulative sum, one head and one MLP", 5_000, heads=1, cumulative=True),
)
_FULL_STEPS = {"no layer norm": 60_000, "4 heads": 100_000}


def _shortened(name: str, steps: int) -> Variant:
    return replace(next(one for one in _ALL if one.name == name), steps=steps)


PRESETS = {
    "quick": SortingSettings(
        "quick", tuple(_shortened(name, 7000) for name in ("1 head", "2 heads")), early=13, linear=7, seeds=2, several=4
    ),
    "variants": SortingSettings("variants", _ALL, early=10, linear=6, seeds=1, several=2, baseline_seeds=5),
    "full": SortingSettings(
        "full",
        tuple(replace(one, steps=_FULL_STEPS.get(one.name, 60_000)) for one in _ALL),
        early=30,
        linear=30,
        seeds=5,
        several=12,
    ),
}

DESCRIPTIONS = {
    "quick": "1 and 2 heads, 7000 steps, 20 checkpoints",
    "variants": "every variant, up to 5000 steps, 16 checkpoints",
    "full": "every variant at the document's lengths, 60 checkpoints",
}
