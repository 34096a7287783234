"""What several test folders share."""

import os

import pytest
import torch

import synthetic
from ontogeny.core.errors import OntogenyError
from ontogeny.execution import executors

# one thread each, in this process and in those that tests start: more slow tiny operations down, and change sums
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_study():
    """Measurements, trajectory and analysis of a synthetic superposition study of eight seeds."""
    measurements, trajectory = synthetic.some()
    return measurements, trajectory, synthetic.analysed(measurements, trajectory)


@pytest.fixture
def asked(monkeypatch):
    """What an executor in the place of Ray was asked for; it ends the study there."""
    seen = []

    def ray(work, chunks, shelf, **given):
        seen.append((len(chunks), given))
        raise OntogenyError("far enough.")

    monkeypatch.setitem(executors.EXECUTORS, "ray", ray)
    return seen
