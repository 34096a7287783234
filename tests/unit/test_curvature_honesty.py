"""What a measure of curvature says when it cannot know: no number from too little, no certainty that is not there."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

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


def test_complete_spaces_leave_no_node_to_the_threshold_of_a_rise_in_loss():
    """w* has a part along three eigenvectors only; what Lanczos pads with is no fourth."""
    h = torch.tensor([-2.0, 1.0, 50.0] + [7.0] * 60, dtype=torch.float64)
    at = torch.cat([torch.ones(3, dtype=torch.float64), torch.zeros(60, dtype=torch.float64)])
    well = Potential(lambda w: 0.5 * (h * w.square()).sum(), at)
    found = og.metrics.hessian_rank(well, method="loss", loss_increase=2.0, exact=False, degree=400)
    # dropping the part along -2 costs 1, that along 1 gains ½, that along 50 would gain 25
    assert found["rank_threshold"].item() == pytest.approx(25.5, rel=1e-6)
    assert found["loss_increase"].item() == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("threshold", [0.0, -0.1])
def test_zeros_missed_in_part_are_said(threshold):
    flat = [1.0] * 2 + [0.0] * 500
    given = {"method": "given", "span": (-10.0, 60.0), "exact": False, "degree": 100}
    found = og.metrics.hessian_rank(well(*flat), threshold=threshold, **given)
    assert found["hessian_rank_status"].item() == "unresolved"
    fine = og.metrics.hessian_rank(well(*flat), threshold=-9.0, **given)
    assert fine["hessian_rank_status"].item() == "ok" and fine["hessian_rank"].item() == pytest.approx(502, abs=1)


def test_a_density_whose_bells_fall_between_the_points_is_refused():
    with pytest.raises(
        og.OntogenyError, match=r"^points must be at least \d+ for normals of width 0\.0001 between .*; got 200\."
    ):
        og.metrics.spectral_density(MODEL, DATA, tiny.squares, width=1e-4)
    found = og.metrics.spectral_density(MODEL, DATA, tiny.squares, width=1e-2, points=4000)
    share = np.trapezoid(found["density"].values.ravel(), found["eigenvalue"].values.ravel())
    assert share == pytest.approx(1.0, abs=1e-3)


def test_matrices_that_are_not_finite_have_no_rank():
    broken = np.stack([np.eye(2), np.full((2, 2), np.nan)])
    found = og.metrics.curvature_of_dense(broken, np.zeros((2, 2)), n_beta=10.0, localization=1.0)
    assert found["hessian_rank"][0] == 2 and all(np.isnan(values[1]) for values in found.values())
    with pytest.raises(og.OntogenyError, match=r"^hessians must be of shape .*got \(2, 2\) and \(2,\)"):
        og.metrics.curvature_of_dense(np.eye(2), np.zeros(2), n_beta=10.0, localization=1.0)
    with pytest.raises(og.OntogenyError, match=r"^n_beta must be a finite number above 0; got -1\.0"):
        og.metrics.curvature_of_dense(broken, np.zeros((2, 2)), n_beta=-1.0, localization=1.0)


def test_a_checkpoint_without_ends_gets_no_threshold_from_its_neighbours():
    ends = xr.Dataset(
        {"hessian_min": ("checkpoint", [-1.0, np.nan, -1.0]), "hessian_max": ("checkpoint", [10.0, np.nan, 12.0])},
        coords={"step": ("checkpoint", [0, 1, 2])},
    )
    for given in ({"method": "smoothed", "window": 3}, {"method": "stage", "stages": [0]}, {"method": "adaptive"}):
        found = og.metrics.rank_ranges(ends, **given)
        for name in ("range_low", "range_high", "rank_threshold"):
            assert np.isnan(found[name].values[1]) and np.isfinite(found[name].values[[0, 2]]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: og.metrics.hessian_trace(MODEL, DATA, tiny.squares, []), r"^components must name at least one"),
        (
            lambda: og.metrics.fisher_trace(MODEL, DATA, tiny.squares, device="nowhere"),
            r"^device must be one that this machine and this torch have, as 'cpu'; got 'nowhere'\. Leave it out",
        ),
        (
            lambda: og.metrics.fisher_trace(well(1.0), None, None, contexts="model"),
            r"^model must be a torch\.nn\.Module with a law of its outputs",
        ),
    ],
)
def test_what_is_refused_in_one_sentence(call, message):
    with pytest.raises(og.OntogenyError, match=message):
        call()


def test_extreme_eigenvalues_take_any_seed():
    h = np.linspace(-1.0, 3.0, 50)
    for seed in (-1, 0):
        found = og.metrics.extreme_eigenvalues(well(*h), seed=seed)
        assert found["hessian_min"].item() == pytest.approx(-1.0, abs=0.01)
        assert found["hessian_max"].item() == pytest.approx(3.0, abs=0.01)


def test_a_threshold_near_the_lower_end_of_the_spectrum_is_resolved():
    """Most eigenvalues near zero and one far above: the polynomial is sharp at the end of its range, and there is τ."""
    h = [42.0] + [0.5] * 60 + [0.001] * 800
    found = og.metrics.hessian_rank(well(*h), n_beta=40.0, localization=4.0, exact=False)
    assert found["rank_resolution"].item() < 0.1 and found["hessian_rank_status"].item() == "ok"
    assert found["hessian_rank"].item() == pytest.approx(61, abs=2)


@pytest.mark.parametrize(
    "word", ["no_posterior", "unresolved", "out_of_range", "no_error", "low_weights", "not_finite"]
)
def test_every_status_of_curvature_is_described(word):
    assert og.describe_status(word).endswith(".")
