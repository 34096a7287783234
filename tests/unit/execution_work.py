"""Work that worker processes import by name, and a script that a test can kill."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.execution.local import Chunk, run_chunks
from ontogeny.store import Store


def simulate(number):
    """A little of what chunks are made of: named noise, matrix products, reductions."""
    noise = torch.randn(40, 40, generator=generator(0, "chunk", number))
    values = torch.linalg.svdvals(noise @ noise.T).numpy()
    return xr.Dataset({"values": ("i", values), "mean": float(noise.mean()), "threads": torch.get_num_threads()})


def fail_at_two(number):
    """An error in the third chunk."""
    if number == 2:
        raise OntogenyError("the third chunk is at fault.")
    return simulate(number)


def fail_beside_a_sleeper(folder):
    """One worker fails once the other is asleep, which says so with its process id."""
    folder, number = Path(folder[0]), folder[1]
    if number == 0:
        (folder / "asleep").write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(25)
        return simulate(number)
    while not (folder / "asleep").exists():
        time.sleep(0.01)
    raise ValueError("the other one")


def stop_at_three(payload):
    """Three chunks are done; in the fourth, say so and wait to be killed."""
    folder, number = payload
    if number == 3:
        Path(folder, "waiting").touch()
        time.sleep(120)
    return simulate(number)


def die(number):
    """What the system does to a process that took too much memory."""
    if number == 1:
        os.kill(os.getpid(), 9)
    return simulate(number)


def die_once(payload):
    """The same, when it is first asked."""
    folder, number = payload
    if number == 1 and not Path(folder, "died").exists():
        Path(folder, "died").touch()
        os.kill(os.getpid(), 9)
    return simulate(number)


def both_sleep(payload):
    """Say that work has begun, and in which process, then wait to be interrupted."""
    folder, number = payload
    said = Path(folder, f"begins {number}")
    said.write_text(str(os.getpid()), encoding="utf-8")
    said.rename(Path(folder, f"begun {number}"))
    time.sleep(120)
    return simulate(number)


def interruptible(preset="quick", *, seeds=None, out=None, executor="local", address=None):
    """In place of a study's ``run``: two workers that sleep."""
    work = [Chunk(str(number), (str(out), number)) for number in range(2)]
    shelf = Store(Path(out) / "store", {"study": "sleep"})
    run_chunks(both_sleep, work, shelf, text="sleeping", workers=2)
    return Path(out)


def without_control_c(number):
    """Whether Ctrl-C was kept from this process since before it began to import."""
    return simulate(number).assign(blocked=signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))


def gone(process):
    """Whether that process ends within five seconds."""
    for _ in range(500):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def numbers(store):
    """Every committed value, for comparison bit by bit."""
    return {key: np.asarray(store.load(key)["values"]) for key in map(str, range(6)) if store.has(key)}


if __name__ == "__main__":
    where = sys.argv[1]
    chunks = [Chunk(str(number), (where, number)) for number in range(6)]
    run_chunks(stop_at_three, chunks, Store(Path(where) / "store", {"study": "stop"}), text="", workers=1)
