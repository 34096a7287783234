"""Learning coefficients of linear networks, and the Monte Carlo references where no exact value is known."""

import math
from itertools import pairwise

import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.validation.block_gibbs import block_gibbs
from ontogeny.validation.linear_networks import (
    canonical_layers,
    deep_linear_learning_coefficient,
    two_layer_learning_coefficient,
)
from ontogeny.validation.problem import with_data
from ontogeny.validation.problems import problem
from ontogeny.validation.reference_hmc import reference_hmc
from ontogeny.validation.references import reference_problem, reference_problems
from ontogeny.validation.superposition_polygons import polygon, polygon_loss

SIGMAS = 4.0
PUBLISHED = {  # at γ = 1, by an independent Gibbs sampler
    ("linear 3-3-3, rank 1", 1e2): (3.786, 0.006),
    ("linear 3-3-3, rank 1", 1e3): (3.919, 0.006),
    ("linear 3-3-3, rank 1", 1e4): (3.969, 0.006),
    ("linear 5-5-5-5, rank 2", 1e2): (10.259, 0.008),
    ("linear 5-5-5-5, rank 2", 1e3): (10.615, 0.008),
    ("linear 5-5-5-5, rank 2", 1e4): (10.789, 0.008),
    ("linear 10-8-6-8-10, rank 3", 1e2): (30.730, 0.014),
    ("linear 10-8-6-8-10, rank 3", 1e3): (31.326, 0.015),
    ("linear 10-8-6-8-10, rank 3", 1e4): (31.608, 0.015),
}
REFERENCES = [one.name for one in reference_problems()]


@pytest.mark.parametrize(
    ("widths", "rank", "expected"),
    [
        ((2, 2, 2), 0, (3 / 2, 1)),
        ((5, 3, 5), 0, (13 / 2, 2)),
        ((4, 1, 4), 0, (2, 2)),
        ((3, 3, 3), 1, (4, 1)),
        ((5, 5, 5, 5), 2, (11, 1)),
        ((7, 4), 0, (14, 1)),  # one layer is regular: d/2
        ((6, 6, 6), 6, (18, 1)),  # full rank: the product's own d/2
        ((1, 1, 1, 1), 0, (1 / 2, 3)),  # w₁²w₂²w₃²
        ((1, 1, 1), 1, (1 / 2, 1)),  # the chain
        ((3, 0, 3), 0, (0, 1)),
    ],
)
def test_aoyagi(widths, rank, expected):
    assert deep_linear_learning_coefficient(widths, rank) == expected
    if len(widths) > 2:
        assert deep_linear_learning_coefficient(widths[::-1], rank) == expected
    if len(widths) == 3:
        assert two_layer_learning_coefficient(widths, rank, rank, rank) == expected


def test_aoyagi_at_ten_eight_six_eight_ten():
    assert deep_linear_learning_coefficient((10, 8, 6, 8, 10), 3)[0] == 32


@pytest.mark.parametrize(
    ("widths", "ranks", "expected"),
    [
        ((1, 1, 1), (1, 0, 0), 1 / 2),  # w₁²w₂² on an arm
        ((2, 2, 2), (2, 0, 0), 2),  # B·A with A invertible: B regular
        ((2, 2, 2), (2, 1, 1), 2),  # the same with B of rank 1
        ((3, 2, 4), (2, 2, 2), (2 * 7 - 4) / 2),  # both of full rank: half the dimension of rank-2 matrices
    ],
)
def test_elsewhere_on_the_fibre(widths, ranks, expected):
    assert two_layer_learning_coefficient(widths, *ranks)[0] == expected


@pytest.mark.parametrize("ranks", [(1, 1, 0), (2, 1, 0), (2, 1, 1), (0, 2, 0)])
def test_on_the_fibre_it_exceeds_half_the_rank_of_the_product_s_derivative(ranks, widths=(3, 3, 4)):
    a, b, r = ranks
    first, second = torch.zeros(3, 3), torch.zeros(4, 3)
    first[range(a), range(a)] = 1
    offset = a - r  # the second layer reads r of the directions that the first one writes
    second[range(b), range(offset, offset + b)] = 1
    assert torch.linalg.matrix_rank(second @ first) == r
    _, derivative = torch.func.vjp(lambda A, B: (B @ A).flatten(), first, second)
    rows = [torch.cat([g.flatten() for g in derivative(e)]) for e in torch.eye(12)]
    coefficient, _ = two_layer_learning_coefficient(widths, *ranks)
    assert coefficient >= torch.linalg.matrix_rank(torch.stack(rows)) / 2
    assert coefficient >= deep_linear_learning_coefficient(widths, r)[0]


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("reduced rank 5-3-5", (1000, 1)),
        ("reduced rank 10-6-8", (1000, 100)),
        ("reduced rank 100-20-100", (1000, 1)),
        ("deep linear 5-3-1-4", (1000, 1)),
        ("rank-one truth 5-1-5", (100, 1)),
    ],
)
def test_block_gibbs_finds_the_exact_values(name, setting):
    widths = tuple(int(n) for n in name.split()[-1].split("-"))
    layers = canonical_layers(widths, int("rank-one" in name))
    few = {"chains": 8, "sweeps": 60, "burn_in": 150} if widths[0] == 100 else {"sweeps": 300, "burn_in": 100}
    run = block_gibbs(layers, *setting, **few)
    assert abs(run.llc - problem(name).exact(*setting)) < SIGMAS * run.se
    assert run.se < 0.005 * run.llc and run.r_hat < 1.2


@pytest.mark.parametrize(
    ("name", "setting"), [("node", (1000, 1)), ("banana", (1000, 1)), ("three lines", (100, 1)), ("logistic", (100, 1))]
)
def test_hmc_finds_the_exact_values(name, setting):
    one = problem(name)
    found = reference_hmc(one.potential.function, one.potential.w_star, *setting, chains=512, draws=80, burn_in=80)
    assert abs(found.run.llc - one.exact(*setting)) < SIGMAS * found.run.se
    assert 0.8 < found.acceptance < 0.97 and found.run.se < 0.02 * found.run.llc and found.run.r_hat < 1.05


@pytest.mark.parametrize(("name", "n_beta"), PUBLISHED)
def test_stored_references_agree_with_published_ones(name, n_beta):
    (ours, se), (theirs, their_se) = reference_problem(name).reference(n_beta, 1.0), PUBLISHED[name, n_beta]
    assert abs(ours - theirs) < SIGMAS * math.hypot(se, their_se)


@pytest.mark.parametrize("name", REFERENCES)
def test_stored_references_are_precise(name):
    values = reference_problem(name).values
    assert len(values) >= 3
    assert all(0 < se < 0.003 * llc for llc, se in values.values())


@pytest.mark.parametrize("name", ["linear 3-3-3, rank 1", "linear 5-5-5-5, rank 2"])
def test_a_short_run_reproduces_the_stored_reference(name):
    one = reference_problem(name)
    widths, rank = [int(n) for n in name.split()[1].strip(",").split("-")], int(name[-1])
    run = block_gibbs(canonical_layers(widths, rank), 1000, 1, sweeps=200, burn_in=100, seed=5)
    stored, se = one.reference(1000, 1)
    assert abs(run.llc - stored) < SIGMAS * math.hypot(run.se, se)


@pytest.mark.parametrize("name", ["pentagon, dead feature", "pentagon, biased feature", "hexagon"])
def test_a_short_hmc_run_reproduces_the_stored_reference(name):
    one = reference_problem(name)
    w_star = one.potential.w_star
    run = reference_hmc(one.potential.function, w_star, 1000, 100, chains=64, draws=50, burn_in=60, seed=5).run
    stored, se = one.reference(1000, 100)
    assert abs(run.llc - stored) < SIGMAS * math.hypot(run.se, se)


@pytest.mark.parametrize(
    ("corners", "spare_bias", "flat"), [(5, -1.0, 4), (5, 1 / 12, 1), (6, None, 1)], ids=["dead", "biased", "hexagon"]
)
def test_polygons_are_minima_with_as_many_flat_directions_as_their_coefficient_says(corners, spare_bias, flat):
    loss, w_star = polygon_loss(), polygon(corners, spare_bias)
    assert torch.func.grad(loss)(w_star).norm() < 1e-7
    eigenvalues = torch.linalg.eigvalsh(torch.func.hessian(loss)(w_star))
    assert (eigenvalues[:flat].abs() < 1e-7).all() and (eigenvalues[flat:] > 1e-2).all()
    coefficients = {one.name: one.learning_coefficient for one in reference_problems() if one.dim == 18}
    assert (18 - flat) / 2 in coefficients.values()
    assert polygon_loss(1000)(w_star) == pytest.approx(float(loss(w_star)), abs=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", REFERENCES)
def test_the_mean_over_the_data_is_the_potential(name):
    one = reference_problem(name)
    model, data, loss_fn = with_data(one, 384, seed=1, label_noise=0.3)
    at_center = torch.nn.utils.parameters_to_vector(model.parameters())
    move = 0.3 * torch.randn(one.dim, generator=generator(0, name), dtype=torch.float64)
    base = float(loss_fn(model, data).mean())
    torch.nn.utils.vector_to_parameters(at_center + move, model.parameters())
    function = one.potential.function
    expected = float(function(at_center + move) - function(at_center))
    assert float(loss_fn(model, data).mean()) - base == pytest.approx(expected, rel=1e-6)
    assert len(at_center) == one.dim == one.potential.w_star.numel()


def test_canonical_layers_have_the_shapes_of_their_widths():
    layers = canonical_layers((4, 2, 3), 1)
    assert [tuple(layer.shape) for layer in layers] == [(after, before) for before, after in pairwise((4, 2, 3))]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep_linear_learning_coefficient((3, 2), 3), "rank must lie between 0 and the smallest of at least"),
        (lambda: two_layer_learning_coefficient((2, 1, 2), 1, 1, 0), "do not occur with widths"),
        (lambda: reference_problem("octagon"), "name must be one of 'linear 3-3-3, rank 1'"),
        (lambda: reference_problem("hexagon").reference(7, 1), r"got \(7, 1\)\. Use recompute for another\."),
    ],
)
def test_errors_say_what_came_and_the_way_out(call, message):
    with pytest.raises(OntogenyError, match=message):
        call()
