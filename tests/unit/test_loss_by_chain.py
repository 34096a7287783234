"""A loss with values of its own for each chain, and chains of one name, which share their noise."""

import pytest
import torch

from ontogeny.core.rng import generator
from ontogeny.core.types import LossByChain
from ontogeny.sampling.evaluation import evaluation
from ontogeny.sampling.noise import NoiseStream

CHAINS, DIM = 3, 4
TARGETS = torch.randn(CHAINS, DIM, generator=generator(0, "targets"))


class TowardsOwn:
    """½‖w - t‖² times each row's weight, t the chain's own."""

    def of_chains(self, chains):
        return {"own target": TARGETS.repeat_interleave(chains // CHAINS, 0)}

    def __call__(self, params, batch):
        return batch * 0.5 * (params["w"] - params["own target"]).square().sum()


@pytest.mark.parametrize("mode", ["vmap", "serial"])
def test_every_chain_has_its_own_loss_and_only_weights_have_a_gradient(mode):
    loss, batch = TowardsOwn(), torch.tensor([1.0, 3.0])
    assert isinstance(loss, LossByChain)
    params = {"w": torch.randn(2 * CHAINS, DIM, generator=generator(0, "w"))}
    gradient, values = evaluation(loss, mode).gradients(params, batch)
    away = params["w"] - TARGETS.repeat_interleave(2, 0)
    assert list(gradient) == ["w"]
    torch.testing.assert_close(gradient["w"], 2.0 * away)
    torch.testing.assert_close(values[0], away.square().sum(1))
    torch.testing.assert_close(evaluation(loss, mode).losses(params, batch), values)


def test_both_halves_of_a_minibatch_in_one_call():
    loss, parts = TowardsOwn(), [torch.tensor([1.0]), torch.tensor([3.0])]
    params = {"w": torch.randn(CHAINS, DIM, generator=generator(0, "w"))}
    together, apart = evaluation(loss, "vmap", True), evaluation(loss, "vmap")
    for (one, values), (other, alone) in zip(
        together.of_parts(params, parts), apart.of_parts(params, parts), strict=True
    ):
        torch.testing.assert_close(one["w"], other["w"])
        torch.testing.assert_close(values, alone)


@pytest.mark.parametrize("axis", [0, -1])
def test_chains_of_one_name_share_their_noise_and_others_keep_theirs(axis):
    def stream(labels):
        return NoiseStream(0, labels, DIM, axis, torch.float32, torch.device("cpu"), extra=2)

    shared, apart = stream(["a", "b", "a"]), stream(["a", "b"])
    for step in (0, 1, 300):
        (normals, coins), (wanted, tossed) = shared.at(step), apart.at(step)
        torch.testing.assert_close(normals, wanted.index_select(axis, torch.tensor([0, 1, 0])))
        torch.testing.assert_close(coins, tossed[:, [0, 1, 0]])
