"""What is said of the measured λ̂ against second order, on curves whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.analysis.second_order import against_second_order, at_minimum
from ontogeny.report.curvature import SECOND_ORDER, comparison_table
from ontogeny.report.words import plain, render


def curves(**changes):
    """Two seeds of four checkpoints: λ̂ 5 of which 4 are predicted; the first is below baseline, with a strong pull."""
    shape = (2, 4)
    llc = np.full(shape, 5.0)
    llc[:, 0] = -20.0
    curved = np.full(shape, 4.1)
    pulled = np.full(shape, -0.1)
    pulled[:, 0] = -30.0
    regime = np.full(shape, "localised", dtype=object)
    regime[:, 0] = "below_baseline"
    values = {
        "llc": llc,
        "llc_se": np.full(shape, 0.1),
        "chains_lost": np.zeros(shape, dtype=int),
        "regime": regime,
        "second_order_llc": curved + pulled,
        "second_order_llc_se": np.full(shape, 0.1),
        "second_order_llc_curvature": curved,
        "second_order_llc_gradient": pulled,
        "second_order_llc_status": np.full(shape, "ok", dtype=object),
    } | changes
    return xr.Dataset({name: (("seed", "checkpoint"), value) for name, value in values.items()})


def test_the_share_is_told_at_minima_alone():
    found = against_second_order(curves())
    assert found["minima"] == 6 and found["estimates"] == 8 and found["within"] == 0
    assert found["share"]["mean"] == pytest.approx(0.8) and found["share"]["seeds"] == 2
    assert found["beyond"]["mean"] == pytest.approx(1.0)
    assert found["share"]["se"] == pytest.approx(np.hypot(0.1 * 0.8, 0.1) / 5)
    assert found["below"] == found["below_predicted"] == 2


def test_a_pull_or_a_lack_of_a_posterior_leaves_a_checkpoint_out():
    status = np.full((2, 4), "ok", dtype=object)
    status[0, 1], status[0, 2] = "no_posterior", "unresolved"
    pulled = np.full((2, 4), -0.1)
    pulled[1, 3] = -0.3
    one = curves(second_order_llc_status=status, second_order_llc_gradient=pulled)
    assert at_minimum(one).values.tolist() == [[False, False, False, True], [False, True, True, False]]
    found = against_second_order(one)
    assert (found["minima"], found["no_posterior"], found["unresolved"]) == (3, 1, 1)


def test_without_a_minimum_nothing_is_said():
    found = plain(against_second_order(curves(chains_lost=np.ones((2, 4), dtype=int))))
    assert found["minima"] == 0 and found["share"]["mean"] is None
    assert "nothing is said" in render(SECOND_ORDER, {"second_order": found})
    assert comparison_table("seed", {"a": found}).rows[0][2] == "—"


def test_one_run_states_its_standard_error_and_several_their_interval():
    several = plain(against_second_order(curves()))
    single = plain(against_second_order(curves().isel(seed=[0])))
    assert "explains 80 % [80 %, 80 %] of λ̂" in render(SECOND_ORDER, {"second_order": several})
    assert "explains 80 % ± 2.6 % of λ̂; what remains, 1 ± 0.14," in render(SECOND_ORDER, {"second_order": single})
