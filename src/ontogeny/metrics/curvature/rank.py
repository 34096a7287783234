"""The approximate rank of the Hessian: how many of its eigenvalues are above a threshold, and which threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.losses import LossFunction, Potential
from ontogeny.metrics.curvature.problems import (
    Arguments,
    Numbers,
    Sampled,
    check_choice,
    check_counts,
    check_positive,
)
from ontogeny.metrics.curvature.ranges import FRACTION, ROOM
from ontogeny.metrics.curvature.spectra import MOST_DENSE, Spectra, spectra
from ontogeny.operators.chebyshev import Moments, moments
from ontogeny.operators.filtered_weights import threshold_of_loss
from ontogeny.operators.lanczos import Floats
from ontogeny.operators.linear_operator import Operator
from ontogeny.operators.trace import rademacher
from ontogeny.operators.vectors import cut, rows_of

METHODS = ("n_beta", "fixed", "adaptive", "given", "loss")
FIXED_SPAN, FIXED_THRESHOLD = (-1000.0, 6000.0), 500.0
DEGREE, MOST_DEGREE = 100, 400
LEAKED = 0.1
"""Of the rank, the most that eigenvalues of zero may add to it by the polynomial's slow rise."""
MARGIN = 1.001
"""Beyond the bounds of the spectrum, for the range of the polynomial."""


def hessian_rank(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    *,
    method: str = "n_beta",
    n_beta: float | None = None,
    localization: float | None = None,
    threshold: float | None = None,
    span: tuple[float, float] | None = None,
    loss_increase: float | None = None,
    samples: int | None = None,
    probes: int | None = None,
    degree: int | None = None,
    steps: int = 30,
    exact: bool | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """#{h > τ} over the Hessian's eigenvalues h, as tr p(H), p a Chebyshev polynomial of the step function at τ.

    Beside it stands the count from the Lanczos density of the same probes. The Hessian is that of the mean loss over
    ``samples`` examples, and the errors are over probes (of one probe the bound √(2·rank) on what it can be off by);
    the choice of examples is not in them. rank/2 bounds the learning coefficient λ from below at a minimum, and at
    finite nβ λ̂ is at least about a quarter of the rank of "n_beta": compare no further.

    Args:
        model: as in :func:`ontogeny.estimate_llc`, as are data, loss_fn, components, n_beta and localization.
        data: one data set or {name: data set}.
        loss_fn: one loss per example, or position.
        components: one selection of weights, a list, or {name: selection}.
        method: "n_beta": τ = γ/nβ, the eigenvalues with nβ·h > γ, which λ̂(nβ, γ) sees; "fixed": range (-1000, 6000)
            and τ = 500 of the source, or what ``span`` and ``threshold`` say, the same all along training; "adaptive":
            ±1.2·|λ|max and τ = 0.07·|λ|max of this checkpoint (the source finds |λ|max by power iteration, here
            Lanczos does with fewer products); "given": ``span`` and ``threshold``, as :func:`rank_ranges` finds them
            for a stage or smoothed over checkpoints; "loss": parts of w* are dropped along one
            eigendirection after the other, from the lowest up, and τ is where the loss would first have risen by more
            than ``loss_increase``.
        n_beta: nβ, 1/loss, for "n_beta".
        localization: γ, 1/weight², for "n_beta".
        threshold: τ, loss/weight², for "fixed" and "given".
        span: the range in which p is the step, loss/weight², for "fixed" and "given"; else from Lanczos.
        loss_increase: for "loss", in units of the loss.
        samples: examples drawn; by rule 3 for "fixed" and "adaptive", as in the source, else 100.
        probes: by rule 1 for "fixed" and "adaptive", as in the source, else 10.
        degree: of p; by rule 100 for "fixed" and "adaptive", as in the source, else as high as it takes to rise
            within τ, between 100 and 400. Half as many products a probe.
        steps: Lanczos steps, for range and cross-check.
        exact: True: count the eigenvalues of the whole matrix; None: where that takes no more products.
        batch_size: examples at once; by rule that of ``estimate_llc``.
        seed: of examples and probes.
        device: where to compute; None: where the model is.

    Returns:
        ``hessian_rank`` and ``hessian_rank_lanczos`` with ``_se`` (eigenvalues), ``rank_threshold``,
        ``rank_resolution`` (the width over which p rises), ``hessian_min``, ``hessian_max``, for "loss" also
        ``loss_increase`` (loss/weight² but for the last, in loss), and ``hessian_rank_status``: "ok"; "out_of_range"
        (an eigenvalue is outside the range: NaN); "unresolved" (p rises so slowly that eigenvalues of zero, counted or
        missed in part, may make up a tenth of the count); "not_finite". Dims ``component`` and ``dataset``.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: Ubaru and Saad 2016; Wang et al., arXiv:2410.02984, appendix D.3.

    >>> import torch
    >>> from ontogeny.inputs.losses import Potential
    >>> well = Potential(lambda w: (torch.tensor([50.0, 2.0, 0.1]) * w**2).sum(), torch.zeros(3))
    >>> hessian_rank(well, n_beta=10.0, localization=10.0).hessian_rank.item()  # h = 100, 4, 0.2; τ = 1
    2.0
    """
    how = Threshold(method, n_beta, localization, threshold, span, loss_increase)
    as_published = method in ("fixed", "adaptive")
    samples = (3 if as_published else 100) if samples is None else samples
    probes = (1 if as_published else 10) if probes is None else probes
    degree = DEGREE if degree is None and as_published else degree
    arguments = Arguments(model, data, loss_fn, components, samples, batch_size, seed, device)
    check_counts(probes=probes, steps=steps, **({} if degree is None else {"degree": degree}))

    def one(sampled: Sampled) -> Numbers:
        operator = sampled.hessian()
        products = probes * (steps + (degree or DEGREE) // 2)
        whole = operator.dim <= min(products, MOST_DENSE) if exact is None else exact
        found = spectra(sampled, operator, probes, steps, exact=whole)
        if not found.finite:
            nothing = dict.fromkeys(NUMBERS, math.nan) | {"hessian_rank_status": "not_finite"}
            return nothing | ({"loss_increase": math.nan} if method == "loss" else {})
        at, rise = how.at(sampled, operator, found, steps)
        out = _count(sampled, operator, found, at, how.span_for(found), probes, degree)
        out |= {"rank_threshold": at, "hessian_min": found.ends[0], "hessian_max": found.ends[1]}
        return out | ({"loss_increase": rise} if method == "loss" else {})

    asked: dict[str, Any] = {
        "n_beta": n_beta,
        "localization": localization,
        "threshold": threshold,
        "span": span,
        "exact": exact,
    }
    return arguments.measure(one, probes=probes, steps=steps, degree=degree, method=method, **asked)


NUMBERS = (
    "hessian_rank",
    "hessian_rank_se",
    "hessian_rank_lanczos",
    "hessian_rank_lanczos_se",
    "rank_resolution",
    "rank_threshold",
    "hessian_min",
    "hessian_max",
)


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

    def at(self, sampled: Sampled, operator: Operator, found: Spectra, steps: int) -> tuple[float, float]:
        """τ, and what dropping all below it does to the loss, where that was looked at."""
        if self.method == "n_beta":
            assert self.n_beta is not None and self.localization is not None
            return self.localization / self.n_beta, math.nan
        if self.method == "adaptive":
            return FRACTION * max(abs(end) for end in found.ends), math.nan
        if self.method == "loss":
            return _loss_threshold(sampled, operator, self.loss_increase or 0.0, steps)
        return FIXED_THRESHOLD if self.threshold is None else self.threshold, math.nan

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


def _count(
    sampled: Sampled,
    operator: Operator,
    found: Spectra,
    at: float,
    span: tuple[float, float],
    probes: int,
    degree: int | None,
) -> Numbers:
    lanczos_count, lanczos_se = _mean(found.random.integrate(lambda h: (h > at).astype(np.float64)))
    if found.exact:
        lanczos_count = float((found.random.nodes > at).sum())
        return _numbers(lanczos_count, 0.0, lanczos_count, 0.0, 0.0, "ok")
    degree = _degree(at, span) if degree is None else degree
    vectors = rademacher(probes, operator.dim, sampled.stream("probes of the spectrum")).to(operator.device)
    known = moments(operator, vectors, degree, span)
    width = known.resolution(at)
    if not known.inside:
        return _numbers(math.nan, math.nan, lanczos_count, lanczos_se, width, "out_of_range")
    value, error = _mean(known.above(at))
    counted = known.counted(0.0, at)  # eigenvalues of zero should count not at all below τ, in full above
    unresolved = (counted if at >= 0 else 1.0 - counted) * operator.dim > LEAKED * max(value, 1.0)
    return _numbers(value, error, lanczos_count, lanczos_se, width, "unresolved" if unresolved else "ok")


def _numbers(value: float, error: float, other: float, other_error: float, width: float, status: str) -> Numbers:
    found = dict(zip(NUMBERS[:5], (value, error, other, other_error, width), strict=True))
    return found | {"hessian_rank_status": status}


def _mean(each: Floats) -> tuple[float, float]:
    """Mean and error over probes; of one, √(2‖P‖²) with ‖P‖² ≈ tr P of a projection, which a probe's error is below."""
    value = float(each.mean())
    if len(each) == 1:
        return value, math.sqrt(2 * max(value, 0.0))
    return value, float(each.std(ddof=1)) / len(each) ** 0.5


def _degree(at: float, span: tuple[float, float]) -> int:
    """The lowest of 100, 200, 400 whose polynomial rises within τ."""
    degree = DEGREE
    while degree < MOST_DEGREE and Moments(span, np.zeros((1, degree + 1))).resolution(at) > abs(at):
        degree *= 2
    return degree


def _loss_threshold(sampled: Sampled, operator: Operator, allowed: float, steps: int) -> tuple[float, float]:
    problem = sampled.problem
    weights = list(problem.center.values())

    def loss_at(row: torch.Tensor) -> float:
        params = dict(zip(problem.center, (part[0] for part in cut(row.reshape(1, -1), weights)), strict=True))
        with torch.no_grad():
            sums = [problem.loss(params, batch).double().sum() for batch in sampled.batches]
        return float(torch.stack(sums).sum()) / sum(sampled.sizes)

    return threshold_of_loss(operator, rows_of([w.unsqueeze(0) for w in weights])[0], loss_at, allowed, steps)
