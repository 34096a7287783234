"""Chunks of work: the same bits from one worker and from two, whole chunks only, and on from where it was."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import execution_work as work
import numpy as np
import pytest

import ontogeny as og
from ontogeny.execution import local
from ontogeny.execution.chunks import LargeInputs
from ontogeny.execution.local import Chunk, cores, run_chunks
from ontogeny.store import Store

CHUNKS = [Chunk(str(number), number) for number in range(6)]


def run(folder, function=work.simulate, chunks=CHUNKS, workers=1):
    store = Store(folder, {"study": "test"})
    run_chunks(function, chunks, store, text="working", workers=workers)
    return store


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return work.numbers(run(tmp_path_factory.mktemp("whole") / "out"))


def test_one_worker_and_two_give_the_same_bits(tmp_path, uninterrupted):
    assert len(uninterrupted) == 6
    store = run(tmp_path / "two", workers=2)
    assert_equal(work.numbers(store), uninterrupted)
    assert all(int(store.load(str(number))["threads"]) == 1 for number in range(6))


def test_the_order_of_chunks_changes_nothing(tmp_path, uninterrupted):
    assert_equal(work.numbers(run(tmp_path / "out", chunks=CHUNKS[::-1])), uninterrupted)


def test_an_exception_leaves_whole_chunks_and_the_rest_follows(tmp_path, uninterrupted):
    with pytest.raises(og.OntogenyError, match="the third chunk is at fault"):
        run(tmp_path / "out", work.fail_at_two)
    store = Store(tmp_path / "out", {"study": "test"})
    assert [store.has(str(number)) for number in range(6)] == [True, True, False, False, False, False]
    assert_equal(work.numbers(run(tmp_path / "out")), uninterrupted)


def test_an_exception_in_a_worker_is_the_callers_and_ends_the_others(tmp_path):
    payloads = [Chunk(str(number), (str(tmp_path), number)) for number in range(2)]
    with pytest.raises(ValueError, match="the other one"):
        run(tmp_path / "out", work.fail_beside_a_sleeper, payloads, workers=2)
    store = Store(tmp_path / "out", {"study": "test"})
    assert not store.has("0"), "the sleeping worker was waited for"
    sleeper = int((tmp_path / "asleep").read_text(encoding="utf-8"))
    assert work.gone(sleeper)


def test_a_worker_that_is_killed_is_reported_and_the_rest_can_follow(tmp_path, uninterrupted):
    with pytest.raises(og.OntogenyError, match=r"^worker processes died twice, perhaps for want of memory; run again"):
        run(tmp_path / "out", work.die, workers=2)
    assert_equal(work.numbers(run(tmp_path / "out")), uninterrupted)


def test_workers_are_started_anew_where_one_is_killed(tmp_path, uninterrupted):
    chunks = [Chunk(str(number), (str(tmp_path), number)) for number in range(6)]
    store = run(tmp_path / "out", work.die_once, chunks, workers=2)
    assert (tmp_path / "died").exists()
    assert_equal(work.numbers(store), uninterrupted)


UNGUARDED = """
import sys
import execution_work as work

chunks = [work.Chunk(str(number), number) for number in range(2)]
work.run_chunks(work.simulate, chunks, work.Store(work.Path(sys.argv[1]), {"study": "test"}), text="", workers=2)
"""


def test_a_script_that_workers_would_run_again_is_told_so(tmp_path):
    (tmp_path / "unguarded.py").write_text(UNGUARDED, encoding="utf-8")
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    call = [sys.executable, str(tmp_path / "unguarded.py"), str(tmp_path / "out")]
    ended = subprocess.run(call, env=path, capture_output=True, text=True, check=False)
    said = ended.stderr.splitlines()[-1]
    assert "OntogenyError: worker processes could not start; " in said and "under `if __name__ == '__main__':`" in said


@pytest.mark.parametrize("workers", [0, 1.5, "2"])
def test_workers_are_a_whole_number(tmp_path, workers):
    with pytest.raises(og.OntogenyError, match=rf"workers must be a whole number of at least 1; got {workers!r}\."):
        run(tmp_path / "out", workers=workers)


def test_a_killed_run_leaves_whole_chunks_and_goes_on_where_it_was(tmp_path, uninterrupted):
    folder = Path(__file__).parent
    running = subprocess.Popen([sys.executable, str(folder / "execution_work.py"), str(tmp_path)])
    try:
        while not (tmp_path / "waiting").exists():
            assert running.poll() is None
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    store = Store(tmp_path / "store", {"study": "stop"})
    assert [store.has(str(number)) for number in range(6)] == [True, True, True, False, False, False]
    done_before = (tmp_path / "store" / "chunks" / "1.zarr").stat().st_mtime_ns
    run_chunks(work.simulate, CHUNKS, store, text="working", workers=1)
    assert_equal(work.numbers(store), uninterrupted)
    assert (tmp_path / "store" / "chunks" / "1.zarr").stat().st_mtime_ns == done_before


def test_control_c_never_reaches_workers_and_this_process_still(tmp_path):
    """A worker that still imports has no handler yet and would print a traceback."""
    store = run(tmp_path / "out", work.without_control_c, workers=2)
    assert all(bool(store.load(str(number))["blocked"]) for number in range(6))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


TWO_SLEEPERS = """
import sys
import execution_work

if __name__ == "__main__":
    execution_work.interruptible(out=sys.argv[1])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_workers_end_with_their_parent(tmp_path, number):
    """However it ends: a program of another's making has no handler for SIGTERM, and SIGKILL leaves no time."""
    script, begun = tmp_path / "two_sleepers.py", [tmp_path / f"begun {i}" for i in range(2)]
    script.write_text(TWO_SLEEPERS, encoding="utf-8")
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    running = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env=path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not all(file.exists() for file in begun):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        assert running.wait(60) == -number
        assert all(work.gone(int(file.read_text(encoding="utf-8"))) for file in begun)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def test_what_is_there_is_not_done_again(tmp_path):
    run(tmp_path / "out", chunks=CHUNKS[:3])
    seen = []

    def record(number):
        seen.append(number)
        return work.simulate(number)

    run(tmp_path / "out", record)
    assert seen == [3, 4, 5]
    run(tmp_path / "out", record)
    assert seen == [3, 4, 5]


def test_nothing_to_do_is_done(tmp_path):
    run(tmp_path / "out", chunks=[])
    assert cores() >= 1


def test_what_is_shared_and_the_part_of_each_chunk_reach_the_work(tmp_path):
    read, seen, store = [], [], Store(tmp_path, {"study": "test"})

    def part(name):
        read.append(name)
        return name.upper()

    def record(number, shared):
        seen.append((number, shared["large"], shared["part"]))
        return work.simulate(number)

    chunks = [Chunk(str(number), number, part="ab"[number // 3]) for number in range(6)]
    run_chunks(record, chunks, store, text="", workers=1, shared={"large": "x"}, parts=part)
    assert seen == [(number, "x", "AB"[number // 3]) for number in range(6)]
    assert read == ["a", "b"], "a part is read once for the chunks that follow one another"


def test_a_part_that_was_read_is_not_sent(tmp_path):
    inputs = LargeInputs({}, str)
    inputs.compute(lambda payload, shared: shared["part"], Chunk("a", 0, part=3))
    assert inputs.__getstate__()["_held"] is None


def test_an_error_of_a_chunk_with_a_label_begins_with_it():
    def fail(number):
        return [][number]

    with pytest.raises(og.OntogenyError, match=r"^the first: IndexError: list index out of range$"):
        LargeInputs(None).compute(fail, Chunk("a", 0, "the first"))
    with pytest.raises(IndexError):
        LargeInputs(None).compute(fail, Chunk("a", 0))


def test_a_worker_that_cannot_read_what_it_was_sent_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_failure", "AttributeError: no 'my_loss' in '__main__'")
    with pytest.raises(og.OntogenyError, match=r"cannot read what it was sent: .*'my_loss'.*not a notebook"):
        local._commit_and_count(work.simulate, CHUNKS[0], Store(tmp_path / "out", {"study": "test"}))
