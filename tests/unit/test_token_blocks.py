"""Token blocks: rows held against a plain computation, shares, held-out documents, and folders that are respected."""

import json
import os
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

import ontogeny as og
from ontogeny.core.temporary_files import temporary_beside
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.text import load_blocks, load_tokenizer, parse_source, train_tokenizer, write_blocks
from ontogeny.inputs.text.documents import Document, Source, is_held_out
from ontogeny.inputs.text.mixture import as_mixture

CONTEXT = 8


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Two folders of short documents, no two alike: letters in one, digits in the other."""
    root = tmp_path_factory.mktemp("texts")
    for name, base in (("letters", "abcdefghij"), ("digits", "0123456789")):
        (root / name).mkdir()
        for i in range(80):
            text = " ".join("".join(base[int(c)] for c in f"{i * 37 + j}") for j in range(5 + i % 40))
            (root / name / f"{i}.txt").write_text(text)
    return root


@pytest.fixture(scope="module")
def tokenizer(texts):
    return train_tokenizer(f"dir:{texts}", 280)


@pytest.fixture
def mixture(texts):
    return f"3*dir:{texts}/letters + 1*dir:{texts}/digits"


def plain_rows(uri, tokenizer, held_out, share=0.1):
    """All rows of one source and split, in order."""
    stream = []
    for name, text in parse_source(uri).documents():
        if is_held_out(name, share) == held_out:
            stream += [*tokenizer.encode(text), tokenizer.end_of_text]
    return [tuple(stream[i : i + CONTEXT]) for i in range(0, len(stream) - CONTEXT + 1, CONTEXT)]


def test_rows_are_the_documents_end_to_end(texts, tokenizer, tmp_path):
    uri = f"dir:{texts}/letters"
    expected = {split: plain_rows(uri, tokenizer, split == "held_out") for split in ("train", "held_out")}
    write_blocks(tmp_path / "rows", uri, tokenizer, CONTEXT, 100, held_out=10)
    for split, count in (("train", 100), ("held_out", 10)):
        rows = [tuple(row) for row in load_blocks(tmp_path / "rows", split).tokens.tolist()]
        assert Counter(rows) == Counter(expected[split][:count])
        assert rows != expected[split][:count]  # in an order of their own


def test_each_source_has_its_share_and_its_rows_are_labelled(texts, mixture, tokenizer, tmp_path):
    blocks = write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 90, held_out=10)
    assert len(blocks) == 90 and blocks.tokens.shape == (90, CONTEXT) and blocks.tokens.dtype == np.uint16
    for split, counts in (("train", (68, 22)), ("held_out", (8, 2))):
        rows = load_blocks(tmp_path / "rows", split)
        assert np.bincount(rows.source).tolist() == list(counts)
        for place, name in enumerate(("letters", "digits")):
            own = [tuple(row) for row in rows.tokens[rows.source == place].tolist()]
            plain = plain_rows(f"dir:{texts}/{name}", tokenizer, split == "held_out")[: counts[place]]
            assert Counter(own) == Counter(plain)
            assert blocks.record["sources"][place]["rows"][split] == counts[place]
    assert 5 < np.count_nonzero(np.diff(load_blocks(tmp_path / "rows").source)) < 45  # mixed: ± 4σ about 2·68·22/90


def test_the_record_tells_which_documents_were_used(texts, mixture, tokenizer, tmp_path):
    record = write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 90, held_out=10).record
    assert str(texts) not in json.dumps(record)
    assert record == json.loads((tmp_path / "rows" / "manifest.json").read_text())
    for name, source in zip(("letters", "digits"), record["sources"], strict=True):
        used = source["names"]
        assert used["train"] and used["held_out"]
        assert not any(is_held_out(name, 0.1) for name in used["train"])
        assert all(is_held_out(name, 0.1) for name in used["held_out"])
        read = [document.name for document in parse_source(f"dir:{texts}/{name}").documents()][: source["documents"]]
        assert set(read) >= {*used["train"], *used["held_out"]}
        assert source["uri"] == f"dir:{name}"
    assert record["request"]["tokenizer"] == tokenizer.digest == load_tokenizer(tmp_path / "rows").digest


def test_the_same_files_give_the_same_rows_and_a_seed_another_order(texts, mixture, tokenizer, tmp_path):
    first, again, other = (
        write_blocks(tmp_path / name, mixture, tokenizer, CONTEXT, 60, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.digest == again.digest != other.digest
    assert np.array_equal(first.tokens, again.tokens) and np.array_equal(first.source, again.source)
    assert sorted(first.tokens.tolist()) == sorted(other.tokens.tolist())


def test_the_same_call_takes_what_is_there(mixture, tokenizer, tmp_path, monkeypatch):
    first = write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 60)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    monkeypatch.setattr(type(tokenizer), "encode_each", None)
    again = write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 60)
    assert np.array_equal(first.tokens, again.tokens) and first.record == again.record
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"context": 4}, r"holds token blocks with context 8, and this call asks for 4"),
        ({"blocks": 61}, r"with blocks 60, and this call asks for 61"),
        ({"seed": 1}, r"with seed 0, and this call asks for 1"),
        ({"held_out_share": 0.2}, r"with held_out_share 0.1, and"),
    ],
)
def test_a_folder_of_another_request_is_refused(change, said, mixture, tokenizer, tmp_path):
    settings = {"context": CONTEXT, "blocks": 60}
    write_blocks(tmp_path / "rows", mixture, tokenizer, **settings)
    with pytest.raises(og.OntogenyError, match=said):
        write_blocks(tmp_path / "rows", mixture, tokenizer, **(settings | change))


def test_a_folder_of_other_text_or_another_tokenizer_is_refused(texts, tokenizer, tmp_path):
    (tmp_path / "own").mkdir()
    for i in range(20):
        (tmp_path / "own" / f"{i}.txt").write_text(f"the number {i} and some more")
    call = (tmp_path / "rows", f"dir:{tmp_path}/own", tokenizer, CONTEXT, 20)
    used = write_blocks(*call).record["sources"][0]["names"]["train"]
    with pytest.raises(og.OntogenyError, match=r"with tokenizer [0-9a-f]{12}…, and this call asks for "):
        write_blocks(*call[:2], train_tokenizer(f"dir:{texts}", 281), *call[3:])
    (tmp_path / "own" / used[0]).write_text("changed")
    with pytest.raises(og.OntogenyError, match=r"were made of other text than dir:own holds now; name another folder"):
        write_blocks(*call)


def test_what_others_wrote_is_left_alone(mixture, tokenizer, tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "notes.txt").write_text("mine")
    for folder in (tmp_path / "rows", tmp_path / "rows" / "notes.txt"):
        with pytest.raises(og.OntogenyError, match=r"holds something that is no token blocks; name an empty or a new"):
            write_blocks(folder, mixture, tokenizer, CONTEXT, 60)
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert len(write_blocks(tmp_path / "empty", mixture, tokenizer, CONTEXT, 60)) == 60


def test_damaged_rows_are_noticed(mixture, tokenizer, tmp_path):
    write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 60)
    rows = np.load(tmp_path / "rows" / "train.npy", mmap_mode="r+")
    rows[3, 3] += 1
    rows.flush()
    assert len(load_blocks(tmp_path / "rows")) == 60
    for again in (
        lambda: load_blocks(tmp_path / "rows", verify=True),
        lambda: write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 60),
    ):
        with pytest.raises(og.OntogenyError, match=r"the rows of train in .* are not those of its manifest"):
            again()
    np.save(tmp_path / "rows" / "train.npy", np.zeros((5, CONTEXT), np.uint16))
    with pytest.raises(og.OntogenyError, match=r"are not those of its manifest; write them again"):
        load_blocks(tmp_path / "rows")
    (tmp_path / "rows" / "train.npy").unlink()
    with pytest.raises(og.OntogenyError, match=r"the rows in .* cannot be read"):
        load_blocks(tmp_path / "rows")


def test_too_short_a_source_says_what_can_be_asked_for(mixture, tokenizer, tmp_path):
    with pytest.raises(og.OntogenyError, match=r"blocks: dir:letters has \d+ rows of 8 tokens for train") as error:
        write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 10_000)
    most = int(str(error.value).split("at most ")[1].split(",")[0])
    assert not list(tmp_path.iterdir())
    with pytest.raises(
        og.OntogenyError, match=rf"and \d+ of the {most + 1} are to come from it; ask for at most {most},"
    ):
        write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, most + 1)
    write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, most)
    with pytest.raises(og.OntogenyError, match=r"held_out: dir:letters has \d+ rows of 8 tokens for held_out"):
        write_blocks(tmp_path / "more", mixture, tokenizer, CONTEXT, 10, held_out=10_000)


@pytest.mark.parametrize("others", [{}, {"seed": 1}])
def test_of_two_that_write_at_once_the_later_takes_what_is_there(others, mixture, tokenizer, tmp_path, monkeypatch):
    call = (tmp_path / "rows", mixture, tokenizer, CONTEXT, 60)
    save, faster = type(tokenizer).save, []

    def saved(self, path):
        if not faster:
            faster.append(None)
            faster[0] = write_blocks(*call, **others)
        save(self, path)

    monkeypatch.setattr(type(tokenizer), "save", saved)
    if others:
        with pytest.raises(og.OntogenyError, match="holds token blocks with seed 1, and this call asks for 0"):
            write_blocks(*call)
    else:
        assert write_blocks(*call).record == faster[0].record
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert np.array_equal(load_blocks(tmp_path / "rows", verify=True).tokens, faster[0].tokens)


def test_documents_of_one_name_keep_their_own_tokens(tokenizer, tmp_path):
    texts = ["one text of some words", "and another one of others", "then a third, which is longer than they are"]
    source = Source("twins", lambda skipped: iter([Document("twin", text) for text in texts]))
    stream = [token for text in texts for token in [*tokenizer.encode(text), tokenizer.end_of_text]]
    rows = len(stream) // CONTEXT
    expected = np.array(stream[: rows * CONTEXT]).reshape(rows, CONTEXT)
    found = write_blocks(tmp_path / "rows", source, tokenizer, CONTEXT, rows, held_out_share=0.0).tokens
    assert sorted(found.tolist()) == sorted(expected.tolist())


def test_a_run_that_ends_early_leaves_nothing(mixture, tokenizer, tmp_path, monkeypatch):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = temporary_beside(tmp_path / "rows")
    left.with_name(left.name.replace(f".{os.getpid()}.", f".{int(dead.stdout)}.")).mkdir()
    flush = np.memmap.flush

    def stopped(rows):
        flush(rows)
        assert list(tmp_path.glob(".rows.*.tmp/train.npy"))
        raise KeyboardInterrupt

    monkeypatch.setattr(np.memmap, "flush", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 60)
    assert not list(tmp_path.iterdir())


def test_rows_serve_as_data(mixture, tokenizer, tmp_path):
    blocks = write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 60)
    rows = blocks.take([5, 0, 5])
    assert rows.dtype == torch.int64
    assert rows.tolist() == [blocks.tokens[i].tolist() for i in (5, 0, 5)]
    assert torch.equal(blocks.take(torch.tensor([5, 0, 5])), rows)
    rows[0] = 0
    assert blocks.tokens[5].any()  # a copy
    examples = as_examples(blocks)
    assert examples.count == 60 and torch.equal(examples.take(None), blocks.take(range(60)))
    assert np.asarray(blocks, dtype=np.int64).dtype == np.int64
    sent = pickle.loads(pickle.dumps(blocks))
    assert np.array_equal(sent.tokens, blocks.tokens) and sent.digest == blocks.digest


def test_many_tokens_are_kept_in_four_bytes(texts, tokenizer, tmp_path):
    class Wide(type(tokenizer)):
        vocabulary = 2**16 + 1

        def encode_each(self, texts):
            return [[2**16] * len(text) for text in texts]

    wide = Wide(tokenizer._backend, 1)
    blocks = write_blocks(tmp_path / "rows", f"dir:{texts}/letters", wide, CONTEXT, 60)
    assert blocks.tokens.dtype == np.uint32
    assert set(np.unique(blocks.tokens)) == {1, 2**16}


def test_a_split_that_was_not_written_is_refused(mixture, tokenizer, tmp_path):
    write_blocks(tmp_path / "rows", mixture, tokenizer, CONTEXT, 60)
    with pytest.raises(og.OntogenyError, match=r"split must be one that .* holds: train \(60 rows\); got 'held_out'"):
        load_blocks(tmp_path / "rows", "held_out")
    with pytest.raises(og.OntogenyError, match=r"folder must hold token blocks; .* has no manifest.json"):
        load_blocks(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"context": 1}, r"context must be a whole number of at least 2; got 1"),
        ({"blocks": 0}, r"blocks must be a whole number of at least 1; got 0"),
        ({"held_out": -1}, r"held_out must be a whole number of at least 0; got -1"),
        ({"held_out_share": 1.0}, r"held_out_share must be at least 0 and below 1; got 1.0"),
        ({"held_out": 5, "held_out_share": 0.0}, r"held_out_share must be above 0 for held-out rows"),
    ],
)
def test_numbers_that_cannot_be_are_refused(settings, said, mixture, tokenizer, tmp_path):
    with pytest.raises(og.OntogenyError, match=said):
        write_blocks(tmp_path / "rows", mixture, tokenizer, **({"context": CONTEXT, "blocks": 5} | settings))


def test_reading_ends_when_there_are_enough_rows(texts, tokenizer, tmp_path):
    folder = texts / "letters"
    blocks = write_blocks(tmp_path / "rows", f"dir:{folder}", tokenizer, CONTEXT, 3)
    assert blocks.record["sources"][0]["documents"] < len(list(folder.iterdir())) / 4
    assert as_mixture(parse_source(f"dir:{folder}")).parts[0][0] == 1.0
