"""The trace of a matrix known by its products, with an error that counts probes and data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ontogeny.operators.linear_operator import Operator


class Estimate(NamedTuple):
    """A number, and the variance that chance in the probes gives it; NaN where one probe tells none."""

    value: float
    variance: float


TraceMethod = Callable[[Operator, int, torch.Generator], Estimate]


def hutchinson(operator: Operator, probes: int, stream: torch.Generator) -> Estimate:
    """tr A as the mean of vᵀAv over Rademacher v; variance of one term 2·Σ_{i≠j} A_ij². Source: Hutchinson 1989.

    Where there are no more weights than probes the unit vectors take their place, and the trace is exact.

    >>> A = Operator(lambda v: v * torch.tensor([3.0, 1.0]), {"w": torch.zeros(2)})
    >>> hutchinson(A, 1, torch.Generator())[0]  # diagonal, so any probe is exact
    4.0
    """
    if probes >= operator.dim:
        units = torch.eye(operator.dim, dtype=operator.dtype, device=operator.device)
        return Estimate(float(operator(units).diagonal().double().sum()), 0.0)
    vectors = _probes(operator, probes, stream)
    return mean_of(torch.linalg.vecdot(vectors, operator(vectors)))


def hutch_plus_plus(operator: Operator, probes: int, stream: torch.Generator) -> Estimate:
    """tr A = tr QᵀAQ, exactly, + Hutchinson on what is orthogonal to Q; Q spans A·S, S Rademacher, a third each.

    Better where a few eigenvalues make up the trace. A third is at least one, so that fewer than three probes take
    three products, and fewer than four tell no variance. Source: Meyer, Musco, Musco and Woodruff, arXiv:2010.09649.
    """
    if probes >= operator.dim:
        return hutchinson(operator, probes, stream)
    third = max(probes // 3, 1)
    sketch = operator(_probes(operator, third, stream))
    basis = torch.linalg.qr(sketch.T).Q.T
    exact = float(torch.linalg.vecdot(basis, operator(basis)).double().sum())
    vectors = _probes(operator, max(probes - 2 * third, 1), stream)
    vectors = vectors - (vectors @ basis.T) @ basis
    rest = mean_of(torch.linalg.vecdot(vectors, operator(vectors)))
    return Estimate(exact + rest.value, rest.variance)


METHODS: dict[str, TraceMethod] = {"hutchinson": hutchinson, "hutch++": hutch_plus_plus}


def rademacher(count: int, dim: int, stream: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rows of ±1, each with probability ½, shape ``(count, dim)``; eight from a random byte."""
    random = torch.randint(0, 256, (-(-count * dim // 8), 1), generator=stream, dtype=torch.uint8)
    bits = random.bitwise_and(torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)) != 0
    return bits.flatten()[: count * dim].reshape(count, dim).to(dtype).mul_(2).sub_(1)


def _probes(operator: Operator, count: int, stream: torch.Generator) -> Tensor:
    """In the dtype of the weights: wider ones would cost more than the products of a small batch."""
    return rademacher(count, operator.dim, stream, operator.dtype).to(operator.device)


def mean_of(values: Tensor) -> Estimate:
    """Of independent terms; the variance is that of their mean, NaN of one."""
    values = values.double()
    variance = float(values.var()) / len(values) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), variance)


def over_groups(groups: Sequence[Estimate], sizes: Sequence[int], share: float) -> tuple[float, float]:
    """The mean of estimates from disjoint groups of examples with probes of their own, and its standard error.

    With p the probes' variance of a group and s² the groups' variance, which holds p too, the variance of the mean of
    G groups is (f·p + (1 - f)·s²)/G: f is the ``share`` of all examples that are in the groups, so f = 1 leaves the
    probes alone and f = 0 counts the sample of examples in full. One group says nothing of the choice of examples: then
    the error is NaN, unless all are in it.
    """
    weights = [size / sum(sizes) for size in sizes]
    value = sum(w * group.value for w, group in zip(weights, groups, strict=True))
    spread = sum(w**2 for w in weights)  # 1/G for equal groups
    own = sum(group.variance for group in groups) / len(groups)
    if len(groups) == 1:
        return value, math.sqrt(own) if share == 1 else math.nan
    between = sum((group.value - value) ** 2 for group in groups) / (len(groups) - 1)
    if math.isnan(own):  # one probe a group: the groups' variance is all there is
        return value, math.sqrt(spread * between)
    return value, math.sqrt(spread * (share * own + (1 - share) * between))
