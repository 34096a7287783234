"""Figures of directions: what is drawn, and what is left out."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.plots.features import predicted_against_measured


def directions(gradient):
    """Four directions, two of either kind, and what the gradient does to their predictions."""
    llc, predicted = np.array([2.0, 3.0, 4.0, 5.0]), np.array([2.5, 3.0, 3.5, 6.0])
    values = {
        "llc": llc,
        "llc_se": 0.1 * llc,
        "second_order_llc": predicted,
        "second_order_llc_se": 0.05 * predicted,
        "second_order_llc_curvature": predicted - gradient,
        "second_order_llc_gradient": np.asarray(gradient),
        "chains_lost": np.zeros(4),
        "kind": np.array(["sae", "random"] * 2, dtype=object),
        "regime": np.array(["localised"] * 4, dtype=object),
        "second_order_llc_status": np.array(["ok"] * 4, dtype=object),
    }
    return xr.Dataset({name: ("feature", one) for name, one in values.items()})


def test_rounding_of_the_gradient_is_not_drawn():
    made = predicted_against_measured(directions(np.array([0.0, -1e-15, -1e-12, 0.0])))
    assert len(made.data) == 3 and {trace.yaxis for trace in made.data} == {"y"}
    assert made.layout.xaxis.title.text == "λ̂(nβ, γ) measured, dimensionless"


def test_what_the_gradient_takes_off_stands_below():
    made = predicted_against_measured(directions(np.array([-0.5, -1e-15, -0.1, 0.0])))
    below = [trace for trace in made.data if trace.yaxis == "y2"]
    drawn = np.concatenate([np.asarray(trace.y, dtype=float) for trace in below])
    assert sorted(drawn[np.isfinite(drawn)]) == pytest.approx([0.1, 0.5], rel=1e-3)
    assert made.layout.yaxis2.type == "log" and made.layout.xaxis2.title.text.startswith("λ̂")
