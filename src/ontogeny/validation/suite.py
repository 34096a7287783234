"""The suite that ``ontogeny validate`` runs: problems whose λ̂(nβ, γ) is known, estimated with no sampler setting given.

What is given is what is measured, (nβ, γ), the target, the seed, a tenth of the data as minibatch in that part, and for
10,000 weights and more a bound of 4 chains × 1000 steps.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ontogeny.execution.local import Chunk, run_chunks
from ontogeny.store import Store
from ontogeny.validation.problem import Problem, with_data
from ontogeny.validation.problems import TABLE, problem, problems
from ontogeny.validation.references import ReferenceProblem, reference_problem, reference_problems

Z_LIMIT = 4.0
"""Standard errors (of estimate and reference together) that an estimate may be away from the exact value."""

LARGE = 10_000
LARGE_STEPS, LARGE_CHAINS = 1000, 4
"""What a problem of 10,000 weights and more is given: steps a chain, chains."""

LARGEST_EVERYWHERE = 10_000
"""Weights of a problem up to which it is in every column; larger ones, minutes each, are in the first."""

EXAMPLES, BATCH = 960, 96
"""Data sets of the minibatch part, and a tenth of them."""

MOST_WITH_DATA = 150
"""Weights of a problem up to which it is in the minibatch part; larger ones take a quarter of an hour each."""


class Setting(NamedTuple):
    """A column of the suite: where it is measured, how well it is asked for, and how far off it may be."""

    n_beta: float
    localization: float
    target_se: float
    bound: float
    """The largest relative error allowed."""
    minibatch: bool = False

    @property
    def title(self) -> str:
        """As in the tables."""
        batch = ", batches of a tenth" if self.minibatch else ""
        return f"nβ = {self.n_beta:g}, γ = {self.localization:g}{batch}"


FULL = (
    Setting(1000.0, 1.0, 0.005, 0.03),
    Setting(100.0, 1.0, 0.01, 0.05),
    Setting(1000.0, 100.0, 0.01, 0.05),
    Setting(10_000.0, 1.0, 0.01, 0.05),
    Setting(1000.0, 1.0, 0.01, 0.05, minibatch=True),
)
QUICK = (Setting(1000.0, 1.0, 0.01, 0.03), Setting(1000.0, 100.0, 0.01, 0.05, minibatch=True))
QUICK_PROBLEMS = (
    *TABLE,
    "double well",
    "radial quartic",
    "ill-conditioned",
    "mixed powers",
    "isotropic",
    "permuted networks",
    "10,000 weights",
)
QUICK_MINIBATCH = ("quadratic", "chain", "softmax 3", "reduced rank 2-2-2")


class Job(NamedTuple):
    """One estimate, by names only, so that a worker process can take it."""

    name: str
    setting: Setting
    reference: bool
    seed: int


@dataclass(frozen=True)
class Row:
    """One line of the table; ``error`` is relative to ``exact``, ``z`` in standard errors of both."""

    problem: str
    weights: int
    n_beta: float
    localization: float
    minibatch: bool
    exact: float
    exact_se: float
    learning_coefficient: float | None
    estimate: float
    se: float
    error: float
    bound: float
    z: float
    gradients: int
    seconds: float
    status: str
    regime: str

    @property
    def fault(self) -> str | None:
        """Why the row fails the suite, or None."""
        if not math.isfinite(self.estimate):
            return "no estimate"
        if not abs(self.z) <= Z_LIMIT:
            return f"z = {self.z:+.1f} is beyond ±{Z_LIMIT:g}"
        if not abs(self.error) <= self.bound:
            return f"an error of {self.error:+.1%} is beyond {self.bound:.0%}"
        return None


def jobs(quick: bool, seed: int = 0) -> list[Job]:
    """What is estimated: in the quick part some problems, in the full all of them and those with a reference."""
    if quick:
        plain, batched = QUICK
        return [Job(name, plain, False, seed) for name in QUICK_PROBLEMS] + [
            Job(name, batched, False, seed) for name in QUICK_MINIBATCH
        ]
    out = []
    for setting in FULL:
        for one in problems():
            with_batches = one.data_version is not None and one.dim <= MOST_WITH_DATA
            if with_batches if setting.minibatch else setting == FULL[0] or one.dim <= LARGEST_EVERYWHERE:
                out.append(Job(one.name, setting, False, seed))
        for other in reference_problems():
            if (setting.n_beta, setting.localization) in other.values and not setting.minibatch:
                out.append(Job(other.name, setting, True, seed))
    return out


def estimate(job: Job) -> Row:
    """Estimate one problem, with no argument given but what is measured, the target and the seed."""
    from ontogeny.sampling.estimate import estimate_llc

    setting = job.setting
    one: Problem | ReferenceProblem = reference_problem(job.name) if job.reference else problem(job.name)
    exact, exact_se = _truth(one, setting)
    what: dict[str, Any] = {"model": one.potential}
    limits: dict[str, Any] = {}
    if setting.minibatch:
        model, data, loss_fn = with_data(one, EXAMPLES, job.seed)
        what, limits = {"model": model.float(), "data": data, "loss_fn": loss_fn}, {"batch_size": BATCH}
    elif one.dim >= LARGE:
        limits = {"chains": LARGE_CHAINS, "max_draws": LARGE_STEPS * LARGE_CHAINS}
    began = time.perf_counter()
    found = estimate_llc(
        **what,
        n_beta=setting.n_beta,
        localization=setting.localization,
        target_se=setting.target_se,
        seed=job.seed,
        progress=False,
        **limits,
    )
    seconds = time.perf_counter() - began
    llc, se = float(found["llc"]), float(found["llc_se"])
    return Row(
        problem=job.name,
        weights=one.dim,
        n_beta=setting.n_beta,
        localization=setting.localization,
        minibatch=setting.minibatch,
        exact=exact,
        exact_se=exact_se,
        learning_coefficient=one.learning_coefficient,
        estimate=llc,
        se=se,
        error=llc / exact - 1.0,
        bound=setting.bound,
        z=(llc - exact) / math.hypot(se, exact_se),
        gradients=int(found.attrs["gradient_evaluations"]),
        seconds=seconds,
        status=str(found["status"].item()),
        regime=str(found["regime"].item()),
    )


def _truth(one: Problem | ReferenceProblem, setting: Setting) -> tuple[float, float]:
    if isinstance(one, ReferenceProblem):
        return one.reference(setting.n_beta, setting.localization)
    return one.exact(setting.n_beta, setting.localization), 0.0


def _work(job: Job) -> xr.Dataset:
    values = {name: np.nan if value is None else value for name, value in asdict(estimate(job)).items()}
    return xr.Dataset(values)


def run(quick: bool, *, seed: int = 0, progress: bool = True, workers: int | None = None) -> list[Row]:
    """All rows of the quick or the full part, in the order of the tables; one worker process a core."""
    chunks = [Chunk(f"{number:03d}", job) for number, job in enumerate(jobs(quick, seed))]
    # the slowest first would need their times known; large problems last would leave a core idle
    order = sorted(chunks, key=lambda chunk: chunk.payload.setting.minibatch, reverse=True)
    with tempfile.TemporaryDirectory(prefix="ontogeny-validate-") as folder:
        shelf = Store(Path(folder, "rows"), {"study": "validate"})
        run_chunks(_work, order, shelf, text="validating", progress=progress, workers=workers)
        return [_row(shelf.load(chunk.key)) for chunk in chunks]


def _row(stored: xr.Dataset) -> Row:
    values = {str(name): value.item() for name, value in stored.data_vars.items()}
    if math.isnan(values["learning_coefficient"]):
        values["learning_coefficient"] = None
    return Row(**values)


class Summary(NamedTuple):
    """What a column comes to: relative errors over its problems with an exact value."""

    title: str
    problems: int
    median: float
    worst: float
    worst_problem: str
    gradients: int
    seconds: float


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Median and worst relative error of each column, problems with a Monte Carlo reference left out."""
    columns = dict.fromkeys((row.n_beta, row.localization, row.minibatch) for row in rows)
    out = []
    for n_beta, localization, minibatch in columns:
        mine = [
            row
            for row in rows
            if (row.n_beta, row.localization, row.minibatch) == (n_beta, localization, minibatch) and not row.exact_se
        ]
        if not mine:
            continue
        errors = [abs(row.error) if math.isfinite(row.error) else math.inf for row in mine]
        worst = int(np.argmax(errors))
        out.append(
            Summary(
                Setting(n_beta, localization, 0.0, 0.0, minibatch).title,
                len(mine),
                float(np.median(errors)),
                errors[worst],
                mine[worst].problem,
                sum(row.gradients for row in mine),
                sum(row.seconds for row in mine),
            )
        )
    return out
