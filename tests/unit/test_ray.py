"""Two workers of a real Ray cluster on this machine: the local numbers, weights put once, a killed worker replaced."""

import importlib
import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import execution_work
import measure_work as work
import pytest
import xarray as xr

import ontogeny as og
import tiny
from ontogeny.execution import ray as on_ray
from ontogeny.execution.chunks import Chunk
from ontogeny.execution.executors import executor
from ontogeny.execution.local import run_chunks
from ontogeny.metrics import registry
from ontogeny.store import Store
from ontogeny.studies.superposition.measure import SeedGroup, train
from ontogeny.studies.superposition.settings import PRESETS, SEEDS_A_GROUP

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ray = pytest.importorskip("ray", reason="Ray is an extra, and it is not installed")

MEMORY = 100_000_000
"""Of the object store, in bytes; the least that Ray takes is a little less."""


@pytest.fixture(scope="module")
def cluster():
    """Joined as one that others started: what runs on it leaves it running."""
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    handler = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            "local", num_cpus=2, include_dashboard=False, object_store_memory=MEMORY, log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
    yield ray
    ray.shutdown()
    os.environ["PYTHONPATH"] = path
    signal.signal(signal.SIGTERM, handler)


def test_a_cluster_that_was_started_here_is_ended_here(tmp_path):
    assert not ray.is_initialized()
    before = signal.getsignal(signal.SIGTERM), os.environ.get("PYTHONPATH")
    work.small_study(tmp_path / "out", metrics=("loss",), data=tiny.data(), executor="ray")
    assert not ray.is_initialized()
    assert (signal.getsignal(signal.SIGTERM), os.environ.get("PYTHONPATH")) == before


def test_results_are_the_local_ones_bit_for_bit(cluster, tmp_path):
    given = {"checkpoints": work.checkpoints((0, 100))}
    local = work.small_study(tmp_path / "local", **given)
    found = work.small_study(tmp_path / "ray", executor="ray", **{**given, "workers": None})
    xr.testing.assert_identical(found, local)
    assert cluster.is_initialized(), "a cluster that was joined is left running"


def test_a_worker_that_is_killed_is_replaced(cluster, tmp_path, monkeypatch):
    said = tmp_path / "died"
    monkeypatch.setitem(registry.METRICS, "dies_once", work.DiesOnce(said))
    found = work.small_study(tmp_path / "out", metrics=("dies_once",), executor="ray", data=tiny.data())
    assert said.exists() and int(said.read_text(encoding="utf-8")) != os.getpid()
    expected = work.small_study(tmp_path / "local", metrics=("gradient_norm",), data=tiny.data())
    xr.testing.assert_identical(found["gradient_norm"], expected["gradient_norm"])


def test_an_error_names_its_task_and_the_others_stay(cluster, tmp_path):
    others = {name: value for name, value in work.weights(10).items() if name != "inner.bias"}
    run = [(0, work.weights(0)), (10, others)]
    message = r"^llc at step 10, components inner, bias, data set data: .*inner\.bias"
    with pytest.raises(og.OntogenyError, match=message):
        work.small_study(tmp_path / "out", checkpoints=run, data=tiny.data(), metrics=("llc",), executor="ray")
    assert len(list((tmp_path / "out" / "chunks").iterdir())) == 1


def threads_and_part(number, shared):
    """What a chunk sees, and in which process."""
    import torch

    values = {"part": shared["part"], "large": id(shared["large"]), "process": os.getpid()}
    return xr.Dataset({"number": number, "threads": torch.get_num_threads(), **values})


def test_shared_things_are_sent_once_a_worker_and_parts_read_once(cluster, tmp_path):
    read, store = [], Store(tmp_path / "out", {"study": "test"})

    def part(name):
        read.append(name)
        return 10 * name

    chunks = [Chunk(str(number), number, part=number // 4) for number in range(8)]
    on_ray.run_chunks_on_ray(
        threads_and_part, chunks, store, text="", progress=False, shared={"large": list(range(1000))}, parts=part
    )
    found = [store.load(str(number)) for number in range(8)]
    assert [int(one["number"]) for one in found] == list(range(8)) and all(int(one["threads"]) == 1 for one in found)
    assert [int(one["part"]) for one in found] == [0] * 4 + [10] * 4 and read == [0, 1]
    places = {(int(one["process"]), int(one["large"])) for one in found}
    assert len(places) == len({process for process, _ in places}) <= 2, "read again for another chunk"
    assert os.getpid() not in {process for process, _ in places}


def test_what_workers_cannot_import_is_one_sentence(cluster, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def work(number, shared): ...", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # the cluster was started without it
    said = r"^a worker of Ray cannot read what it was sent: .*No module named 'only_here'.*\. Define functions and"
    with pytest.raises(og.OntogenyError, match=said):
        on_ray.run_chunks_on_ray(
            importlib.import_module("only_here").work, [Chunk("a", 0, "the first")],
            Store(tmp_path / "out", {"study": "test"}), text="", progress=False, shared={},
        )  # fmt: skip


def test_what_cannot_be_sent_is_one_sentence(cluster, tmp_path):
    said = r"^workers of Ray cannot be given model, .*: TypeError: cannot pickle '_thread.lock' object; leave locks"
    with pytest.raises(og.OntogenyError, match=said):
        on_ray.run_chunks_on_ray(
            threads_and_part, [Chunk("a", 0)], Store(tmp_path / "out", {"study": "test"}), text="", progress=False,
            shared={"large": threading.Lock()},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ray.exceptions.RaySystemError("no room"), "the first: Ray lost it, RaySystemError: System error: no room"),
        (ray.exceptions.TaskCancelledError(error_message="stopped"), "the first: Ray lost it, TaskCancelledError"),
        (ray.exceptions.RayTaskError("f", "", IndexError("far")), "the first: IndexError: far$"),
        (ray.exceptions.WorkerCrashedError(), "the first: its worker died 4 times"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_ray_is_one_sentence(error, said):
    class Failing:
        exceptions = ray.exceptions

        def get(self, reference):
            raise error

    with pytest.raises(og.OntogenyError, match=rf"^{said}"):
        on_ray._result(Failing(), None, Chunk("a", 0, "the first"))


class Interrupted(Store):
    """Ctrl-C while the first result is committed."""

    def save(self, key, chunk):
        raise KeyboardInterrupt


def sleep_beside(folder, shared):
    """One chunk sleeps, and says so; the other ends once it does."""
    name, place = folder
    said = Path(place, "asleep")
    if name == "sleeper":
        said.with_suffix(".half").write_text(str(os.getpid()), encoding="utf-8")
        said.with_suffix(".half").rename(said)
        time.sleep(120)
    while not said.exists():
        time.sleep(0.01)
    return xr.Dataset()


def test_an_interruption_ends_what_is_under_way(cluster, tmp_path):
    chunks = [Chunk(name, (name, str(tmp_path))) for name in ("sleeper", "waker")]
    with pytest.raises(KeyboardInterrupt):
        on_ray.run_chunks_on_ray(
            sleep_beside, chunks, Interrupted(tmp_path / "out", {"study": "test"}), text="", progress=False, shared={}
        )
    assert execution_work.gone(int((tmp_path / "asleep").read_text(encoding="utf-8")))
    assert cluster.is_initialized()


def test_an_address_beside_a_cluster_that_was_joined_is_refused(cluster, tmp_path):
    with pytest.raises(og.OntogenyError, match=r"has joined a Ray cluster already, so '10\.0\.0\.1:6379' cannot"):
        work.small_study(tmp_path / "out", executor="ray", address="10.0.0.1:6379")


def test_what_is_there_needs_no_cluster(tmp_path, monkeypatch):
    work.small_study(tmp_path / "out", metrics=("loss",), data=tiny.data())
    monkeypatch.setattr(on_ray, "_import_ray", lambda: pytest.fail("nothing was left to do"))
    work.small_study(tmp_path / "out", metrics=("loss",), data=tiny.data(), executor="ray")


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(og.OntogenyError, match=r'executor="ray" needs the extra: pip install "ontogeny\[ray\]"'):
        work.small_study(tmp_path / "out", metrics=("loss",), executor="ray")


def test_executors_by_name():
    assert executor("local").func is run_chunks and executor("local").keywords == {}
    assert executor("ray", "auto").func is on_ray.run_chunks_on_ray
    assert executor("ray", "auto").keywords == {"address": "auto"}


def test_chunks_of_a_study_as_ontogeny_run_has_them_are_the_local_ones(cluster, tmp_path):
    """A study shares nothing large: ``work(payload)``, without labels."""
    settings = replace(PRESETS["quick"], train_steps=20, train_batch=8, record_every=10, dataset_size=100)
    chunks = [Chunk(str(first), SeedGroup(settings, first)) for first in (0, SEEDS_A_GROUP)]
    stores = [Store(tmp_path / name, {"study": "tiny"}) for name in ("local", "ray")]
    executor("local")(train, chunks, stores[0], text="training", progress=False, workers=1)
    executor("ray")(train, chunks, stores[1], text="training", progress=False)
    for chunk in chunks:
        xr.testing.assert_identical(*(store.load(chunk.key) for store in stores))


def test_a_cluster_without_gpus_is_no_place_for_chunks_that_take_one(cluster, tmp_path):
    with pytest.raises(og.OntogenyError, match=r"device = 'cuda' takes a GPU of the Ray cluster .* give device='cpu'"):
        on_ray.run_chunks_on_ray(
            threads_and_part, [Chunk("a", 0)], Store(tmp_path / "out", {"study": "test"}), text="", gpus=1
        )


@pytest.mark.parametrize(
    ("address", "said"),
    [(None, "executor: no Ray cluster could be started on this machine"), ("a:1", "address: .* joined at 'a:1'")],
)
def test_a_cluster_that_does_not_start_is_one_sentence(tmp_path, monkeypatch, address, said):
    class Broken:
        def is_initialized(self):
            return False

        def init(self, *args, **kwargs):
            raise RuntimeError("no room.\nand more")

        def shutdown(self):
            pass

    monkeypatch.setattr(on_ray, "_import_ray", Broken)
    with pytest.raises(og.OntogenyError, match=rf"^{said}: no room\.$"):
        work.small_study(tmp_path / "out", metrics=("loss",), executor="ray", address=address)
