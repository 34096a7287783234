"""Rows of CLAIMS.md from findings made by hand: what counts as holding, and of how many seeds."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.report.sorting.claims import ENOUGH, rows, verdict
from ontogeny.report.sorting.statements import STATEMENTS, falls, same
from ontogeny.report.sorting.summary import share_of_seeds
from ontogeny.report.sorting.text import said

NAMES = {name for one in STATEMENTS for name in one.figures} | {
    f"{curve}_{what}"
    for curve in ("llc", "rank", "overlap", "symmetry")
    for what in ("peak", "peak_step", "end", "fell", "fall", "fall_step", "trough", "trough_step", "start")
}


def finding(values):
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else None
    return {"n": len(known), "mean": mean, "interval": [mean - 1, mean + 1], "values": values} if known else None


def summary(seeds=ENOUGH, **figures):
    """Findings of every variant: 1 for every figure that is not given."""
    one = {name: finding([1.0] * seeds) for name in NAMES | {"crystallization_start", "crystallization_end"}}
    one |= {name: finding(values) for name, values in figures.items()}
    one |= {"seeds": seeds, "last_step": 7000.0}
    return {"findings": dict.fromkeys({each.variant for each in STATEMENTS}, one)}


def row(says, **figures):
    seeds = len(next(iter(figures.values())))
    return next(line for line in rows(summary(seeds, **figures)) if line.startswith(f"| {says} |"))


FALLS = "One head: the LLC falls at about step 1000"


def test_seeds_without_a_fall_count_against_it():
    told = row(FALLS, llc_fell=[1.0, 1.0, 0.0, 0.0, 0.0], llc_fall_step=[900.0, 1100.0, None, None, None])
    assert "holds in 2 of 5 seeds" in told and told.endswith("| cannot be told |")
    assert row(FALLS, llc_fell=[0.0] * 5, llc_fall_step=[None] * 5).endswith("| disagrees |")
    assert row(FALLS, llc_fell=[1.0] * 5, llc_fall_step=[700.0] * 5).endswith("| agrees |")


def test_seeds_without_a_usable_curve_are_told_apart():
    told = row(FALLS, llc_fell=[1.0, None, None, None, None], llc_fall_step=[900.0, None, None, None, None])
    assert "holds in 1 of 1 seeds, 4 cannot tell" in told and told.endswith("| cannot be told |")


@pytest.mark.parametrize(
    ("told", "expected"),
    [([True] * 4, "cannot be told"), ([True] * 5, "agrees"), ([False] * 5, "disagrees"), ([], "cannot be told")],
)
def test_verdicts(told, expected):
    assert verdict(told) == expected


def test_steps_are_compared_as_they_are_or_as_fractions_and_step_zero_is_no_error():
    one = {"llc_fell": 1.0, "llc_fall_step": 500.0, "last_step": 10_000.0}
    assert falls("llc", 5000, 100_000)(one, {}) is True and falls("llc", 5000)(one, {}) is False
    assert not same(0.0, 400.0) and same(0.0, 0.0) and not same(float("nan"), 1.0)


def test_every_statement_has_a_row_and_one_more_holds_variants_against_each_other():
    assert len(rows(summary())) == len(STATEMENTS) + 1


def test_seeds_that_are_alike_have_no_interval():
    alike = {"n": 5, "mean": 0.998, "interval": [0.998 - 1e-17, 0.998], "values": [0.998] * 5}
    assert said(alike) == "0.998 in all 5 seeds"
    assert said(alike | {"values": [0.998] * 5 + [None]}) == "0.998 in all 5 seeds that have one"


def test_regions_are_held_against_all_seeds_of_the_baseline():
    baseline = {"2 heads": {"regions_end": {"values": [4.0, None, 6.0]}}}
    holds = {one.says: one.holds for one in STATEMENTS}["A vocabulary of 202: as many regions"]
    assert [holds({"regions_end": regions}, baseline) for regions in (2.0, 3.0, 7.0, 8.0)] == [False, True, True, False]
    assert holds({"regions_end": 4.0}, {}) is None


def test_what_some_seeds_do_has_the_interval_of_a_share():
    found = share_of_seeds(xr.DataArray([0.0, 0.0, 0.0, 0.0, np.nan], dims="seed"))
    assert found["n"] == 4 and found["mean"] == 0.0
    assert found["interval"] == pytest.approx([0.0, 1 - 0.025**0.25]) and found["count"] == 0
    assert said(found) == "in 0 of 4 seeds"
    assert share_of_seeds(xr.DataArray([np.nan], dims="seed")) is None
