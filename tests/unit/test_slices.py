"""Sampled parts of a tensor: taken and put back, in the simplest form that holds exactly them."""

import pytest
import torch
from torch.func import grad, vmap

from ontogeny.inputs.slices import Block, Grid, Scattered, Whole, slice_of


def mask_of(rows, columns):
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[torch.tensor(list(rows))[:, None], torch.tensor(list(columns))] = True
    return mask


SCATTERED = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) > 0.5
CASES = [
    (mask_of(range(6), range(8)), Whole),
    (mask_of([1, 2], range(8)), Block),
    (mask_of(range(6), [3, 4]), Block),
    (mask_of([1, 2], [3, 4]), Block),
    (mask_of([5], [7]), Block),
    (mask_of([0, 3], [1, 2, 5]), Grid),
    (mask_of(range(6), [0, 1, 4, 5]), Grid),
    (SCATTERED, Scattered),
]


@pytest.mark.parametrize(("mask", "form"), CASES)
def test_taken_and_put_back(mask, form):
    tensor = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    before, part = tensor.clone(), slice_of(mask)
    assert isinstance(part, form)
    taken = part.take(tensor)
    assert torch.equal(taken.reshape(-1), tensor[mask])
    news = torch.randn(3, *taken.shape, generator=torch.Generator().manual_seed(2))
    for chain, found in enumerate(vmap(lambda new: part.put(tensor, new))(news)):
        expected = tensor.clone()
        expected[mask] = news[chain].reshape(-1)
        assert torch.equal(found, expected)
    assert torch.equal(tensor, before)
    slope = vmap(grad(lambda new: (part.put(tensor, new) ** 3).sum()))(news)
    torch.testing.assert_close(slope, 3 * news**2)


def test_three_axes_and_one():
    heads = torch.zeros(8, 16, 4, dtype=torch.bool)
    heads[3] = True
    assert slice_of(heads) == Block(((3, 4), (0, 16), (0, 4)))
    assert slice_of(torch.tensor([False, True, True])) == Block(((1, 3),))
    assert isinstance(slice_of(torch.tensor([True, False, True])), Grid)
    assert isinstance(slice_of(None), Whole)
