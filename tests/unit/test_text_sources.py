"""Sources of text: what is read, in which order, what is recorded of it, and what is refused."""

import hashlib
import importlib
import inspect
import itertools
import json
import pickle
import re
import shutil
import sys
import types
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ontogeny as og
from ontogeny.inputs.text import installed, parse_mixture, parse_source
from ontogeny.inputs.text.documents import is_held_out

LONG = " ".join(["It says what it does, and with which arguments, and what comes back, and when it fails."] * 3)


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def names(uri):
    return [document.name for document in parse_source(uri).documents()]


@pytest.fixture
def python(tmp_path, monkeypatch):
    """A Python installation of four files."""
    roots = {"stdlib": tmp_path / "lib", "site-packages": tmp_path / "lib" / "site-packages"}
    write(
        tmp_path / "lib",
        {
            "heap.py": f'"""{LONG}"""\n',
            "clock/__init__.py": "def now(): pass\n",
            "__pycache__/old.py": "old = 1\n",
            "site-packages/fruit/__init__.py": f'"""Fruit.\n\n    {LONG}"""\nraise RuntimeError("imported")\n',
            "site-packages/fruit/py2.py": f'"""{LONG}"""\nprint "two"\n',
            "site-packages/fruit/data.csv": "1,2\n",
        },
    )
    monkeypatch.setattr(installed, "_roots", lambda: roots)


def test_a_folder_gives_its_text_files_by_relative_name_and_counts_the_rest(tmp_path):
    files = {"a.txt": "one", "deep/b.md": "two", ".git/c": "hidden", "d.txt": b"\xff\xfe", "e.bin": b"a\0b"}
    folder = write(tmp_path / "books", {**files, "f.txt": " \n", "g.txt": "one"})
    skipped = Counter()
    found = {document.name: document.text for document in parse_source(f"dir:{folder}").documents(skipped)}
    assert found in ({"a.txt": "one", "deep/b.md": "two"}, {"g.txt": "one", "deep/b.md": "two"})
    assert skipped == {"not UTF-8": 1, "not text": 1, "empty": 1, "repeated": 1}
    assert names(f"dir:{folder}?glob=*.md") == ["deep/b.md"]


@pytest.mark.parametrize("glob", ["/etc/*", "**foo", "../*"])
def test_a_glob_that_can_match_nothing_below_the_folder(tmp_path, glob):
    folder = write(tmp_path / "books", {"a.txt": "one"})
    with pytest.raises(og.OntogenyError, match=rf"^source: .*{re.escape(repr(glob))}.*\.$"):
        names(f"dir:{folder}?glob={glob}")


def test_the_order_is_a_matter_of_names_and_seed_alone(tmp_path):
    files = {f"{i:03}.txt": f"number {i}" for i in range(60)}
    first = write(tmp_path / "first", files)
    second = write(tmp_path / "second", dict(reversed(files.items())) | {"more.txt": "more"})
    order = names(f"dir:{first}")
    assert order == [name for name in names(f"dir:{second}") if name != "more.txt"]
    assert order != sorted(order)
    assert names(f"dir:{first}?seed=1") not in (order, sorted(order))


def test_a_limit_takes_a_spread_and_is_met_to_the_character(tmp_path):
    folder = write(tmp_path / "many", {f"{i:03}.txt": f"{i:010}" for i in range(200)})
    documents = list(parse_source(f"dir:{folder}?most_characters=495").documents())
    assert [len(document.text) for document in documents] == [10] * 49 + [5]
    mean = sum(int(document.name[:3]) for document in documents) / 50
    assert abs(mean - 99.5) < 4 * (200**2 / 12 / 50 * 0.75) ** 0.5  # 50 of 200 without replacement; 99.5 ± 28
    assert min(int(document.name[:3]) for document in documents) < 20 < 180 < max(int(d.name[:3]) for d in documents)


def test_the_description_is_told_by_names_and_contents_and_not_by_the_place(tmp_path):
    folder = write(tmp_path / "books", {"a.txt": "äb", "c/d.txt": "efg", "e.txt": b"\xff"})
    said = parse_source(f"dir:{folder}?glob=*.txt").describe()
    digest = hashlib.sha256()
    for name in said["names"]:
        text = (folder / name).read_text(encoding="utf-8").encode()
        digest.update(f"{len(name)} {name}{len(text)} ".encode() + text)
    assert said == {
        "uri": "dir:books?glob=*.txt",
        "documents": 2,
        "characters": 5,
        "digest": digest.hexdigest(),
        "skipped": {"not UTF-8": 1},
        "names": said["names"],
    }
    assert set(said["names"]) == {"a.txt", "c/d.txt"}
    assert str(tmp_path) not in json.dumps(said)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "books")
    assert parse_source(f"dir:{moved}?glob=*.txt").describe() == said
    (moved / "a.txt").write_text("ab")
    assert parse_source(f"dir:{moved}").describe()["digest"] != said["digest"]


def test_one_file_may_hold_many_documents(tmp_path):
    write(
        tmp_path,
        {
            "s.json": json.dumps(["one", "two"]),
            "t.jsonl": '{"text": "one", "story": "eins"}\n\n{"text": "two", "story": "zwei"}\n',
            "u.txt": "\ufeffall",
        },
    )
    assert list(parse_source(f"file:{tmp_path}/s.json").documents()) == [("s.json#0", "one"), ("s.json#1", "two")]
    assert list(parse_source(f"file:{tmp_path}/t.jsonl").documents()) == [("t.jsonl#0", "one"), ("t.jsonl#2", "two")]
    assert [d.text for d in parse_source(f"file:{tmp_path}/t.jsonl?column=story").documents()] == ["eins", "zwei"]
    assert list(parse_source(f"file:{tmp_path}/u.txt").documents()) == [("u.txt", "all")]


@pytest.mark.usefixtures("python")
def test_installed_code_is_every_python_file_once(tmp_path):
    found = {document.name: document.text for document in parse_source("installed:code").documents()}
    assert set(found) == {
        "stdlib/heap.py",
        "stdlib/clock/__init__.py",
        "site-packages/fruit/__init__.py",
        "site-packages/fruit/py2.py",
    }
    assert found["stdlib/clock/__init__.py"] == "def now(): pass\n"
    assert set(names("installed:code?packages=heap,clock")) == {"stdlib/heap.py", "stdlib/clock/__init__.py"}


@pytest.mark.usefixtures("python")
def test_installed_docs_are_found_without_importing():
    skipped = Counter()
    found = {document.name: document.text for document in parse_source("installed:docs").documents(skipped)}
    assert found == {
        "stdlib/heap.py": LONG,
        "site-packages/fruit/__init__.py": f"Fruit.\n\n{LONG}",
    }
    assert skipped == {"not parsed": 1, "few docstrings": 1}


def test_docstrings_are_those_that_python_itself_finds(tmp_path, monkeypatch):
    code = '''
    r"""Module \\d.

        Indented.
    """
    if True:
        class Outer:
            """Outer."""
            class Inner:
                """Inner.

                More of it.
                """
                async def wait(self):
                    """Wait."""
            def plain(self):
                "no" + "docstring"
    try:
        pass
    finally:
        def last(x="""not one"""):
            """Last."""
    """A string that stands alone."""
    '''
    (tmp_path / "documented_here.py").write_text(inspect.cleandoc(code))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("documented_here")
    outer = module.Outer
    expected = [inspect.getdoc(x) for x in (module, outer, outer.Inner, outer.Inner.wait, module.last)]
    assert installed.docstrings((tmp_path / "documented_here.py").read_text()) == "\n\n".join(expected)


def test_a_few_documents_of_this_installation_are_had_without_reading_it_all(monkeypatch):
    read, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    documents = list(itertools.islice(parse_source("installed:code").documents(), 5))
    assert len({document.text for document in documents}) == 5
    assert all(document.name.split("/")[0] in ("stdlib", "site-packages") for document in documents)
    assert len(read) < 50
    said = dict(parse_source("installed:docs?packages=json").documents())
    assert inspect.cleandoc(json.__doc__) in said["stdlib/json/__init__.py"]
    assert inspect.cleandoc(json.JSONDecoder.__doc__) in said["stdlib/json/decoder.py"]


def test_hub_data_are_streamed_as_the_uri_says(monkeypatch):
    calls, passed = [], []

    def load_dataset(path, name=None, **options):
        calls.append((path, name, options))
        return (passed.append(i) or {"story": f"Story {i}.", "id": i} for i in range(1000))

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    source = parse_source("hub:someone/stories?config=en&split=dev&column=story&revision=abc")
    assert not calls
    assert list(itertools.islice(source.documents(), 2)) == [("dev#0", "Story 0."), ("dev#1", "Story 1.")]
    assert calls == [("someone/stories", "en", {"split": "dev", "revision": "abc", "streaming": True})]
    assert len(passed) <= 3
    with pytest.raises(og.OntogenyError, match=r"row 0 of stories has no text in the column 'text'; it has story, id"):
        next(parse_source("hub:stories").documents())


def test_hub_data_come_through_the_real_library(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("datasets")
        write(tmp_path, {"stories/train.jsonl": '{"text": "one"}\n{"text": "two"}\n'})
        monkeypatch.chdir(tmp_path)  # the library takes a folder by its name as it takes a data set
        assert list(parse_source("hub:stories").documents()) == [("train#0", "one"), ("train#1", "two")]
        with pytest.raises(
            og.OntogenyError, match=r"'stories' \(config None, split dev\) cannot be had from the hub: "
        ):
            names("hub:stories?split=dev")


def test_without_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(og.OntogenyError, match=r'source: hub: needs the extra: pip install "ontogeny\[hub\]"'):
        names("hub:stories")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("books", r"source must be dir:PATH, file:PATH, installed:code, installed:docs or hub:NAME; got 'books'"),
        ("http://x", r"source must be dir:PATH"),
        ("dir:", r"source must be dir:PATH"),
        ("dir:nowhere", r"dir: must name a folder of text files; nowhere is none"),
        (
            "dir:x?packages=a",
            r"options of dir: are glob, seed, most_characters, each once and as name=value; got 'pack",
        ),
        ("file:x?column", r"options of file: are column, most_characters, .*; got 'column'"),
        ("file:nowhere.txt", r"file: must name a file; nowhere.txt is none. For a folder write dir:"),
        ("installed:words", r"installed: must be followed by code or docs; got 'words'"),
        ("installed:code?packages=json,no_such", r"packages must be installed here as Python files; no_such is not"),
        ("dir:x?most_characters=0", r"most_characters must be a whole number of at least 1; got '0'"),
        ("dir:x?seed=one", r"seed must be a whole number of at least 0; got 'one'"),
    ],
)
def test_what_is_no_source_is_refused(uri, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(og.OntogenyError, match=said):
        names(uri)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '{"text": "one"}', r"must hold a JSON list of strings; for objects use \.jsonl"),
        ("a.json", "[1", r"must be json; it cannot be parsed"),
        ("a.jsonl", '["one"]', r"line 1 of .* has no text in the column 'text'; it is a list"),
        ("a.txt", b"ab\xff", r"must be UTF-8; byte 2 is not"),
        ("a.pdf", "x", r"file: must end in \.txt, \.json or \.jsonl; got a\.pdf"),
    ],
)
def test_files_of_another_form_are_refused(name, content, said, tmp_path):
    write(tmp_path, {name: content})
    with pytest.raises(og.OntogenyError, match=said):
        names(f"file:{tmp_path}/{name}")
    with pytest.raises(og.OntogenyError, match=r"no file below .* matches '\*\.md'; set \?glob="):
        names(f"dir:{tmp_path}?glob=*.md")


def test_a_source_can_go_to_a_worker(tmp_path):
    source = parse_source(f"dir:{write(tmp_path / 'x', {'a.txt': 'one'})}")
    assert list(pickle.loads(pickle.dumps(source)).documents()) == [("a.txt", "one")]


def test_mixtures_read_as_they_are_written():
    mixture = parse_mixture("0.8*installed:docs + 0.4 * dir:a*b+c?glob=*.txt  +  file:x.json")
    assert [(round(share, 6), source.uri) for share, source in mixture.parts] == [
        (0.363636, "installed:docs"),
        (0.181818, "dir:a*b+c?glob=*.txt"),
        (0.454545, "file:x.json"),
    ]
    assert [share for share, _ in parse_mixture("installed:docs").parts] == [1.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0*installed:docs", r"a weight must be a positive number; got '0' in '0\*installed:docs'"),
        ("-1*installed:docs + installed:code", r"positive number; got '-1'"),
        ("nan*installed:docs", r"positive number; got 'nan'"),
        ("much*installed:docs", r"positive number; got 'much'"),
        ("1*installed:docs + 2*installed:docs", r"mixture must name each source once; installed:docs stands twice"),
        ("installed:docs +", r"source: installed: must be followed by code or docs; got 'docs \+'"),
        ("", r"source must be dir:PATH, .*; got ''"),
    ],
)
def test_what_is_no_mixture_is_refused(text, said):
    with pytest.raises(og.OntogenyError, match=said):
        parse_mixture(text)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=6), st.integers(0, 5000))
def test_rows_are_apportioned_to_within_one(weights, count):
    mixture = parse_mixture(" + ".join(f"{weight!r}*dir:{i}" for i, weight in enumerate(weights)))
    rows = mixture.apportion(count)
    assert sum(rows) == count
    assert all(abs(n - count * weight / sum(weights)) < 1 for n, weight in zip(rows, weights, strict=True))


def test_held_out_documents_are_a_share_that_nests():
    pages = [f"page {i}" for i in range(4000)]
    few, many = ({page for page in pages if is_held_out(page, share)} for share in (0.1, 0.3))
    assert few < many
    for held, share in ((few, 0.1), (many, 0.3)):
        assert abs(len(held) - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5
    assert not any(is_held_out(page, 0.0) for page in pages)
