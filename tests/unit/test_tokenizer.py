"""The byte-level tokenizer: merges held against a plain computation, every text comes back, sizes are kept."""

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ontogeny as og
from ontogeny.inputs.text import load_tokenizer, train_tokenizer
from ontogeny.inputs.text.documents import Document, Source, is_held_out

WORDS = {"ab": 40, "abc": 23, "abcd": 11, "xy": 9, "xyz": 5, "q": 50}
TEXT = "\n".join(word for word, count in WORDS.items() for _ in range(count))
STORY = (
    "the cat saw the dog and the dog saw the cat; then they sat in the sun and sang of the sea, of ships that went "
    "far over it with bread, salt and letters, and of those who waited for a light on the water before the morning. "
) * 5


def source(*texts):
    documents = [Document(f"{i}", text) for i, text in enumerate(texts)]
    return Source("memory", lambda skipped: iter(documents))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(source(STORY), 300, held_out_share=0)


def plain_merges(count):
    """Byte pair encoding as Sennrich et al. state it: merge the most frequent pair, count again."""
    words = {tuple(word): n for word, n in WORDS.items()}
    merges = []
    for _ in range(count):
        pairs = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                pairs[pair] += n
        (best, most), *others = pairs.most_common()
        assert not others or others[0][1] < most  # no ties, so that there is one answer
        merges.append("".join(best))
        merged = {}
        for word, n in words.items():
            joined = []
            for letter in word:
                if joined and (joined[-1], letter) == best:
                    joined[-1] += letter
                else:
                    joined.append(letter)
            merged[tuple(joined)] = n
        words = merged
    return merges


def test_merges_are_the_most_frequent_pairs_in_turn():
    trained = train_tokenizer(source(TEXT), 257 + 5, held_out_share=0)
    assert plain_merges(5) == ["ab", "abc", "xy", "abcd", "xyz"]
    assert [trained.decode([i]) for i in range(257, 262)] == plain_merges(5)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < tokenizer.vocabulary and i != tokenizer.end_of_text for i in ids)


def test_sizes_are_what_was_asked_for(tokenizer):
    assert tokenizer.vocabulary == 300
    assert len(tokenizer.encode(STORY)) < len(STORY) / 2
    letters = train_tokenizer(source(STORY), 257, held_out_share=0)
    assert letters.vocabulary == 257
    assert len(letters.encode(STORY + "é")) == len(STORY) + 2


def test_the_end_of_text_is_never_read_from_a_text(tokenizer):
    text = "so ends <|endoftext|> the file"
    ids = tokenizer.encode(text)
    assert tokenizer.end_of_text == 0 and 0 not in ids
    assert tokenizer.decode([*ids, 0]) == text + "<|endoftext|>"


def test_each_text_is_encoded_as_it_would_be_alone(tokenizer):
    texts = [STORY[i : 2 * i] for i in range(150)]
    assert tokenizer.encode_each(texts) == [tokenizer.encode(text) for text in texts]


def test_the_same_text_gives_the_same_tokenizer(tokenizer):
    again = train_tokenizer(source(STORY), 300, held_out_share=0)
    other = train_tokenizer(source(STORY + "zebra zebra zebra " * 9), 300, held_out_share=0)
    assert again.digest == tokenizer.digest != other.digest


def test_it_is_kept_as_a_tokenizer_json(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    for loaded in (load_tokenizer(tmp_path), load_tokenizer(str(tmp_path / "tokenizer.json"))):
        assert loaded.digest == tokenizer.digest
        assert loaded.encode("the <|endoftext|>") == tokenizer.encode("the <|endoftext|>")


def test_tokenizers_of_others_are_read_without_what_they_add(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["<s>", "</s>", "<unk>", "the", "cat"]
    backend = Tokenizer(models.WordLevel({name: 2 * i for i, name in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    backend.enable_truncation(2)
    backend.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    assert loaded.end_of_text == 2
    assert loaded.encode("the cat the cat") == [6, 8, 6, 8]
    assert loaded.vocabulary == 9  # ids have gaps; an embedding needs a row for the largest
    assert load_tokenizer(tmp_path, "<s>").end_of_text == 0
    with pytest.raises(og.OntogenyError, match=r"end_of_text: .* has no token <end>; name the token"):
        load_tokenizer(tmp_path, "<end>")


def test_what_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(
        og.OntogenyError, match=r"path must be a tokenizer.json or a folder that holds one; .* not there"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"a": 0}))
    with pytest.raises(og.OntogenyError, match=r"cannot be read as a tokenizer.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("vocabulary", [256, 0, 300.0, True])
def test_a_vocabulary_without_room_for_the_bytes_is_refused(vocabulary):
    with pytest.raises(og.OntogenyError, match=r"vocabulary must be a whole number of at least 257, for the 256 bytes"):
        train_tokenizer(source(STORY), vocabulary)


def test_too_little_text_says_how_far_it_reaches():
    with pytest.raises(og.OntogenyError, match=r"vocabulary: the text yields 262 tokens, and 400 were asked for"):
        train_tokenizer(source(TEXT), 400, held_out_share=0)


def test_only_the_sample_of_training_documents_is_looked_at():
    held = next(i for i in range(100) if is_held_out(str(i), 0.1))
    texts = [STORY, *(f"{i}" for i in range(1, 100))]
    texts[held] = "zebra " * 500
    assert held > 0
    seen = train_tokenizer(source(*texts), 300)
    assert len(seen.encode("zebra")) > 3
    limited = train_tokenizer(source(STORY + "zebra " * 500), 300, sample_characters=len(STORY), held_out_share=0)
    assert len(limited.encode("zebra")) > 3
    everything = train_tokenizer(source(STORY + "zebra " * 500), 300, held_out_share=0)
    assert len(everything.encode(" zebra")) == 1
    with pytest.raises(og.OntogenyError, match=r"sample_characters must be at least 1; got 0"):
        train_tokenizer(source(STORY), 300, sample_characters=0)
