"""Curvature of heads: figures 15 and 16 of the paper, and the wrLLC beside what second order predicts of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from ontogeny.analysis.second_order import against_second_order
from ontogeny.estimators.status import usable
from ontogeny.plots.curvature import CURVED, PREDICTED, PULLED
from ontogeny.plots.heads import Line, Panel, head_lines, panels
from ontogeny.plots.llc import COLOUR
from ontogeny.report.attention_heads.effects import correlation
from ontogeny.report.attention_heads.figures import LLC, Measured, Summary, in_layer, layers_of, of_heads, views
from ontogeny.report.attention_heads.looks import stages
from ontogeny.report.attention_heads.statements import TEXT
from ontogeny.report.page import Table
from ontogeny.report.words import number

COLUMNS = 4
ASIDE = 0.08
"""Of the range of a panel, what is left free at either end."""
NUMBERS = (
    "fisher_trace",
    "hessian_rank",
    "second_order_llc",
    "second_order_llc_curvature",
    "second_order_llc_gradient",
)
ORDERS = {"fisher_trace": "Fisher trace", "hessian_rank": "Hessian rank", "second_order_llc": "second order"}


def fishers(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figure 15: the Fisher trace of each head."""
    return of_heads(measured, summary, [("text", "fisher_trace", {})], "trace (nats/weight²)", group="curvature")


def ranks(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figure 16: the Hessian rank of each head, at the (nβ, γ) of each setting."""
    out = {}
    for view in views(measured, summary):
        one = measured["curvature"].sel(seed=view.seed, setting=view.setting)
        shown = []
        for layer in layers_of(list(view.looks.groups)):
            values, error = (in_layer(one[word], layer) for word in ("hessian_rank", "hessian_rank_se"))
            lines = head_lines(values, view.looks, error=error, hover=view.hover)
            shown.append(Panel(f"layer {layer}, text", lines, "eigenvalues with nβh > γ", zero=True))
        out[view.words] = panels(shown, columns=len(shown), stages=stages(summary, view.setting, view.seed))
    return out


def second_order(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """The wrLLC and its prediction, whole and in its two parts, a panel a head."""
    out = {}
    for view in views(measured, summary, clusters=False):
        one = beside(measured, view.setting).sel(seed=view.seed)
        shown = [
            _panel(one.sel(head=head), f"{head} ({group})", view.hover.get(head, ""))
            for head, group in view.looks.groups.items()
        ]
        behind = stages(summary, view.setting, view.seed)
        out[view.words] = panels(shown, columns=min(COLUMNS, len(shown)), stages=behind, legend_rows=1)
    return out


def _panel(one: xr.Dataset, title: str, hover: str) -> Panel:
    words = [str(word) for word in one["second_order_llc_status"].values]

    def line(label: str, name: str, colour: str, dash: str, marks: Sequence[str]) -> Line:
        values, error = one[name].values, one[f"{name}_se"].values
        return Line(label, one["step"].values, values, colour, error, dash, hover=hover, group=label, marks=marks)

    lines = [
        line("wrLLC, measured", "llc", COLOUR, "solid", [str(word) for word in one["status"].values]),
        line("second order", "second_order_llc", PREDICTED, "solid", words),
        line("second order, curvature's part", "second_order_llc_curvature", CURVED, "dash", words),
        line("second order, gradient's part", "second_order_llc_gradient", PULLED, "dot", words),
    ]
    return Panel(title, lines, LLC, reach=_reach(one))


def _reach(one: xr.Dataset) -> tuple[float, float] | None:
    """What the axis shows: 0, λ̂ and the curvature's part; off a minimum the gradient's may be hundreds below."""
    ends = [0.0]
    for name in ("llc", "second_order_llc_curvature"):
        values, margin = one[name].values.astype(float), 1.96 * one[f"{name}_se"].values.astype(float)
        ends += [*(values - margin), *(values + margin)]
    known = [end for end in ends if np.isfinite(end)]
    low, high = min(known), max(known)
    aside = ASIDE * (high - low)
    return (low - aside, high + aside) if high > low else None


def beside(measured: Measured, setting: str) -> xr.Dataset:
    """The wrLLC at one setting and what second order says of it, dims (seed, checkpoint, head)."""
    curved = measured["curvature"].sel(setting=setting)
    heads = measured["heads"].sel(setting=setting, dataset=TEXT, component=curved["head"].values)
    names = ["llc", "llc_se", "status", "regime", "chains_lost"]
    llc = heads[names].rename(component="head").drop_vars(["setting", "dataset"], errors="ignore")
    return llc.merge(curved.drop_vars("setting"), join="exact", compat="no_conflicts", combine_attrs="drop")


def against(measured: Measured, setting: str) -> dict[str, Any]:
    """What `against_second_order` says of each head, its seeds as runs; counts of all, and the middle of the shares.

    A share of all heads together is not told: the error of a mean over heads is not that of independent runs.
    """
    one = beside(measured, setting)
    by_head = {str(head): against_second_order(one.sel(head=head)) for head in one["head"].values}
    shares = [found["share"]["mean"] for found in by_head.values() if found["minima"]]
    counts = {
        name: sum(found[name] for found in by_head.values())
        for name in ("estimates", "no_posterior", "unresolved", "minima", "within", "below", "below_predicted")
    }
    ends = {
        "heads": len(shares),
        "lowest": min(shares, default=np.nan),
        "median": float(np.median(shares)) if shares else np.nan,
        "highest": max(shares, default=np.nan),
    }
    same = next(iter(by_head.values()))
    return {**counts, **ends, "still": same["still"], "times": same["times"], "by_head": by_head}


def at_the_end(measured: Measured, setting: str) -> list[dict[str, dict[str, Any]]]:
    """By seed and head, at the last checkpoint: number and standard error of each, and the status words."""
    last = measured["curvature"].sel(setting=setting).isel(checkpoint=-1)
    return [
        {
            str(head): {
                **{name: [float(one[name]), float(one[f"{name}_se"])] for name in NUMBERS},
                **{name: str(one[name].item()) for name in map(str, one.data_vars) if name.endswith("_status")},
            }
            for head in last["head"].values
            for one in [last.sel(seed=seed, head=head)]
        }
        for seed in last["seed"].values
    ]


def orders(measured: Measured, setting: str) -> list[dict[str, Any]]:
    """By seed, rank correlation over heads with the usable wrLLCs at the last checkpoint, of each of `ORDERS`."""
    one = beside(measured, setting).isel(checkpoint=-1)
    good = one["llc"].where(usable(one))
    return [
        {
            name: correlation(one[name].sel(seed=seed).values, good.sel(seed=seed).values, words)._asdict()
            for name, words in ORDERS.items()
        }
        for seed in one["seed"].values
    ]


def curvature_table(measured: Measured, summary: Summary) -> Table:
    """A row a head at the last checkpoint, by setting and seed."""
    rows = []
    for setting, by_seed in summary["curvature"].items():
        last = beside(measured, setting).isel(checkpoint=-1)
        for seed, heads in enumerate(by_seed):
            for head, found in heads.items():
                llc = last.isel(seed=seed).sel(head=head)
                rows.append(
                    [
                        setting,
                        seed,
                        head,
                        summary["types"][seed][head]["type"],
                        _with_error([float(llc["llc"]), float(llc["llc_se"])], str(llc["status"].item())),
                        _with_error(found["second_order_llc"], found["second_order_llc_status"]),
                        _with_error(found["second_order_llc_curvature"]),
                        _with_error(found["second_order_llc_gradient"]),
                        _with_error(found["fisher_trace"], found["fisher_trace_status"]),
                        _with_error(found["hessian_rank"], found["hessian_rank_status"]),
                    ]
                )
    headers = [
        "setting", "seed", "head", "type", "wrLLC", "second order", "curvature's part", "gradient's part",
        "Fisher trace", "Hessian rank",
    ]  # fmt: skip
    return Table(headers, rows, text_columns=(0, 2, 3))


def _with_error(cell: Sequence[float | None], status: str = "ok") -> str:
    value, error = cell
    known = value is not None and np.isfinite(value)
    said = f"{number(value)} ± {number(error, 2)}" if known else "—"
    return said if status == "ok" else f"{said} ({status.replace('_', ' ')})"


def shares(summary: Summary) -> dict[str, Mapping[str, Any]]:
    """Rows of the comparison, a head at a setting each."""
    several = len(summary["second_order"]) > 1
    return {
        f"{setting}, {head}" if several else head: found
        for setting, told in summary["second_order"].items()
        for head, found in told["by_head"].items()
    }
