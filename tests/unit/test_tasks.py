"""How a study is cut into chunks: by itself alone, tasks that share a forward pass together, about 20 seconds."""

import itertools

import measure_work
import pytest
import torch

import tiny
from ontogeny.execution.plan import plan
from ontogeny.execution.tasks import CHUNK_SECONDS
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.sampling.settings import Settings

HEADS = ["0:0", "1:1", "0:1", "1:0", "unembed"]
CONFIG = AttentionOnlyConfig(vocabulary=50, context=8, width=16, layers=2, heads=2)


def mean_logit(model, batch):
    return model(batch).mean((1, 2))


def cut(draws, components=HEADS, metrics=("llc",), examples=64):
    given = {"step_size": 1e-3, "chains": 4, "draws": draws, "burn_in": 0, "seed": 0}
    settings = dict.fromkeys(Settings.__dataclass_fields__) | given
    tokens = torch.arange(8 * examples).reshape(examples, 8) % 50
    study = plan(
        AttentionOnly(CONFIG),
        [(step, AttentionOnly(CONFIG, seed=step).state_dict()) for step in (0, 10)],
        {"a": tokens, "b": tokens[: examples // 2]},
        mean_logit,
        components,
        metrics,
        out="nowhere",
        settings=Settings(**settings),
    )
    return study.second_stage(None)


def test_tasks_with_the_same_lowest_block_are_together():
    planned = cut(draws=5)
    assert [(one.group.step, one.group.dataset, one.group.components) for one in planned] == [
        (step, dataset, components)
        for step in (0, 10)
        for dataset in ("a", "b")
        for components in (("0:0", "0:1"), ("1:1", "1:0"), ("unembed",))
    ]
    assert len({one.chunk.key for one in planned}) == len(planned)


def test_long_tasks_are_apart_and_chunks_have_about_twenty_seconds():
    for draws in (5, 20_000, 100_000, 10**7):
        planned = cut(draws, components=[f"0:{head}" for head in (0, 1)] + ["0:attn", "blocks.0.*"])
        assert all(one.tasks == 1 or one.seconds <= CHUNK_SECONDS for one in planned)
        for one, other in itertools.pairwise(planned):
            if (one.group.step, one.group.dataset) == (other.group.step, other.group.dataset):
                assert one.seconds + other.seconds / other.tasks > CHUNK_SECONDS
    assert len(cut(10**7)) == 2 * 2 * len(HEADS)


def test_what_is_counted():
    """4 chains × 5 draws and two looks at the curvature, of 60 gradients of all examples each.

    6 operations for each weight and token at 20 GFLOP/s, or a quarter of 2 ms where that is more, and 3 seconds an
    estimate.
    """
    parameters = sum(value.numel() for value in AttentionOnly(CONFIG).parameters())
    first, second, *_ = cut(draws=5, components=["1:0"])
    assert first.evaluations == second.evaluations == 20 + 2 * 60
    assert first.seconds == pytest.approx(140 * 6 * parameters * 64 * 8 / 2e10 + 3)
    assert second.seconds == pytest.approx(140 * 2e-3 / 4 + 3)
    assert cut(draws=5, components=["1:0"], examples=2)[0].seconds == 140 * 2e-3 / 4 + 3


def test_a_metric_without_components_is_one_task():
    planned = cut(draws=5, metrics=("loss",))
    assert [one.group.components for one in planned] == [()] * 4 and all(one.tasks == 1 for one in planned)
    assert "component" not in planned[0].chunk.label and planned[0].chunk.label == "loss at step 0, data set a"


def test_a_model_of_no_known_architecture_shares_nothing_but_chunks():
    settings = dict.fromkeys(Settings.__dataclass_fields__) | {"chains": 2, "draws": 2, "burn_in": 0, "seed": 0}
    study = plan(
        tiny.Regression(), measure_work.checkpoints([0]), tiny.data(), tiny.squares, ["inner.*", "outer.*"],
        out="nowhere", settings=Settings(**settings),
    )  # fmt: skip
    assert [one.group.components for one in study.second_stage(None)] == [("inner.*", "outer.*")]
