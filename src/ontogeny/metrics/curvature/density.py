"""The spectrum of the Hessian: its density, and its ends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import numpy_generator
from ontogeny.inputs.losses import LossFunction, Potential
from ontogeny.metrics.curvature.problems import Arguments, Numbers, Sampled, check_counts, check_positive
from ontogeny.metrics.curvature.spectra import spectra
from ontogeny.operators.eigenvalues import extreme_eigenvalues as both_ends
from ontogeny.operators.lanczos import density

MOST_WHOLE, PRODUCTS = 500, 60
"""Up to so many weights both ends come from the whole matrix, where its products are no more than ARPACK's, at once."""
ROOM = 4.0
"""Widths that the grid goes beyond the spectrum on either side."""


def spectral_density(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    *,
    samples: int = 100,
    probes: int = 10,
    steps: int = 30,
    points: int = 200,
    width: float | None = None,
    exact: bool | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """Share of the Hessian's eigenvalues per unit of h, every eigenvalue spread to a normal; integrates to 1.

    By stochastic Lanczos quadrature: ``steps`` Lanczos steps from each of ``probes`` Rademacher vectors on the Hessian
    of the mean loss over ``samples`` examples. The error is over probes; another sample of examples has another
    spectrum (of fewer examples a more degenerate one), which is in the error of a whole matrix alone. More steps than
    the default resolve more: with few, what lies between the ends is a handful of bells.

    Args:
        model: as in :func:`ontogeny.estimate_llc`, as are data, loss_fn and components.
        data: one data set or {name: data set}.
        loss_fn: one loss per example, or position.
        components: one selection of weights, a list, or {name: selection}.
        samples: examples drawn, at most all.
        probes: random starts.
        steps: Lanczos steps from each.
        points: of the grid, from below the spectrum to above it, no further apart than ``width``.
        width: standard deviation of the normals, loss/weight²; by rule a fortieth of the spectrum's extent.
        exact: True: from the eigenvalues of the whole matrix; None: where that takes no more products.
        batch_size: examples at once; by rule that of ``estimate_llc``.
        seed: of examples and probes.
        device: where to compute; None: where the model is.

    Returns:
        ``eigenvalue`` (the grid, loss/weight²), ``density`` and ``density_se`` (weight²/loss) with dims ``component``,
        ``dataset`` and ``point``; ``hessian_min`` and ``hessian_max``, the ends of the spectrum (bounds of them unless
        exact); ``density_status``, "ok", "no_error" (one probe, or one example of many, tells none) or "not_finite".

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: Ubaru, Chen and Saad 2017; Ghorbani, Krishnan and Xiao, arXiv:1901.10159.
    """
    arguments = Arguments(model, data, loss_fn, components, samples, batch_size, seed, device)
    check_counts(probes=probes, steps=steps, points=points)
    if width is not None:
        check_positive(width=width)

    def one(sampled: Sampled) -> Numbers:
        found = spectra(sampled, sampled.hessian(), probes, steps, exact=exact)
        low, high = found.ends
        nothing = np.full(points, np.nan)
        if not found.finite:
            grid, values, errors = nothing, nothing, nothing
        else:
            spread = width or max(high - low, 1e-12 + 1e-6 * abs(high)) / 40
            _check_grid(low, high, spread, points)
            grid = np.linspace(low - ROOM * spread, high + ROOM * spread, points)
            values, errors = density(found.random, grid, spread)
            if found.exact:
                errors = found.jackknife(lambda without: density(without.random, grid, spread)[0])
        return {
            "eigenvalue": (("point",), grid),
            "density": (("point",), values),
            "density_se": (("point",), errors),
            "hessian_min": low,
            "hessian_max": high,
            "density_status": "not_finite" if not found.finite else "ok" if np.isfinite(errors).all() else "no_error",
        }

    return arguments.measure(one, probes=probes, steps=steps, points=points, width=width, exact=exact)


def _check_grid(low: float, high: float, width: float, points: int) -> None:
    """Refuse a grid so coarse that bells fall between its points."""
    needed = math.ceil((high - low) / width + 2 * ROOM) + 1
    if points < needed:
        raise OntogenyError(
            f"points must be at least {needed} for normals of width {width:.3g} between {low:.3g} and {high:.3g}, or "
            f"they fall between the points; got {points}. A larger width takes fewer."
        )


def extreme_eigenvalues(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    *,
    samples: int = 100,
    tolerance: float = 1e-3,
    exact: bool | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """The smallest and the largest eigenvalue of the Hessian over ``samples`` examples, by ARPACK through scipy.

    Arguments as in :func:`spectral_density`; ``tolerance`` is relative to the larger |eigenvalue|; ``exact``: from the
    whole matrix, None: up to 500 weights, where that is faster.

    Returns:
        ``hessian_min`` and ``hessian_max`` in loss/weight² with dims ``component`` and ``dataset``; NaN where a product
        is not finite or ARPACK does not converge, as ``extreme_status`` says ("not_finite").

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    arguments = Arguments(model, data, loss_fn, components, samples, batch_size, seed, device)
    check_positive(tolerance=tolerance)

    def one(sampled: Sampled) -> Numbers:
        start = numpy_generator(seed, "extreme eigenvalues").standard_normal(sampled.problem.dim)
        dim = sampled.problem.dim
        cheap = dim <= MOST_WHOLE and dim <= PRODUCTS * sampled.together  # together products cost less each
        whole = cheap if exact is None else exact
        low, high = both_ends(sampled.hessian(), start, tolerance, whole)
        fine = np.isfinite([low, high]).all()
        return {"hessian_min": low, "hessian_max": high, "extreme_status": "ok" if fine else "not_finite"}

    return arguments.measure(one, tolerance=tolerance, exact=exact)
