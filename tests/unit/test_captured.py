"""Steps as CUDA graphs: how arguments are taken apart, and, where there is a GPU, the same draws as plain steps."""

from typing import NamedTuple

import pytest
import torch

import ontogeny as og
import tiny
from ontogeny.sampling import captured
from ontogeny.sampling.captured import CapturedStep, flatten, rebuild

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")


class State(NamedTuple):
    params: dict
    velocity: torch.Tensor


def arguments(value=1.0, flag=False):
    state = State({"a": torch.full((2, 3), value), "b": torch.zeros(2, dtype=torch.int64)}, torch.ones(2))
    return state, (torch.ones(4), None), flag


def test_arguments_come_back_as_they_were():
    given = arguments()
    tensors, form = flatten(given)
    state, parts, flag = rebuild(form, iter(tensors))
    assert isinstance(state, State) and list(state.params) == ["a", "b"] and parts[1] is None and flag is False
    assert state.params["a"] is given[0].params["a"] and state.velocity is given[0].velocity


def test_a_form_tells_shapes_flags_and_names_but_not_values():
    forms = [flatten(given)[1] for given in (arguments(), arguments(2.0), arguments(flag=True))]
    assert forms[0] == forms[1] and hash(forms[0]) == hash(forms[1]) and forms[0] != forms[2]
    assert flatten(torch.zeros(2))[1] != flatten(torch.zeros(3))[1]
    assert flatten({"a": torch.zeros(2)})[1] != flatten({"b": torch.zeros(2)})[1]


def test_off_the_gpu_every_step_is_plain():
    calls = []

    def step(tensor, words):
        calls.append(words)
        return tensor + 1

    for words in (None, ["one"]):
        captured_step = CapturedStep(step)
        for _ in range(captured.PLAIN_STEPS + 2):
            assert torch.equal(captured_step(torch.zeros(2), words), torch.ones(2))
    assert calls == [None] * 5 + [["one"]] * 5


@on_gpu
@pytest.mark.parametrize("kernel", ["baoab", "sgld"])
def test_a_graph_gives_the_draws_of_plain_steps(kernel, monkeypatch):
    """To rounding: the same kernels on the same numbers."""
    settings = {"n_beta": 30.0, "localization": 10.0, "step_size": 1e-4, "burn_in": 20, "draws": 60, "chains": 5}
    settings |= {"kernel": kernel, "batch_size": 8, "device": "cuda", "progress": False}
    made = []
    original = captured._Graph.__init__
    monkeypatch.setattr(captured._Graph, "__init__", lambda self, *given: made.append(1) or original(self, *given))
    graphs = og.sample(tiny.Regression(), tiny.data(), tiny.squares, **settings)
    assert made
    monkeypatch.setattr(captured, "MOST_NUMBERS", 0)
    plain = og.sample(tiny.Regression(), tiny.data(), tiny.squares, **settings)
    for name in ("loss", "loss_at_center", "virial", "distance_squared"):
        torch.testing.assert_close(torch.tensor(graphs[name].values), torch.tensor(plain[name].values), rtol=1e-4,
                                   atol=1e-5)  # fmt: skip


@on_gpu
def test_a_step_that_reads_a_number_back_stays_plain(capfd):
    def step(tensor):
        return tensor + (1.0 if float(tensor.sum()) < 100 else 2.0)

    captured_step, value = CapturedStep(step), torch.zeros(3, device="cuda")
    for _ in range(10):
        value = captured_step(value)
    assert value.tolist() == [10.0] * 3 and "going on without CUDA graphs" in capfd.readouterr().err
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


@on_gpu
def test_results_outlive_the_next_step():
    captured_step, value = CapturedStep(lambda tensor: tensor + 1), torch.zeros(3, device="cuda")
    seen = []
    for _ in range(8):
        value = captured_step(value)
        seen.append(value)
    assert [one[0].item() for one in seen] == [1, 2, 3, 4, 5, 6, 7, 8]


@on_gpu
def test_noise_on_the_gpu_does_not_depend_on_which_chains_step_together():
    from ontogeny.sampling.noise import NoiseStream

    device = torch.device("cuda")
    together = NoiseStream(0, ["a", "b"], 7, 0, torch.float32, device)
    alone = NoiseStream(0, ["b"], 7, 0, torch.float32, device)
    assert all(torch.equal(together.at(step)[0][1], alone.at(step)[0][0]) for step in (0, 3, 700))
