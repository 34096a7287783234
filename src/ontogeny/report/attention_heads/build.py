"""The report of the attention-heads study: its figures and tables in the order in which they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import xarray as xr

from ontogeny.plots.head_tables import against_multigrams, context_card, share_bars
from ontogeny.report.attention_heads import captions, circuits, curvature, figures, tables, text
from ontogeny.report.attention_heads.looks import boxes, by_type
from ontogeny.report.curvature import MEANING, TABLE_CAPTION, comparison_table
from ontogeny.report.health import describe_health
from ontogeny.report.page import Section, write_report

Measured = Mapping[str, xr.Dataset]
Summary = Mapping[str, Any]


def write_attention_heads_report(path: str | os.PathLike[str], measured: Measured, summary: Summary) -> Path:
    """Write the report to `path` and return it; measured: the groups of results.zarr, summary: of `summarise`."""
    return write_report(
        path,
        title="Attention heads: differentiation and specialization over training",
        abstract=text.abstract(summary),
        conclusions=text.conclusions(summary),
        settings=text.settings(summary),
        health=describe_health(summary),
        sections=sections(measured, summary),
        footer="Every number of the conclusions is in summary.json, every measurement in results.zarr.",
    )


def sections(measured: Measured, summary: Summary) -> list[Section]:
    """The exhibits: λ̂ of heads, what heads do, what they do together, how they group, the whole model, statements."""
    clustered = figures.clusterings(measured, summary)
    out = [
        _curves("Heads differentiate", captions.REFINED, figures.refined(measured, summary)),
        _curves("", captions.MULTIGRAMS, _multigrams(measured, summary)),
        Section("", table=tables.taxonomy(summary), caption=captions.TAXONOMY),
        _curves("What heads are for", captions.CARDS, _cards(measured, summary), choice="head"),
        _curves("", captions.SHARES, _shares(measured, summary)),
        Section("", table=tables.migrations(summary), caption=captions.MIGRATIONS),
        _curves(
            "Where heads look, and what is lost without them", captions.ATTENTION, figures.attention(measured, summary)
        ),
        _curves("", captions.ABLATIONS, figures.ablations(measured, summary)),
        *_curvature(measured, summary),
        _curves("Induction", captions.IN_CONTEXT, circuits.in_context(measured, summary)),
        _curves("", captions.RELATIVE, figures.relative(measured, summary)),
        _curves("The multigram circuit", captions.BRACKETS, circuits.brackets(measured, summary)),
        _curves("", captions.COMPOSITION, figures.composition(measured, summary)),
        _curves("The whole model, and its stages", captions.WHOLE, figures.whole_model(measured, summary)),
        Section("", table=tables.stages(summary), caption=captions.STAGES),
    ]
    if clustered:
        out += [
            _curves("Clusters", captions.CLUSTERS, clustered),
            Section("", table=tables.clusters(summary), caption=captions.CLUSTER_TABLE),
        ]
    return [*out, Section("Statements", table=tables.statements(summary), caption=captions.STATEMENTS)]


def _curvature(measured: Measured, summary: Summary) -> list[Section]:
    """Figures 14 to 16 of the paper, and the wrLLC beside what second order predicts of it."""
    predicted = curvature.second_order(measured, summary)
    said = captions.SECOND_ORDER
    return [
        _curves("Curvature, and what lies beyond it", captions.TRACES, figures.traces(measured, summary)),
        _curves("", captions.FISHERS, curvature.fishers(measured, summary)),
        _curves("", captions.RANKS, curvature.ranks(measured, summary)),
        Section("", MEANING, figure=predicted, caption=said.caption, alt=said.alt, choice="view"),
        Section(
            "",
            table=comparison_table("head", curvature.shares(summary)),
            caption=f"{TABLE_CAPTION} {captions.ROWS_NOT_IN_IT}",
        ),
        Section("", table=curvature.curvature_table(measured, summary), caption=captions.CURVATURE_TABLE),
    ]


def _curves(title: str, said: captions.Caption, shown: Mapping[str, go.Figure], choice: str = "view") -> Section:
    return Section(title, figure=shown, caption=said.caption, alt=said.alt, choice=choice)


def _multigrams(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    out = {}
    for view in figures.views(measured, summary, clusters=False):
        heads = list(view.looks.groups)
        one = measured["heads"].sel(setting=view.setting, seed=view.seed, dataset="text", component=heads)
        last = one.isel(checkpoint=-1).rename(component="head")
        counts = measured["contexts"]["multigrams"].sel(seed=view.seed, when="last")
        out[view.words] = against_multigrams(counts, last["llc"], last["llc_se"], view.looks, view.hover)
    return out


def _shares(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    contexts = measured["contexts"]
    words = {str(when): f"step {int(contexts['step'].sel(when=when)):,}" for when in contexts["when"].values}
    return {f"seed {seed}": share_bars(contexts.sel(seed=seed), words) for seed in range(summary["seeds"])}


def _cards(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """A card a head and seed, of the last checkpoint; the box of its curves stands above its tokens."""
    out = {}
    for seed in range(summary["seeds"]):
        cards = measured["contexts"]["card"].sel(seed=seed, when="last")
        hover = boxes(summary, measured["behaviour"].sel(seed=seed), seed, None)
        for head in by_type(summary, seed).groups:
            tokens = json.loads(str(cards.sel(head=head).item()))
            name = f"{head}, {summary['types'][seed][head]['type']}"
            out[f"seed {seed}, {name}" if summary["seeds"] > 1 else name] = context_card(tokens, hover[head])
    return out
