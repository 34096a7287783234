"""The approximate rank of the Hessian: how many of its eigenvalues are above a threshold, and which threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtr
from torch import nn

from ontogeny.inputs.losses import LossFunction, Potential
from ontogeny.metrics.curvature.problems import Arguments, Numbers, Sampled, check_counts
from ontogeny.metrics.curvature.spectra import MOST_DENSE, Spectra, spectra
from ontogeny.metrics.curvature.thresholds import Place, Threshold
from ontogeny.metrics.curvature.trace import numbers
from ontogeny.operators.chebyshev import Moments, moments
from ontogeny.operators.lanczos import Floats
from ontogeny.operators.linear_operator import Operator
from ontogeny.operators.trace import rademacher

DEGREE, MOST_DEGREE = 100, 400
NEGLIGIBLE = 0.1
"""Of the rank: what may hang on the slow rise of the polynomial, or on where the threshold was found."""


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
    ``samples`` examples. The error holds the probes (of one probe the bound √(2·rank) on what it can be off by) and
    half of what the two counts differ by, since each smears the spectrum at τ in its own way; not the choice of
    examples. Of the whole matrix it holds that choice alone, τ taken as it is found. rank/2 bounds the learning
    coefficient λ from below at a minimum, and at finite nβ λ̂ is at least about a quarter of the rank of "n_beta":
    compare no further.

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
            than ``loss_increase``; negative where already a part along a direction of negative curvature costs more.
            The directions are Ritz vectors of ``steps`` Lanczos steps from w*, of the whole matrix eigenvectors.
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
        ``rank_resolution`` (the width over which p rises), ``rank_degree`` (0: the whole matrix), ``hessian_min``,
        ``hessian_max``, for "loss" also ``loss_increase`` (loss/weight² but for the last, in loss), and
        ``hessian_rank_status``: "ok"; "out_of_range" (an eigenvalue is outside the range: NaN); "unresolved" (a tenth
        of the count hangs on how the spectrum is smeared at τ, on eigenvalues of zero that p counts in part, on the
        steps that τ was found with, or, of a whole matrix, on the choice of examples); "no_error" (of the whole matrix
        of one example of many); "not_finite". Dims ``component`` and ``dataset``.

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
        place = how.at(sampled, operator, found, steps)
        out = _count(sampled, operator, found, place, how.span_for(found), probes, degree)
        out |= {"rank_threshold": place.at, "hessian_min": found.ends[0], "hessian_max": found.ends[1]}
        return out | ({"loss_increase": place.rise} if method == "loss" else {})

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
    "rank_degree",
    "rank_threshold",
    "hessian_min",
    "hessian_max",
)


def rank_by_lanczos(found: Spectra, threshold: float) -> Numbers:
    """``hessian_rank`` with its error and status from spectral measures that are there anyway, without a polynomial."""
    return numbers("hessian_rank", *(_above(found, threshold) if found.finite else (math.nan, math.nan)))


def _count(
    sampled: Sampled,
    operator: Operator,
    found: Spectra,
    place: Place,
    span: tuple[float, float],
    probes: int,
    degree: int | None,
) -> Numbers:
    at = place.at
    lanczos, lanczos_se = _above(found, at)
    if found.exact:
        large = lanczos_se > NEGLIGIBLE * max(lanczos, 1.0)
        status = "no_error" if math.isnan(lanczos_se) else "unresolved" if large else "ok"
        return _numbers(lanczos, lanczos_se, lanczos, lanczos_se, 0.0, 0, status)
    if probes == 1:
        lanczos_se = _bound(lanczos)
    degree = _degree(at, span) if degree is None else degree
    vectors = rademacher(probes, operator.dim, sampled.stream("probes of the spectrum")).to(operator.device)
    known = moments(operator, vectors, degree, span)
    width = known.resolution(at)
    if not known.inside:
        return _numbers(math.nan, math.nan, lanczos, lanczos_se, width, degree, "out_of_range")
    value, by_chance = _mean(known.above(at))
    # from the same probes, so chance is no reason for them to differ: what each smears at the threshold is
    hangs = [(value - lanczos) / 2]
    if math.isfinite(place.other) and place.other != at:
        hangs.append(float(known.above(place.other).mean()) - value)
    counted = known.counted(0.0, at)  # eigenvalues of zero should count not at all below τ, in full above
    leaked = (counted if at >= 0 else 1.0 - counted) * operator.dim
    unresolved = max(leaked, *map(abs, hangs)) > NEGLIGIBLE * max(value, 1.0)
    errors = math.hypot(by_chance, *hangs), math.hypot(lanczos_se, *hangs)
    return _numbers(value, errors[0], lanczos, errors[1], width, degree, "unresolved" if unresolved else "ok")


def _numbers(
    value: float, error: float, other: float, other_error: float, width: float, degree: int, status: str
) -> Numbers:
    found = dict(zip(NUMBERS[:6], (value, error, other, other_error, width, degree), strict=True))
    return found | {"hessian_rank_status": status}


def _above(found: Spectra, at: float) -> tuple[float, float]:
    """The count that spectral measures tell, and its error; of a whole matrix that for the choice of examples.

    A jackknife of that count itself would often say 0; so each eigenvalue has its own, σ, and √Σ p(1 - p) is the error,
    p = Φ((h - τ)/σ) being how likely it is above τ.
    """
    if not found.exact:
        return found.total(lambda h: (h > at).astype(np.float64))
    h = found.random.nodes[0]
    spread = found.jackknife(lambda one: one.random.nodes[0])
    if np.isnan(spread).any():
        return float((h > at).sum()), math.nan
    p = ndtr((h - at) / np.maximum(spread, 1e-300))
    return float((h > at).sum()), math.sqrt(float((p * (1 - p)).sum()))


def _bound(count: float) -> float:
    """√(2‖P‖²) with ‖P‖² ≈ tr P of a projection, which the error of one probe is below."""
    return math.sqrt(2 * max(count, 0.0))


def _mean(each: Floats) -> tuple[float, float]:
    """Mean and error over probes; of one, the bound on that."""
    value = float(each.mean())
    if len(each) == 1:
        return value, _bound(value)
    return value, float(each.std(ddof=1)) / len(each) ** 0.5


def _degree(at: float, span: tuple[float, float]) -> int:
    """The lowest of 100, 200, 400 whose polynomial rises within τ."""
    degree = DEGREE
    while degree < MOST_DEGREE and Moments(span, np.zeros((1, degree + 1))).resolution(at) > abs(at):
        degree *= 2
    return degree
