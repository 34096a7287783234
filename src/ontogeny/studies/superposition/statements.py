"""From measurements to statements: where the rank jumps, what kind each seed is, whether the LLC rises there."""

from __future__ import annotations

from typing import NamedTuple

import xarray as xr

from ontogeny.analysis.association import associations
from ontogeny.analysis.cut_points import cut_point_test
from ontogeny.analysis.emergence import emergence_against_jump, feature_emergence
from ontogeny.analysis.proportions import class_fractions
from ontogeny.analysis.sigmoid import fit_sigmoids, start_of_representation, start_of_rise
from ontogeny.analysis.trajectories import CLASSES, classify_trajectories, rank_before_plateau
from ontogeny.core.rng import numpy_generator
from ontogeny.estimators.status import usable

MARGIN_WIDTHS = 3.0
"""Features are counted this many widths of the sigmoid before and after the jump; 90 % of it lies between."""


class Statements(NamedTuple):
    """What the report is made of; each as the function of :mod:`ontogeny.analysis` returns it."""

    fits: xr.Dataset
    kinds: xr.Dataset
    emergence: xr.Dataset
    relation: xr.Dataset
    tests: xr.Dataset
    fractions: xr.Dataset
    association: xr.Dataset
    before_plateau: xr.DataArray


def fit_jumps(trajectory: xr.Dataset) -> xr.Dataset:
    """Sigmoid fits of the effective rank of every seed, from where it only rises; no LLC is looked at."""
    start = start_of_representation(trajectory["feature_norm"])
    return fit_sigmoids(trajectory["effective_rank"], start=start_of_rise(trajectory["effective_rank"], start))


def textbook_seeds(trajectory: xr.Dataset, fits: xr.Dataset) -> xr.DataArray:
    """Which seeds enter what is said about jumps, (seed,): plateau then jump, with an accepted fit that dates it."""
    start = start_of_representation(trajectory["feature_norm"])
    kinds = classify_trajectories(trajectory["effective_rank"], start=start)
    return fits["accepted"] & (kinds["kind"] == "plateau_then_jump")


def usable_llc(measurements: xr.Dataset) -> xr.DataArray:
    """λ̂ where it is a statement about w*: NaN where a chain was lost or where w* is no minimum (below_baseline)."""
    return measurements["llc"].where(usable(measurements))


def find(measurements: xr.Dataset, trajectory: xr.Dataset, fits: xr.Dataset) -> Statements:
    """Carry out the analysis; everything but the tests and the association rests on the weights alone.

    The test takes the seeds of the textbook kind, plateau then jump with an accepted fit, and no random cut before the
    network represents something, where w* is far from a minimum and λ̂ is hundreds below zero.
    """
    start = start_of_representation(trajectory["feature_norm"])
    kinds = classify_trajectories(trajectory["effective_rank"], start=start)
    emergence = feature_emergence(trajectory["feature_norm"])
    inflection = fits["inflection"].where(textbook_seeds(trajectory, fits))
    llc = usable_llc(measurements)
    indicators = {
        "loss": measurements["loss"],
        "effective_rank": measurements["effective_rank"],
        "features_represented": measurements["features_represented"],
        "mean_feature_norm": measurements["feature_norm"].mean("feature"),
        "h_max": measurements["h_max"],
        "hessian_trace": measurements["hessian_trace"],
        "hessian_rank": measurements["hessian_rank"],
    }
    return Statements(
        fits=fits,
        kinds=kinds,
        emergence=emergence,
        relation=emergence_against_jump(emergence, inflection, margin=MARGIN_WIDTHS * fits["width"]),
        tests=cut_point_test(
            llc,
            inflection,
            rng=numpy_generator(int(measurements.attrs["seed"]), "cut points"),
            llc_se=measurements["llc_se"],
            start=start,
        ),
        fractions=class_fractions(kinds["kind"], CLASSES),
        association=associations(llc, indicators),
        before_plateau=rank_before_plateau(
            trajectory["effective_rank"], trajectory["feature_norm"], kinds["plateau_start"]
        ),
    )
