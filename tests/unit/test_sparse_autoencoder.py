"""A sparse autoencoder on planted directions: found again, told how good it is, refused when it is no good."""

import json

import pytest
import torch

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.features import sae_directions
from ontogeny.training.sparse_autoencoder import (
    Quality,
    SparseAutoencoder,
    SparseAutoencoderTraining,
    top,
    train_sparse_autoencoder,
)

PLANTED, WIDTH = 24, 16


def planted(positions=3000):
    """Sparse sums of 24 unit directions in 16 dimensions."""
    stream = generator(0, "planted")
    rows = torch.nn.functional.normalize(torch.randn(PLANTED, WIDTH, generator=stream), dim=1)
    sparse = (torch.rand(positions, PLANTED, generator=stream) < 0.06) * (
        0.4 + 0.6 * torch.rand(positions, PLANTED, generator=stream)
    )
    return rows, sparse @ rows


def test_planted_directions_are_found_and_written_as_sae_lens_does(tmp_path):
    rows, x = planted()
    found, quality = train_sparse_autoencoder(
        x, SparseAutoencoderTraining(PLANTED, 3, steps=500, batch_size=128, learning_rate=3e-3), progress=False
    )
    closest = (rows @ found.W_dec.T).max(1).values
    assert float(closest.median()) > 0.85 and quality.explained_variance > 0.7 and quality.l0 <= 3
    torch.testing.assert_close(found.W_dec.norm(dim=1), torch.ones(PLANTED))
    quality.check()
    found.save(tmp_path / "sae", "blocks.1.hook_resid_post")
    torch.testing.assert_close(sae_directions(tmp_path / "sae", 5), found.W_dec[:5])
    assert json.loads((tmp_path / "sae" / "cfg.json").read_text())["d_sae"] == PLANTED


def test_quality_is_its_formula():
    rows, x = planted(200)
    one = SparseAutoencoder(rows.T, torch.zeros(PLANTED), rows, torch.zeros(WIDTH), 2)
    z = top(x @ rows.T, 2)
    told = one.quality(x)
    left, whole = (x - z @ rows).square().sum(), (x - x.mean(0)).square().sum()
    assert told.explained_variance == pytest.approx(float(1 - left / whole), rel=1e-5)
    assert told.l0 == pytest.approx(float((z > 0).float().sum(1).mean())) and told.positions == 200
    assert told.dead_share == float((~(z > 0).any(0)).float().mean())


def test_top_keeps_the_largest_that_are_positive():
    assert top(torch.tensor([[3.0, -1.0, 2.0, 5.0], [-1.0, -2.0, 0.5, -3.0]]), 2).tolist() == [
        [3.0, 0.0, 0.0, 5.0],
        [0.0, 0.0, 0.5, 0.0],
    ]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: SparseAutoencoderTraining(0), "latents must be a whole number of at least 1; got 0"),
        (lambda: SparseAutoencoderTraining(4, 4), "active must be below latents, 4; got 4"),
        (lambda: SparseAutoencoderTraining(8, 2, learning_rate=3), "learning_rate must be a number between 0 and 1"),
        (
            lambda: train_sparse_autoencoder(torch.zeros(5, 3), SparseAutoencoderTraining(8, 2)),
            r"activations must be a finite matrix of at least 100 rows, \(positions, width\); got \(5, 3\)",
        ),
        (
            lambda: train_sparse_autoencoder(torch.zeros(500, 3), SparseAutoencoderTraining(8, 2)),
            "activations must vary",
        ),
        (Quality(0.5, 3.0, 0.1, 10).check, r"explains 0.50 of the variance .* at least 0.7 is expected; train it for"),
        (Quality(0.9, 3.0, 0.4, 10).check, r"40% of the latents .* are dead, and at most 30% are expected"),
    ],
)
def test_wrong_arguments(call, text):
    with pytest.raises(og.OntogenyError, match=text):
        call()
