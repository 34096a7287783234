"""What second order alone predicts of λ̂(nβ, γ), from the spectrum of the Hessian and the gradient at w*."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr
from torch import nn

from ontogeny.inputs.losses import LossFunction, Potential
from ontogeny.metrics.curvature.problems import Arguments, Numbers, Sampled, check_counts, check_positive
from ontogeny.metrics.curvature.spectra import Spectra, spectra
from ontogeny.operators.lanczos import Floats
from ontogeny.operators.second_order import curvature_part, pull

UNRESOLVED = 0.1
"""Of the sizes of its two parts: a standard error of the prediction larger than that is said in the status."""


def second_order_llc(
    model: nn.Module | Potential,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    components: Any = None,
    *,
    n_beta: float,
    localization: float,
    samples: int = 100,
    probes: int = 10,
    steps: int = 30,
    exact: bool | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """λ̂(nβ, γ) of the quadratic around w*, to stand next to the measured one: what remains lies beyond second order.

    With h the Hessian's eigenvalues, g the gradient at w* in its eigenbasis and κ = nβh + γ,

        curvature = Σ ½·nβh/κ,    gradient = -Σ ((nβ·g)²/κ)·(1 - nβh/(2κ)),

    and the prediction is their sum, defined where all κ > 0. The gradient's part is never positive (1 - nβh/(2κ) is
    (κ + γ)/(2κ)), and explains most negative estimates: where it is large w* is no minimum.

    The Hessian is that of ``samples`` examples, the gradient that of all (the noise of fewer would be squared). The
    curvature's part by Lanczos quadrature from random probes, the gradient's by the same from g itself, for which the
    quadrature gives gᵀf(H)g; or both from the whole matrix. By Lanczos the error is that of probes and steps and leaves
    out the choice of examples; of the whole matrix it is that of the choice alone, by a jackknife over ten groups.
    Neither holds that few examples bias the curvature's part low: ½·x/(x + γ) is concave, so that a Hessian whose
    eigenvalues scatter more predicts less. Twice the samples show how much that is.

    Args:
        model: as in :func:`ontogeny.estimate_llc`, as are data, loss_fn, components, n_beta and localization.
        data: one data set or {name: data set}.
        loss_fn: one loss per example, or position.
        components: one selection of weights, a list, or {name: selection}.
        n_beta: nβ, 1/loss, of the estimate that it is to stand beside.
        localization: γ, 1/weight².
        samples: examples drawn for the Hessian, at most all.
        probes: random starts.
        steps: Lanczos steps from each.
        exact: True: from the whole matrix; None: where that takes no more products.
        batch_size: examples at once; by rule that of ``estimate_llc``.
        seed: of examples and probes.
        device: where to compute; None: where the model is.

    Returns:
        ``second_order_llc``, ``second_order_llc_curvature``, ``second_order_llc_gradient``, each with ``_se``, all
        dimensionless; ``second_order_llc_status``: "ok", "no_posterior" (some κ is not positive: then NaN),
        "unresolved" (error unknown or above a tenth of the parts' sizes, or too few steps to tell whether all κ are
        positive), "not_finite". Dims ``component``, ``dataset``.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    arguments = Arguments(model, data, loss_fn, components, samples, batch_size, seed, device)
    check_positive(n_beta=n_beta, localization=localization)
    check_counts(probes=probes, steps=steps)

    def one(sampled: Sampled) -> Numbers:
        return predicted(
            spectra(sampled, sampled.hessian(), probes, steps, sampled.gradient(), exact), n_beta, localization
        )

    return arguments.measure(one, probes=probes, steps=steps, n_beta=n_beta, localization=localization, exact=exact)


def predicted(found: Spectra, n_beta: float, localization: float) -> Numbers:
    """The prediction and its parts from spectral measures of random probes and of the gradient."""
    names = ("second_order_llc", "second_order_llc_curvature", "second_order_llc_gradient")
    nothing = {name: math.nan for plain in names for name in (plain, f"{plain}_se")}
    if not found.finite:
        return nothing | {"second_order_llc_status": "not_finite"}
    if n_beta * found.lowest + localization <= 0:  # a Ritz value: no eigenvalue's least is above it
        return nothing | {"second_order_llc_status": "no_posterior"}

    def bend(h: Floats) -> Floats:
        return curvature_part(h, n_beta, localization)

    def slope(h: Floats) -> Floats:
        return -pull(h, n_beta, localization)

    (curvature, curvature_se), (gradient, gradient_se) = found.total(bend), found.along(slope)
    error = math.hypot(curvature_se, gradient_se)
    if found.exact:  # both hang on the same examples
        error = float(found.jackknife(lambda one: one.sum_of(bend) + one.quadratic_form(slope)))
    # an end that has not converged may be beyond, and so may a whole matrix of other examples
    lowest = min(found.ends[0], *(one.lowest for one in found.without), math.inf)
    unresolved = not error <= UNRESOLVED * (abs(curvature) + abs(gradient)) or n_beta * lowest <= -localization
    return {
        "second_order_llc": curvature + gradient,
        "second_order_llc_se": error,
        "second_order_llc_curvature": curvature,
        "second_order_llc_curvature_se": curvature_se,
        "second_order_llc_gradient": gradient,
        "second_order_llc_gradient_se": gradient_se,
        "second_order_llc_status": "unresolved" if unresolved else "ok",
    }
