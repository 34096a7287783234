"""What must not change a draw: units of the loss, order of examples, names, which centres step together, pieces."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.inputs.superposition import SuperpositionLoss, importances, sparse_features
from ontogeny.sampling.chains import advance, start
from ontogeny.sampling.kernels import KERNELS
from ontogeny.sampling.posterior import LocalPosterior
from ontogeny.sampling.problem import build
from tiny import EXAMPLES, SHORT, Regression, data, same_numbers, squares

few = settings(max_examples=8, deadline=None, derandomize=True)
DOUBLE = torch.float64
RUN = {**SHORT, "draws": 12}
LOSS = SuperpositionLoss(importances(4, 0.8))
X = sparse_features((30, 4), 0.5, generator(0, "x")).double()


def sample(model=None, rows=None, loss_fn=squares, **changed):
    rows = data(DOUBLE) if rows is None else rows
    return og.sample(model or Regression(DOUBLE), rows, loss_fn, **{**RUN, **changed})


@few
@given(factor=st.floats(1e-3, 1e3), batch_size=st.sampled_from([8, EXAMPLES]))
def test_a_loss_in_other_units(factor, batch_size):
    plain = sample(batch_size=batch_size)
    scaled = sample(loss_fn=lambda m, b: factor * squares(m, b), n_beta=RUN["n_beta"] / factor, batch_size=batch_size)
    for name in ("distance_squared", "virial"):
        np.testing.assert_allclose(scaled[name], plain[name], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(scaled["loss"] / factor, plain["loss"], rtol=1e-9)
    first, second = og.llc_from_draws(plain), og.llc_from_draws(scaled)
    for name in ("llc", "llc_se", "localisation_ratio", "check_virial"):
        np.testing.assert_allclose(second[name], first[name], rtol=1e-6, err_msg=name)
    assert first.status.item() == second.status.item()


@few
@given(order=st.permutations(range(EXAMPLES)))
def test_the_order_of_examples_of_a_full_batch(order):
    x, y = data(DOUBLE)
    same_numbers(sample(rows=(x[order], y[order])), sample(), rtol=1e-9)


@few
@given(pattern=st.lists(st.booleans(), min_size=16, max_size=16).filter(any))
def test_a_zero_mask_means_no_move_there(pattern):
    """Weights with mask 0 are at w* in every position that the loss is evaluated at; the others are not."""
    mask = torch.tensor(pattern)
    masks = {
        "inner.weight": mask[:9].reshape(3, 3),
        "inner.bias": mask[9:12],
        "outer.weight": mask[12:15].reshape(1, 3),
        "outer.bias": mask[15:],
    }
    seen = []

    def watched(model, batch):
        seen.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return squares(model, batch)

    model = Regression(DOUBLE)
    problem = build(model, data(DOUBLE), watched, masks, None, None)
    assert problem.dim == sum(pattern)
    problem.loss({name: value + 1.0 for name, value in problem.center.items()}, problem.examples.take(None))
    for name, value in model.named_parameters():
        assert torch.equal(seen[-1][name], value + masks[name].to(value))


def test_an_empty_mask_is_as_good_as_none():
    whole = {"outer.weight": torch.ones(1, 3), "outer.bias": torch.zeros(1)}
    masked = sample(components={"name": whole})
    assert masked["dim"].values.tolist() == [3]
    nothing_else = {**whole, "inner.weight": torch.zeros(3, 3), "inner.bias": torch.zeros(3)}
    same_numbers(sample(components={"name": nothing_else}), masked, rtol=0)


def test_a_slice_moves_as_if_it_were_a_parameter():
    """One head's rows of a matrix, and the same rows as a parameter of their own: the same draws."""

    class Split(nn.Module):
        def __init__(self, whole):
            super().__init__()
            self.rows, self.rest = nn.Parameter(whole[1:3].detach().clone()), whole[[0]].detach()

        def forward(self, x):
            return x @ torch.cat([self.rest, self.rows]).T

    class Matrix(nn.Module):
        def __init__(self, whole):
            super().__init__()
            self.rows = nn.Parameter(whole)

        def forward(self, x):
            return x @ self.rows.T

    whole = torch.randn(3, 4, generator=generator(0, "matrix"), dtype=DOUBLE)
    x = torch.randn(20, 4, generator=generator(0, "inputs"), dtype=DOUBLE)
    loss = lambda model, batch: (model(batch) - 1.0).square().sum(1)  # noqa: E731
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[1:3] = True
    settings = {"n_beta": 10.0, "localization": 1.0, "draws": 20, "burn_in": 5, "chains": 2, "progress": False}
    one = og.sample(Matrix(whole), x, loss, {"rows": mask}, **settings)
    two = og.sample(Split(whole), x, loss, None, **settings)
    same_numbers(one, two, rtol=1e-9)


def renamed(names):
    """The layers of the regression under other names, in the same order."""
    plain = Regression(DOUBLE)
    first, second = names
    model = nn.Sequential(OrderedDict([(first, plain.inner), ("squash", nn.Tanh()), (second, plain.outer)]))
    return model


name = st.text("abcdefghij_", min_size=1, max_size=8)


@few
@given(names=st.tuples(name, name).filter(lambda pair: len({*pair, "squash"}) == 3))
def test_the_names_of_parameters(names):
    assert [n.rpartition(".")[2] for n, _ in renamed(names).named_parameters()] == ["weight", "bias"] * 2
    same_numbers(sample(renamed(names)), sample(), rtol=1e-12)


def weights(centers):
    """Weights of the toy model around which chains run, stacked along a leading axis."""
    return {
        name: torch.stack([torch.randn(*shape, generator=generator(0, name, c), dtype=DOUBLE) for c in centers])
        for name, shape in {"weight": (2, 4), "bias": (4,)}.items()
    }


def begin(centers, mode="stacked", chains=3, kernel="sgld", compile=False):
    scale = torch.tensor([1.0 + c for c in centers], dtype=DOUBLE)
    return start(
        LocalPosterior(LOSS, weights(centers), 30.0 * scale, 2.0 * scale),
        KERNELS[kernel],
        step_size=1e-3 / scale,
        chains=chains,
        labels=[("center", c) for c in centers],
        seed=7,
        mode=mode,
        compile=compile,
    )


@pytest.mark.parametrize("mode", ["stacked", "vmap", "serial"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_centres_together_or_apart(mode, kernel):
    together = begin([0, 1, 2], mode, kernel=kernel)
    noise = together.noise.at(0)[0].clone()
    record = advance(together, lambda step: (X,), 300)  # beyond a block of noise
    later = together.noise.at(299)[0].clone()
    for center in range(3):
        apart = begin([center], mode, kernel=kernel)
        mine = slice(3 * center, 3 * center + 3)
        for step, drawn in ((0, noise), (299, later)):
            part = drawn[..., mine] if apart.evaluation.axis == -1 else drawn[mine]
            assert torch.equal(apart.noise.at(step)[0], part)
        alone = advance(apart, lambda step: (X,), 300)
        for whole, single in zip(record, alone, strict=True):
            torch.testing.assert_close(whole[:, mine], single, rtol=1e-8, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_three_evaluations_take_the_same_chains(kernel):
    runs = {mode: begin([0, 1], mode, kernel=kernel) for mode in ("stacked", "vmap", "serial")}
    records = {mode: advance(run, lambda step: (X,), 20) for mode, run in runs.items()}
    for mode in ("vmap", "serial"):
        for one, other in zip(records[mode], records["stacked"], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11, equal_nan=True)


@few
@given(pieces=st.lists(st.integers(1, 150), min_size=1, max_size=4))
def test_a_split_run_is_the_whole_run(pieces):
    whole, split = begin([0, 1]), begin([0, 1])
    record = advance(whole, lambda step: (X[step % 20 :],), sum(pieces))
    parts = [advance(split, lambda step: (X[step % 20 :],), count) for count in pieces]
    for one, others in zip(record, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(one, torch.cat(others), rtol=0, atol=0, equal_nan=True)
    assert all(torch.equal(whole.params[k], split.params[k]) for k in whole.params)


@few
@given(chains=st.integers(1, 6))
def test_a_chain_does_not_depend_on_how_many_there_are(chains):
    few_chains, many = (advance(begin([0], chains=count), lambda step: (X,), 10) for count in (chains, 7))
    torch.testing.assert_close(many.loss[:, :chains], few_chains.loss, rtol=1e-9, atol=1e-12)
