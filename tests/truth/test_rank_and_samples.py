"""The rank where eigenvalues crowd around the threshold, and what the choice of examples does to whole matrices."""

import numpy as np
import pytest
import torch
from torch import nn

import ontogeny as og
import tiny
import tiny_transformer
from ontogeny.core.rng import generator
from ontogeny.operators.eigenvalues import extreme_eigenvalues
from ontogeny.operators.linear_operator import Operator
from ontogeny.operators.vectors import flatten

LOCALIZED = {"n_beta": 50.0, "localization": 100.0}


def rotated(eigenvalues, seed=0):
    """A quadratic with these eigenvalues in a random basis, so that probes differ."""
    h = torch.tensor(eigenvalues, dtype=torch.float64)
    random = torch.randn(len(h), len(h), generator=generator(seed, "rotated"), dtype=torch.float64)
    basis = torch.linalg.qr(random).Q
    return og.Potential(lambda w: 0.5 * (h * (basis @ w).square()).sum(), torch.zeros(len(h), dtype=torch.float64))


CROWDED = {
    "even in log h": np.logspace(-2, 2, 300),
    "a bulk at zero": np.concatenate([np.logspace(-3, 0, 280), np.linspace(2, 60, 20)]),
    "even": np.linspace(-1, 4, 300),
}


@pytest.mark.parametrize("name", CROWDED)
@pytest.mark.parametrize("threshold", [0.3, 1.5])
def test_the_rank_in_a_crowd_is_within_its_error(name, threshold):
    """Both counts are within 4 of their errors over three seeds of probes, and called ok."""
    h = CROWDED[name]
    truth = int((h > threshold).sum())
    for seed in range(3):
        found = og.metrics.hessian_rank(
            rotated(h), n_beta=10.0, localization=10.0 * threshold, exact=False, degree=200, seed=seed
        )
        assert found["hessian_rank_status"].item() == "ok"
        for count in ("hessian_rank", "hessian_rank_lanczos"):
            assert abs(found[count].item() - truth) <= 4 * found[f"{count}_se"].item()


def test_a_threshold_that_hangs_on_the_number_of_steps_is_said():
    """w* has a part along each of 400 eigenvectors; 30 Ritz vectors are not enough to drop them one after the other."""
    h = torch.tensor(np.logspace(-3, 2, 400))
    center = torch.randn(400, generator=generator(0, "center"), dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(400, 400, generator=generator(0, "basis"), dtype=torch.float64)).Q
    valley = og.Potential(lambda w: 0.5 * (h * (basis @ (w - center)).square()).sum(), center)
    parts = 0.5 * h * (basis @ center).square()
    allowed = 1.0
    kept = int((parts.cumsum(0) > allowed).sum())
    exact = og.metrics.hessian_rank(valley, method="loss", loss_increase=allowed, exact=True)
    assert exact["hessian_rank"].item() == kept and exact["hessian_rank_status"].item() == "ok"
    assert exact["loss_increase"].item() == pytest.approx(parts[: 400 - kept].sum().item(), rel=1e-6)
    few = og.metrics.hessian_rank(valley, method="loss", loss_increase=allowed, exact=False, steps=12)
    assert few["hessian_rank_status"].item() == "unresolved" and few["loss_increase"].item() <= allowed


def test_the_choice_of_examples_is_in_the_error_of_a_whole_matrix():
    """Over 40 samples of 300 of 400 examples: the spread of three numbers is their error within a third.

    Without the share of examples that are in it the error would be twice as large.
    """
    model, data = tiny.Regression(torch.float64), tiny.data(torch.float64, examples=400)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(100):  # to where no sample of the data has a saddle that γ does not fill
        optimizer.zero_grad()
        tiny.squares(model, data).mean().backward()
        optimizer.step()
    whole = og.metrics.second_order_llc(model, data, tiny.squares, samples=400, **LOCALIZED)
    names = ("second_order_llc", "second_order_llc_curvature", "second_order_llc_gradient")
    assert all(whole[f"{name}_se"].item() == 0 for name in names), "all examples are in it"
    found = [
        og.metrics.second_order_llc(model, data, tiny.squares, samples=300, seed=seed, **LOCALIZED)
        for seed in range(40)
    ]
    for name in names:
        values = np.array([one[name].item() for one in found])
        errors = np.array([one[f"{name}_se"].item() for one in found])
        # of 40 samples a spread is known to 11 %, and each jackknife of ten groups to 24 %
        assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(ddof=1), rel=0.34)


def test_the_choice_of_examples_is_in_the_error_of_a_count():
    """An eigenvalue that lies as far from τ as samples of 100 move it makes the rank of all examples uncertain."""
    model, data = tiny.Regression(torch.float64), tiny.data(torch.float64, examples=400)
    h = np.linalg.eigvalsh(tiny_transformer.dense(model, data, tiny.squares))
    given = {"n_beta": 1.0, "samples": 100}
    near, far = float(0.995 * h[-2]), float(3 * h[-1])
    counts = [
        og.metrics.hessian_rank(model, data, tiny.squares, localization=near, seed=seed, **given) for seed in range(20)
    ]
    values, errors = (np.array([one[name].item() for one in counts]) for name in ("hessian_rank", "hessian_rank_se"))
    assert len(set(values)) > 1 and (errors > 0.2).all() and (np.abs(values - 2) <= 4 * errors).all()
    assert {one["hessian_rank_status"].item() for one in counts} == {"unresolved"}
    clear = og.metrics.hessian_rank(model, data, tiny.squares, localization=far, **given)
    assert clear["hessian_rank"].item() == 0 and clear["hessian_rank_se"].item() < 0.05
    assert clear["rank_degree"].item() == 0


def test_one_probe_has_the_bound_for_an_error():
    found = og.metrics.hessian_rank(rotated(CROWDED["even"]), method="adaptive", exact=False)
    count = found["hessian_rank_lanczos"].item()
    assert found["hessian_rank_lanczos_se"].item() >= (2 * count) ** 0.5


def test_one_example_of_many_tells_no_error_of_a_whole_matrix():
    model, data = tiny.Regression(), tiny.data()
    rank = og.metrics.hessian_rank(model, data, tiny.squares, samples=1, **LOCALIZED)
    assert np.isnan(rank["hessian_rank_se"].item()) and rank["hessian_rank_status"].item() == "no_error"
    order = og.metrics.second_order_llc(model, data, tiny.squares, samples=1, **LOCALIZED)
    assert order["second_order_llc_status"].item() == "unresolved"
    density = og.metrics.spectral_density(model, data, tiny.squares, samples=1)
    assert density["density_status"].item() == "no_error"
    one_probe = og.metrics.spectral_density(model, data, tiny.squares, samples=40, probes=1, exact=False)
    assert one_probe["density_status"].item() == "no_error" and np.isnan(one_probe["density_se"].values).all()


@pytest.mark.parametrize("loss", [nn.L1Loss(reduction="none"), nn.HuberLoss(reduction="none", delta=0.3)])
def test_absolute_errors_are_no_squared_errors(loss):
    def of_rows(model, batch):
        return loss(model(batch[0]), batch[1]).squeeze(1)

    with pytest.raises(og.OntogenyError, match=r"^loss_fn must be a negative log-likelihood .* are of neither"):
        og.metrics.fisher_trace(tiny.Regression(), tiny.data(), of_rows)


def test_an_end_near_zero_does_not_hold_up_the_other():
    """900 eigenvalues from 1e-7 to 10: both ends within a thousandth of 10, in fewer products than weights."""
    h, rows = np.logspace(-7, 1, 900), []
    random = torch.randn(900, 900, generator=generator(0, "rotated"), dtype=torch.float64)
    basis = torch.linalg.qr(random).Q
    matrix = basis.T @ torch.diag(torch.tensor(h)) @ basis

    def product(vectors):
        rows.append(len(vectors))
        return vectors @ matrix

    start = np.random.default_rng(0).standard_normal(900)
    low, high = extreme_eigenvalues(Operator(product, {"w": torch.zeros(900, dtype=torch.float64)}), start)
    assert low == pytest.approx(0, abs=0.01) and high == pytest.approx(10, abs=0.01)
    assert sum(rows) < 200


def test_ends_of_a_trained_transformer():
    """Whole and by ARPACK they are the same to the tolerance."""
    model, tokens = tiny_transformer.at(160), tiny_transformer.tokens()
    loss = og.NextToken()
    exact, other = (
        og.metrics.extreme_eigenvalues(model, tokens, loss, exact=exact, tolerance=1e-3) for exact in (True, False)
    )
    scale = exact["hessian_max"].item()
    for name in ("hessian_min", "hessian_max"):
        assert other[name].item() == pytest.approx(exact[name].item(), abs=2e-3 * scale)


def test_the_gradient_is_in_the_order_of_the_matrix():
    model, data = tiny.Regression(torch.float64), tiny.data(torch.float64)
    assert len(flatten(dict(model.named_parameters()))) == 16
    one = og.metrics.second_order_llc(model, data, tiny.squares, samples=40, **LOCALIZED)
    matrix = tiny_transformer.dense(model, data, tiny.squares)
    model.zero_grad()
    tiny.squares(model, data).mean().backward()
    slope = flatten({name: value.grad for name, value in model.named_parameters()})
    [truth] = og.metrics.curvature_of_dense(matrix[None], slope[None], **LOCALIZED)["second_order_llc"]
    assert one["second_order_llc"].item() == pytest.approx(truth, rel=1e-8)
