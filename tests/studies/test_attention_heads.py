"""The attention-heads study at a tiny size: from text to the page, resumed, and with more seeds."""

import json

import numpy as np
import pytest

import ontogeny as og
from ontogeny.core.rng import numpy_generator
from ontogeny.store import read_zarr
from ontogeny.studies.attention_heads import one_seed, study
from ontogeny.studies.attention_heads.settings import (
    AttentionHeadsSettings,
    Behaviour,
    Model,
    Sampler,
    Training,
    calibrated,
)

WORDS = "the a red blue house river runs sleeps and then because many years ago (see below) [1] in on at said".split()
CODE = "def return for in if else ( ) : = x y i n range print None self . import".split()


def write_text(folder, words, files, seed):
    folder.mkdir()
    draw = numpy_generator(seed, "words")
    for number in range(files):
        lines = [" ".join(draw.choice(words, 12)) + "." for _ in range(60)]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Settings of a study on made-up text, two layers of three heads."""
    texts = tmp_path_factory.mktemp("texts")
    write_text(texts / "prose", WORDS, 40, 0)
    write_text(texts / "code", CODE, 40, 1)
    return AttentionHeadsSettings(
        "quick",
        Model(vocabulary=300, context=40, width=16, layers=2, heads=2),
        Training(rows=60, steps=12, batch_size=4, early=4, linear=4),
        (Sampler("paper", draws=4),),
        checkpoints=3,
        seeds=1,
        behaviour=Behaviour(
            sequences=4, rows=8, brackets=6, in_context=20, most=12, shown=2, probes=2, trace_rows=4, early=4, late=30
        ),
        examples=12,
        mixture=f"0.8*dir:{texts}/prose + 0.2*dir:{texts}/code",
        datasets={"code": f"dir:{texts}/code"},
        tokenizer_characters=20_000,
    )


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The study's folder."""
    out = tmp_path_factory.mktemp("heads") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "PRESETS", {"quick": tiny})
        study.run("quick", out=out, progress=False, workers=1)
    return out


def test_what_a_run_leaves(finished):
    heads = read_zarr(finished / "results.zarr", "heads")
    assert set(heads["llc"].dims) == {"setting", "seed", "checkpoint", "component", "dataset"}
    print(heads)
