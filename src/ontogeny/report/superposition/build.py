"""The report of the superposition study: its figures and tables in the order in which they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from ontogeny.analysis import start_of_representation
from ontogeny.plots import curvature, geometry, llc, theme, trajectories
from ontogeny.report.health import describe_health
from ontogeny.report.page import Section, write_report
from ontogeny.report.superposition import levels, sensitivity, statistics, text
from ontogeny.report.superposition.curved import curved
from ontogeny.report.superposition.rules import rules
from ontogeny.report.words import number

GRID_SEEDS = 20
FAINT_BELOW = 0.3
LOSS_EXAMPLES = 2000
"""The trajectory's loss is the mean over this many examples from the start of the data set, unless its attributes say
another number (`examples`)."""


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
    association: xr.Dataset | None = None,
    sensitivity: xr.Dataset | None = None,
) -> Path:
    """Write the superposition study's report to `path` and return it.

    measurements, trajectory: the study's results; summary: what `summarise` returns, or its JSON
    read back; the rest is what `ontogeny.analysis` returns: `fit_sigmoids`, `classify_trajectories`,
    `feature_emergence`, `cut_point_test`, `class_fractions` and, if given, `associations`; sensitivity: the study's
    group of that name, if there is one.
    """
    exhibits = sections(
        measurements,
        trajectory,
        fits=fits,
        kinds=kinds,
        emergence=emergence,
        tests=tests,
        fractions=fractions,
        association=association,
        summary=summary,
        neighbours=sensitivity,
    )
    return write_report(
        path,
        title=f"Superposition in two dimensions: what {summary['seeds']} seeds do",
        abstract=text.abstract(summary),
        conclusions=text.conclusions(summary),
        settings=text.settings(measurements.attrs),
        health=describe_health(summary),
        sections=exhibits,
        footer="Every number of the conclusions is in summary.json, every measurement in results.zarr.",
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
    association: xr.Dataset | None = None,
    summary: Mapping[str, Any] | None = None,
    neighbours: xr.Dataset | None = None,
) -> list[Section]:
    """Make all exhibits, in order; arguments as in `write_superposition_report`."""
    jumps = tests["inflection"].reindex(seed=measurements["seed"])
    good = fits["inflection"].where(fits["accepted"])
    where = {int(s): float(v) for s, v in zip(good["seed"].values, good.values, strict=True)}
    threshold = float(emergence.attrs.get("represented_above", 0.5))
    examples = int(trajectory["loss"].attrs.get("examples", LOSS_EXAMPLES))
    jumping = jumps["seed"].values[jumps.notnull().values]
    first = str(int(jumping[0] if len(jumping) else measurements["seed"].values[0]))

    def each(draw: Callable[[int], go.Figure]) -> dict[str, go.Figure]:
        return {str(seed): draw(seed) for seed in where}

    return [
        _rank(trajectory, fits, kinds["kind"]),
        *rules(fits, kinds, start_of_representation(trajectory["feature_norm"]).attrs["long_name"]),
        *_geometry(measurements, trajectory, kinds["kind"], threshold, first),
        _angles(
            trajectory,
            each(lambda s: geometry.cosines(trajectory, s, threshold=FAINT_BELOW, inflection=where[s])),
            first,
        ),
        *_llc(
            measurements,
            kinds["kind"],
            jumps,
            each(lambda s: llc.llc_over_rank(measurements, trajectory, s, inflection=where[s])),
            first,
        ),
        _development(
            each(
                lambda s: trajectories.development(
                    measurements,
                    trajectory,
                    s,
                    emergence=emergence["emergence"],
                    inflection=where[s],
                    threshold=threshold,
                    loss_label=f"loss on the first<br>{examples:,} examples",
                )
            ),
            threshold,
            first,
            examples,
        ),
        curved(
            each(lambda s: curvature.curvature_over_training(measurements, s, inflection=where[s])), measurements, first
        ),
        *statistics.cut_points(tests),
        *sensitivity.sections(summary or {}, neighbours),
        *statistics.seeds(emergence, fits, jumps, fractions),
        *([] if association is None else [statistics.moves_with_llc(association)]),
    ]


def _rank(trajectory: xr.Dataset, fits: xr.Dataset, classes: xr.DataArray) -> Section:
    seeds = trajectory["seed"].values
    pages = [seeds[i : i + GRID_SEEDS] for i in range(0, len(seeds), GRID_SEEDS)]
    grids = {
        f"{p[0]} to {p[-1]}": trajectories.seed_grid(trajectory.sel(seed=p), fits.sel(seed=p), classes.sel(seed=p))
        for p in pages
    }
    return Section(
        "The seed grid",
        [
            """The effective rank of W is the participation ratio (Σσ²)²/Σσ⁴ of its two singular values: 1 when all
            feature vectors lie on one line, 2 when they fill the plane evenly. An antipodal pair and one single
            feature of the same norm, at right angles to it, give exactly 9/5."""
        ],
        figure=grids if len(grids) > 1 else next(iter(grids.values())),
        choice="seeds",
        caption=f"""Effective rank over training step, a panel a seed (n = {len(seeds)}), all panels on the same
        axes. Dashed: a sigmoid fit that meets the acceptance rule (✓), over the stretch it was fitted to, with its
        inflection as a red line; dotted: a fit that does not (✗); a seed without either curve could not be fitted.
        Colour: class of the trajectory.""",
        alt="Small multiples of effective rank over training step, one panel a seed, with sigmoid fits.",
    )


def _geometry(
    measurements: xr.Dataset, trajectory: xr.Dataset, classes: xr.DataArray, threshold: float, first: str
) -> list[Section]:
    return [
        Section(
            "The polytope gallery",
            [
                """Each feature is a column of W, a vector in the plane of the two hidden units. Move the slider, or
                press play, to follow them along training."""
            ],
            figure=geometry.polytope(trajectory, threshold=threshold, start=first, measurements=measurements),
            caption=f"""The feature vectors of one seed at one training step. The grey polygon is the convex hull of
            the features of norm above {number(threshold)}; the dotted circle has radius 1. Above the picture: the
            regular polygon that the weights are closest to at the nearest checkpoint, the features that are not its
            corners counted as near zero, and in brackets how far off it is, relative to the length of all weights (0:
            exact). A colour stands for the same feature in all figures.""",
            alt="Feature vectors of one seed drawn in the plane, with a slider over steps and a seed selector.",
        ),
        Section(
            "",
            figure=geometry.gallery(trajectory, classes, measurements=measurements),
            caption=f"""The feature vectors of every seed (n = {trajectory.sizes["seed"]}) at the same training
            step. Each cell is one seed with its unit circle, all on the same scale; labels are coloured by class as
            in figure 1. Below a cell, or in its hover label: the closest regular polygon at the seed's last checkpoint,
            whatever step is shown, with its relative distance.""",
            alt="Feature vectors of every seed in a grid of cells, with a slider over training steps.",
        ),
    ]


def _angles(trajectory: xr.Dataset, figures: dict[str, go.Figure], first: str) -> Section:
    count = theme.points_a_curve(trajectory.sizes["seed"], geometry.POINTS_OF_A_CURVE)
    drawn = trajectory["step"].values[theme.thin(trajectory.sizes["time"], count)]
    return Section(
        "Angles between features",
        figure=figures,
        start=first,
        caption=f"""Cosine similarity of each pair of feature vectors of one seed over training step, drawn every
        {np.median(np.diff(drawn)):.0f} steps. Faint while the smaller of the two norms is below
        {number(FAINT_BELOW)}, and not drawn while it is below {number(FAINT_BELOW / 3)}: the direction of a tiny
        vector is noise. Colour: the pair's lower feature; dash: its higher one. Red line: inflection of an accepted
        sigmoid fit. A click on a pair hides it, a double click shows it alone.""",
        alt="Curves of pairwise cosine similarity over training step for one seed.",
    )


def _llc(
    measurements: xr.Dataset, classes: xr.DataArray, jumps: xr.DataArray, figures: dict[str, go.Figure], first: str
) -> list[Section]:
    (outside, below), shown = llc.out_of_view(measurements), levels.windows(measurements)[1]
    hidden = (
        f"""The axis first shows the range of the usable estimates of all seeds; {outside:,} of
        {measurements["llc"].size:,} estimates lie outside it, {below:,} of them below baseline, down to
        λ̂ = {number(float(measurements["llc"].min()))}: a double click shows all."""
        if outside
        else ""
    )
    triangles = "Hollow triangles: λ̂ is below baseline, the chains found lower loss than w* has, so w* is no minimum."
    return [
        Section(
            "The local learning coefficient",
            [
                """λ̂(nβ, γ) = nβ·(E[L(w)] − L(w*)), the mean over the local posterior around the checkpoint w*. It
                is a tempered, localised quantity: compare it between checkpoints measured with the same nβ and γ,
                not with a theoretical learning coefficient."""
            ],
            figure=figures,
            start=first,
            caption=f"""LLC of one seed at its {measurements.sizes["checkpoint"]} checkpoints, drawn over its effective
            rank (right axis, in the lower two thirds). Band: ±1.96 standard errors of λ̂, which hold for these
            examples and this seed. A status other than ok has its own symbol. {triangles} A red cross at the bottom is
            a checkpoint without a value; neither line nor band is drawn across it, nor across one below baseline.
            {hidden} Red line: inflection of an accepted sigmoid fit, which early rises can have as well.""",
            alt="LLC with error band and effective rank of one seed over training step.",
        ),
        Section(
            "",
            figure=llc.llc_all_seeds(measurements, classes),
            caption=f"""LLC of every seed (n = {measurements.sizes["seed"]}), coloured by class; a line breaks where
            a checkpoint has no value or is below baseline. {triangles} {hidden} Standard errors and statuses are in the
            hover labels.""",
            alt="LLC of all seeds over training step, coloured by class.",
        ),
        Section(
            "",
            figure=llc.aligned_at_jump(measurements, jumps, windows=levels.windows(measurements)),
            caption=f"""LLC and effective rank of the jumping seeds (n = {int(jumps.notnull().sum())}), each shifted
            so that its inflection is at 0. Grey: one seed, a dot a checkpoint; thick: mean over the seeds that have a
            value, two or more, with its 95 % Student t interval. Shaded: before and after in the conclusions,
            {number(shown[0])} to {number(shown[1])} steps away. Shown first are {number(100 * llc.ALIGNED_SHOWN)} % of
            training on both sides; a double click shows all that the checkpoints of all seeds span. Usable estimates of
            every status enter; nothing is drawn across one that is missing or below baseline, where the test
            interpolates.""",
            alt="LLC and effective rank aligned at the inflection, with mean and interval over the jumping seeds.",
        ),
    ]


def _development(figures: dict[str, go.Figure], threshold: float, first: str, examples: int) -> Section:
    return Section(
        "Loss, norms and shape",
        figure=figures,
        start=first,
        caption=f"""One seed: loss on the first {examples:,} examples of the data set (log scale) and feature norms
        along the run, and, at its checkpoints, the number of features represented (norm at least {number(threshold)},
        the dotted line) and the number of corners of the regular polygon that the weights are closest to, however far
        off. Rings: the step at which a feature emerges, for features still represented at the end. Red line:
        inflection of an accepted sigmoid fit.""",
        alt="Loss, feature norms, number of features represented and closest polygon of one seed over training step.",
    )
