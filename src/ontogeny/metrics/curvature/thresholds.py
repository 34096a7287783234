"""Above what an eigenvalue of the Hessian counts towards its rank, and where the polynomial that counts is a step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.metrics.curvature.problems import Sampled, check_choice, check_positive
from ontogeny.metrics.curvature.ranges import FRACTION, ROOM
from ontogeny.metrics.curvature.spectra import Spectra
from ontogeny.operators.filtered_weights import eigen_directions, ritz_directions, threshold_of_loss
from ontogeny.operators.linear_operator import Operator
from ontogeny.operators.vectors import cut, rows_of

METHODS = ("n_beta", "fixed", "adaptive", "given", "loss")
FIXED_SPAN, FIXED_THRESHOLD = (-1000.0, 6000.0), 500.0
MARGIN = 1.001
"""Beyond the bounds of the spectrum, for the range of the polynomial."""


@dataclass(frozen=True)
class Place:
    """Where the spectrum is cut."""

    at: float
    """τ, loss/weight²."""
    rise: float = math.nan
    """For "loss": what dropping all below τ does to the loss."""
    other: float = math.nan
    """For "loss": τ after three quarters of the Lanczos steps, which tells how far it hangs on their number."""


@dataclass(frozen=True)
class Threshold:
    """Above what an eigenvalue counts, and within which range the polynomial is a step.

    Raises:
        OntogenyError: for an unknown method, and for numbers that it needs or has no use for.
    """

    method: str
    n_beta: float | None
    localization: float | None
    threshold: float | None
    span: tuple[float, float] | None
    loss_increase: float | None

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        needed = {"n_beta": ("n_beta", "localization"), "given": ("threshold", "span"), "loss": ("loss_increase",)}
        allowed = {**needed, "fixed": ("threshold", "span")}
        for name in ("n_beta", "localization", "threshold", "span", "loss_increase"):
            value = getattr(self, name)
            if value is None:
                if name in needed.get(self.method, ()):
                    raise OntogenyError(f"{name} must be given for method = {self.method!r}; got None.")
            elif name not in allowed.get(self.method, ()):
                raise OntogenyError(f"{name} has no meaning for method = {self.method!r}; leave it out.")
            elif name == "span":
                _check_span(value)
            elif name == "threshold":
                if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                    raise OntogenyError(f"threshold must be a finite number, in loss/weight²; got {value!r}.")
            else:
                check_positive(**{name: value})

    def at(self, sampled: Sampled, operator: Operator, found: Spectra, steps: int) -> Place:
        """τ for the spectrum of this sample."""
        if self.method == "n_beta":
            assert self.n_beta is not None and self.localization is not None
            return Place(self.localization / self.n_beta)
        if self.method == "adaptive":
            return Place(FRACTION * max(abs(end) for end in found.ends))
        if self.method == "loss":
            return _of_loss(sampled, operator, found, self.loss_increase or 0.0, steps)
        return Place(FIXED_THRESHOLD if self.threshold is None else self.threshold)

    def span_for(self, found: Spectra) -> tuple[float, float]:
        """Where the polynomial is a step."""
        if self.span is not None or self.method == "fixed":
            return self.span or FIXED_SPAN
        low, high = found.ends
        if self.method == "adaptive":
            reach = ROOM * max(abs(low), abs(high), 1e-12)
            return -reach, reach
        room = (MARGIN - 1) * max(high - low, 1e-12)
        return low - room, high + room


def _check_span(span: Any) -> None:
    pair = isinstance(span, tuple | list) and len(span) == 2
    if not pair or not all(isinstance(end, int | float) and math.isfinite(end) for end in span) or span[0] >= span[1]:
        raise OntogenyError(
            f"span must be two finite numbers (low, high), low below high, in loss/weight²; got {span!r}."
        )


def _of_loss(sampled: Sampled, operator: Operator, found: Spectra, allowed: float, steps: int) -> Place:
    problem = sampled.problem
    weights = list(problem.center.values())

    def loss_at(row: torch.Tensor) -> float:
        params = dict(zip(problem.center, (part[0] for part in cut(row.reshape(1, -1), weights)), strict=True))
        with torch.no_grad():
            sums = [problem.loss(params, batch).double().sum() for batch in sampled.batches]
        return float(torch.stack(sums).sum()) / sum(sampled.sizes)

    start = rows_of([w.unsqueeze(0) for w in weights])[0]
    if found.vectors is not None:
        return Place(
            *threshold_of_loss(eigen_directions(found.random.nodes[0], found.vectors, start), start, loss_at, allowed)
        )
    fewer = max(steps - max(steps // 4, 1), 1)
    (at, rise), (other, _) = (
        threshold_of_loss(along, start, loss_at, allowed) for along in ritz_directions(operator, start, (steps, fewer))
    )
    return Place(at, rise, other)
