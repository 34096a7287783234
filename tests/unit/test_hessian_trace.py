"""The trace of the Hessian by component, against Hessians that are known."""

import pytest
import torch
from torch import nn

import ontogeny as og
from ontogeny.metrics.hessian_trace import hessian_traces


class TwoParts(nn.Module):
    """Two vectors of weights, each read against its half of the example."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.full((3,), 2.0))

    def forward(self, x):
        return torch.cat([self.a, self.b]) * x


def half_squares(model, batch):
    return 0.5 * model(batch).square().sum(1)


def half_square_of_the_sum(model, batch):
    return 0.5 * model(batch).sum(1).square()


COMPONENTS = {"a": "a", "b": "b", "half of b": {"b": torch.tensor([1.0, 0.0, 1.0])}, "all": "*"}


def test_a_diagonal_hessian_has_its_trace_without_an_error():
    """H = diag(mean of x_i²), so that any probe is exact; batches of unequal sizes weigh by their examples."""
    x = torch.arange(35.0).reshape(7, 5) / 10
    found = hessian_traces(TwoParts(), x, half_squares, COMPONENTS, probes=2, batch_size=3)
    diagonal = x.square().mean(0)
    exact = [diagonal[:2].sum(), diagonal[2:].sum(), diagonal[[2, 4]].sum(), diagonal.sum()]
    assert found["hessian_trace"].values.tolist() == pytest.approx([float(value) for value in exact], rel=1e-5)
    assert float(found["hessian_trace_se"].max()) < 1e-5


def test_what_other_components_add_is_in_the_error():
    """H = mean of x xᵀ: the probes of other weights add noise of mean 0."""
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    found = hessian_traces(TwoParts(), x, half_square_of_the_sum, COMPONENTS, probes=400, batch_size=20)
    diagonal = x.square().mean(0)
    for name, exact in (("a", diagonal[:2].sum()), ("b", diagonal[2:].sum()), ("all", diagonal.sum())):
        one = found.sel(component=name)
        assert abs(float(one["hessian_trace"]) - float(exact)) < 4 * float(one["hessian_trace_se"])


def test_one_probe_has_no_error():
    with pytest.raises(og.OntogenyError, match="probes must be a whole number of at least 2; got 1"):
        hessian_traces(TwoParts(), torch.ones(2, 5), half_squares, COMPONENTS, probes=1)
