"""What a study is expected to cost, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ontogeny.execution.tasks import FLOPS, Planned

RESULT_BYTES = 600_000
"""What one chunk takes on disk at most, nearly all of it folders of small files."""


@dataclass(frozen=True)
class Cost:
    """The work of a study; what is left of it is counted at most, nothing shared."""

    tasks: int
    chunks: int
    chunks_done: int
    gradient_evaluations: int
    """Of one minibatch each, in the chunks left: chains × (draws + burn-in) and finding the step, or their bound."""
    seconds: float
    """The chunks left on one core that does 5·10¹⁰ operations a second."""
    checkpoints: int
    components: int
    datasets: int
    bytes_read: int
    """Weights of the checkpoints left, read once each; every worker that works on one reads it."""
    bytes_written: int
    bytes_a_worker: int
    """Roughly: model, data and chains."""
    found_first: str
    """What a first stage is to find, "" if nothing."""

    def describe(self) -> str:
        """A few plain sentences."""
        first = f" {self.found_first} to be found first, at the last checkpoint, and then the same for all." * bool(
            self.found_first
        )
        return (
            f"{_count(self.tasks, 'task')} ({_count(self.checkpoints, 'checkpoint')}, "
            f"{_count(self.components, 'component')}, {_count(self.datasets, 'data set')}) in "
            f"{_count(self.chunks, 'chunk')}, {self.chunks_done:,} done already.{first} Left: at most "
            f"{self.gradient_evaluations:,} gradients of a minibatch (about {_duration(self.seconds)} on one core at "
            f"{FLOPS / 1e9:.0f} GFLOP/s), {_size(self.bytes_read)} of weights to read, {_size(self.bytes_written)} of "
            f"results to write; a worker holds roughly {_size(self.bytes_a_worker)}."
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
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} seconds"
