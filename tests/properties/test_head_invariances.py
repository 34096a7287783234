"""What heads do depends neither on their order nor on the basis that their insides are written in."""

import copy

import numpy as np
import pytest
import torch

from known_transformers import VOCABULARY, built
from ontogeny.core.rng import generator
from ontogeny.interventions import ablation_scores, path_patching_scores
from ontogeny.metrics import attention_scores, composition_scores, most_affected

DATA = torch.randint(VOCABULARY, (6, 9), generator=generator(0, "invariances"))
PARTS = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")


def measured(model):
    """Every number that hangs on heads, by head."""
    scores = attention_scores(model, sequences=4, period=5, repeats=2)
    ablated = ablation_scores(model, DATA)["ablation_score"]
    affected = most_affected(model, DATA, most=5)["increase"]
    paths = [path_patching_scores(model, DATA, [f"0:{h}"], "1:1", through=["q", "k", "v"]) for h in range(4)]
    composed = composition_scores(model)
    return {
        "scores": np.stack([scores[name] for name in scores.data_vars], 1),
        "ablated": ablated.transpose("head", "ablation").values,
        "affected": affected.values,
        "paths": np.stack([path["path_score"] for path in paths]),
        "composed": np.stack([composed[name] for name in composed.data_vars], 2),
    }


def changed(change):
    model = copy.deepcopy(built("attention_only"))
    with torch.no_grad():
        for layer, block in enumerate(model.blocks):
            change(layer, block.attn)
    return measured(model)


@pytest.fixture(scope="module")
def plain():
    return measured(built("attention_only"))


def test_the_basis_inside_a_head_is_no_matter(plain):
    turn = torch.linalg.qr(torch.randn(2, 4, 4, generator=generator(0, "turns")))[0]

    def rotate(layer, attn):
        for name in ("W_Q", "W_K", "b_Q", "b_K"):
            getattr(attn, name).copy_(getattr(attn, name) @ turn[0])
        attn.W_V.copy_(attn.W_V @ turn[1])
        attn.b_V.copy_(attn.b_V @ turn[1])
        attn.W_O.copy_(turn[1].T @ attn.W_O)

    for name, values in changed(rotate).items():
        np.testing.assert_allclose(values, plain[name], rtol=0, atol=2e-5, err_msg=name)


def test_other_orders_of_heads_are_other_orders_of_numbers(plain):
    order = [2, 0, 3, 1]

    def reorder(layer, attn):
        if layer == 0:
            for name in PARTS:
                getattr(attn, name).copy_(getattr(attn, name)[order])

    rows = [*order, 4, 5, 6, 7]
    found = changed(reorder)
    for name in ("scores", "ablated", "affected"):
        np.testing.assert_allclose(found[name], plain[name][rows], rtol=0, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(found["paths"], plain["paths"][order], rtol=0, atol=2e-5)
    np.testing.assert_allclose(found["composed"], plain["composed"][rows][:, rows], rtol=0, atol=2e-5)
