"""The attention-heads study's presets, with the reasons for what the paper leaves open or a small machine forbids.

Wang et al. (arXiv:2410.02984) train two layers of eight heads, width 256, context 1024, 5000 tokens, 50,000 steps of
100 rows, and sample nβ = 30, γ = 200, ε = 1e-3, 4 chains × 200 draws without burn-in. `full` is that.

- `quick` has a quarter of the width's square, an eighth of the context and a fifth of the vocabulary, since a step of a
  chain costs 6 operations a weight and token: 0.8 GFLOP for 4 × 128 tokens, 1.6 for 8. 464 estimates of 2 × 100 steps
  (16 heads and one pair on two data sets, heads on generated data, the whole model on seven) came at 6 a minute with 8
  rows a step, on two cores without AVX-512; so it has 4. What minibatches add to the gradient's noise is compensated,
  and the loss's is paired away.
- The training mixture holds code, or w* would be far from a minimum on code and λ̂ there would say how much loss there
  is to gain.
- Curvature of every head on text adds about 5 minutes of one core to `quick`, 35 s a checkpoint: 30 s for the Hessian
  (16 heads × 8 rows × 7 starts × 4 products, of which a row's takes 8.4 ms, measured), 5 s for gradient and Fisher
  trace. Four steps do, since ½·nβh/(nβh + γ) is smooth where γ is not far below nβh (6 and 8 gave the same four digits
  after 40 steps of training); they tell the rank less well, and its error says so. Six random vectors, since with two
  to four a third of the predictions had errors above a tenth.
- What λ̂ and behaviour are measured on is text that no model was trained on: held-out documents of the same sources. The
  paper measures on its training corpus, of which its models see each row about once; with fewer tokens rows are seen
  more than once, and a loss that is partly memory would enter λ̂.
- Learning rate 6e-3 and weight decay 0.05, AdamW, constant after 300 steps of warm-up, 8 rows a step, positions that
  begin as sinusoids: ``benchmarks/induction_trial.py`` says what heads wait for. With 32 rows a step, 2e-3 and normal
  positions the largest previous-token score was 0.22 after 10 M tokens and the largest prefix-matching score 0.02.
  Steps count more than tokens, and a head finds the token before sooner where that is one rotation. So trained, seed 0
  has a prefix-matching score of 0.1 after 11 M tokens, 0.3 after 15 and 0.54 after 20, all in layer 1, and from 13 M on
  a previous-token head in layer 0: ``quick`` has 20 M tokens.
- The calibrated setting has the nβ of the rule n/log n and the γ that ``og.calibrate`` finds at the first seed's last
  checkpoint, with BAOAB at a step found for each estimate. It says whether what the paper's setting shows hangs on it.
- n is the number of rows measured on. In λ̂(nβ, γ) it enters through nβ alone, which the paper sets to 30.
- The early of the two checkpoints with tokens in context is the one nearest a sixth of the steps (the paper: 8500 of
  50,000).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ontogeny.inputs.attention_only import AttentionOnlyConfig
from ontogeny.training.language_model import LanguageTraining
from ontogeny.training.schedule import checkpoint_steps

MIXTURE = "0.8*installed:docs + 0.2*installed:code"
TEXT, CODE = "text", "code"
"""The data sets that every head is measured on: what was trained on, and code."""
ONE_LAYER, ZERO_LAYER = "one-layer model", "zero-layer model"
"""Models in place of data, equation (11)."""
DATASETS = {
    "docs": "installed:docs",
    CODE: "installed:code",
    "docs of mathematics": "installed:docs?packages=sympy,scipy,numpy",
    "docs of networks": "installed:docs?packages=torch",
    "C++": "dir:{torch}/include?glob=*.h",
}
"""What every installation has, in the places of the paper's corpora: domains of prose, languages of code."""
PILE = "hub:timaeus/dsir-pile-13m?column=contents"
HUB_DATASETS = {
    CODE: "hub:codeparrot/codeparrot-clean-valid?column=content",
    "stories": "hub:roneneldan/TinyStories?split=validation",
    "encyclopedia": "hub:Salesforce/wikitext?config=wikitext-103-raw-v1&split=validation",
}
"""What `full` reads where there is a network: no installation holds its 100 M tokens. The Pile has code in it."""
PAPER, CALIBRATED = "paper", "calibrated"
"""Settings of the sampler."""


@dataclass(frozen=True)
class Model:
    """Sizes of the attention-only transformers; the references have fewer layers and else the same."""

    vocabulary: int = 1000
    context: int = 128
    width: int = 128
    layers: int = 2
    heads: int = 8
    position_start: str = "sinusoidal"

    def config(self, layers: int | None = None) -> AttentionOnlyConfig:
        """As `AttentionOnly` takes it."""
        chosen = self.layers if layers is None else layers
        return AttentionOnlyConfig(
            self.vocabulary, self.context, self.width, chosen, self.heads, position_start=self.position_start
        )


@dataclass(frozen=True)
class Training:
    """How every model is trained, on the same rows in an order that its seed decides."""

    rows: int
    """Rows of context tokens; each is seen steps·batch_size/rows times."""
    steps: int
    batch_size: int
    learning_rate: float = 6e-3
    weight_decay: float = 0.05
    warm_up: int = 300
    early: int = 30
    linear: int = 30
    """Checkpoints kept: evenly spaced in log step, and in step; some of them are measured."""

    def of_seed(self, seed: int) -> LanguageTraining:
        """As `train_language_model` takes it."""
        return LanguageTraining(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warm_up=min(self.warm_up, self.steps),
            seed=seed,
            checkpoints=checkpoint_steps(self.steps, self.early, self.linear),
        )


@dataclass(frozen=True)
class Sampler:
    """How λ̂ is sampled; nβ and γ None: calibrated, and then ε and burn-in by rule for each estimate."""

    name: str
    n_beta: float | None = 30.0
    localization: float | None = 200.0
    kernel: str = "sgld"
    step_size: float | None = 1e-3
    burn_in: int | None = 0
    chains: int = 2
    draws: int = 100
    batch_size: int = 8

    def arguments(self) -> dict[str, Any]:
        """As `og.measure` takes them, nβ and γ aside."""
        names = ("kernel", "step_size", "burn_in", "chains", "draws", "batch_size")
        return {name: getattr(self, name) for name in names}


def calibrated(chains: int, draws: int, batch_size: int = 8) -> Sampler:
    """nβ and γ found once for the study."""
    return Sampler(CALIBRATED, None, None, "baoab", None, None, chains, draws, batch_size)


@dataclass(frozen=True)
class Behaviour:
    """What heads are tried on; rows are of the context's length."""

    sequences: int = 64
    """Of repeated random tokens, for the attention scores."""
    rows: int = 192
    """For ablations, in-context learning and n-gram baselines: an error of about 0.01 nats a token."""
    brackets: int = 256
    """Sentences of each kind; their loss is of one token, so that more are needed."""
    in_context: int = 1500
    """Rows of training text that a head's most affected tokens are looked for in (the paper: 100,000)."""
    most: int = 300
    """Tokens in context of each head (the paper: 1000)."""
    shown: int = 6
    """Of those, with their attention pattern, for the report."""
    probes: int = 2
    trace_rows: int = 48
    """Random vectors of each of ten groups of rows, and rows, of the Hessian's trace."""
    early: int = 10
    late: int = 100
    """Tokens of the in-context learning score (the paper: 50 and 500 of 1024)."""


@dataclass(frozen=True)
class Curvature:
    """Of what the Fisher trace, the Hessian's rank and the second-order prediction of every head on text are made."""

    fisher_rows: int = 48
    draws: int = 2
    """Rows, and draws of their targets from the model for each of ten groups of rows."""
    rows: int = 8
    probes: int = 6
    steps: int = 4
    """Rows, random vectors and Lanczos steps of the Hessian; the gradient is of all rows of λ̂, and one start more."""


@dataclass(frozen=True)
class AttentionHeadsSettings:
    """Everything the study's numbers depend on, except which seeds are run."""

    preset: str
    model: Model
    training: Training
    samplers: tuple[Sampler, ...]
    checkpoints: int
    """Of those kept, evenly spaced in the cube root of the step."""
    seeds: int
    behaviour: Behaviour = field(default_factory=Behaviour)
    curvature: Curvature = field(default_factory=Curvature)
    examples: int = 512
    """n, rows of each data set of λ̂."""
    mixture: str = MIXTURE
    datasets: Mapping[str, str] = field(default_factory=lambda: dict(DATASETS))
    tokenizer_characters: int = 5_000_000
    seed: int = 0
    """Of every random stream but training's; training seeds are numbered from 0 whatever it is."""

    def identity(self) -> dict[str, Any]:
        """What names the study in its folder; not the curvature, of which nothing else there is made."""
        return {"study": "attention-heads", **{k: v for k, v in asdict(self).items() if k != "curvature"}}

    @property
    def heads(self) -> list[str]:
        """Names of all heads, layer by layer."""
        return [f"{layer}:{head}" for layer in range(self.model.layers) for head in range(self.model.heads)]


def source(uri: str) -> str:
    """A data set's URI with {torch} replaced by the folder of that package, which differs between machines."""
    return uri.replace("{torch}", str(Path(torch.__file__).parent))


PRESETS = {
    "quick": AttentionHeadsSettings(
        "quick",
        Model(),
        Training(rows=78_400, steps=19_600, batch_size=8),  # 20 M tokens, each row twice
        (Sampler(PAPER, batch_size=4),),
        checkpoints=8,
        seeds=1,
    ),
    "cpu": AttentionHeadsSettings(
        "cpu",
        Model(),
        Training(rows=78_400, steps=39_200, batch_size=8),  # the same text, each row four times
        (Sampler(PAPER, chains=4, draws=200), calibrated(4, 200)),
        checkpoints=20,
        seeds=3,
        behaviour=Behaviour(in_context=5000, most=1000),
    ),
    "full": AttentionHeadsSettings(
        "full",
        Model(vocabulary=5000, context=1024, width=256),
        Training(rows=100_000, steps=50_000, batch_size=100, learning_rate=1e-3),
        (Sampler(PAPER, chains=4, draws=200), calibrated(4, 200)),
        checkpoints=50,
        seeds=4,
        behaviour=Behaviour(in_context=100_000, most=1000, early=50, late=500),
        mixture=PILE,
        datasets=HUB_DATASETS,
        tokenizer_characters=50_000_000,
    ),
}

DESCRIPTIONS = {
    "quick": "0.4 M weights, 20 M tokens, 8 checkpoints, 2 × 100 draws",
    "cpu": "0.4 M weights, 40 M tokens, 20 checkpoints, 4 × 200 draws, two settings",
    "full": "3 M weights, context 1024, 50,000 steps, 50 checkpoints: for a GPU",
}
