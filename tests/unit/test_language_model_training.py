"""Training: against a plain loop written out here, and after interruptions at any moment against never interrupted."""

import math
import random
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.writers import only_writer
from ontogeny.training.language_model import SCHEDULES, LanguageTraining, train_language_model
from ontogeny.training.schedule import checkpoint_steps, learning_rate_at
from ontogeny.training.token_batches import TokenBatches

CONFIG = AttentionOnlyConfig(vocabulary=11, context=6, width=8, layers=1, heads=2)
TOKENS = torch.randint(11, (20, 6), generator=generator(0, "tokens"))
SETTINGS = LanguageTraining(steps=12, batch_size=6, learning_rate=1e-2, warm_up=3, seed=1, checkpoints=(0, 1, 5))
SAME = {"rtol": 1e-6, "atol": 1e-7}


def fresh(seed=0):
    return AttentionOnly(CONFIG, seed)


def train(folder, model=None, tokens=TOKENS, settings=SETTINGS, **others):
    return train_language_model(model or fresh(), tokens, settings, folder, progress=False, **others)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    return train(tmp_path_factory.mktemp("whole") / "run")


def assert_same_run(found, whole):
    assert found.steps == whole.steps
    for step in whole.steps:
        assert found.loss(step) == pytest.approx(whole.loss(step), rel=1e-6)
        for name, value in whole.weights(step).items():
            torch.testing.assert_close(found.weights(step)[name], value, **SAME)


@pytest.mark.parametrize(("schedule", "clip"), [("constant", None), ("cosine", 0.1)])
def test_it_is_the_loop_that_one_would_write(tmp_path, schedule, clip):
    settings = replace(SETTINGS, schedule=schedule, clip=clip)
    model, plain = fresh().double(), fresh().double()  # b_K has no gradient but rounding, which Adam enlarges
    checkpoints = train(tmp_path / "run", model, settings=settings)
    batches = TokenBatches(TOKENS, 6, seed=1)
    optimiser = torch.optim.AdamW(plain.parameters(), betas=(0.9, 0.95), weight_decay=0.05)
    for step in range(12):
        batch = batches.at(step)
        loss = nn.functional.cross_entropy(plain(batch)[:, :-1].transpose(1, 2), batch[:, 1:])
        if step in (0, 1, 5):
            assert checkpoints.loss(step) == pytest.approx(float(loss.detach()), rel=1e-6)
            assert checkpoints.tokens(step) == 36 * step
            for name, value in plain.state_dict().items():
                torch.testing.assert_close(checkpoints.weights(step)[name], value, rtol=1e-7, atol=1e-9)
        optimiser.zero_grad()
        loss.backward()
        if clip is not None:
            norm = math.sqrt(sum(float((weight.grad**2).sum()) for weight in plain.parameters()))
            for weight in plain.parameters():
                weight.grad *= min(1.0, clip / (norm + 1e-6))  # torch's guard against a norm of 0
        warm = min((step + 1) / 3, 1.0)
        fall = 1.0 if schedule == "constant" or step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 9))
        optimiser.param_groups[0]["lr"] = 1e-2 * warm * fall
        optimiser.step()
    assert checkpoints.steps == (0, 1, 5, 12) and checkpoints.tokens(12) == 12 * 36
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(checkpoints.weights(12)[name], value, rtol=1e-7, atol=1e-9)
        assert torch.equal(model.state_dict()[name], checkpoints.weights(12)[name])
    assert AttentionOnlyConfig.from_dict(checkpoints.config) == CONFIG


def test_a_model_learns_a_pattern_that_can_be_learnt(tmp_path):
    cycle = (torch.arange(6) + torch.arange(11)[:, None]) % 11  # the next token is this one plus one
    settings = LanguageTraining(steps=60, batch_size=11, learning_rate=2e-2, warm_up=0, checkpoints=(0,))
    checkpoints = train(tmp_path / "run", tokens=cycle, settings=settings)
    assert checkpoints.loss(0) == pytest.approx(math.log(11), abs=1.0)
    assert checkpoints.loss(60) < 0.1


@pytest.mark.parametrize("number", range(6))
def test_interrupted_anywhere_and_run_again_it_ends_with_the_same_weights(tmp_path, whole, monkeypatch, number):
    """Interrupted at a random forward pass, optimiser step or rename of a file, three times or more in one run."""
    moments = random.Random(number)
    left = 0

    def tick():
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    forward, step, rename = AttentionOnly.forward, torch.optim.AdamW.step, Path.replace

    def stopping(function, after):
        def stopped(*arguments, **named):
            if after:
                out = function(*arguments, **named)
                tick()
                return out
            tick()
            return function(*arguments, **named)

        return stopped

    monkeypatch.setattr(AttentionOnly, "forward", stopping(forward, False))
    monkeypatch.setattr(torch.optim.AdamW, "step", stopping(step, True))
    monkeypatch.setattr(Path, "replace", stopping(rename, number % 2 == 0))
    model, interruptions = fresh(), 0
    while True:
        left = moments.randint(2, 15) if interruptions < 8 else 10**9
        try:
            found = train(tmp_path / "run", model, save_seconds=moments.choice([0.0, 1000.0]))
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert all(torch.equal(value, model.state_dict()[name]) for name, value in fresh().state_dict().items())
    assert interruptions >= 3
    assert_same_run(found, whole)


LONGER = replace(SETTINGS, steps=60, checkpoints=tuple(range(0, 60, 4)))
KILLS_ITSELF = """
import os, random, signal, sys, threading
import torch
from test_language_model_training import LONGER, AttentionOnly, fresh, train

class Killed(AttentionOnly):
    calls = 0

    def forward(self, tokens):
        self.calls += 1
        if self.calls == 5:
            threading.Timer(random.uniform(0, 0.06), os.kill, [os.getpid(), signal.SIGKILL]).start()
        return super().forward(tokens)

torch.set_num_threads(1)
train(sys.argv[1], Killed(fresh().config), settings=LONGER, save_seconds=0.0)
"""


def test_a_process_killed_at_a_random_moment_leaves_a_run_that_goes_on(tmp_path):
    folder = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", KILLS_ITSELF, str(folder)], cwd=Path(__file__).parent, timeout=100)
    assert done.returncode == -signal.SIGKILL
    left = Checkpoints.from_folder(folder)
    assert len(left) > 0 and all(left.digest(step, verify=True) for step in left.steps)
    assert_same_run(train(folder, settings=LONGER), train(tmp_path / "alone", settings=LONGER))


def test_a_finished_run_is_read_and_not_trained_again(tmp_path, whole, monkeypatch):
    model = fresh()
    train(tmp_path / "run", model)
    monkeypatch.setattr(torch.optim.AdamW, "step", None)
    for again in (model, fresh()):
        assert_same_run(train(tmp_path / "run", again), whole)
        assert torch.equal(again.unembed.W_U, model.unembed.W_U)


def test_a_second_training_in_the_same_folder_is_refused_until_the_first_is_done(tmp_path, whole, monkeypatch):
    folder = tmp_path / "run"
    step, refused = torch.optim.AdamW.step, []

    def another(*arguments):
        if not refused:
            with pytest.raises(
                OntogenyError, match=r"another training is writing in .*run; wait until it ends"
            ) as error:
                train(folder)
            refused.append(error)
        return step(*arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", another)
    assert_same_run(train(folder), whole)
    assert refused and not list(folder.glob(".*.tmp"))
    with only_writer(folder):
        assert_same_run(train(folder), whole)


@pytest.mark.parametrize(
    ("model", "tokens", "settings", "message"),
    [
        (
            fresh(),
            TOKENS,
            replace(SETTINGS, seed=2),
            r"another run, which differs in settings.training.seed \(1 there, 2",
        ),
        (fresh(), TOKENS.flip(0), SETTINGS, "differs in settings.data.digest"),
        (fresh(seed=1), TOKENS, SETTINGS, "differs in settings.initial_weights"),
        (AttentionOnly(replace(CONFIG, heads=1, head_width=8)), TOKENS, SETTINGS, r"config.heads \(2 there, 1 here\)"),
    ],
)
def test_a_folder_that_holds_another_run_is_refused(tmp_path, model, tokens, settings, message):
    train(tmp_path / "run")
    with pytest.raises(OntogenyError, match=message):
        train(tmp_path / "run", model, tokens, settings)


def test_the_kind_of_array_does_not_matter(tmp_path, whole):
    np.save(tmp_path / "tokens.npy", TOKENS.numpy().astype(np.uint16))
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    assert_same_run(train(tmp_path / "run", tokens=mapped), whole)
    assert_same_run(train(tmp_path / "run", fresh(), tokens=TOKENS.int()), whole)  # the same run, so only read


class WithLogits(nn.Module):
    """As Hugging Face models answer; with a tied weight, dropout, a frozen weight and a buffer."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 4), nn.Linear(4, 11, bias=False)
        self.head.weight = self.embed.weight
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.normal = nn.BatchNorm1d(4)
        with torch.no_grad():
            self.embed.weight.copy_(torch.randn(11, 4, generator=generator(0, "embed")))

    def forward(self, tokens):
        hidden = nn.functional.dropout(self.embed(tokens) * self.frozen, 0.2, self.training)
        return type("Output", (), {"logits": self.head(self.normal(hidden.transpose(1, 2)).transpose(1, 2))})()


def test_dropout_ties_and_buffers_survive_an_interruption_and_the_callers_state_is_left_alone(tmp_path, monkeypatch):
    model = WithLogits().eval()
    state = torch.get_rng_state()
    alone = train(tmp_path / "alone", model)
    assert torch.equal(state, torch.get_rng_state()) and not model.training
    assert alone.config is None and "head.weight" not in alone.weights(12)
    assert torch.equal(alone.weights(12)["frozen"], torch.ones(4))
    assert int(alone.weights(12)["normal.num_batches_tracked"]) == 12

    at, step = 0, torch.optim.AdamW.step

    def stop(*arguments):
        nonlocal at
        at += 1
        if at == 8:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", WithLogits())
    torch.rand(3)
    assert_same_run(train(tmp_path / "run", WithLogits()), alone)


def test_what_cannot_be_trained_is_refused(tmp_path):
    for tokens, message in [
        (TOKENS.float(), "tokens must be integers of shape .*; got float32 of shape"),
        (TOKENS[0], r"got int64 of shape \(6,\)"),
        (TOKENS[:, :1], r"at least one block of two positions; got int64 of shape \(20, 1\)"),
        (TOKENS - 1, "tokens must be 0 or above; got -1"),
        (TOKENS + 1, "tokens: the highest is 11, and the model's vocabulary has 11"),
    ]:
        with pytest.raises(OntogenyError, match=message):
            train(tmp_path / "run", tokens=tokens)
    with pytest.raises(OntogenyError, match="sequences of 6 tokens are longer than the model's context of 4"):
        train(tmp_path / "short", AttentionOnly(replace(CONFIG, context=4)))
    with pytest.raises(OntogenyError, match=r"model must return logits of shape \(6, 6, 'vocabulary'\) .*got \(6, 8\)"):
        train(tmp_path / "means", Means())
    with pytest.raises(OntogenyError, match=r"the loss is (nan|inf) at step \d+; lower learning_rate \(1e\+30\)"):
        train(tmp_path / "far", settings=replace(SETTINGS, learning_rate=1e30, warm_up=0))


class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)

    def forward(self, tokens):
        return self.embed(tokens).mean(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1; got 0"),
        ({"batch_size": 2.0}, "batch_size must be a whole number of at least 1; got 2.0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0; got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number of at least 0; got -1.0"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers of at least 0 and below 1; got \(0.9, 1.0\)"),
        ({"clip": 0.0}, "clip must be a number above 0, or None; got 0.0"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a finite number above 0; got '1e-3'"),
        ({"weight_decay": True}, "weight_decay must be a finite number of at least 0; got True"),
        ({"betas": 0.9}, "betas must be two numbers of at least 0 and below 1; got 0.9"),
        ({"betas": "99"}, "betas must be two numbers of at least 0 and below 1; got '99'"),
        ({"clip": "1"}, "clip must be a number above 0, or None; got '1'"),
        (
            {"checkpoints": 10},
            r"whole numbers from 0 to 12, .*; got 10\. For so many, .* give .*checkpoint_steps\(steps, ",
        ),
        ({"checkpoints": (True,)}, r"checkpoints must be whole numbers from 0 to 12, the last step; got \(True,\)"),
        ({"checkpoints": ([1],)}, r"checkpoints must be whole numbers from 0 to 12, the last step; got \(\[1\],\)"),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine; got 'linear'"),
        ({"checkpoints": (0, 13)}, r"checkpoints must be whole numbers from 0 to 12, the last step; got \(0, 13\)"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(OntogenyError, match=message):
        replace(SETTINGS, **changes)


def test_every_block_comes_once_an_epoch_in_an_order_that_steps_and_seed_decide():
    blocks = torch.arange(20)[:, None].expand(20, 2)
    batches = TokenBatches(blocks, 6, seed=0)
    seen = torch.cat([batches.at(step)[:, 0] for step in range(10)])  # three epochs of 20
    for epoch in seen.view(3, 20):
        assert sorted(epoch.tolist()) == list(range(20))
    assert len({tuple(epoch.tolist()) for epoch in seen.view(3, 20)}) == 3
    assert torch.equal(TokenBatches(blocks, 6, seed=0).at(7), batches.at(7))
    assert not torch.equal(TokenBatches(blocks, 6, seed=1).at(7), batches.at(7))
    assert batches.at(0).dtype == torch.int64


def test_checkpoints_are_dense_early_and_even_late():
    steps = checkpoint_steps(50_000)
    assert steps[0] == 0 and steps[-1] == 50_000 and list(steps) == sorted(set(steps))
    assert 80 < len(steps) <= 101
    gaps = np.diff(steps)
    assert gaps.max() <= 1000
    early = np.array([step for step in steps if 20 <= step <= 900])
    assert (early[1:] / early[:-1]).max() < 50_000 ** (1 / 49) * 1.05  # rounding to whole steps
    assert checkpoint_steps(1, early=1, linear=0) == (0, 1)
    assert checkpoint_steps(100, early=0, linear=0) == (0, 100)
    with pytest.raises(OntogenyError, match="early must be a whole number of at least 0; got -1"):
        checkpoint_steps(10, early=-1)


def test_the_learning_rate_rises_then_stays_or_falls_to_nothing():
    at = {name: [learning_rate_at(s, 10, peak=2.0, warm_up=4, schedule=name) for s in range(11)] for name in SCHEDULES}
    assert at["constant"] == [0.5, 1.0, 1.5] + [2.0] * 8
    assert at["cosine"][:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert at["cosine"][7] == pytest.approx(1.0) and at["cosine"][10] == pytest.approx(0.0)


def test_a_hugging_face_model_is_trained_as_it_is(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=6, vocab_size=11)
        model = transformers.GPT2LMHeadModel(config)
        checkpoints = train(tmp_path / "run", model, settings=replace(SETTINGS, steps=3, checkpoints=(0,)))
    assert checkpoints.config["model_type"] == "gpt2" and "lm_head.weight" not in checkpoints.weights(3)
    assert torch.equal(model.lm_head.weight, checkpoints.weights(3)["transformer.wte.weight"])
