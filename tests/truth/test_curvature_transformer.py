"""Trace, rank, density, ends and second order against the dense Hessian, at ten checkpoints of a transformer.

Tolerances are in standard errors that the measures state themselves, fixed beforehand; probes are the same at every
checkpoint, so the ten are not independent trials.
"""

import numpy as np
import pytest
import torch

import ontogeny as og
import tiny_transformer as tiny
from ontogeny.operators.chebyshev import Moments

SIGMAS = 4.5
N_BETA, GAMMA = 30.0, 100.0
GIVEN = {"samples": tiny.ROWS, "batch_size": tiny.ROWS}
LOSS = og.NextToken()


def eigenvalues(step):
    return np.linalg.eigvalsh(tiny.dense_at(step))


def within(found, name, truth, sigmas=SIGMAS):
    value, error = found[name].item(), found[f"{name}_se"].item()
    assert 0 < error < np.inf and abs(value - truth) < sigmas * error, (value, error, truth)


@pytest.mark.parametrize(
    ("method", "probes", "step"),
    [("hutchinson", 3, step) for step in tiny.STEPS] + [("hutch++", 12, step) for step in tiny.STEPS[::3]],
)
def test_the_trace(method, probes, step):
    found = og.metrics.hessian_trace(tiny.at(step), tiny.tokens(), LOSS, method=method, probes=probes, **GIVEN)
    within(found, "hessian_trace", eigenvalues(step).sum())


@pytest.mark.parametrize("step", tiny.STEPS)
def test_the_rank(step):
    """Many eigenvalues near τ: what the polynomial makes of the true ones. τ in a wide gap: their count."""
    h = eigenvalues(step)
    span = (h[0] - 0.1 * np.ptp(h), h[-1] + 0.1 * np.ptp(h))

    def rank(threshold, probes):
        given = {"method": "given", "threshold": threshold, "span": span, "degree": 100, "exact": False}
        return og.metrics.hessian_rank(tiny.at(step), tiny.tokens(), LOSS, probes=probes, **given, **GIVEN)

    crowded = 0.05 * np.abs(h).max()
    polynomial = Moments(span, np.zeros((1, 101)))
    within(rank(crowded, 4), "hessian_rank", sum(polynomial.counted(value, crowded) for value in h))

    widest = np.diff(h[-40:]).argmax() + len(h) - 40
    # of a single eigenvalue a probe tells χ²₁ times it: of thirty the scatter can be believed
    found, count = rank((h[widest] + h[widest + 1]) / 2, 30), len(h) - 1 - widest
    assert found["rank_resolution"].item() < h[widest + 1] - h[widest] and count > 0
    for name, bias in (("hessian_rank", 0.01), ("hessian_rank_lanczos", 1e-6)):  # 480 zeros' share of the slow rise
        assert abs(found[name].item() - count) <= SIGMAS * found[f"{name}_se"].item() + bias


def test_the_rank_of_the_whole_matrix():
    h = eigenvalues(40)
    found = og.metrics.hessian_rank(
        tiny.at(40), tiny.tokens(), LOSS, n_beta=N_BETA, localization=GAMMA, exact=True, **GIVEN
    )
    assert found["hessian_rank"].item() == (N_BETA * h > GAMMA).sum() > 0 and found["hessian_rank_se"].item() == 0


@pytest.mark.parametrize("step", tiny.STEPS[::3])
def test_the_density(step):
    h = eigenvalues(step)
    found = og.metrics.spectral_density(tiny.at(step), tiny.tokens(), LOSS, exact=False, probes=6, steps=50, **GIVEN)
    grid, values, errors = (found[name].values[0, 0] for name in ("eigenvalue", "density", "density_se"))
    width = (grid[-1] - grid[0]) / (40 + 8)
    truth = (np.exp(-0.5 * ((grid[:, None] - h) / width) ** 2) / (width * np.sqrt(2 * np.pi))).mean(1)
    # Lanczos cannot tell neighbours closer than its steps allow: 0.5 % of the highest point beside the errors
    assert (np.abs(values - truth) < SIGMAS * errors + 0.005 * truth.max()).all()
    assert np.trapezoid(values, grid) == pytest.approx(1, abs=1e-3)
    assert found["hessian_max"].item() == pytest.approx(h[-1], rel=1e-3)


@pytest.mark.parametrize("step", tiny.STEPS[::3])
def test_both_ends_of_the_spectrum(step):
    found = og.metrics.extreme_eigenvalues(tiny.at(step), tiny.tokens(), LOSS, **GIVEN)
    h = eigenvalues(step)
    assert found["hessian_max"].item() == pytest.approx(h[-1], rel=1e-3)
    assert found["hessian_min"].item() == pytest.approx(h[0], rel=1e-2)


@pytest.mark.parametrize("step", tiny.STEPS)
def test_second_order(step):
    model = tiny.at(step)
    LOSS(model, tiny.tokens()).mean().backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).numpy()
    h, basis = np.linalg.eigh(tiny.dense_at(step))
    kappa = N_BETA * h + GAMMA
    found = og.metrics.second_order_llc(
        model, tiny.tokens(), LOSS, n_beta=N_BETA, localization=GAMMA, exact=False, probes=5, steps=30, **GIVEN
    )
    if kappa.min() <= 0:
        assert found["second_order_llc_status"].item() == "no_posterior"
        assert np.isnan(found["second_order_llc"].item())
        return
    curvature = (0.5 * N_BETA * h / kappa).sum()
    slope = -((N_BETA * basis.T @ gradient) ** 2 / kappa * (1 - N_BETA * h / (2 * kappa))).sum()
    within(found, "second_order_llc_curvature", curvature)
    assert found["second_order_llc_gradient"].item() == pytest.approx(slope, rel=1e-3)
    within(found, "second_order_llc", curvature + slope)
    whole = og.metrics.curvature_of_dense(tiny.dense_at(step)[None], gradient[None], N_BETA, GAMMA)
    assert whole["second_order_llc_curvature"].item() == pytest.approx(curvature, rel=1e-9)
    assert whole["second_order_llc_gradient"].item() == pytest.approx(slope, rel=1e-9)


def test_some_checkpoints_have_a_posterior_and_some_have_none():
    lowest = [N_BETA * eigenvalues(step)[0] + GAMMA for step in tiny.STEPS]
    assert min(lowest) < 0 < max(lowest)


@pytest.mark.parametrize("head", ["0:0", "1:1"])
def test_a_head_is_a_block_of_the_whole(head):
    """The Hessian of a head's slices is the block of the dense Hessian at their places."""
    from ontogeny.inputs.components import resolve

    model = tiny.at(40)
    masks = resolve(model, head)
    names = [name for name, _ in model.named_parameters()]
    flat = [
        torch.zeros_like(model.get_parameter(name), dtype=torch.bool)
        if name not in masks
        else torch.ones_like(model.get_parameter(name), dtype=torch.bool)
        if masks[name] is None
        else masks[name]
        for name in names
    ]
    chosen = torch.cat([mask.flatten() for mask in flat]).numpy()
    block = tiny.dense(model, tiny.tokens(), LOSS, head)
    expected = tiny.dense_at(40)[np.ix_(chosen, chosen)]
    # a head's slices lie in the order of the parameters, and so do the rows
    np.testing.assert_allclose(block, expected, atol=1e-10 * np.abs(expected).max())
    found = og.metrics.hessian_trace(model, tiny.tokens(), LOSS, head, probes=4, **GIVEN)
    within(found, "hessian_trace", np.trace(expected))


def test_one_loop_and_many_at_once_give_the_same_numbers(monkeypatch):
    model = tiny.at(40)
    together = og.metrics.hessian_trace(model, tiny.tokens(), LOSS, probes=6, **GIVEN)
    monkeypatch.setattr("ontogeny.operators.vectors.WORK", 1.0)
    alone = og.metrics.hessian_trace(model, tiny.tokens(), LOSS, probes=6, **GIVEN)
    assert together["hessian_trace"].item() == pytest.approx(alone["hessian_trace"].item(), rel=1e-10)
    assert together["hessian_trace_se"].item() == pytest.approx(alone["hessian_trace_se"].item(), rel=1e-8)
