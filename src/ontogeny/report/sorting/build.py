"""The report of the sorting study: its figures and tables in the order in which they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from ontogeny.plots import circuits
from ontogeny.report.curvature import MEANING, TABLE_CAPTION, comparison_table
from ontogeny.report.health import describe_health
from ontogeny.report.page import Section, Table, write_report
from ontogeny.report.sorting import text
from ontogeny.report.sorting.summary import whole
from ontogeny.report.words import number

CURVATURE_ERROR = """ The Hessian is of a sample of the lists, and the errors of the prediction hold probes and Lanczos
steps, not which lists were drawn."""


def write_sorting_report(
    path: str | os.PathLike[str], measured: Mapping[str, xr.Dataset], summary: Mapping[str, Any]
) -> Path:
    """Write the report to `path` and return it; measured: variant -> results, summary: what `summarise` returns."""
    return write_report(
        path,
        title="Sorting transformers: LLC and circuits over training",
        abstract=text.abstract(summary),
        conclusions=text.conclusions(summary),
        settings=text.settings(summary),
        health=describe_health(summary),
        sections=sections(measured, summary),
        footer="""The circuits of seed 0 are also in the GIFs beside this page. Every number of the conclusions is in
        summary.json, every measurement in results.zarr.""",
    )


def sections(measured: Mapping[str, xr.Dataset], summary: Mapping[str, Any]) -> list[Section]:
    """The exhibits: circuits in motion, variants side by side, what was found, heads."""
    frozen = {name: whole(one) for name, one in measured.items()}
    elsewhere = [(name, row) for name, found in summary["findings"].items() for row in found["neighbours"]]
    neighbours = list(dict.fromkeys(at for _, row in elsewhere for at in row["at"]))
    return [
        Section(
            "Circuits in motion",
            [
                """Above: the curves of one seed over log training step. Below: the full QK and OV circuits of its heads
                at the step under the cursor. Play, move the slider, or click a curve."""
            ],
            figure={
                f"{name}, seed {int(seed)}": circuits.circuits_over_training(one.sel(seed=seed))
                for name, one in frozen.items()
                for seed in one["seed"].values
            },
            choice="variant and seed",
            caption=f"""One seed of one variant; bands are ±1.96 standard errors. λ̂, on a logarithmic axis, which leaves
            out what is not positive, where usable (no chain lost, not below baseline; hollow: status not ok), with
            its second-order prediction
            (dashed), which stops where it does not exist; Hessian trace (logarithmic) and rank, the number of
            eigenvalues with nβh > γ, of the whole model, from a sample of
            {summary["settings"]["curvature_samples"]} lists and {summary["settings"]["curvature_probes"]} probes, the
            choice of lists being in the error of the trace alone; accuracy on
            {summary["settings"]["fresh"]:,} fresh lists, without swaps whatever the training data; head overlap and
            translational symmetry (over the mean of |W|, where the document has a mean of W, so not to be held
            against its values) averaged over the QK and OV circuits; sums of the numerical ranks (singular values
            above 1 % of the largest) and of the participation ratios of all these matrices. Heatmaps: blue positive,
            red negative, the full colour at the 99.5 % quantile of each matrix at each step; gain and centring of the
            layer norm are folded in; QK rows are destination tokens, OV rows source tokens; the separator is left
            out. Dotted line: the step shown.""",
            alt="Curves over training above heatmaps of QK and OV circuits, with a slider over training steps.",
        ),
        Section(
            "Variants side by side",
            figure=circuits.side_by_side(frozen),
            caption="""λ̂ (usable estimates, whatever their status, which figure 1 shows; those not positive are not
            on its logarithmic axis), Hessian trace
            (logarithmic) and rank (eigenvalues with nβh > γ), accuracy per list, head overlap, translational symmetry
            and the sum of ranks over training step. Thin: one seed; thick: mean over seeds. One head has no
            overlap.""",
            alt="Seven panels of curves over training step, coloured by variant.",
        ),
        Section(
            "What lies beyond second order",
            MEANING,
            table=comparison_table("variant", summary["second_order"]),
            caption=TABLE_CAPTION + CURVATURE_ERROR,
        ),
        Section(
            "What was found",
            table=Table(
                ("finding", *summary["findings"]),
                [
                    [words, *(text.said(found[name]) for found in summary["findings"].values())]
                    for name, words in text.FINDINGS.items()
                ],
            ),
            table_caption="""Mean over seeds with its 95 % Student t interval; the values of the seeds (of equal ones,
            one) where fewer than five have any; — where none has. First peak: the first from which λ̂ falls by three
            errors and 5 %, whatever comes later. Highest λ̂: of usable ones, so an error or two too high where they
            are noisy. Fell: the highest lies before the last three, and is above their mean by three standard errors
            and 5 %. End: the mean of the last three checkpoints; last: at the last. A region is at least two
            neighbouring tokens whose largest OV diagonal entry is one head's and at least a quarter of the largest of
            all; an anti-state's OV has a cosine of −0.8 or less with the sum of the others'. Crystallization: the
            share of positive QK mass above the diagonal inside the triangles over a head's own regions at the end;
            without any order it is the triangles' share of the area.""",
        ),
        Section(
            "At half and twice nβ and γ",
            table=Table(
                ("variant", "step", *neighbours),
                [[name, int(row["step"]), *(_estimate(row["at"][at]) for at in neighbours)] for name, row in elsewhere],
                text_columns=(0,),
            ),
            table_caption="""λ̂ ± s.e. of the whole model, seed 0, at the checkpoints that were measured at every (nβ,
            γ); a status other than ok in brackets. An estimate of which nβ or γ decides the size is no learning
            coefficient; whether it rises or falls between two rows should not hang on the column.""",
        ),
        Section(
            "Heads",
            table=Table(
                ("variant", "head", "step", "λ̂ ± s.e.", "status", "regime"),
                [
                    [
                        name,
                        head["head"],
                        int(head["step"]),
                        f"{head['llc']:.3g} ± {head['llc_se']:.2g}",
                        head["status"].replace("_", " "),
                        head["regime"].replace("_", " "),
                    ]
                    for name, found in summary["findings"].items()
                    for head in found["heads"]
                ],
                text_columns=(0, 1, 4, 5),
            ),
            table_caption="""λ̂ of each head alone (weight-refined: all other weights held at w*), seed 0, at the last
            checkpoint that has one. They do not add up to the whole.""",
        ),
    ]


def _estimate(one: Mapping[str, Any]) -> str:
    status = "" if one["status"] == "ok" else f" ({one['status'].replace('_', ' ')})"
    return f"{number(one['llc'])} ± {number(one['llc_se'], 2)}{status}"
