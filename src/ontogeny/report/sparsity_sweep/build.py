"""The report of the sparsity sweep: its figures and tables in the order in which they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from ontogeny.plots import drift, sweep
from ontogeny.report.health import describe_health
from ontogeny.report.page import Section, write_report
from ontogeny.report.sparsity_sweep import event_sections, tables, text
from ontogeny.report.sparsity_sweep.curved import curved
from ontogeny.report.sparsity_sweep.found import Found
from ontogeny.report.superposition.text import settings
from ontogeny.report.words import number, percent

USABLE, ALL = "usable ones", "every finite one"
BEYOND_NOISE = """Range and total variation are less their noise floor, what they would be on average if nothing
changed, so that they never overstate the drift on average."""


def write_sparsity_sweep_report(
    path: str | os.PathLike[str],
    measurements: xr.Dataset,
    neighbours: xr.Dataset,
    trajectory: xr.Dataset,
    summary: Mapping[str, Any],
    *,
    found: Found,
) -> Path:
    """Write the sweep's report to `path` and return it.

    measurements, neighbours, trajectory: the study's results, dims sparsity, seed and checkpoint or time (neighbours
    also setting); summary: what `summarise` returns, or its JSON read back; found: what the analysis found.
    """
    return write_report(
        path,
        title=f"Sparsity sweep: does the LLC track what forms? {summary['runs']} runs",
        abstract=text.abstract(summary),
        conclusions=text.conclusions(summary),
        settings=settings(measurements.attrs),
        health=describe_health(summary),
        sections=sections(measurements, neighbours, trajectory, summary, found=found),
        footer="Every number of the conclusions and tables is in summary.json, every measurement in results.zarr.",
    )


def sections(
    measurements: xr.Dataset,
    neighbours: xr.Dataset,
    trajectory: xr.Dataset,
    summary: Mapping[str, Any],
    *,
    found: Found,
) -> list[Section]:
    """Make all exhibits, in order; arguments as in `write_sparsity_sweep_report`."""
    return [
        _statements(summary),
        *_sweep(measurements, summary),
        *_drift(summary, found),
        *_ratios(neighbours, summary, found),
        *_variance(summary, found),
        _factors(summary, found),
        curved(neighbours, summary, measurements.attrs.get("hessian_examples")),
        *event_sections.sections(trajectory, summary, found=found),
    ]


def _statements(summary: Mapping[str, Any]) -> Section:
    rules = summary["rules"]
    return Section(
        "What was claimed, and what was found",
        [
            f"""A factor counts as about {number(rules["times"])} when it lies between
            {number(rules["times_least"])} and {number(rules["times_most"])} and its interval excludes one, and is
            contradicted when the whole interval lies outside. A share or a step agrees when its interval contains the
            document's figure: a wide interval agrees with much. "More" and "dominates" need the whole interval on one
            side ({percent(rules["most"])} for shares). What is asked in several definitions or at several sparsities
            agrees or disagrees only when all of them say so."""
        ],
        table=tables.statements(summary),
        caption="""Statements of the document that a sweep can judge, with the verdict at the frozen setting of (nβ, γ),
        and what its variants and the neighbouring settings say.""",
    )


def _sweep(measurements: xr.Dataset, summary: Mapping[str, Any]) -> list[Section]:
    counts = summary["health_by_sparsity"]
    used = ", ".join(f"{c['usable']:,} of {c['estimates']:,} at S = {s}" for s, c in counts.items())
    return [
        Section(
            "The sweep",
            figure=sweep.sweep_grid(measurements),
            caption=f"""LLC, loss, effective rank, features represented, Hessian trace and rank (eigenvalues with nβh >
            γ) over training, a column a sparsity; axes of a row are the same in all columns. Faint: one seed
            ({summary["seeds"]} a sparsity); bold: mean over the seeds with a value, where at least half have one;
            shaded: its 95 % Student t interval over seeds. The small bar at the left of the LLC's panels is ±1.96
            median standard errors of one estimate, the sampler's part, at an arbitrary height. The axis of steps is
            close to linear below step {number(sweep.LINEAR_BELOW)} and to logarithmic above it. Usable estimates of λ̂
            (finite, no chain lost, not below baseline) alone are drawn: {used}. All axes but the loss's leave out the
            outermost 0.4 % of values; a double click shows all.""",
            alt="Small multiples of LLC, loss, effective rank, features, Hessian trace and rank over training.",
            table=tables.classes(summary),
            table_caption=f"""Seeds in each class of trajectory, by effective rank alone, with the exact binomial
            {percent(summary["class_interval_level"])} interval of their share.""",
        )
    ]


def _drift(summary: Mapping[str, Any], found: Found) -> list[Section]:
    bars = {
        name: drift.drift_bars(table)
        for name, table in ((USABLE, found.drifts_by_setting), (ALL, found.drifts_of_all))
        if table is not None
    }
    return [
        Section(
            "Drift of the LLC",
            [
                """Net change is |mean of the last three − mean of the first three| usable values of a seed; range is
                the highest minus the lowest; total variation is the sum of |changes| between neighbouring checkpoints.
                """
                + BEYOND_NOISE,
                """Relative drift is drift over the size of λ̂, the median of |λ̂| of that seed over training.""",
            ],
            figure=bars if len(bars) > 1 else bars[USABLE],
            choice="estimates",
            caption=f"""Drift of the LLC by sparsity: bars, the mean over {summary["seeds"]} seeds at the frozen
            setting, with its 95 % bootstrap-t interval over seeds; symbols: the other settings of (nβ, γ), with theirs.
            Above: in units of λ̂, below: relative to its size. At "equal nβ·h_max" nβ differs between sparsities so
            that nβ times the final curvature does not. The vertical axes differ between panels and begin at zero, or
            below where an interval does. With
            "every finite one" the estimates below baseline enter too, where w* is no minimum.""",
            alt="Bars of mean LLC drift by sparsity in three definitions, raw and relative, with intervals.",
        ),
        Section(
            "",
            table=tables.drift_numbers(summary, "raw"),
            caption="""Mean drift of each indicator over seeds, in its own unit, with 95 % bootstrap-t intervals over
            seeds. Indicators without a standard error of their own have no noise floor taken off.""",
        ),
        Section(
            "",
            table=tables.drift_numbers(summary, "relative"),
            caption="Mean drift of each indicator over its own size (the median of its absolute value in that seed).",
        ),
    ]


def _ratios(neighbours: xr.Dataset, summary: Mapping[str, Any], found: Found) -> list[Section]:
    figures = {
        name: drift.drift_ratios(table, quiet=found.quiet, canonical=found.canonical)
        for name, table in ((USABLE, found.drift_ratios), (ALL, found.drift_ratios_of_all))
        if table is not None
    }
    counts = summary["health_by_setting"]
    used = "; ".join(f"{drift.setting_name(s)} {c['usable']:,}" for s, c in counts.items())
    return [
        Section(
            f"Drift at S = {summary['quiet']} against S = {summary['canonical']}",
            figure=figures if len(figures) > 1 else figures[USABLE],
            choice="estimates",
            caption=f"""Ratio of the LLC's mean drift at S = {summary["quiet"]} to that at S = {summary["canonical"]},
            with its 95 % interval (Fieller's theorem, Welch's degrees of freedom; n = {summary["seeds"]} seeds each),
            at every setting of (nβ, γ). Solid line: 1, no difference; dotted: 3, the document's figure. An arrow's
            head: the interval goes on, or is unbounded. Usable estimates of
            {next(iter(counts.values()))["estimates"]:,} at each setting: {used}.""",
            alt="Ratios of LLC drift at two sparsities for every setting and definition, with lines at one and three.",
            table=tables.ratio_numbers(summary),
            table_caption="""The same numbers; "all λ̂": every finite estimate enters, those below baseline included,
            where w* is no minimum. Each interval stands by itself.""",
        )
    ]


def _variance(summary: Mapping[str, Any], found: Found) -> list[Section]:
    entered = summary["components"]["entered"]
    return [
        Section(
            "What the variance of the LLC is made of",
            [
                """Seeds are nested in sparsities and crossed with checkpoints. The sampler's part is the mean squared
                standard error, from the chains of each estimate; it is taken out of the part of seed × checkpoint and
                never pooled with the seeds. Components come from mean squares and may turn out negative, which means
                none that could be told."""
            ],
            figure=drift.variance_components(found.components),
            caption=f"""Components of variance of λ̂ over sparsities, seeds and checkpoints (left) and of its changes
            between neighbouring checkpoints (right), with 95 % jackknife intervals over seeds; beside each bar its
            share of the sum. {entered["seeds"]} seeds a sparsity and {entered["checkpoints"]} checkpoints that are
            usable in every run; {entered["checkpoints_dropped"]} checkpoints and {entered["seeds_dropped"]} seeds were
            left out.""",
            alt="Bars of variance components of the LLC and of its changes by source.",
            table=tables.components(summary),
            table_caption="""The same numbers: variance in units of λ̂² with its interval, and the share of the sum of
            the components, a negative one counted as nothing.""",
        ),
        Section(
            "",
            table=tables.explained(summary),
            caption="""Share of the variance of a seed's LLC over its checkpoints that a smooth function of log step, of
            the loss or of both explains, 1 being all of it; the sampler's part is taken out. Within: fitted to the
            seed itself, adjusted for the number of terms. From the other seeds: predicted by the fit to the other seeds
            of that sparsity, negative when worse than the seed's own mean. Means over seeds (from the others:
            pooled, each
            by its variance) with 95 % intervals; seeds: those with a value.""",
        ),
    ]


def _factors(summary: Mapping[str, Any], found: Found) -> Section:
    number_of = summary["factors"]["number"]
    return Section(
        "Which indicators go together",
        figure=drift.factor_loadings(found.factors),
        caption=f"""Factor analysis of all indicators over all runs and checkpoints: loadings after varimax rotation
        ({number_of} factor{"" if number_of == 1 else "s"}, by parallel analysis against the same series with the runs
        put in random order and turned round in time, so that they share nothing, not even training time). In brackets:
        loadings whose approximate 95 % bootstrap interval over runs includes zero; the intervals are in the hover
        labels. Indicators that share nothing but training time load on one factor too.""",
        alt="Heat map of factor loadings by indicator.",
        table=tables.factors(summary),
        table_caption="""The same loadings with their intervals, and the share of each indicator's variance that the
        factors account for; one close to 1 (a Heywood case) is a sign of too many factors.""",
    )
