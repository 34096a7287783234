"""Training a language model on token blocks, with checkpoints, so that it can be stopped at any moment and go on."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.progress import progress_bar, report_progress
from ontogeny.core.rng import stream_key
from ontogeny.inputs.checkpoint_writer import CheckpointWriter, training_folder
from ontogeny.inputs.checkpoints import MANIFEST, Checkpoints, read_manifest
from ontogeny.inputs.load_weights import load_into
from ontogeny.inputs.weight_files import read_record, read_weights, weights_digest, without_repeats, write_weights
from ontogeny.inputs.writers import only_writer
from ontogeny.training.schedule import checkpoint_steps, learning_rate_at
from ontogeny.training.token_batches import TokenBatches

STATE = "training_state.safetensors"
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class LanguageTraining:
    """AdamW on the next-token cross-entropy.

    Args:
        steps: optimiser steps.
        batch_size: token blocks a step.
        learning_rate: AdamW's, weight per step, after warm-up.
        weight_decay: AdamW's, a fraction per unit of learning rate and step, on every weight. At 0.05 and 1e-3 a weight
            that the loss ignores shrinks e-fold in 20,000 steps: slow beside learning, quick beside a run of 50,000.
        betas: AdamW's averaging. 0.95 in place of 0.999: the second moment then forgets the first steps, whose
            gradients are the largest, within 20 steps.
        warm_up: updates over which the learning rate rises linearly.
        clip: the gradient's norm is cut to this; None: never. It acts on rare bad batches only.
        schedule: "constant" keeps the learning rate, so that a change along training is the network's own and not the
            schedule's; "cosine" lets it fall to 0.
        seed: of the order of batches, and of dropout where the model has it.
        checkpoints: steps to keep, increasing; None: ``checkpoint_steps(steps)``. The last step is always kept.

    Raises:
        OntogenyError: if a setting is outside its range.
    """

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warm_up: int = 300
    clip: float | None = 1.0
    schedule: str = "constant"
    seed: int = 0
    checkpoints: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("warm_up", 0)):
            check_whole(name, getattr(self, name), least)
        if not (_is_number(self.learning_rate) and 0 < self.learning_rate < math.inf):
            raise OntogenyError(f"learning_rate must be a finite number above 0; got {self.learning_rate!r}.")
        if not (_is_number(self.weight_decay) and 0 <= self.weight_decay < math.inf):
            raise OntogenyError(f"weight_decay must be a finite number of at least 0; got {self.weight_decay!r}.")
        pair = isinstance(self.betas, tuple | list) and len(self.betas) == 2
        if not pair or not all(_is_number(beta) and 0 <= beta < 1 for beta in self.betas):
            raise OntogenyError(f"betas must be two numbers of at least 0 and below 1; got {self.betas!r}.")
        if self.clip is not None and not (_is_number(self.clip) and self.clip > 0):
            raise OntogenyError(f"clip must be a number above 0, or None; got {self.clip!r}.")
        if self.schedule not in SCHEDULES:
            raise OntogenyError(f"schedule must be one of {', '.join(SCHEDULES)}; got {self.schedule!r}.")
        kept: Any = checkpoint_steps(self.steps) if self.checkpoints is None else self.checkpoints
        if not isinstance(kept, tuple | list | set | range) or not all(_is_step(step, self.steps) for step in kept):
            raise OntogenyError(
                f"checkpoints must be whole numbers from 0 to {self.steps}, the last step; got {self.checkpoints!r}. "
                "For so many, spread over the run, give training.schedule.checkpoint_steps(steps, early, linear)."
            )
        object.__setattr__(self, "checkpoints", tuple(sorted({*kept, self.steps})))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_step(value: Any, last: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= last


def train_language_model(
    model: nn.Module,
    tokens: Any,
    settings: LanguageTraining,
    folder: str | Path,
    *,
    progress: bool = True,
    device: str | torch.device | None = None,
    save_seconds: float = 120.0,
) -> Checkpoints:
    """Train, keep checkpoints in ``folder``, and return them; ``model`` ends with the final weights.

    The loss is the mean of -ln p(next token), in nats, over all but the last position of every block of a batch. A
    checkpoint's ``loss`` is that of its own weights, in evaluation mode, on the batch that the next update uses, which
    in the first epoch the model has not seen; ``tokens`` counts what it was trained on before.

    Interrupted or killed at any moment, the same call goes on at the last saved state and ends with the same weights
    to rounding (bit for bit where the machine's sums are): step t's batch and dropout depend on (seed, t) alone, and
    weights, AdamW's moments and step are one file, replaced as a whole. Until the training is done ``model`` keeps its
    initial weights, so an interrupted call can also be repeated with the same object.

    Args:
        model: maps tokens (batch, positions) to logits (batch, positions, V), or to something with ``.logits``.
        tokens: integers of shape (blocks, positions), as a tensor, an array or a memory map.
        settings: how to train.
        folder: where checkpoints, manifest.json and the state go.
        progress: show a bar, on a terminal.
        device: where to train; None: where the model is.
        save_seconds: the state is saved at every checkpoint, and when this long has passed since.

    Raises:
        OntogenyError: if the folder holds another run (other model, data or settings), if another process trains
            there now, if a token is beyond the model's vocabulary, or if the loss is no longer finite.
    """
    batches = TokenBatches(tokens, settings.batch_size, settings.seed)
    data, config = batches.record(), _config(model)
    vocabulary = config.get("vocabulary", config.get("vocab_size", config.get("d_vocab"))) if config else None
    if vocabulary is not None and data["highest"] >= vocabulary:
        raise OntogenyError(
            f"tokens: the highest is {data['highest']}, and the model's vocabulary has {vocabulary}; use the tokenizer "
            "that the model was made for, or a model with more tokens."
        )
    folder = training_folder(folder)
    with contextlib.nullcontext() if _is_done(folder, settings.steps) else only_writer(folder):
        identity = {"training": asdict(settings), "data": data, "initial_weights": _initial(folder, model)}
        writer = CheckpointWriter(folder, config, identity)
        if writer.steps[-1:] != (settings.steps,):
            run = _Run(copy.deepcopy(model).to(device), batches, settings, writer)
            run.resume()
            with progress_bar("training the language model", settings.steps, progress) as done:
                run.train(done, save_seconds)
    out = writer.checkpoints()
    load_into(model, out.weights(settings.steps))
    return out


class _Run:
    """One training under way."""

    def __init__(
        self, model: nn.Module, batches: TokenBatches, settings: LanguageTraining, writer: CheckpointWriter
    ) -> None:
        self.model = model.train()
        self.batches = batches
        self.settings = settings
        self.writer = writer
        self.step = 0
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.device = next(iter(self.trained.values())).device
        self.optimiser = torch.optim.AdamW(
            self.trained.values(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )

    def train(self, done: Callable[[float], None], save_seconds: float) -> None:
        """Every step that is left."""
        settings, saved_at = self.settings, time.monotonic()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            while True:
                batch = self.batches.at(self.step).to(self.device)
                kept = self.step in (settings.checkpoints or ())
                if kept or time.monotonic() - saved_at > save_seconds:
                    self.save(batch, kept)
                    saved_at = time.monotonic()
                done(self.step)
                report_progress(self.step / settings.steps)
                if self.step == settings.steps:
                    return
                self.update(batch)

    def update(self, batch: Tensor) -> None:
        """One AdamW step down the gradient of the loss on ``batch``."""
        settings = self.settings
        torch.manual_seed(stream_key(settings.seed, "dropout", self.step))
        self.optimiser.zero_grad()
        _next_token_loss(self.model, batch).backward()
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(self.trained.values(), settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(
                self.step,
                settings.steps,
                peak=settings.learning_rate,
                warm_up=settings.warm_up,
                schedule=settings.schedule,
            )
        self.optimiser.step()
        self.step += 1

    def save(self, batch: Tensor, checkpoint: bool) -> None:
        """Write the state before update ``step``, and the checkpoint first where this step is one."""
        self.model.eval()  # else running averages would have seen the batch twice after going on from here
        with torch.no_grad():
            loss = float(_next_token_loss(self.model, batch))
        self.model.train()
        if not math.isfinite(loss):
            raise OntogenyError(
                f"the loss is {loss} at step {self.step}; lower learning_rate ({self.settings.learning_rate}) or clip "
                "the gradient, and train in a new folder."
            )
        if checkpoint:
            seen = self.step * self.settings.batch_size * self.batches.rows.shape[1]
            self.writer.write(self.step, self.model.state_dict(), seen, loss)
        tensors = {f"model/{name}": value for name, value in without_repeats(self.model.state_dict()).items()}
        for name, weight in self.trained.items():
            for moment, value in self.optimiser.state[weight].items():
                tensors[f"{moment}/{name}"] = value.detach().to("cpu", copy=True).contiguous()
        write_weights(self.writer.folder / STATE, tensors, {"step": self.step})

    def resume(self) -> None:
        """Go on from the saved state, if there is one."""
        path = self.writer.folder / STATE
        if not path.exists():
            return
        tensors = read_weights(path)
        self.step = read_record(path)["step"]
        by_kind: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            by_kind.setdefault(kind, {})[rest] = value
        load_into(self.model, by_kind.pop("model"))
        for name, weight in self.trained.items():
            moments = {kind: values[name] for kind, values in by_kind.items() if name in values}
            if moments:
                counted = {kind: value.to(weight) for kind, value in moments.items() if kind != "step"}
                self.optimiser.state[weight] = {"step": moments["step"], **counted}


def _next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean of -ln p(next token) over (batch, positions - 1), nats."""
    output = model(tokens)
    logits = output if isinstance(output, Tensor) else output.logits  # (batch, positions, V)
    if logits.dim() != 3 or logits.shape[:2] != tokens.shape:
        raise OntogenyError(
            f"model must return logits of shape {(*tokens.shape, 'vocabulary')} for tokens of shape "
            f"{tuple(tokens.shape)}; got {tuple(logits.shape)}."
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def _config(model: nn.Module) -> dict[str, Any] | None:
    held: Any = getattr(model, "config", getattr(model, "cfg", None))
    if not hasattr(held, "to_dict"):
        return None
    # a newer version of the library must not make this another run
    return {name: value for name, value in held.to_dict().items() if name != "transformers_version"}


def _is_done(folder: Path, last: int) -> bool:
    """Whether there is a checkpoint of the last step, so that the folder is only read."""
    return (folder / MANIFEST).exists() and any(held["step"] == last for held in read_manifest(folder)["checkpoints"])


def _initial(folder: Path, model: nn.Module) -> str:
    """The digest of the weights that training starts from; where it is done, ``model`` may hold its result instead."""
    now = weights_digest(without_repeats(model.state_dict()))
    if not (folder / MANIFEST).exists():
        return now
    held = read_manifest(folder)
    last = held["checkpoints"][-1]["digest"] if held["checkpoints"] else None
    return held["settings"].get("initial_weights", now) if now == last else now
