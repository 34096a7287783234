"""Curves whose turns, plateaus and stages are planted: found, placed within their intervals, not made up of noise."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis import TurnRules, find_stages, turning_points
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import numpy_generator

STEPS = np.unique(np.geomspace(1, 50_000, 40).astype(int)).astype(float)
CLOCK = np.log1p(STEPS) / np.log1p(STEPS[-1])


def series(*rows, steps=STEPS):
    return xr.DataArray(
        np.array(rows, dtype=float),
        dims=("seed", "checkpoint"),
        coords={"seed": range(len(rows)), "step": ("checkpoint", steps)},
    )


def rises_and_falls(clock):
    """Up to 8 at 0.55, down to 5 at 0.75, up to 9 at the end: a peak and a trough."""
    return np.interp(clock, [0, 0.1, 0.55, 0.75, 1], [1, 1, 8, 5, 9])


def sigmoid(clock, middle):
    return 1 / (1 + np.exp(-40 * (clock - middle)))


def test_a_peak_and_a_trough_are_found_where_they_are():
    curve = series(rises_and_falls(CLOCK))
    found = turning_points(curve, xr.full_like(curve, 0.05))
    turns = found.isel(event=found["kind"] != "plateau")
    assert list(turns["kind"].values) == ["peak", "trough"]
    for place, event in zip((0.55, 0.75), range(2), strict=True):
        one, true = turns.isel(event=event), np.expm1(place * np.log1p(STEPS[-1]))
        assert one["low"] <= true <= one["high"] and one["low"] < one["step"] < one["high"]
    np.testing.assert_allclose(turns["change"], [7, -3], atol=0.4)


def test_intervals_hold_the_turn_as_often_as_they_say():
    """A smooth hump, 300 noisy curves: its top is in the interval in at least 95 % less 3 s.e."""
    draw, true = numpy_generator(0, "humps"), np.expm1(0.6 * np.log1p(STEPS[-1]))
    shape = np.exp(-(((CLOCK - 0.6) / 0.2) ** 2))
    curve = series(*(shape + 0.04 * draw.standard_normal((300, len(STEPS)))))
    found = turning_points(curve, xr.full_like(curve, 0.04))
    peaks = found.isel(event=found["kind"] == "peak")
    best = [peaks.isel(event=peaks["seed"] == seed) for seed in range(300)]
    hits = [bool(((one["low"] <= true) & (true <= one["high"])).any()) for one in best]
    assert np.mean(hits) >= 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5
    assert np.mean([one.sizes["event"] for one in best]) < 1.2


def test_noise_has_no_turns_and_a_slope_no_plateau():
    draw = numpy_generator(1, "noise")
    rising = series(*(CLOCK + 0.02 * draw.standard_normal((200, len(STEPS)))))
    found = turning_points(rising, xr.full_like(rising, 0.02))
    kinds = found["kind"].values
    assert (kinds != "plateau").sum() / 200 < 0.1
    flat = series(*(draw.standard_normal((200, len(STEPS)))))
    found = turning_points(flat, xr.full_like(flat, 1.0), TurnRules(clearly=4.0))
    assert found.sizes["event"] / 200 < 0.3


def test_a_plateau_between_two_rises_is_found_and_large_errors_hide_it():
    clean = np.interp(CLOCK, [0, 0.3, 0.6, 1], [0, 5, 5, 10])
    known, hidden = (turning_points(series(clean), xr.full_like(series(clean), error)) for error in (0.05, 3.0))
    assert list(known["kind"].values) == ["plateau"] and hidden.sizes["event"] == 0
    inside = np.expm1(np.array([0.3, 0.6]) * np.log1p(STEPS[-1]))
    spacing = STEPS[1:] / STEPS[:-1]
    assert known["low"].item() == pytest.approx(inside[0], rel=2 * spacing[20] - 2)
    assert known["high"].item() == pytest.approx(inside[1], rel=2 * spacing[20] - 2)
    assert abs(known["change"].item()) < 0.6 and known["change_se"].item() > 0


def test_stages_are_named_by_what_forms_in_them():
    curve = series(rises_and_falls(CLOCK), rises_and_falls(CLOCK))
    behaviours = {
        "bigram": series(*[sigmoid(CLOCK, 0.3)] * 2),
        "previous token": series(*[sigmoid(CLOCK, 0.65)] * 2),
        "induction": series(*[sigmoid(CLOCK[::2], 0.85)] * 2, steps=STEPS[::2]),
    }
    found = find_stages(curve, xr.full_like(curve, 0.05), behaviours)
    one = found.isel(stage=found["seed"] == 1)
    named = dict(zip(one["name"].values.tolist(), one["direction"].values.tolist(), strict=True))
    assert named["bigram"] == "rising" and named["previous token"] == "falling" and named["induction"] == "rising"
    assert (one["end"].values[:-1] == one["start"].values[1:]).all()
    assert one["start"].values[0] == STEPS[0] and one["end"].values[-1] == STEPS[-1]
    assert one["boundary"].values[-1] == "end" and list(one["number"].values) == list(range(1, one.sizes["stage"] + 1))
    shares = one["name_share"].values[one["name"].values != ""]
    assert (shares > 0.8).all()
    assert float(one["change"].sum()) == pytest.approx(8.0)


def test_a_last_stage_where_nothing_forms_is_convergence():
    curve = series(np.interp(CLOCK, [0, 0.5, 0.75, 1], [0, 8, 8, 8]))
    found = find_stages(curve, xr.full_like(curve, 0.02), {"induction": series(sigmoid(CLOCK, 0.3))})
    assert list(found["name"].values) == ["induction", "convergence"]
    assert list(found["direction"].values) == ["rising", "flat"]


def test_a_curve_without_turns_is_one_stage_and_a_short_one_none():
    found = find_stages(series(CLOCK))
    assert list(found["direction"].values) == ["rising"] and list(found["name"].values) == [""]
    assert find_stages(series(CLOCK[:4], steps=STEPS[:4])).sizes["stage"] == 0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: TurnRules(clearly=0), r"clearly must be above 0; got 0"),
        (lambda: TurnRules(flat=2.0), r"flat must be above 0 and at most 1; got 2.0"),
        (lambda: turning_points(series(CLOCK), -series(CLOCK)), r"se must hold standard errors, none negative"),
        (lambda: turning_points(series(CLOCK).isel(seed=0)), r"curve must have the dims \(seed, checkpoint or time\)"),
        (
            lambda: find_stages(series(CLOCK, CLOCK), behaviours={"a": series(CLOCK)}),
            r"behaviours\['a'\] must hold the seeds of the curve; it lacks \[1\]",
        ),
        (
            lambda: find_stages(series(CLOCK), behaviours={"a": series(CLOCK * np.nan)}),
            r"behaviours\['a'\] has no finite value for seed 0",
        ),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(OntogenyError, match=text):
        call()
