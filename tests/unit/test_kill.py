"""SIGKILL at random times: whole chunks stay, nothing is corrupted, and the end result is that of one quiet run."""

import multiprocessing
import random
import time

import measure_work as work
import pytest
import xarray as xr

from ontogeny.store import read_zarr

MOST_ATTEMPTS = 60


@pytest.fixture(scope="module")
def server():
    """A process that has imported everything and forks for each attempt; importing takes longer than the study."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["measure_work", "ontogeny.execution.measure", "arviz_stats"])
    return context


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, server):
    """The result of a run that nobody disturbs."""
    out = tmp_path_factory.mktemp("quiet") / "out"
    process = server.Process(target=work.carry_out, args=(out,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return read_zarr(out / "results.zarr")


def committed(out):
    """Chunks that are there, by name, with when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "chunks").glob("[!.]*")}


def wait_for(process, out, chunks):
    """Until so many more chunks are there, or the process has ended."""
    enough = len(committed(out)) + chunks
    while process.is_alive() and len(committed(out)) < enough:
        time.sleep(0.002)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_study_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path, server, quiet, seed):
    out, chance, killed = tmp_path / "out", random.Random(seed), 0
    for _ in range(MOST_ATTEMPTS):
        before = committed(out)
        process = server.Process(target=work.carry_out, args=(out,))
        process.start()
        wait_for(process, out, chance.randrange(9))
        process.join(chance.uniform(0.001, 0.3))
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        killed += 1
        assert before.items() <= committed(out).items(), "a chunk that was there was lost or written again"
    assert process.exitcode == 0 and killed >= 2
    xr.testing.assert_identical(read_zarr(out / "results.zarr"), quiet)
    assert len(committed(out)) == 18 and not list(out.rglob(".*.tmp")) and not list(out.rglob(".*.old"))
