"""Several writers in one place: names of their own, what a dead process leaves, and one training a folder."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.core.temporary_files import remove_left, temporary_beside
from ontogeny.inputs.writers import only_writer

HOLDS = """
import sys, time
from pathlib import Path
from ontogeny.inputs.writers import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(done.stdout)


def test_temporary_names_are_told_apart_by_machine_process_and_call(tmp_path):
    first, second = (temporary_beside(tmp_path / "rows") for _ in range(2))
    assert first != second and first.parent == second.parent == tmp_path
    assert first.name.startswith(f".rows.{platform.node()}.{os.getpid()}.") and first.suffix == ".tmp"


def test_only_what_dead_processes_of_this_machine_left_is_removed(tmp_path, monkeypatch, dead):
    kept = {temporary_beside(tmp_path / "rows"), tmp_path / ".rows.of mine.tmp"}
    own = temporary_beside(tmp_path / "rows").name.replace(f".{os.getpid()}.", f".{dead}.")
    with monkeypatch.context() as patched:
        patched.setattr(platform, "node", lambda: "another.machine")
        kept.add(tmp_path / temporary_beside(tmp_path / "rows").name.replace(f".{os.getpid()}.", f".{dead}."))
    for folder in {*kept, tmp_path / own}:
        (folder / "inside").mkdir(parents=True)
    remove_left(tmp_path / "rows")
    assert set(tmp_path.iterdir()) == kept
    remove_left(tmp_path / "gone" / "rows")


def test_a_folder_has_one_writer_until_it_ends_or_is_killed(tmp_path):
    left = temporary_beside(tmp_path / "state")
    left.write_text("cut off")
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n" and not left.exists()
        under_way = temporary_beside(tmp_path / "state")
        under_way.write_text("half")
        with (
            pytest.raises(OntogenyError, match=r"another training is writing in .*; wait until it ends, or name an"),
            only_writer(tmp_path),
        ):
            raise AssertionError("held twice")
        assert under_way.exists()
        other.send_signal(signal.SIGKILL)
    with only_writer(tmp_path):
        assert not under_way.exists()
    with only_writer(tmp_path):
        pass


def test_a_disk_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    under_way = temporary_beside(tmp_path / "state")
    under_way.write_text("perhaps another's")
    with only_writer(Path(tmp_path)):
        assert under_way.exists()
