"""Whether w* is a minimum, told by a short descent."""

import math

import pytest
import torch

import ontogeny as og
from ontogeny.inputs.losses import Potential
from ontogeny.sampling.descent import descent

CURVATURE = torch.tensor([1.0, 0.5])


def fall(start, **changes):
    problem = Potential(lambda w: 0.5 * (CURVATURE * w**2).sum(), torch.tensor(start))
    settings = {"n_beta": 10.0, "h_max": 1.0, "all_examples": True} | changes
    return descent(problem, problem.center, [None], **settings)[0]


def test_at_a_minimum_nothing_falls():
    assert fall([0.0, 0.0]) == 0.0


def test_off_a_minimum_the_loss_falls_by_what_it_was_high():
    # the steep direction is gone in one step, the other shrinks by half a step: nβ·L = 10·(½ + ¼)
    assert fall([1.0, 1.0]) == pytest.approx(7.5, rel=1e-4)


def test_what_cannot_be_told_is_nan():
    assert math.isnan(fall([1.0, 1.0], h_max=0.0)) and math.isnan(fall([1.0, 1.0], all_examples=False))


def test_the_description_says_so():
    slope = og.Potential(lambda w: (0.5 * w**2 - w).sum(), torch.zeros(4))
    found = og.estimate_llc(slope, n_beta=100.0, localization=10.0, max_draws=40_000, progress=False)
    assert float(found.descent) == pytest.approx(200.0, rel=1e-3)
    assert "w* is no minimum of this loss on these data" in og.describe_estimate(found)
