"""The command line: what is printed where, and exit statuses 0, 1 and 2."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import execution_work
import pytest

import ontogeny as og
from ontogeny.cli import interruption, main
from ontogeny.studies import registry

HERE = Path(__file__).parent


@pytest.fixture
def handlers():
    """Signal handlers of this process are put back."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def call(monkeypatch, capsys, handlers):
    """Call ``ontogeny`` in this process; returns (status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ontogeny", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return (code or 0), out, err

    return run


@pytest.fixture
def study(monkeypatch):
    """A study that does what a test asks, in place of the real one; returns what it was called with."""
    calls = []

    def install(run=None, report=None):
        def recorded(preset, **rest):
            calls.append((preset, rest))
            return run(preset, **rest) if run else Path("somewhere/report.html")

        real = registry.STUDIES["superposition"]
        fake = registry.Study(real.question, real.presets, recorded, report or real.report, real.seeds)
        monkeypatch.setitem(registry.STUDIES, "superposition", fake)
        return calls

    return install


def raises(error):
    def run(*arguments, **rest):
        raise error

    return run


def assert_one_sentence(err):
    assert err.startswith("ontogeny: ") and err.endswith(".\n") and err.count("\n") == 1, err
    assert "Traceback" not in err


def test_list_shows_studies_presets_and_costs(call):
    status, out, err = call("list")
    assert status == 0 and err == ""
    for word in ("superposition", "Does the LLC", "quick", "full", "20", "minutes"):
        assert word in out
    for preset in registry.STUDIES["superposition"].presets.values():
        assert preset.description.split()[0] in out and f"{preset.minutes:g}" in out


def test_version(call):
    assert call("--version") == (0, f"ontogeny {og.__version__}\n", "")


def test_help_names_every_verb(call):
    status, out, _ = call("--help")
    assert status == 0
    for verb in ("run", "report", "list"):
        assert re.search(rf"\b{verb}\b", out)


def test_run_says_where_everything_is(call, study, tmp_path):
    calls = study(run=lambda preset, **rest: tmp_path / "report.html")
    status, out, err = call("run", "superposition", "--preset", "full", "--seeds", 3, "--out", tmp_path)
    assert status == 0 and err == ""
    for name in ("report.html", "summary.json", "results.zarr"):
        assert str(tmp_path / name) in out
    assert calls == [("full", {"seeds": 3, "out": tmp_path, "executor": "local", "address": None})]


def test_run_hands_the_executor_on(call, study):
    calls = study()
    assert call("run", "superposition", "--executor", "ray", "--address", "10.0.0.1:6379")[0] == 0
    [(_, given)] = calls
    assert given["executor"] == "ray" and given["address"] == "10.0.0.1:6379"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "sorcery"), ("superposition", "sorcery")),
        (("run",), ("study",)),
        (("run", "superposition", "--preset", "huge"), ("quick", "full", "huge")),
        (("run", "superposition", "--seeds", "0"), ("--seeds", "1")),
        (("run", "superposition", "--seeds", "some"), ("--seeds", "integer")),
        (("run", "superposition", "--executor", "moon"), ("local", "ray", "moon")),
        (("run", "superposition", "--address", "10.0.0.1:6379"), ("--address", "ray")),
        (("run", "superposition", "--nonsense"), ("--nonsense",)),
        (("conquer",), ("conquer",)),
        (("report",), ("folder",)),
    ],
    ids=" ".join,
)
def test_a_wrong_call_has_status_two(call, study, arguments, said):
    calls = study()
    status, _, err = call(*arguments)
    assert status == 2 and calls == []
    for word in said:
        assert word in err
    assert "Traceback" not in err


def test_an_error_of_ours_is_one_sentence_and_status_one(call, study):
    study(run=raises(og.OntogenyError("out: runs holds another study; name another folder.")))
    status, out, err = call("run", "superposition")
    assert status == 1 and out == ""
    assert err == "ontogeny: out: runs holds another study; name another folder.\n"


def test_a_folder_of_other_files_is_refused(call, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine", encoding="utf-8")
    status, _, err = call("run", "superposition", "--out", tmp_path)
    assert status == 1
    assert_one_sentence(err)
    assert str(tmp_path) in err and [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_error_is_one_sentence(call, study):
    study(run=raises(PermissionError(13, "Permission denied", "/root/out")))
    status, _, err = call("run", "superposition")
    assert status == 1
    assert_one_sentence(err)
    assert "Permission denied" in err and "/root/out" in err


def test_an_interruption_is_one_sentence_and_status_one(call, study):
    study(run=raises(KeyboardInterrupt()))
    status, _, err = call("run", "superposition")
    assert status == 1
    assert_one_sentence(err)
    assert "interrupted" in err and "goes on where it was" in err


@pytest.mark.parametrize("content", [None, {"other.txt": ""}, {"study.json": '{"study": "unknown"}'}], ids=str)
def test_report_of_a_folder_without_a_study(call, tmp_path, content):
    folder = tmp_path / "out"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text, encoding="utf-8")
    status, out, err = call("report", folder)
    assert status == 1 and out == ""
    assert_one_sentence(err)
    assert str(folder) in err


def test_report_of_a_study_that_has_no_results_yet(call, tmp_path):
    (tmp_path / "study.json").write_text('{"study": "superposition"}', encoding="utf-8")
    status, _, err = call("report", tmp_path)
    assert status == 1
    assert_one_sentence(err)
    assert "run the study first" in err


@pytest.mark.parametrize("text", ["{", "[]", '"text"', ""], ids=repr)
def test_report_of_a_damaged_folder(call, tmp_path, text):
    (tmp_path / "study.json").write_text(text, encoding="utf-8")
    status, _, err = call("report", tmp_path)
    assert status == 1
    assert_one_sentence(err)


def test_report_is_made_again(call, study, tmp_path):
    study(report=lambda folder: folder / "report.html")
    (tmp_path / "study.json").write_text('{"study": "superposition"}', encoding="utf-8")
    status, out, err = call("report", tmp_path)
    assert status == 0 and err == "" and str(tmp_path / "report.html") in out


def command(*arguments, **rest):
    return subprocess.run([*arguments], capture_output=True, text=True, timeout=120, **rest)


def test_as_a_module_and_as_a_script():
    module = command(sys.executable, "-m", "ontogeny", "--version")
    assert (module.returncode, module.stdout, module.stderr) == (0, f"ontogeny {og.__version__}\n", "")
    script = Path(sys.executable).with_name("ontogeny")
    if not script.exists():
        pytest.skip("the console script is not beside this Python")
    assert command(script, "--version").stdout == module.stdout


def test_wrong_calls_of_the_real_program(tmp_path):
    wrong = command(sys.executable, "-m", "ontogeny", "run", "sorcery", cwd=tmp_path)
    assert wrong.returncode == 2 and "sorcery" in wrong.stderr and "Traceback" not in wrong.stderr
    absent = command(sys.executable, "-m", "ontogeny", "report", "nowhere", cwd=tmp_path)
    assert absent.returncode == 1
    assert_one_sentence(absent.stderr)
    assert not list(tmp_path.iterdir())


TWO_WORKERS = """
import execution_work
from ontogeny.cli import main
from ontogeny.studies import registry

if __name__ == "__main__":
    real = registry.STUDIES["superposition"]
    registry.STUDIES["superposition"] = registry.Study(
        real.question, real.presets, execution_work.interruptible, real.report, real.seeds
    )
    main()
"""


INTERRUPTED_EXEC = """
import sys
from ontogeny.cli import main
from ontogeny.studies import registry

def run(*arguments, **rest):
    exec("raise KeyboardInterrupt")

real = registry.STUDIES["superposition"]
registry.STUDIES["superposition"] = registry.Study(real.question, real.presets, run, real.report, real.seeds)
sys.argv = ["ontogeny", "run", "superposition"]
main()
"""


def test_an_interrupted_exec_leaves_the_status_alone(tmp_path):
    """Python marks an interrupt that passed through an exec; run as a module, it would end by the signal."""
    (tmp_path / "interrupted_exec.py").write_text(INTERRUPTED_EXEC, encoding="utf-8")
    done = command(sys.executable, "-m", "interrupted_exec", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert_one_sentence(done.stderr)


PROGRAMS = ["training in this process", "two workers"]


@contextlib.contextmanager
def running_study(tmp_path, program):
    """A study under way in its own process group, and the files of its workers' process ids."""
    out = tmp_path / "out"
    if program == "two workers":
        script = tmp_path / "two_workers.py"
        script.write_text(TWO_WORKERS, encoding="utf-8")
        start, workers = [str(script)], [out / "begun 0", out / "begun 1"]
    else:
        start, workers = ["-m", "ontogeny"], []
    begun = workers or [out / "study.json"]
    running = subprocess.Popen(
        [sys.executable, *start, "run", "superposition", "--seeds", "1", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )
    try:
        while not all(path.exists() for path in begun):
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        yield running, workers
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def assert_ended_in_order(running, workers):
    printed, err = running.communicate(timeout=60)
    assert running.returncode == 1, err
    assert printed == ""
    assert_one_sentence(err)
    assert "interrupted" in err and "goes on where it was" in err
    for worker in workers:
        assert execution_work.gone(int(worker.read_text(encoding="utf-8")))


@pytest.mark.parametrize("program", PROGRAMS)
def test_control_c_is_one_sentence_and_status_one(tmp_path, program):
    """As at a terminal, the signal reaches every process of the group."""
    with running_study(tmp_path, program) as (running, workers):
        os.killpg(running.pid, signal.SIGINT)
        assert_ended_in_order(running, workers)


@pytest.mark.parametrize("program", PROGRAMS)
def test_control_c_again_and_again_changes_nothing(tmp_path, program):
    with running_study(tmp_path, program) as (running, workers):
        while running.poll() is None:
            os.killpg(running.pid, signal.SIGINT)
            time.sleep(0.002)
        assert_ended_in_order(running, workers)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the parent", "to the group"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_sigterm_ends_like_control_c_and_workers_too(tmp_path, program, send):
    with running_study(tmp_path, program) as (running, workers):
        send(running.pid, signal.SIGTERM)
        assert_ended_in_order(running, workers)


def test_signals_raise_once_in_a_while(handlers, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("ontogeny.cli.interruption.time.monotonic", lambda: now[0])
    interruption.end_in_order()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    now[0] += interruption.PATIENCE / 2
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    now[0] += interruption.PATIENCE
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    interruption.pass_over()
    now[0] += 2 * interruption.PATIENCE
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_was_ignored_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup does
    interruption.end_in_order()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_command_runs_in_a_thread_too(call, study):
    """Where Python lets nobody set signal handlers."""
    study()
    found = []
    thread = threading.Thread(target=lambda: found.append(call("run", "superposition")))
    thread.start()
    thread.join()
    assert found[0][0] == 0
