"""A sparse autoencoder of activations, trained here: TopK, with dead latents revived, and said how good it is.

    z = TopK(W_enc(x - b_dec) + b_enc), at least 0,      x̂ = W_dec z + b_dec,      rows of W_dec of norm 1

k latents are active, so sparsity is chosen and not penalised. Latents that were not active for a while reconstruct the
residual, k of them, with a small weight in the loss (Gao et al., "Scaling and evaluating sparse autoencoders",
arXiv:2406.04093). Written as sae-lens writes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import progress_bar
from ontogeny.core.rng import generator
from ontogeny.inputs.weight_files import write_weights

LEAST_EXPLAINED, MOST_DEAD = 0.7, 0.3
"""Explained variance and dead share outside of which features are not to be trusted."""
AUXILIARY = 1 / 32
"""Weight of the dead latents' reconstruction, that of the paper."""
DEAD_AFTER = 50_000
"""Activations without being active once, from which on a latent is revived; or a tenth of the training's if fewer."""
HELD_OUT = 0.1


@dataclass(frozen=True)
class SparseAutoencoderTraining:
    """How a sparse autoencoder is trained.

    Args:
        latents: how many features.
        active: k, latents active at a position.
        steps: of Adam.
        batch_size: activations a step.
        learning_rate: falls linearly to 0 over the last fifth.
        seed: of initial weights and batches.

    Raises:
        OntogenyError: if a number is outside its range.
    """

    latents: int
    active: int = 8
    steps: int = 2000
    batch_size: int = 1024
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("latents", "active", "steps", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OntogenyError(f"{name} must be a whole number of at least 1; got {value!r}.")
        if self.active >= self.latents:
            raise OntogenyError(f"active must be below latents, {self.latents}; got {self.active}.")
        if not isinstance(self.learning_rate, int | float) or not 0 < self.learning_rate < 1:
            raise OntogenyError(f"learning_rate must be a number between 0 and 1; got {self.learning_rate!r}.")


class Quality(NamedTuple):
    """How good a sparse autoencoder is, on activations that it was not trained on."""

    explained_variance: float
    """1 - E‖x - x̂‖²/E‖x - E[x]‖²."""
    l0: float
    """Latents active at a position, on average."""
    dead_share: float
    """Share of latents that are active at none of these positions."""
    positions: int

    def check(self) -> None:
        """Refuse an autoencoder whose features are not to be trusted.

        Raises:
            OntogenyError: if it explains less than 0.7 of the variance, or more than 30 % of its latents are dead.
        """
        if self.explained_variance < LEAST_EXPLAINED:
            raise OntogenyError(
                f"the sparse autoencoder explains {self.explained_variance:.2f} of the variance of held-out "
                f"activations, and at least {LEAST_EXPLAINED} is expected; train it for more steps, or with more "
                "active latents."
            )
        if self.dead_share > MOST_DEAD:
            raise OntogenyError(
                f"{self.dead_share:.0%} of the latents of the sparse autoencoder are dead, and at most "
                f"{MOST_DEAD:.0%} are expected; train it for more steps, or with fewer latents."
            )


class SparseAutoencoder(NamedTuple):
    """W_enc (width, latents), b_enc (latents,), W_dec (latents, width) with rows of norm 1, b_dec (width,), and k."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    active: int

    def encode(self, x: Tensor) -> Tensor:
        """Activations (n, width) to latents (n, latents), at most k of each row above 0."""
        return top(self.before_top(x), self.active)

    def before_top(self, x: Tensor) -> Tensor:
        """What the latents would be if all were kept, (n, latents)."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def decode(self, z: Tensor) -> Tensor:
        """Latents (n, latents) to activations (n, width)."""
        return z @ self.W_dec + self.b_dec

    def quality(self, x: Tensor) -> Quality:
        """How well activations (n, width) are reconstructed."""
        with torch.no_grad():
            left, active, ever = torch.zeros(()), 0, torch.zeros(len(self.b_enc), dtype=torch.bool, device=x.device)
            for part in x.split(8192):
                z = self.encode(part)
                left = left + (part - self.decode(z)).square().sum().double().cpu()
                active, ever = active + int((z > 0).sum()), ever | (z > 0).any(0)
            whole = float((x - x.mean(0)).square().sum())
        return Quality(1.0 - float(left) / whole, active / len(x), float((~ever).double().mean()), len(x))

    def save(self, folder: str | Path, where: str) -> None:
        """Write cfg.json and sae_weights.safetensors as sae-lens does; ``where`` is the activation's name."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "architecture": "topk",
            "d_in": len(self.b_dec),
            "d_sae": len(self.b_enc),
            "k": self.active,
            "dtype": "float32",
            "hook_name": where,
            "apply_b_dec_to_input": True,
        }
        tensors = {name: value.contiguous() for name, value in self._asdict().items() if isinstance(value, Tensor)}
        write_weights(folder / "sae_weights.safetensors", tensors, {})
        (folder / "cfg.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def top(values: Tensor, active: int) -> Tensor:
    """The largest ``active`` of each row where they are above 0, 0 elsewhere."""
    largest, place = values.topk(active, -1)
    return torch.zeros_like(values).scatter(-1, place, largest.relu())


def train_sparse_autoencoder(
    activations: Tensor, settings: SparseAutoencoderTraining, *, progress: bool = True
) -> tuple[SparseAutoencoder, Quality]:
    """Train on nine tenths of the activations, and tell the quality on the rest; whether it will do is the caller's.

    Args:
        activations: (n, width), at every position of many texts, in any order.
        settings: how.
        progress: show a bar on a terminal.

    Returns:
        The autoencoder and its :class:`Quality`; call ``quality.check()`` to refuse one that is no good.

    Raises:
        OntogenyError: if the activations are no finite matrix of at least 100 rows that vary.
    """
    x = _checked(activations)
    held = max(int(HELD_OUT * len(x)), 1)
    told, taught = x[-held:], x[:-held]  # the last, since positions of one sequence are alike
    scale = float((taught - taught.mean(0)).square().sum(1).mean().sqrt())  # so that one learning rate serves all
    weights = _initial(taught / scale, settings)
    optimiser = torch.optim.Adam(weights.values(), lr=settings.learning_rate, betas=(0.9, 0.999))
    quiet = torch.zeros(settings.latents, device=x.device)
    dead_after = min(DEAD_AFTER, settings.steps * settings.batch_size // 10)
    with progress_bar("training the sparse autoencoder", settings.steps, progress) as done:
        for step in range(settings.steps):
            rows = torch.randint(
                len(taught), (settings.batch_size,), generator=generator(settings.seed, "batch", step)
            ).to(x.device)
            quiet = _update(weights, optimiser, taught[rows] / scale, settings, quiet, dead_after, step)
            done(step + 1)
    found = {name: value.detach() for name, value in weights.items()}
    out = SparseAutoencoder(
        found["W_enc"], found["b_enc"] * scale, found["W_dec"], found["b_dec"] * scale, settings.active
    )
    return out, out.quality(told)


def _checked(activations: Tensor) -> Tensor:
    matrix = isinstance(activations, Tensor) and activations.dim() == 2 and activations.is_floating_point()
    if not matrix or len(activations) < 100 or not bool(activations.isfinite().all()):
        came = tuple(activations.shape) if isinstance(activations, Tensor) else type(activations).__name__
        raise OntogenyError(
            f"activations must be a finite matrix of at least 100 rows, (positions, width); got {came}."
        )
    if not bool((activations.max(0).values > activations.min(0).values).any()):
        raise OntogenyError("activations must vary from row to row; these are all the same.")
    return activations.detach().float()


def _initial(x: Tensor, settings: SparseAutoencoderTraining) -> dict[str, Tensor]:
    """Decoder rows at random on the sphere, the encoder their transpose, the bias the mean."""
    rows = torch.randn(settings.latents, x.shape[1], generator=generator(settings.seed, "initial decoder"))
    rows = functional.normalize(rows, dim=1).to(x.device)
    start = {
        "W_enc": rows.T.clone(),
        "b_enc": torch.zeros(settings.latents, device=x.device),
        "W_dec": rows.clone(),
        "b_dec": x.mean(0),
    }
    return {name: value.requires_grad_() for name, value in start.items()}


def _update(
    weights: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    settings: SparseAutoencoderTraining,
    quiet: Tensor,
    dead_after: int,
    step: int,
) -> Tensor:
    """One step; returns for how many activations each latent has been silent."""
    model = SparseAutoencoder(**weights, active=settings.active)
    before = model.before_top(x)
    z = top(before, settings.active)
    left = x - model.decode(z)
    loss = left.square().sum(1).mean()
    dead = quiet > dead_after
    if bool(dead.any()):
        revived = top(before.masked_fill(~dead, -torch.inf), min(settings.active, int(dead.sum())))
        loss = loss + AUXILIARY * (left.detach() - revived @ model.W_dec).square().sum(1).mean()
    left_over = min(5.0 * (1.0 - step / settings.steps), 1.0)
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * left_over
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    with torch.no_grad():
        weights["W_dec"].copy_(functional.normalize(weights["W_dec"], dim=1))
        return torch.where((z > 0).any(0), torch.zeros_like(quiet), quiet + len(x))
