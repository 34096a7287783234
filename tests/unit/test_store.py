"""Results on disk: whole or not at all, under their content key, never over another study, readable by anyone."""

import json
import os
import platform
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ontogeny as og
from ontogeny.core.temporary_files import temporary_beside
from ontogeny.store import Store, check_folder, content_key, read_zarr, write_text, write_zarr

IDENTITY = {"study": "superposition", "preset": "quick", "steps": 3}


def chunk(value=1.0, word="ok"):
    return xr.Dataset(
        {
            "llc": (("seed", "checkpoint"), np.full((2, 3), value)),
            "single": ("seed", np.array([1.5, np.nan], dtype=np.float32)),
            "count": ("seed", np.array([1, 2])),
            "whole": ("seed", np.array([True, False])),
            "status": (("seed", "checkpoint"), np.full((2, 3), word, dtype=object)),
        },
        coords={"seed": [4, 7], "step": (("seed", "checkpoint"), np.arange(6).reshape(2, 3))},
        attrs={"preset": "quick", "n_beta": 1000.0, "draws": 8},
    )


def test_a_chunk_comes_back_as_it_went_in(tmp_path):
    store = Store(tmp_path / "out", IDENTITY)
    assert not store.has("a")
    store.save("a", chunk())
    assert store.has("a") and not store.has("b")
    loaded = store.load("a")
    xr.testing.assert_identical(loaded, chunk())
    assert {name: loaded[name].dtype for name in loaded} == {name: chunk()[name].dtype for name in loaded}


def test_a_chunk_saved_again_takes_the_place_of_the_first(tmp_path):
    store = Store(tmp_path / "out", IDENTITY)
    store.save("a", chunk(1.0))
    store.save("a", chunk(2.0, "target_not_met"))
    xr.testing.assert_identical(store.load("a"), chunk(2.0, "target_not_met"))
    assert [path.name for path in (tmp_path / "out" / "chunks").iterdir()] == ["a.zarr"]


def test_words_of_unlike_length_join(tmp_path):
    store = Store(tmp_path / "out", IDENTITY)
    store.save("a", chunk(word="ok"))
    store.save("b", chunk(word="minibatch_noise"))
    joined = xr.concat([store.load("a"), store.load("b")], "seed")
    assert set(joined.status.values.ravel()) == {"ok", "minibatch_noise"}
    write_zarr(tmp_path / "joined.zarr", {None: joined})
    xr.testing.assert_identical(read_zarr(tmp_path / "joined.zarr"), joined)


def test_a_missing_chunk_is_an_error(tmp_path):
    with pytest.raises(og.OntogenyError, match=r"does not exist; run the study first"):
        Store(tmp_path / "out", IDENTITY).load("a")


def test_a_write_that_dies_leaves_no_chunk_and_the_next_one_succeeds(tmp_path, monkeypatch):
    store = Store(tmp_path / "out", IDENTITY)

    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            store.save("a", chunk())
    assert not store.has("a")
    store.save("a", chunk())
    xr.testing.assert_identical(store.load("a"), chunk())
    assert [path.name for path in (tmp_path / "out" / "chunks").iterdir()] == ["a.zarr"]


def test_half_a_chunk_of_a_killed_process_is_none(tmp_path):
    store = Store(tmp_path / "out", IDENTITY)
    store.save("a", chunk())
    half = temporary_beside(tmp_path / "out" / "chunks" / "b.zarr")
    (half / "llc").mkdir(parents=True)
    assert store.has("a") and not store.has("b")
    store.save("b", chunk(3.0))
    xr.testing.assert_identical(store.load("b"), chunk(3.0))


def test_the_folder_remembers_its_study(tmp_path):
    Store(tmp_path / "deep" / "out", IDENTITY).save("a", chunk())
    assert json.loads((tmp_path / "deep" / "out" / "study.json").read_text(encoding="utf-8")) == IDENTITY
    assert Store(tmp_path / "deep" / "out", dict(reversed(IDENTITY.items()))).has("a")


@pytest.mark.parametrize("change", [{"preset": "full"}, {"steps": 4}, {"study": "sorting"}, {"more": 1}])
def test_another_study_is_refused_and_nothing_is_touched(tmp_path, change):
    Store(tmp_path / "out", IDENTITY).save("a", chunk())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with pytest.raises(og.OntogenyError, match="holds another study"):
        Store(tmp_path / "out", IDENTITY | change)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 4}, r"another study \(superposition, quick with steps = 3\), and this one is one with 4;"),
        ({"settings": {"seed": 1, "chains": 3}}, r"\(superposition, quick without settings\), and this one is"),
        ({"settings": None}, r"\(superposition, quick without settings\), and this one is one with None;"),
        ({"preset": "full"}, r"another study \(superposition, quick\), and this one is superposition, full;"),
    ],
)
def test_what_differs_is_said(tmp_path, change, message):
    Store(tmp_path / "out", IDENTITY).save("a", chunk())
    with pytest.raises(og.OntogenyError, match=message):
        Store(tmp_path / "out", IDENTITY | change)


def test_what_differs_is_said_however_deep(tmp_path):
    settings = {"seed": 1, "chains": 3}
    Store(tmp_path / "out", {"study": "measure", "settings": settings}).save("a", chunk())
    with pytest.raises(og.OntogenyError, match=r"\(measure with settings\.seed = 1\), and this one is one with 2;"):
        Store(tmp_path / "out", {"study": "measure", "settings": settings | {"seed": 2}})


def test_coordinates_may_be_words(tmp_path):
    one = xr.Dataset({"llc": ("component", [1.0, 2.0])}, coords={"component": ["1:3", "unembed"]})
    write_zarr(tmp_path / "results.zarr", {None: one})
    again = read_zarr(tmp_path / "results.zarr")
    assert list(again["component"].values) == ["1:3", "unembed"] and again["component"].dtype == object
    xr.testing.assert_equal(again, one)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(og.OntogenyError, match=r"out must be a folder; .* is a file\. Name another one"):
        Store(tmp_path / "out", IDENTITY)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(og.OntogenyError, match=r"^out must be a folder that can be made; got .*inside \("):
        Store(tmp_path / "file" / "inside", IDENTITY)


def test_an_empty_folder_is_taken(tmp_path):
    Store(tmp_path, IDENTITY)
    assert (tmp_path / "study.json").exists()


def test_groups_and_plain_xarray(tmp_path):
    path = tmp_path / "results.zarr"
    write_zarr(path, {None: chunk(), "trajectory": chunk(5.0, "drifting")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_zarr(path) as root, xr.open_zarr(path, group="trajectory") as group:
            assert root["status"].values[0, 0] == "ok" and group["status"].values[1, 2] == "drifting"
            assert (root["llc"].values == 1.0).all() and (group["llc"].values == 5.0).all()
            assert root.attrs == chunk().attrs
        with xr.open_dataset(path, engine="zarr") as root:
            assert dict(root.sizes) == {"seed": 2, "checkpoint": 3}
    xr.testing.assert_identical(read_zarr(path, "trajectory"), chunk(5.0, "drifting"))


def test_results_are_replaced_as_a_whole(tmp_path):
    path = tmp_path / "results.zarr"
    write_zarr(path, {None: chunk(), "old": chunk()})
    write_zarr(path, {None: chunk(2.0), "new": chunk()})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.zarr"]
    assert (path / "new").exists() and not (path / "old").exists()
    xr.testing.assert_identical(read_zarr(path), chunk(2.0))


def test_writing_changes_nothing_that_was_passed(tmp_path):
    given = chunk()
    write_zarr(tmp_path / "results.zarr", {None: given})
    xr.testing.assert_identical(given, chunk())


def test_text_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "summary.json"
    write_text(path, "first λ̂")
    write_text(path, "second")
    assert path.read_text(encoding="utf-8") == "second" and len(list(tmp_path.iterdir())) == 1


def test_a_key_names_everything_a_result_depends_on():
    array = np.arange(6.0)
    key = content_key("measure", {"a": 1, "b": 2.0}, array)
    assert key == content_key("measure", {"b": 2.0, "a": 1}, array.copy()) and len(key) == 16
    others = {
        content_key("train", {"a": 1, "b": 2.0}, array),
        content_key("measure", {"a": 2, "b": 2.0}, array),
        content_key("measure", {"a": 1, "b": 2.0}, array + 1e-15),
        content_key("measure", {"a": 1, "b": 2.0}, array.astype(np.float32)),
        content_key("measure", {"a": 1, "b": 2.0}, array.reshape(2, 3)),
        content_key("measure", {"a": 1, "b": 2.0}, array[::-1]),
        content_key("measure", {"a": 1, "b": 2.0}),
    }
    assert len(others) == 7 and key not in others
    assert content_key(array[::2]) == content_key(np.array([0.0, 2.0, 4.0]))  # the values, not how they lie in memory


def named_by(pid, path, kind="tmp"):
    """A temporary name as another process of this machine would have given it."""
    own = temporary_beside(path)
    return own.with_name(own.name.replace(f".{os.getpid()}.", f".{pid}.")).with_suffix(f".{kind}")


def test_what_a_killed_process_left_is_put_right(tmp_path):
    folder, dead = tmp_path / "out", 2**22 + 1  # above the largest process number
    identity = {"study": "superposition", "preset": "quick"}
    Store(folder, identity).save("0" * 16, xr.Dataset({"a": ("x", [1.0])}))
    write_zarr(folder / "results.zarr", {None: xr.Dataset({"a": ("x", [2.0])})})
    (folder / "results.zarr").rename(named_by(dead, folder / "results.zarr", "old"))
    named_by(dead, folder / "results.zarr").mkdir()
    named_by(dead, folder / "chunks" / "1111.zarr").mkdir()
    named_by(dead, folder / "chunks" / "2222.zarr", "old").mkdir()
    (folder / "chunks" / "2222.zarr").mkdir()
    named_by(dead, folder / "summary.json").write_text("half", encoding="utf-8")
    under_way = temporary_beside(folder / "report.html")
    under_way.write_text("under way", encoding="utf-8")
    store = Store(folder, identity)
    assert read_zarr(folder / "results.zarr")["a"].item() == 2.0 and store.has("0" * 16)
    assert [path.name for path in folder.rglob(".*")] == [under_way.name]


def test_what_another_machine_is_writing_is_left_alone(tmp_path, monkeypatch):
    folder, identity = tmp_path / "out", {"study": "superposition", "preset": "quick"}
    Store(folder, identity).save("0" * 16, chunk())
    with monkeypatch.context() as patched:
        patched.setattr(platform, "node", lambda: "another.machine")
        theirs = named_by(2**22 + 1, folder / "chunks" / "1111.zarr")
    theirs.mkdir()
    Store(folder, identity)
    assert theirs.exists()


def test_two_processes_may_commit_one_chunk(tmp_path, monkeypatch):
    """The other one puts its own there between this one's look and its rename."""
    store = Store(tmp_path / "out", IDENTITY)
    rename = Path.rename

    def late(self, target):
        if self.suffix == ".tmp" and not target.exists():
            monkeypatch.setattr(Path, "rename", rename)
            store.save("a", chunk())
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    store.save("a", chunk())
    xr.testing.assert_identical(store.load("a"), chunk())
    assert [path.name for path in (tmp_path / "out" / "chunks").iterdir()] == ["a.zarr"]


def test_a_study_that_ended_before_its_first_result_makes_room(tmp_path):
    Store(tmp_path / "out", IDENTITY)
    other = IDENTITY | {"steps": 4}
    assert not check_folder(tmp_path / "out", other)
    Store(tmp_path / "out", other).save("a", chunk())
    with pytest.raises(og.OntogenyError, match="holds another study"):
        Store(tmp_path / "out", IDENTITY)
