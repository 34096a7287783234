"""The report of the superposition study: its figures and tables in the order in which they are read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.plots import comparisons, geometry, llc, theme, trajectories
from ontogeny.report import superposition_text as text
from ontogeny.report.page import Section, Table, write_report
from ontogeny.report.superposition_text import number

GRID_SEEDS = 20
FAINT_BELOW = 0.3


def write_superposition_report(
    path: str | os.PathLike[str],
    measurements: xr.Dataset,
    trajectory: xr.Dataset,
    summary: Mapping[str, Any],
    *,
    fits: xr.Dataset,
    kinds: xr.Dataset,
    emergence: xr.Dataset,
    tests: xr.Dataset,
    fractions: xr.Dataset,
) -> Path:
    """Write the superposition study's report to `path` and return it.

    measurements, trajectory: the study's results; summary: what `superposition_summary.summarise` returns (or its JSON read
    back); the rest is what `ontogeny.analysis` returns: `fit_sigmoids`, `classify_trajectories`, `feature_emergence`,
    `cut_point_test`, `class_fractions`.
    """
    return write_report(
        path,
        title=f"Superposition in two dimensions: what {summary['seeds']} seeds do",
        abstract=text.abstract(summary),
        conclusions=text.conclusions(summary),
        settings=text.settings(measurements.attrs),
        health=text.health(summary),
        sections=sections(
            measurements, trajectory, fits=fits, kinds=kinds, emergence=emergence, tests=tests, fractions=fractions
        ),
        footer="Every number in the text is in summary.json, every measurement in results.zarr, in the folder of this page.",
    )


def sections(
    measurements: xr.Dataset,
    trajectory: xr.Dataset,
    *,
    fits: xr.Dataset,
    kinds: xr.Dataset,
    emergence: xr.Dataset,
    tests: xr.Dataset,
    fractions: xr.Dataset,
) -> list[Section]:
    """All exhibits, in order; arguments as in `write_superposition_report`."""
    jumps = tests["inflection"].reindex(seed=measurements["seed"])
    threshold = float(emergence.attrs.get("represented_above", 0.5))
    classes = kinds["kind"]
    first = _first_seed(measurements, jumps)
    return [
        *_rank(trajectory, fits, classes),
        *_geometry(trajectory, fits, classes, threshold, first),
        *_llc(measurements, trajectory, fits, classes, jumps, first),
        _development(measurements, trajectory, fits, emergence, threshold, first),
        *_tests(tests),
        *_seeds(emergence, fits, jumps, fractions),
    ]


def _rank(trajectory: xr.Dataset, fits: xr.Dataset, classes: xr.DataArray) -> list[Section]:
    seeds = trajectory["seed"].values
    pages = [seeds[i : i + GRID_SEEDS] for i in range(0, len(seeds), GRID_SEEDS)]
    grids = {
        f"{p[0]} to {p[-1]}": trajectories.seed_grid(trajectory.sel(seed=p), fits.sel(seed=p), classes.sel(seed=p))
        for p in pages
    }
    return [
        Section(
            "The seed grid",
            [
                "The effective rank of W is the participation ratio (Σσ²)²/Σσ⁴ of its two singular values: 1 when all feature vectors lie on "
                "one line, 2 when they fill the plane evenly. An antipodal pair and one single feature of the same norm give exactly 9/5."
            ],
            figure=grids if len(grids) > 1 else next(iter(grids.values())),
            choice="seeds",
            caption=f"Effective rank over training step, a panel a seed (n = {len(seeds)}), all panels on the same axes. Dashed: sigmoid fit that "
            "meets the acceptance rule (✓), over the stretch it was fitted to, with its inflection as a red line; dotted: fit that does not (✗); "
            "a seed without either curve could not be fitted. Colour: class of the trajectory.",
            alt="Small multiples of effective rank over training step, one panel a seed, with sigmoid fits.",
        )
    ]


def _geometry(
    trajectory: xr.Dataset, fits: xr.Dataset, classes: xr.DataArray, threshold: float, first: str
) -> list[Section]:
    where = _inflections(fits)
    every = int(np.median(np.diff(trajectory["step"].values)))
    angles = {
        str(int(s)): geometry.cosines(trajectory, int(s), threshold=FAINT_BELOW, inflection=where[int(s)])
        for s in trajectory["seed"].values
    }
    return [
        Section(
            "The polytope gallery",
            [
                "Each feature is a column of W, a vector in the plane of the two hidden units. Move the slider, or press play, to see them along training."
            ],
            figure=geometry.polytope(trajectory, threshold=threshold, start=first),
            caption=f"The feature vectors of one seed at one training step. The grey polygon joins, in order of angle, the features of norm above "
            f"{number(threshold)}; the dotted circle has radius 1. Colours stand for the same features in all figures.",
            alt="Feature vectors of one seed drawn in the plane, with a slider over training steps and a seed selector.",
        ),
        Section(
            "",
            figure=geometry.gallery(trajectory, classes),
            caption=f"The same for all {trajectory.sizes['seed']} seeds at once: each cell is one seed with its unit circle, its number coloured "
            "by class as in figure 1, all on the same scale.",
            alt="Feature vectors of every seed in a grid of cells, with a slider over training steps.",
        ),
        Section(
            "Angles between features",
            figure=angles,
            start=first,
            caption=f"Cosine similarity of each pair of feature vectors of one seed over training step, from the weights every {every} steps (drawn at "
            f"no more than {geometry.POINTS_OF_A_CURVE} of them). Faint while the smaller of the two norms is below {number(FAINT_BELOW)}, and "
            f"not drawn while it is below {number(FAINT_BELOW / 3)}: the direction of a tiny vector is noise. Colour: the pair's lower feature; dash: its higher one. Red line: inflection of an accepted "
            "sigmoid fit. A click on a pair hides it, a double click shows it alone.",
            alt="Fifteen curves of pairwise cosine similarity over training step for one seed.",
        ),
    ]


def _llc(
    measurements: xr.Dataset,
    trajectory: xr.Dataset,
    fits: xr.Dataset,
    classes: xr.DataArray,
    jumps: xr.DataArray,
    first: str,
) -> list[Section]:
    where = _inflections(fits)
    one = {
        str(int(s)): llc.llc_over_rank(measurements, trajectory, int(s), inflection=where[int(s)])
        for s in measurements["seed"].values
    }
    jumping = int(jumps.notnull().sum())
    return [
        Section(
            "The local learning coefficient",
            [
                "λ̂(nβ, γ) = nβ·(E[L(w)] − L(w*)), the mean over the local posterior around the checkpoint w*. It is a tempered, localised "
                "quantity: compare it between checkpoints measured with the same nβ and γ, not with a theoretical learning coefficient."
            ],
            figure=one,
            start=first,
            caption=f"LLC of one seed at its {measurements.sizes['checkpoint']} checkpoints, over its effective rank (right axis). Band: ±1.96 "
            "standard errors of the sampler, not of another data set or another seed. A status other than ok has its own symbol; a cross at the bottom "
            "is a checkpoint without a value, and neither line nor band is drawn across it. Red line: inflection of an accepted sigmoid fit.",
            alt="LLC with error band and effective rank of one seed over training step.",
        ),
        Section(
            "",
            figure=llc.llc_all_seeds(measurements, classes),
            caption=f"LLC of all {measurements.sizes['seed']} seeds, coloured by class; a line breaks where a checkpoint has no value. Errors are in "
            "the hover labels.",
            alt="LLC of all seeds over training step, coloured by class.",
        ),
        Section(
            "",
            figure=llc.aligned_at_jump(measurements, jumps),
            caption=f"LLC and effective rank of the jumping seeds (n = {jumping}), each shifted so that its inflection is at 0. Grey: one seed; thick: mean "
            "over seeds with its 95 % Student t interval, over the steps that the checkpoints of all of them span. Estimates of every status enter, as in "
            "the test below; none is interpolated across a missing value.",
            alt="LLC and effective rank aligned at the inflection, with mean and interval over the jumping seeds.",
        ),
    ]


def _development(
    measurements: xr.Dataset,
    trajectory: xr.Dataset,
    fits: xr.Dataset,
    emergence: xr.Dataset,
    threshold: float,
    first: str,
) -> Section:
    where = _inflections(fits)
    figures = {
        str(int(s)): trajectories.development(
            measurements,
            trajectory,
            int(s),
            emergence=emergence["emergence"],
            inflection=where[int(s)],
            threshold=threshold,
        )
        for s in measurements["seed"].values
    }
    return Section(
        "Loss, norms and shape",
        figure=figures,
        start=first,
        caption="One seed: training loss and feature norms along the run, and, at its checkpoints, the number of features represented (norm at "
        f"least {number(threshold)}, the dotted line) and the corners of the regular polygon that the weights are closest to. Rings: the step "
        "at which a feature emerges, for features still represented at the end. Red line: inflection of an accepted sigmoid fit.",
        alt="Loss, feature norms, number of features represented and closest polygon of one seed over training step.",
    )


def _tests(tests: xr.Dataset) -> list[Section]:
    level = 1 - float(tests.attrs["alpha"])
    made = [
        Section(
            "Is the LLC elevated at the jump?",
            [
                "For each jumping seed, the statistic at its inflection is compared with the same statistic at random cuts of the same trajectory; "
                "the test's p-value comes from replacing every seed's inflection by a random cut. Level is the LLC at the cut, rise the mean over the "
                f"window after it ({number(100 * float(tests.attrs['window']))} % of training) minus that over the window before.",
                "Since jumps come late and LLCs rise, a curve that merely rises passes the plain test. So it is repeated after a monotone trend is taken "
                "out, and against cuts from the same third of training. The detrended variant also takes out a step that stays up: it sees bumps "
                "only. The six cells are not corrected for multiplicity; a claim needs all three variants of a statistic.",
            ],
            figure=comparisons.cut_point_differences(tests),
            table=_test_table(tests),
            caption=f"LLC at the inflection minus its mean over random cuts of the same trajectory. Grey: one seed (n in the table); diamond: mean over "
            "seeds with its 95 % Student t interval. Above zero: higher at the inflection.",
            alt="Differences between the LLC at the inflection and at random cuts, per seed, for two statistics and three variants of the test.",
        )
    ]
    note = f"p is one-sided (elevated) and from {int(tests.attrs['permutations']):,} permutations; detectable: the difference found with "
    note += f"{number(100 * float(tests.attrs['power']))} % power at level {number(1 - level)}; sampler share: part of the variance of the mean "
    note += "that the standard errors of λ̂ explain."
    return [*made, Section("", [note])]


def _test_table(tests: xr.Dataset) -> Table:
    rows: list[list[str | int | float]] = []
    for statistic in tests["statistic"].values:
        for variant in tests["variant"].values:
            cell = tests.sel(statistic=statistic, variant=variant)
            value = {
                k: _none(cell[k])
                for k in (
                    "mean_difference",
                    "low",
                    "high",
                    "cohen_d",
                    "p_value",
                    "detectable_difference",
                    "sampler_share",
                )
            }
            interval = "—" if value["low"] is None else f"{number(value['low'])} to {number(value['high'])}"
            numbers = [number(value[k]) for k in ("cohen_d", "p_value", "detectable_difference", "sampler_share")]
            words = [str(statistic), theme.status_name(str(variant))]
            rows.append([*words, int(cell["seeds"]), number(value["mean_difference"]), interval, *numbers])
    headers = [
        "statistic",
        "variant",
        "seeds",
        "mean difference",
        "95 % interval",
        "Cohen's d",
        "p",
        "detectable",
        "sampler share",
    ]
    return Table(headers, rows, text_columns=(0, 1))


def _seeds(emergence: xr.Dataset, fits: xr.Dataset, jumps: xr.DataArray, fractions: xr.Dataset) -> list[Section]:
    n, level = int(fractions.attrs["seeds"]), float(fractions.attrs["level"])
    return [
        Section(
            "What kinds of trajectory there are",
            figure=comparisons.class_fractions(fractions),
            caption=f"Fraction of the {n} seeds in each class, with its exact binomial (Clopper-Pearson) {level:.0%} interval; the intervals are not "
            "simultaneous.".replace("%", " %"),
            alt="Bars of the fraction of seeds in each class with binomial intervals.",
        ),
        Section(
            "When features emerge, and when the rank jumps",
            figure=comparisons.emergence_against_jump(emergence, fits, jumps),
            caption=f"A point is one feature of one jumping seed (n = {int(jumps.notnull().sum())} seeds); features not represented at the end are left out. Below the "
            "dotted line a feature emerges before its seed's rank jumps. Bars: ±1.96 standard errors of the inflection.",
            alt="Step at which each feature emerges against the step of its seed's rank jump.",
        ),
    ]


def _inflections(fits: xr.Dataset) -> dict[int, float]:
    """Seed -> inflection of an accepted fit, NaN otherwise."""
    good = fits["inflection"].where(fits["accepted"])
    return {int(s): float(v) for s, v in zip(good["seed"].values, good.values, strict=True)}


def _first_seed(measurements: xr.Dataset, jumps: xr.DataArray) -> str:
    """The seed that selectors start with: the first that jumps, if any does."""
    jumping = jumps["seed"].values[jumps.notnull().values]
    return str(int(jumping[0] if len(jumping) else measurements["seed"].values[0]))


def _none(value: xr.DataArray) -> float | None:
    made = float(value)
    return made if math.isfinite(made) else None
