"""λ̂(nβ, γ) of a quadratic, eigenvalue by eigenvalue: the one place where the formula stands.

With h a Hessian eigenvalue, g the gradient along its eigenvector and κ = nβh + γ > 0, λ̂ of the quadratic around w* is
the sum over eigenvectors of ½·nβh/κ - ((nβ·g)²/κ)·(1 - nβh/(2κ)).
"""

from __future__ import annotations

from ontogeny.operators.lanczos import Floats


def curvature_part(h: Floats, n_beta: float, localization: float) -> Floats:
    """½·nβh/κ: what the Gaussian around w* adds to λ̂ along each eigenvector, dimensionless."""
    return 0.5 * n_beta * h / (n_beta * h + localization)


def pull(h: Floats, n_beta: float, localization: float) -> Floats:
    """((nβ)²/κ)·(1 - nβh/(2κ)): what a squared gradient along an eigenvector takes from λ̂, weight²/loss²."""
    kappa = n_beta * h + localization
    return n_beta**2 / kappa * (1 - n_beta * h / (2 * kappa))
