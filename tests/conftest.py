"""What several test folders share."""

import pytest

import synthetic


@pytest.fixture(scope="session")
def small_study():
    """Measurements, trajectory and analysis of a synthetic superposition study of eight seeds."""
    measurements, trajectory = synthetic.some()
    return measurements, trajectory, synthetic.analysed(measurements, trajectory)
