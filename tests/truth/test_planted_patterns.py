"""Patterns that are written into heads by hand are what their tokens in context are explained by."""

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import numpy_generator
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.metrics import (
    attention_scores,
    classify_heads,
    head_types,
    most_affected,
    multigram_migrations,
    pattern_shares,
    repeated_tokens,
)
from planted_heads import VOCABULARY, planted

WORDS = [" the", " man", " will", " prevent", " us", " it", " now", " from", " and", " we", " years", " ago", " came"]
NAME = {word.strip(): number for number, word in enumerate(WORDS)}
LENGTH = 12


def decode(ids):
    return "".join(WORDS[number] for number in ids)


def reads(pairs, heads):
    """One layer; head h looks at every `first` of its pairs (word -> word) from anywhere, and foretells `then`."""
    size = len(WORDS)
    config = AttentionOnlyConfig(size, LENGTH, 2 * size + 1, layers=1, heads=heads, head_width=size, layer_norm=False)
    model = AttentionOnly(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed.W_E[:, :size] = torch.eye(size)
        model.pos_embed.W_pos[:, -1] = 1.0
        attn = model.blocks[0].attn
        attn.W_Q[:, -1, 0] = 1.0
        for head, (first, then) in pairs:
            attn.W_K[head, NAME[first], 0] = 40.0
            attn.W_V[head, NAME[first], NAME[first]] = 1.0
            attn.W_O[head, NAME[first], size + NAME[then]] = 3.0
        model.unembed.W_U[size : 2 * size] = torch.eye(size)
    return model.eval()


def rows(count, seed=0):
    """Random words; in the even rows "prevent" and some places later "from", in the odd ones "years ago"."""
    draw = numpy_generator(seed, "rows")
    others = [number for word, number in NAME.items() if word not in ("prevent", "from", "years", "ago")]
    data = draw.choice(others, size=(count, LENGTH))
    for row in data[::2]:
        first = draw.integers(1, 6)
        row[first], row[first + draw.integers(2, 5)] = NAME["prevent"], NAME["from"]
    for row in data[1::2]:
        first = draw.integers(1, LENGTH - 1)
        row[first : first + 2] = NAME["years"], NAME["ago"]
    return torch.from_numpy(data)


DATA = rows(120)
BOTH = [(0, ("prevent", "from")), (1, ("years", "ago"))]


def classified(pairs, heads=2):
    model = reads(pairs, heads)
    return classify_heads(most_affected(model, DATA, most=60, batch_size=16), DATA, decode)


SHARES = pattern_shares(classified(BOTH))


def test_a_planted_skip_trigram_and_a_planted_ngram_are_found():
    found = classified(BOTH)
    shares = pattern_shares(found)
    assert shares["share"].sel(head="0:0", pattern="skip_ngram") == 1.0
    assert shares["share"].sel(head="0:1", pattern="ngram") == 1.0
    assert found["0:0"].multigrams() == {("prevent", "from"): "skip_ngram"}
    assert found["0:1"].multigrams() == {(" years", " ago"): "ngram"}
    np.testing.assert_array_equal(shares["multigrams"], [1, 1])
    np.testing.assert_array_equal(shares["tokens_in_context"], [60, 60])
    assert list(head_types(shares)["pattern"].values) == ["skip_ngram", "ngram"]
    assert list(head_types(shares)["type"].values) == ["multigram", "multigram"]


def test_the_affected_tokens_are_where_the_loss_rises_and_the_head_looks():
    found = most_affected(reads(BOTH, 2), DATA, ["0:0"], most=60, shown=3, batch_size=16).sel(head="0:0")
    data = DATA.numpy()
    assert (data[found["example"], found["position"] + 1] == NAME["from"]).all()
    assert (data[found["example"], found["attended"]] == NAME["prevent"]).all() and (found["attention"] > 0.999).all()
    assert (np.diff(found["increase"]) <= 0).all() and found["increase"].attrs["units"] == "nats"
    assert sorted(found["example"].values.tolist()) == list(range(0, 120, 2))
    np.testing.assert_allclose(found["pattern"].sum("source"), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found["pattern"].max("source"), found["attention"][:3], rtol=1e-6)


def test_batches_do_not_matter():
    model = reads(BOTH, 2)
    one, other = (most_affected(model, DATA, most=200, batch_size=size) for size in (120, 7))
    np.testing.assert_allclose(one["increase"], other["increase"], atol=1e-6)


def test_a_multigram_that_changes_heads_migrates():
    earlier, later = classified(BOTH), classified([(0, ("years", "ago")), (1, ("prevent", "from"))])
    moved = {one.multigram: one for one in multigram_migrations(earlier, later)}
    assert set(moved) == {("prevent", "from"), (" years", " ago")}
    one = moved[("prevent", "from")]
    assert (one.pattern, one.left, one.joined) == ("skip_ngram", ("0:0",), ("0:1",))
    assert one.tokens_before == one.tokens_after == 60
    assert multigram_migrations(earlier, earlier) == []


def test_the_induction_circuit_is_explained_by_induction_patterns():
    model, data = planted(), repeated_tokens(range(VOCABULARY), 12, period=16, repeats=3)
    found = classify_heads(most_affected(model, data, most=100), data, lambda ids: "".join(f" w{i}" for i in ids))
    shares = pattern_shares(found)
    assert (shares["share"].sel(head=["0:0", "1:0"], pattern="induction") > 0.95).all()
    types = head_types(shares, attention_scores(model, sequences=8, period=12))
    expected = {"0:0": "previous-token", "0:1": "current-token", "1:0": "induction", "1:1": "multigram"}
    assert dict(zip(types["head"].values, types["type"].values, strict=True)) == expected
    assert list(head_types(shares)["type"].sel(head=["0:0", "1:0"]).values) == ["induction", "induction"]


def test_a_head_that_does_nothing_has_no_tokens():
    found = classified([BOTH[0]])
    shares = pattern_shares(found)
    assert shares["tokens_in_context"].sel(head="0:1") == 0 and shares["share"].sel(head="0:1").isnull().all()
    assert head_types(shares)["pattern"].sel(head="0:1") == ""


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda m: most_affected(m, DATA, most=5000),
            r"most must be between 1 and the number .* 1320; got 5000",
        ),
        (lambda m: most_affected(m, DATA, most=3, shown=4), r"shown must be between 0 and most = 3; got 4"),
        (
            lambda m: classify_heads(most_affected(m, DATA, most=60), DATA[:5], decode),
            r"data must be the rows that most_affected was given; it has 5, and row 1?[0-9]+ is asked for",
        ),
        (lambda m: pattern_shares({}), r"classified must hold at least one head"),
        (
            lambda m: multigram_migrations(classified(BOTH), {}),
            r"later must hold the heads of earlier; only one of them has 0:0, 0:1",
        ),
        (
            lambda m: head_types(
                pattern_shares(classified(BOTH)), attention_scores(m, period=4, repeats=2)[{"head": [0]}]
            ),
            r"scores must hold the heads of shares; it lacks 0:1",
        ),
        (
            lambda m: head_types(pattern_shares(classified(BOTH)), least=0),
            r"least must be above 0 and at most 1; got 0",
        ),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(OntogenyError, match=text):
        call(reads(BOTH, 2))
