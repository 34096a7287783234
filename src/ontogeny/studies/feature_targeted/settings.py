"""The feature-targeted study's presets, with the reasons for what the document leaves open.

"Feature targeted LLC estimation" takes GPT-2 small, the residual stream at layer 9, the first 500 features of a sparse
autoencoder and 500 random directions, 2^13 sequences of 32 tokens of the pile, thresholds of one standard deviation,
and log(1 + ℓ). It does not state nβ, γ, ε, the batch, chains or draws, which it swept and chose by eye.

- (nβ, γ), ε, friction and burn-in follow from rules for all directions of both kinds together (``calibrate_features``),
  once a loss. No setting is chosen with the separation in view.
- ℓ itself is sampled, not log(1 + ℓ): with a step found by rule no chain is lost, and near w* the two are one.
- The gate is relu(p - θ), whose gradient sees all of it; ``Functional(gate="cut")`` is p·1[p > θ].
- What it costs, counted: 4 × 200 steps of 512 tokens are, for 40 directions of the quick preset, 3 TFLOP functional and
  6 behavioral; for 200 of the pretrained one 66 and 107; for 1000 of GPT-2 small 157,000 and 255,000. At 10 GFLOP/s
  that is a quarter of an hour and 5 hours of one core; on a GPU at 20 TFLOP/s 6 hours. The presets take 400 steps
  after a burn-in, in a trial of quick of 141 steps behavioral and, functional, of 500, which is its bound: two to five
  times as many.
- The pretrained model is the smallest llama that writes stories, 260,000 weights (A. Karpathy's "tinyllamas"), as a
  ``transformers`` folder with a file of its text's tokens, in ``models/`` under the folder that the study is run in.
- The quick model is attention-only, three layers of width 64, so that nothing but torch is needed, on the docstrings of
  the packages installed here; features lie after its second layer, with a layer above them to be read by.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ontogeny.features import Site
from ontogeny.features.losses import Functional, Rule, as_rule
from ontogeny.inputs.attention_only import AttentionOnlyConfig
from ontogeny.training.language_model import LanguageTraining
from ontogeny.training.schedule import checkpoint_steps
from ontogeny.training.sparse_autoencoder import SparseAutoencoderTraining

KINDS = ("sae", "random")


@dataclass(frozen=True)
class TrainedModel:
    """The language model that the study trains itself."""

    text: str = "installed:docs"
    vocabulary: int = 512
    width: int = 64
    layers: int = 3
    heads: int = 4
    blocks: int = 24_000
    """Rows of text that it is trained on; held-out rows come on top."""
    steps: int = 4000
    batch_size: int = 32
    learning_rate: float = 2e-3
    followed: int = 8
    """Checkpoints at which final features are measured, half of them early."""

    def config(self, context: int) -> AttentionOnlyConfig:
        """The model's sizes."""
        return AttentionOnlyConfig(self.vocabulary, context, self.width, self.layers, self.heads)

    def training(self, seed: int) -> LanguageTraining:
        """How it is trained."""
        return LanguageTraining(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warm_up=min(300, self.steps // 4),
            seed=seed,
            checkpoints=checkpoint_steps(self.steps, self.followed // 2, self.followed - self.followed // 2),
        )


@dataclass(frozen=True)
class Curvature:
    """How second order is predicted beside λ̂, for each loss at its (nβ, γ).

    Seen of one random direction of a quick model, of 512 sequences: 112 ± 2; of 256 2 % less, of 128 7 %. A direction
    takes 14 s of one core for both losses of the quick preset.
    """

    directions: int = 4
    """The first of either kind."""
    sequences: int = 160
    """Of the Hessian; the gradient is of all."""
    probes: int = 2
    steps: int = 8
    """Of Lanczos, from each probe."""
    batch_size: int = 160


@dataclass(frozen=True)
class FeatureTargetedSettings:
    """Everything the study's numbers depend on."""

    preset: str
    layer: int
    hook: str
    features: int
    """SAE features, the first of the autoencoder, and as many random directions."""
    sequences: int
    """n, of the data set of λ̂ and of the baselines."""
    positions: int
    trained: TrainedModel | None = None
    """None: ``model`` is given."""
    model: str = ""
    """A folder or hf:NAME, as ``ontogeny measure`` takes it."""
    tokens: str = ""
    """A file of tokens in the model's folder; empty: ``text`` and the model's tokenizer."""
    text: str = ""
    sae: str = ""
    """A folder, file or hf:REPOSITORY/FOLDER of a sparse autoencoder; empty: one is trained here."""
    latents: int = 256
    active: int = 10
    sae_steps: int = 4000
    sae_sequences: int = 4000
    """Sequences whose activations it is trained on; of a file with few tokens they are the data set's too."""
    centred: bool = False
    """Take of all directions what is at right angles to (1, …, 1): for an autoencoder of a model whose residual stream
    has no mean over its width, as TransformerLens folds it. Such directions see the same in the model as it was."""
    threshold: float = 1.0
    losses: tuple[str, ...] = ("functional", "behavioral")
    top: tuple[int, ...] = (16, 8)
    chains: int = 4
    draws: int = 400
    batch_size: int = 16
    max_draws: int = 6000
    """Of a calibration: burn-in is at most a third of it over the chains."""
    chunk: int = 4
    """Directions a chunk, as many of the one kind as of the other."""
    developed: int = 4
    """SAE features whose λ̂ is followed over the checkpoints of a trained model; when each is learned is told of all."""
    curvature: Curvature = Curvature()
    seed: int = 0
    device: str | None = None

    @property
    def site(self) -> Site:
        """Where the features lie."""
        return Site(self.layer, self.hook)

    def rule(self, name: str) -> Rule:
        """The loss of that name."""
        return Functional(threshold=self.threshold) if name == "functional" else as_rule(name)

    def autoencoder(self) -> SparseAutoencoderTraining:
        """How the autoencoder is trained."""
        return SparseAutoencoderTraining(self.latents, self.active, steps=self.sae_steps, seed=self.seed)

    def identity(self) -> dict[str, Any]:
        """What names the study in its folder: all but ``curvature``, which no λ̂ depends on."""
        return {"study": "feature-targeted", **{k: v for k, v in asdict(self).items() if k != "curvature"}}


PRESETS = {
    "quick": FeatureTargetedSettings(
        "quick", layer=1, hook="resid_post", features=20, sequences=512, positions=32, trained=TrainedModel()
    ),
    "pretrained": FeatureTargetedSettings(
        "pretrained",
        layer=2,
        hook="resid_post",
        features=100,
        sequences=1000,
        positions=32,
        model="models/stories260K",
        tokens="tinystories_tokens.safetensors",
        sae_sequences=2000,
        curvature=Curvature(sequences=500, batch_size=100),
    ),
    "full": FeatureTargetedSettings(
        "full",
        layer=9,
        hook="resid_pre",
        features=500,
        sequences=2**13,
        positions=32,
        model="hf:openai-community/gpt2",
        text="hub:NeelNanda/pile-10k",
        sae="hf:jbloom/GPT2-Small-SAEs-Reformatted/blocks.9.hook_resid_pre",
        centred=True,
        chunk=20,
        curvature=Curvature(sequences=1024, batch_size=64),
        device="cuda",
    ),
}

DESCRIPTIONS = {
    "quick": "a language model and an SAE trained here, 20 SAE features and 20 random directions",
    "pretrained": "stories260K with an SAE trained here, 100 and 100",
    "full": "GPT-2 small, layer 9, 500 and 500; for a GPU with a network",
}
