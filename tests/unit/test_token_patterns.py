"""Each pattern of appendix B on texts written for it, and on texts that look like it and are not."""

import re

import pytest

from ontogeny.metrics.tokens_in_context import TokenInContext, classify_tokens, token_texts
from ontogeny.metrics.tokens_in_context.delimiters import pairs
from ontogeny.metrics.tokens_in_context.dyck import dyck_pattern
from ontogeny.metrics.tokens_in_context.induction import induction_pattern
from ontogeny.metrics.tokens_in_context.ngrams import ngrams
from ontogeny.metrics.tokens_in_context.skip_ngrams import skip_ngram

NUMBERS: dict[str, int] = {}


def token(before, after, attended=None):
    """The text up to the current token, and from the next token on; words and marks are tokens, as is every "th"."""
    first, then = (re.findall(r"th(?=an\b)|(?<=th)an\b| ?[^\W_]+| ?[^\w\s]| ?_|\s", text) for text in (before, after))
    assert "".join([*first, *then]) == before + after
    ids = tuple(NUMBERS.setdefault(text, len(NUMBERS)) for text in (*first, *then))
    position = len(first) - 1
    return TokenInContext(ids, (*first, *then), position, position if attended is None else attended)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("see f(a, b", ") there", ("(", ")")),
        ("so (a [b] {c} d", ").", (" (", ")")),
        ("so [a (b", ") c]", (" (", ")")),
        ('he said "well, I', '" and', (' "', '"')),
        ("he said “well, I", "” and", (" “", "”")),
        ("he said ``well, I", "'' and", (" `", "'")),
        ("use `name", "` or", (" `", "`")),
        ("the ``name (x", ")`` or", (" (", ")")),
        ("the ``name (x)", "`` or", (" `", "`")),
        ("he 'really", "' went", (" '", "'")),
        ("it's 'really", "' it", (" '", "'")),
        ("this is _so", "_ good", (" _", "_")),
        ("this is **so", "** good", (" *", "*")),
        ("Both men", " and women", ("both", "and")),
        ("it is not only good", " but also cheap", ("not only", "but")),
        ("neither this", " nor that", ("neither", "nor")),
        ("either this", " or that", ("either", "or")),
        ("it is more work", " than play", ("more", "than")),
        ("the most work (of all)", " ever", ("most", "ever")),
        ("It ended. Why did it end", "?", ("why", "?")),
    ],
)
def test_dyck_patterns(before, after, expected):
    assert dyck_pattern(token(before, after)) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("see a, b", ") there"),  # opened nowhere
        ("so (a [b", ") c"),  # another bracket is open between
        ("so (a] b", ") c"),  # and closed without having been opened
        ('he said "well, I said', ' "no'),  # opens
        ("he did", "n't"),
        ("it's the boy", "'s"),
        ("men", " and women"),
        ("Both left. Men", " and women"),  # another sentence
        ("both men and women", " and others"),  # closed already
        ("both (men", " and women)"),  # inside a bracket that is open
        ("either a hist", "ory"),  # "or" in a word
        ("why not now", "?"),  # the paper's list has the words as they begin a sentence
        ("It was.", " Why"),
    ],
)
def test_what_is_no_dyck_pattern(before, after):
    assert dyck_pattern(token(before, after)) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('He said "no"', " said she", ('"', '"', "said")),
        ('the so-called "help"', " of him", ('"', '"', "of")),
        ("He said “no”", " says she", ("“", "”", "says")),
        ("He said ``no''", " wrote she", ("``", "''", "wrote")),
        ("by Ann (@ann)", " October 3", ("(@", ")", "October")),
        ("it is more work th", "an play", ("more", "th", "an")),
        ("it is less work than", " play", ("less", "than", "play")),
        ("at N.A", ".S.A.", ("N", ".", "A", ".")),
        ("It prevents us", " from it", ("prevents", "from")),
        ("They kept us", " safe", ("kept", "safe")),
        ("let it", " go", ("let", "go")),
        ("meet all", " requirements", ("meet", "requirements")),
        ("He was accused", " of it", ("accused", "of")),
        ("email ann", "@home", ("email", "@")),
        ("http://a.b", "/c", ("://", "/")),
    ],
)
def test_skip_ngrams(before, after, expected):
    assert skip_ngram(token(before, after)) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('He said "no"', " and went"),
        ("He said no", " said she"),
        ("by Ann (a friend)", " then"),
        ("work th", "an play"),
        ("at A", ". Then"),
        ("It prevents us. We come", " from it"),
        ("let it", " goad"),
        ("they ask pro", "of"),
        ("http://a.b and c", "/d"),
    ],
)
def test_what_is_no_skip_ngram(before, after):
    assert skip_ngram(token(before, after)) is None


@pytest.mark.parametrize(("attended", "expected"), [(1, True), (4, True), (3, True), (2, False), (0, False)])
def test_induction_patterns_ask_where_the_head_looks(attended, expected):
    """The first "b" (1), the second "a" (4), the token before it (3); nowhere else."""
    found = induction_pattern(token("a b c d a", " b e", attended))
    assert found is None  # "a" at the start and " a" are two tokens
    found = induction_pattern(token(" a b c d a", " b e", attended))
    assert found == ((" a", " b") if expected else None)
    assert induction_pattern(token(" a b c d a", " c", attended)) is None


def test_ngrams_come_at_least_twice():
    one, two, other = token("so years", " ago", 1), token("some years", " ago", 1), token("so years", " later", 1)
    assert ngrams([one, two, other]) == [(" years", " ago"), (" years", " ago"), None]
    assert ngrams([one]) == [None] and ngrams([]) == []


def test_classification_is_serial():
    """What fits several patterns is explained by the first; n-grams count among what is left."""
    twice = token(" a (b) c a (b", ") d")
    tokens = [
        twice,
        token("so (b", ") d"),
        token("let it", " go"),
        *[token("so years", " ago", 1)] * 2,
        token("x", " y"),
    ]
    found = [None if one is None else one.pattern for one in classify_tokens(tokens)]
    assert found == ["induction", "dyck", "skip_ngram", "ngram", "ngram", None]


def test_pairs_recover_from_marks_that_are_none():
    text = "don't (say 'tis so) 1) and (a) [b (c] d)"
    assert [(text[one.opens], one.valid) for one in pairs(text)] == [("(", True), ("(", True), ("[", False)]


def test_texts_of_tokens_keep_characters_whole():
    """Of a character in three tokens the last has it; half a character at the start stays what the decoder gives."""
    pieces = [b"a", "€".encode()[:1], "€".encode()[1:2], "€".encode()[2:], b"b", "é".encode()[:1]]

    def decode(ids):
        return b"".join(pieces[one] for one in ids).decode(errors="replace")

    assert token_texts(decode, range(6)) == ("a", "", "", "€", "b", "\ufffd")
    assert token_texts(decode, [3, 0]) == ("\ufffd", "a")
    one = TokenInContext(tuple(range(6)), token_texts(decode, range(6)), 3, 0)
    assert (one.before, one.next_text, one.after) == ("a€", "b", "b\ufffd")
    assert one.token_at(1) == "€" and one.token_at(9) == ""
