"""Many seeds trained in one batch are what each is alone, and what a plain module and torch's Adam make of it."""

import shutil

import pytest
import torch

from ontogeny.core.rng import generator
from ontogeny.inputs.superposition import Superposition, SuperpositionLoss, importances, sparse_features
from ontogeny.training.many_seeds import train_many_seeds

SEEDS, FEATURES, STEPS, RATE = 4, 5, 60, 3e-3
KEEP = [0, 1, 17, 60]
IMPORTANCE = importances(FEATURES, 0.8)


def initial(seeds=range(SEEDS)):
    weight = [
        0.1 * torch.randn(2, FEATURES, generator=generator(0, "init", seed), dtype=torch.float64) for seed in seeds
    ]
    return {"weight": torch.stack(weight, -1), "bias": torch.zeros(FEATURES, len(weight), dtype=torch.float64)}


def batch(step, seed):
    return sparse_features((20, FEATURES), 0.5, generator(0, "data", seed, step)).double()


def trained(seeds=range(SEEDS), keep=KEEP, **settings):
    return train_many_seeds(
        SuperpositionLoss(IMPORTANCE),
        initial(seeds),
        lambda step: torch.stack([batch(step, seed) for seed in seeds], -1),
        learning_rate=RATE,
        steps=STEPS,
        keep=keep,
        **settings,
    )


def test_shapes_and_the_initial_weights():
    start = initial()
    path = trained()
    assert path["weight"].shape == (len(KEEP), 2, FEATURES, SEEDS)
    assert path["bias"].shape == (len(KEEP), FEATURES, SEEDS)
    for name in start:
        assert torch.equal(path[name][0], start[name])
        assert not path[name].requires_grad
        assert (path[name][1] != path[name][0]).any() and (path[name][2] != path[name][3]).any()


def test_a_seed_in_the_batch_is_the_seed_alone():
    together = trained()
    for seed in range(SEEDS):
        alone = trained([seed])
        for name in together:
            torch.testing.assert_close(together[name][..., [seed]], alone[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_seed_is_what_a_plain_training_loop_gives(seed):
    start = initial([seed])
    model = Superposition(start["weight"][..., 0], start["bias"][..., 0])
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    kept = {}
    for step in range(STEPS + 1):
        if step in KEEP:
            kept[step] = {name: value.detach().clone() for name, value in model.named_parameters()}
        x = batch(step, seed)
        loss = (IMPORTANCE * (model(x) - x) ** 2).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    path = trained()
    for number, step in enumerate(KEEP):
        for name in path:
            torch.testing.assert_close(path[name][number, ..., seed], kept[step][name], rtol=1e-9, atol=1e-11)


def test_what_is_kept_does_not_change_the_path():
    dense, sparse = trained(keep=range(STEPS + 1)), trained()
    for name in dense:
        assert torch.equal(dense[name][KEEP], sparse[name])


def test_the_callers_weights_and_random_state_are_left_alone():
    start, state = initial(), torch.get_rng_state()
    kept = {name: value.clone() for name, value in start.items()}
    train_many_seeds(
        SuperpositionLoss(IMPORTANCE), start, lambda step: batch(step, 0), learning_rate=RATE, steps=3, keep=[3]
    )
    assert all(torch.equal(kept[name], start[name]) and not start[name].requires_grad for name in start)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")), reason="torch.compile needs a C++ compiler"
)
def test_compiled_training_gives_the_same_path():
    eager, compiled = trained(), trained(compile=True)
    for name in eager:
        torch.testing.assert_close(compiled[name], eager[name], rtol=1e-8, atol=1e-10)
