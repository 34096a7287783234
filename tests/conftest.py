"""What several test folders share."""

import os

import pytest
import torch

import synthetic

# one thread each, in this process and in those that tests start: more slow tiny operations down, and change sums
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_study():
    """Measurements, trajectory and analysis of a synthetic superposition study of eight seeds."""
    measurements, trajectory = synthetic.some()
    return measurements, trajectory, synthetic.analysed(measurements, trajectory)
