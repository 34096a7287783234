"""Feature emergence on planted norms: the half crossing, hysteresis, counts, and the lag to the jump."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.emergence import emergence_against_jump, feature_emergence
from ontogeny.core.errors import OntogenyError

STEP = np.arange(0.0, 1001.0, 10.0)


def norms(*features):
    block = np.stack(features, axis=-1)[None]
    coords = {"seed": [3], "step": ("time", STEP), "feature": np.arange(len(features))}
    return xr.DataArray(block, dims=("seed", "time", "feature"), coords=coords)


RISES = np.clip((STEP - 200) / 100, 0.0, 1.0)  # half at 250
LATE = np.where(STEP >= 600, 0.8, 0.0)
NEVER = np.full_like(STEP, 0.2)
BACK = np.where(
    (STEP >= 100) & (STEP < 200), 0.9, np.where(STEP >= 500, 1.0, 0.0)
)  # crosses, goes back, crosses for good
DIPS = np.where(STEP < 100, 0.0, np.where((STEP >= 300) & (STEP < 350), 0.45, 1.0))  # a dip within the hysteresis


def test_emergence_is_the_half_crossing_that_stays():
    result = feature_emergence(norms(RISES, LATE, NEVER, BACK, DIPS)).isel(seed=0)
    np.testing.assert_array_equal(result.emergence, [250, 600, np.nan, 500, 100])
    assert result.represented.values.tolist() == [True, True, False, True, True]
    assert result.first_emergence == 100 and result.last_emergence == 600
    deep = feature_emergence(norms(DIPS), hysteresis=0.02).isel(seed=0)
    assert deep.emergence[0] == 350  # without room for the dip it counts as a return


def test_the_count_and_its_changes():
    result = feature_emergence(norms(RISES, LATE, NEVER)).isel(seed=0)
    assert result.features_represented.values[[0, 30, 70]].tolist() == [0, 1, 2]
    assert STEP[np.flatnonzero(result.change)].tolist() == [250, 600] and result.change.values.sum() == 2


def test_nothing_represented_is_nan_not_an_error():
    result = feature_emergence(norms(NEVER, NEVER))
    assert (
        result.emergence.isnull().all()
        and result.first_emergence.isnull().all()
        and result.last_emergence.isnull().all()
    )


def test_lag_and_counts_across_the_jump():
    emergence = feature_emergence(norms(RISES, LATE, NEVER))
    jump = xr.DataArray([580.0], dims="seed", coords={"seed": [3]})
    result = emergence_against_jump(emergence, jump, margin=50.0).isel(seed=0)
    np.testing.assert_array_equal(result.lag, [330, -20, np.nan])
    assert (result.count_before, result.count_after, result.count_change) == (1, 2, 1)
    none = emergence_against_jump(emergence, jump * np.nan, margin=50.0)
    assert none.lag.isnull().all() and none.count_change.isnull().all()


def test_errors_name_the_argument():
    good = norms(RISES)
    with pytest.raises(OntogenyError, match=r"feature_norm must have the dims \(seed, checkpoint or time, feature\)"):
        feature_emergence(good.isel(feature=0))
    with pytest.raises(OntogenyError, match="feature_norm must be finite at every step"):
        feature_emergence(good.where(good.step != 500))
    with pytest.raises(OntogenyError, match=r"0 < hysteresis < crossing < 1 is needed; got hysteresis 0.6"):
        feature_emergence(good, hysteresis=0.6)
    with pytest.raises(OntogenyError, match="represented_above must be a positive norm"):
        feature_emergence(good, represented_above=0.0)
    with pytest.raises(OntogenyError, match="feature_norm is empty"):
        feature_emergence(good.isel(seed=[]))
