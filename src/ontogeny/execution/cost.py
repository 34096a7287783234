"""What a study is expected to cost, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ontogeny.execution.tasks import FLOPS, Planned

RESULT_BYTES = 600_000
"""What one chunk takes on disk at most, nearly all of it folders of small files."""


@dataclass(frozen=True)
class Cost:
    """The work of a study; what is left of it is counted by rule, nothing shared."""

    tasks: int
    chunks: int
    chunks_done: int
    gradient_evaluations: int
    """Of one minibatch each, in the chunks left, about: chains × (draws + burn-in) and what comes before."""
    until_target: bool
    """Whether estimates end earlier where they meet their target error: the gradients are then a bound."""
    seconds: float
    """The chunks left on one core that does 2·10¹⁰ operations a second."""
    checkpoints: int
    components: int
    datasets: int
    bytes_read: int
    """Weights of the checkpoints left, read once each; every worker that works on one reads it."""
    bytes_written: int
    """Results, and weights held in memory, which workers read from a file for as long as the study runs."""
    bytes_a_worker: int
    """Roughly: model, data, chains, and a batch's logits of all chains where the model has a vocabulary."""
    n_beta: float | None
    """The nβ of all estimates; None: there are none."""
    finds_gamma: bool
    """Whether a first stage is to find γ."""

    def describe(self) -> str:
        """A few plain sentences."""
        at = "" if self.n_beta is None else f" nβ = {self.n_beta:.4g} for all"
        at += "; γ is to be found first, at the last checkpoint, and then the same for all" * self.finds_gamma
        first = f"{at}." * bool(at)
        bound = "at most about" if self.until_target else "about"
        until = ", fewer where the target error is met before," * self.until_target
        return (
            f"{_count(self.tasks, 'task')} ({_count(self.checkpoints, 'checkpoint')}, "
            f"{_count(self.components, 'component')}, {_count(self.datasets, 'data set')}) in "
            f"{_count(self.chunks, 'chunk')}, {self.chunks_done:,} done already.{first} Left: {bound} "
            f"{self.gradient_evaluations:,} gradients of a minibatch{until} (about {_duration(self.seconds)} on one "
            f"core at {FLOPS / 1e9:.0f} GFLOP/s), {_size(self.bytes_read)} of weights to read, "
            f"{_size(self.bytes_written)} of results to write; a worker holds roughly {_size(self.bytes_a_worker)}."
        )


def total(planned: Sequence[Planned], done: Sequence[bool]) -> tuple[int, int, int, float]:
    """Tasks, chunks done, and gradient evaluations and seconds of the chunks left."""
    left = [one for one, finished in zip(planned, done, strict=True) if not finished]
    return (
        sum(one.tasks for one in planned),
        sum(done),
        sum(one.evaluations for one in left),
        sum(one.seconds for one in left),
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}"
    return f"{max(round(seconds), 1)} seconds"
