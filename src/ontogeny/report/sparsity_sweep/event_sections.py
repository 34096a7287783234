"""The exhibits of the sweep's report that are about events: when they are, what finds them, what moves around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from ontogeny.plots import events
from ontogeny.report.page import Section
from ontogeny.report.sparsity_sweep import event_tables, tables
from ontogeny.report.sparsity_sweep.found import Found
from ontogeny.report.words import number, percent

SYMBOLS = """A symbol a kind of event; kinds are set slightly above each other, since one change of the weights is often
an event of several kinds."""


def sections(trajectory: xr.Dataset, summary: Mapping[str, Any], *, found: Found) -> list[Section]:
    """Make the exhibits about events, in order; trajectory: dims sparsity, seed, time with the coordinate `step`."""
    return [
        *_raster(trajectory, summary, found),
        _rises(summary),
        *_detection(summary),
        _aligned(found),
        _associations(summary),
        _combination(summary),
        *_by_setting(summary),
    ]


def _raster(trajectory: xr.Dataset, summary: Mapping[str, Any], found: Found) -> list[Section]:
    return [
        Section(
            "Events in the weights",
            [
                """Events are found in the weights alone, without the LLC: the emergence of a feature (its norm crosses
                half of its final value to stay), each lasting change of the number of features represented or of the
                closest regular polygon, and the rank jump (the inflection of an accepted sigmoid fit to the effective
                rank)."""
            ],
            figure=events.event_raster(found.events, trajectory, found.changes.get("llc")),
            caption=f"""Every event of every seed ({summary["seeds"]} a sparsity) at its training step, and beside them
            the change points of the LLC (crosses), which were found without looking at the events. {SYMBOLS} The
            axis of steps is as in figure 1.""",
            alt="Raster of events, a row a seed and a panel a sparsity, over training steps.",
            table=tables.events(summary),
            table_caption="Events by sparsity and kind: how many, in how many seeds, and when.",
        )
    ]


def _rises(summary: Mapping[str, Any]) -> Section:
    return Section(
        "Does the LLC rise at the jump, or at emergence?",
        [
            """A rise is the time average of the LLC over a window after the event minus that over the same window
            before it. Both rises belong to the same seed, so that what differs between seeds drops out."""
        ],
        table=tables.rises(summary),
        caption=f"""The LLC's rise at the rank jump and at {summary["against"]}, and their difference within seeds,
        S = {summary["canonical"]}: means over the seeds that are measured around both events, with 95 % Student t
        intervals; p of the difference by flipping signs; detectable: the true difference that a t test would find in
        {percent(summary["rules"]["power"])} of such studies.""",
    )


def _detection(summary: Mapping[str, Any]) -> list[Section]:
    test = summary["detection_test"]
    return [
        Section(
            "Which indicator finds which event",
            [
                """Change points of each indicator, found without looking at the events, are matched one to one with the
                events of the same run, nearest first. Recall is the share of events found, precision the share of
                change points that match one of that kind, so that a change point at another kind of event counts
                against it (but not under "any event"). By chance: the same number of change points, put at random into
                the intervals between checkpoints of the same run.""",
                """Events that lie between the same two checkpoints count as one, and events outside of what was
                measured are left out: for the LLC those before its first usable estimate, so that its recall is over
                fewer and later events than that of the others.""",
                """Indicators made of the weights (effective rank, norms, cosines) have a head start over the LLC and
                the loss: the events are defined by the same weights.""",
            ],
            table=event_tables.detection(summary),
            caption=f"""Indicator by kind of event, all {summary["runs"]} runs as separate seeds: recall and precision
            with 95 % intervals over runs, after "/" what chance gives; lag: step of the change point minus that of the
            event, mean over runs with its interval, positive when the indicator is late; n: such events; p: of
            a recall so high by chance; "found" where p is at most {number(test["alpha_each"], 2)},
            {number(test["alpha"])} shared by {test["cells"]} cells.""",
        ),
        Section(
            "",
            table=event_tables.unexplained(summary),
            caption=f"""Change points a run that match no event of any kind, mean over seeds with a 95 % interval. At
            S = {summary["quiet"]}, where by the document nothing forms, they count as false alarms; an event that our
            rules do not know may be behind some.""",
        ),
    ]


def _aligned(found: Found) -> Section:
    before = found.aligned.attrs.get("baseline", "before") == "before"
    reference = "its mean over the steps shown before it" if before else "its value at the event"
    return Section(
        "What indicators do around events",
        figure=events.event_averages(found.aligned),
        caption=f"""Each indicator around each kind of event, relative to {reference}, averaged within a run over
        its events and then over runs, with the 95 % Student t interval over runs (band); vertical line: the event;
        fewer than three runs are not drawn. All sparsities together; runs without the kind do not enter, and the number
        of runs (hover label) falls towards the ends, so that the average may change because its members do.""",
        alt="Small multiples of indicators around events, rows indicators, columns kinds of event.",
    )


def _associations(summary: Mapping[str, Any]) -> Section:
    return Section(
        "What moves with the LLC",
        [
            """Two curves that both just grow are correlated: the rows with training time and loss taken out are the
            ones that say something."""
        ],
        table=tables.associations(summary),
        caption="""Spearman correlation of the LLC with each indicator within a seed: mean over the seeds of a sparsity
        with a finite one and its 95 % Student t interval; without: log step, or log step and loss, partialled out. A
        dash: not defined, as for an indicator that is constant or that is itself what was taken out.""",
    )


def _combination(summary: Mapping[str, Any]) -> Section:
    return Section(
        "Do indicators together find the rank jump better?",
        [
            """For every single indicator, every pair and all of them a regularised logistic regression of the rank
            jump on the indicators' changes is fitted, with its threshold, to some seeds and scored on the seeds held
            out. The rank jump is itself defined by the effective rank, along the whole run, so that this indicator has
            a head start."""
        ],
        table=event_tables.combination(summary),
        caption=f"""Scores on seeds held out (AP: average precision), all runs as separate seeds, with 95 % jackknife
        intervals over them; the difference in F1 from the best single indicator ("F1 − best"), and what it says: better
        where its interval lies above zero, not better where below {number(summary["combination"]["margin"])}.""",
    )


def _by_setting(summary: Mapping[str, Any]) -> list[Section]:
    if not summary["by_setting"]:
        return []
    return [
        Section(
            "Do the conclusions hang on (nβ, γ)?",
            table=tables.by_setting(summary),
            caption=f"""The same analyses at neighbouring settings, with 95 % intervals over seeds or runs: share of a
            seed's LLC variance that log step and loss predict from the other seeds (S = {summary["canonical"]});
            share of
            the rank jumps, between usable estimates, that change points of the LLC find; Spearman ρ of LLC and
            effective rank with log step and loss taken out (S = {summary["canonical"]}); F1 of LLC and effective rank
            together minus that of the better one alone. Which estimates are usable differs between settings.""",
        )
    ]
