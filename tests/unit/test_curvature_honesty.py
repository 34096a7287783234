"""What a measure of curvature says when it cannot know: no number from too little, no certainty that is not there."""

import math

import numpy as np
import pytest
import torch

import ontogeny as og
import tiny
from ontogeny.inputs.losses import Potential
from ontogeny.operators.lanczos import lanczos
from ontogeny.operators.linear_operator import Operator

MODEL, DATA = tiny.Regression(), tiny.data()


def well(*eigenvalues):
    """A loss whose Hessian is diagonal; w* = 0."""
    h = torch.tensor(eigenvalues, dtype=torch.float64)
    return Potential(lambda w: 0.5 * (h * w.square()).sum(), torch.zeros(len(h), dtype=torch.float64))


@pytest.mark.parametrize("measure", [og.metrics.hessian_trace, og.metrics.empirical_fisher_trace])
def test_one_example_of_many_has_no_error(measure):
    name = measure.__name__
    one = measure(MODEL, DATA, tiny.squares, samples=1)
    assert math.isfinite(one[name].item())
    assert math.isnan(one[f"{name}_se"].item()) and one[f"{name}_status"].item() == "no_error"
    some = measure(MODEL, DATA, tiny.squares, samples=20)
    assert some[f"{name}_se"].item() > 0 and some[f"{name}_status"].item() == "ok"


def test_an_end_that_has_not_converged_is_no_proof_of_a_saddle():
    """All eigenvalues are positive, but Lanczos leaves the lower end open far below zero."""
    h = np.logspace(-4, 1, 2000)
    exact = (0.5 * 1000 * h / (1000 * h + 1)).sum()
    for steps, near in ((4, 0.5), (30, 0.15)):
        found = og.metrics.second_order_llc(well(*h), n_beta=1000.0, localization=1.0, steps=steps, exact=False)
        assert found["second_order_llc_status"].item() == "unresolved"
        assert found["second_order_llc"].item() == pytest.approx(exact, rel=near)
    saddle = og.metrics.second_order_llc(well(-1.0, *h), n_beta=1000.0, localization=1.0, steps=30, exact=False)
    assert saddle["second_order_llc_status"].item() == "no_posterior"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_complete_krylov_space_says_nothing_of_zero(sign):
    """Of 5·1 every vector is an eigenvector: one step is all there is, and zero is no eigenvalue."""
    operator = Operator(lambda v: sign * 5.0 * v, {"w": torch.zeros(40, dtype=torch.float64)})
    run = lanczos(operator, torch.ones(2, 40, dtype=torch.float64), 10)
    for steps in (None, 7):
        spectrum = run.spectrum(steps)
        assert spectrum.ends == pytest.approx((sign * 5.0, sign * 5.0))
        assert spectrum.integrate(np.square) == pytest.approx([1000.0, 1000.0])
    found = og.metrics.spectral_density(well(*[sign * 5.0] * 400), exact=False)
    assert found["hessian_min"].item() == pytest.approx(sign * 5.0) == found["hessian_max"].item()
