"""The report of the feature-targeted study: its figures and tables in the order in which they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from ontogeny.estimators.status import usable
from ontogeny.plots import features as plots
from ontogeny.report.curvature import MEANING, comparison_table
from ontogeny.report.feature_targeted import text
from ontogeny.report.feature_targeted.summary import DEVELOPMENT, LLC, metrics, predicted
from ontogeny.report.health import describe_health
from ontogeny.report.page import Section, Table, write_report
from ontogeny.report.words import number, percent

SHOWN = 120
"""Characters of a text."""


def write_feature_report(
    path: str | os.PathLike[str], measured: Mapping[str, xr.Dataset], summary: Mapping[str, Any]
) -> Path:
    """Write the report to `path` and return it; measured: group -> results, summary: what `summarise` returns."""
    return write_report(
        path,
        title="Feature-targeted LLC: SAE features against random directions",
        abstract=text.abstract(summary),
        conclusions=text.conclusions(summary),
        settings=text.settings(summary),
        health=describe_health(summary),
        sections=sections(measured, summary),
        footer="Every number of the conclusions is in summary.json, every measurement in results.zarr.",
    )


def sections(measured: Mapping[str, xr.Dataset], summary: Mapping[str, Any]) -> list[Section]:
    """The exhibits: histograms, all metrics, the best two together, second order, outliers, cards, training."""
    values = metrics(measured, summary["losses"])
    kinds = measured[summary["losses"][0]]["kind"].values.astype(str)
    told = {name: one["separation"] for name, one in summary["metrics"].items() if one["separation"] is not None}
    out = []
    if told:
        out.append(
            Section(
                "Distributions",
                figure={
                    name: plots.kind_histograms(
                        {kind: values[name][kinds == kind] for kind in ("sae", "random")},
                        name,
                        one["delta"],
                        one["threshold"],
                    )
                    for name, one in told.items()
                },
                choice="metric",
                start=summary["best_llc"] or "",
                caption="""Directions by the value of each metric; λ̂ where usable (no chain lost, not below baseline).
                Dashed: the best threshold, which gets the share δ of both kinds wrong.""",
                alt="Histograms of SAE features and random directions with the best threshold.",
            )
        )
    out.append(Section("How well each metric tells them apart", table=_metrics(summary), table_caption=_METRICS))
    if summary["correlations"]:
        out.append(_scatter(measured, summary, values, kinds))
    if summary["second_order"] is not None:
        out.append(_second_order(measured, summary))
    if summary["outliers"]:
        out.append(Section("Outliers", table=_outliers(summary), table_caption=_OUTLIERS))
    out.append(Section("Directions one by one", table=_cards(summary), table_caption=_CARDS))
    if summary["development"] is not None:
        table = measured[DEVELOPMENT]
        out.append(
            Section(
                "Features over training",
                figure=plots.features_over_training(
                    table["step"].values,
                    table["llc"].where(usable(table)).values,
                    table["llc_se"].values,
                    table["r_squared"].transpose("sae_feature", ...).values[: table.sizes["feature"]],
                ),
                caption="""Functional λ̂ of the first SAE features of the final model at every checkpoint where it is
                usable, at the (nβ, γ) and ε of the last, with ±1.96 standard errors; below, r² of the direction's
                values with the final ones.
                Step 0 stands at half the first step after it.""",
                alt="Curves of λ̂ and of r² over training step, one colour a feature.",
            )
        )
    return out


_METRICS = """δ: the share that the best single threshold gets wrong, with a smoothed bootstrap's 95 % interval over
directions; AUC: the probability that an SAE feature is above a random direction, with Newcombe's interval. Ablation
effects are averaged over all sequences, or over those that activate the direction most."""
_MINIMA = """The functional and the behavioral loss have their minimum, 0, at w*: the gradient there is rounding, and
the Hessian the Gauss-Newton matrix. Of the functional one it knows the positions above the threshold alone; those that
weights would carry across it are beyond second order."""
_SECOND_ORDER = """λ̂ against its second-order prediction. Minima: directions whose λ̂ is usable, with a prediction of
status ok and at most 5 % taken off by the gradient; explained: prediction over λ̂, mean over these directions with its
95 % Student t interval; beyond: λ̂ less prediction, likewise; agree: they differ by at most 1.96 of their standard
errors; predicted negative: of the estimates below baseline with a prediction; no posterior: some nβh + γ is not
positive, so there is no prediction."""
_OUTLIERS = """Of the best LLC and the best ablation metric: directions more than three robust standard deviations from
the median of their kind, or on the other kind's side of the best threshold; at most twenty, the farthest first."""
_CARDS = """The first directions of both kinds: λ̂ ± s.e. (status where it is not ok), the best ablation metric, the
share of positions at which the thresholded feature is 0, and the text up to the token at which it is largest."""


def _metrics(summary: Mapping[str, Any]) -> Table:
    rows: list[list[str]] = []
    for name, found in summary["metrics"].items():
        s = found["separation"]
        if s is None:
            rows.append([name, *["—"] * 4])
            continue
        rows.append(
            [
                name,
                f"{number(s['mean_first'])} ± {number(s['sd_first'], 2)}",
                f"{number(s['mean_second'])} ± {number(s['sd_second'], 2)}",
                f"{percent(s['delta'], 1)} ({percent(s['delta_low'], 1)} to {percent(s['delta_high'], 1)})",
                f"{s['auc']:.3f} ({s['auc_low']:.3f} to {s['auc_high']:.3f})",
            ]
        )
    return Table(("metric", "SAE, mean ± sd", "random, mean ± sd", "δ", "AUC"), rows)


def _scatter(measured: Mapping[str, xr.Dataset], summary: Mapping[str, Any], values: Any, kinds: Any) -> Section:
    llc, ablation = summary["best_llc"], summary["best_ablation"]
    told = summary["correlations"]
    return Section(
        "Best against best",
        figure=plots.metric_scatter(
            values[llc],
            values[ablation],
            kinds,
            measured[llc.removesuffix(LLC)]["llc_se"].values,
            (llc, ablation),
        ),
        caption=f"""The LLC that tells the kinds apart best against the ablation metric that does, with the standard
        error of λ̂. Correlation: {text.correlated(told["sae"]["all"])} among SAE features,
        {text.correlated(told["random"]["all"])} among random directions.""",
        alt="A scatter of two metrics, SAE features and random directions in two colours.",
    )


def _second_order(measured: Mapping[str, xr.Dataset], summary: Mapping[str, Any]) -> Section:
    told, curved = summary["second_order"], summary["settings"]["curvature"]
    count, of = summary["settings"]["sequences"], min(curved["sequences"], summary["settings"]["sequences"])
    sample = "all sequences" if of == count else f"{of:,} of {count:,} sequences, which on average predicts too little"
    rows = {f"{loss}, {plots.KIND_NAMES[kind]}": one for loss, kinds in told.items() for kind, one in kinds.items()}
    return Section(
        "What lies beyond second order",
        [*MEANING, _MINIMA],
        figure={loss: plots.predicted_against_measured(predicted(measured, loss)) for loss in told},
        choice="loss",
        caption=f"""The first {curved["directions"]} directions of either kind at the (nβ, γ) of λ̂; the Hessian of
        {sample}. Above: predicted against measured, with ±1.96 standard errors, which of the prediction hold probes and
        Lanczos steps; on the line they are equal, below it λ̂ is larger. Hollow: left out of the share, as λ̂ is not
        usable, the gradient takes more than 5 % off, or the prediction's error is above a tenth. Below,
        where any is more than rounding: what the gradient takes off, logarithmic.""",
        alt="Predicted against measured LLC of SAE features and random directions; below, the gradient's part.",
        table=comparison_table("loss and kind", rows),
        table_caption=_SECOND_ORDER,
    )


def _outliers(summary: Mapping[str, Any]) -> Table:
    rows = [
        [
            one["metric"],
            f"{one['kind']} {one['direction']}",
            number(one["value"]),
            number(one["deviations"], 2),
            "yes" if one["wrong_side"] else "no",
        ]
        for one in summary["outliers"]
    ]
    return Table(
        ("metric", "direction", "value", "robust deviations", "on the wrong side"), rows, text_columns=(0, 1, 4)
    )


def _cards(summary: Mapping[str, Any]) -> Table:
    losses = summary["losses"]
    rows = [
        [
            f"{card['kind']} {card['direction']}",
            *(_estimate(card["estimates"][loss]) for loss in losses),
            number(card["ablation"]),
            percent(card["sparsity"], 1),
            " ".join(card["text"][0].split())[-SHOWN:] if card["text"] else "",
        ]
        for card in summary["cards"]
    ]
    headers = (
        "direction",
        *(f"{loss} λ̂" for loss in losses),
        summary["best_ablation"] or "ablation",
        "sparsity",
        "text",
    )
    return Table(headers, rows, text_columns=(0, len(headers) - 1))


def _estimate(one: Mapping[str, Any]) -> str:
    if one["llc"] is None:
        return f"— ({one['status'].replace('_', ' ')})"
    status = "" if one["status"] == "ok" else f" ({one['status'].replace('_', ' ')})"
    return f"{number(one['llc'])} ± {number(one['llc_se'], 2)}{status}"
