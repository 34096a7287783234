"""Figures of what heads do together: in-context learning without one of them, and the closing of brackets."""

from __future__ import annotations

import plotly.graph_objects as go
import xarray as xr

from ontogeny.plots import theme
from ontogeny.plots.heads import Line, Panel, panels
from ontogeny.report.attention_heads.figures import LLC, Measured, Summary, views
from ontogeny.report.attention_heads.looks import stages
from ontogeny.report.attention_heads.statements import CODE

PAIR = "both induction heads"
INTACT, ABLATED, PATCHED, CODE_COLOUR = "#0072b2", "#009e73", "#d55e00", "#a8447f"


def in_context(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figure 10: the ICL score, whole and without one head of the pair, over λ̂ on code of the other, and of both."""
    out = {}
    for view in views(measured, summary, clusters=False):
        behaviour = measured["behaviour"].sel(seed=view.seed)
        pair = summary["circuit"][view.seed]["pair"].split()
        if CODE not in measured["heads"]["dataset"]:
            out[view.words] = theme.empty("There is no data set of code.")
            continue
        heads = measured["heads"].sel(setting=view.setting, seed=view.seed, dataset=CODE)
        if len(pair) < 2:
            out[view.words] = theme.empty("There are fewer than two heads above layer 0.")
            continue
        columns = [(pair[0], pair[1]), (pair[1], pair[0]), (PAIR, "none")]
        shown = [
            Panel(
                "the ICL score, whole" if ablated == "none" else f"the ICL score without {ablated}",
                [_icl(behaviour, ablated)],
                "ICL score (nats)",
            )
            for _, ablated in columns
        ]
        shown += [Panel(f"{head}, λ̂ on code", [_of_code(heads, head)], LLC) for head, _ in columns]
        out[view.words] = panels(shown, columns=3, stages=stages(summary, view.setting, view.seed), legend_rows=1)
    return out


def _icl(behaviour: xr.Dataset, ablated: str) -> Line:
    score, error = (behaviour[name].sel(ablated=ablated).values for name in ("icl_score", "icl_score_se"))
    words = "whole model" if ablated == "none" else "one head mean-ablated"
    return Line(words, behaviour["step"].values, score, INTACT, error, group=words, dash="solid")


def _of_code(heads: xr.Dataset, head: str) -> Line:
    one = heads.sel(component=head)
    words = [str(word) for word in one["status"].values]
    return Line(
        head, heads["step"].values, one["llc"].values, CODE_COLOUR, one["llc_se"].values, group="λ̂ on code", marks=words
    )


def brackets(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figure 6: the loss of a closing bracket, whole and with the receiver or what it reads ablated."""
    out = {}
    for view in views(measured, summary, clusters=False, settings=False):
        one = measured["behaviour"].sel(seed=view.seed)
        circuit = summary["circuit"][view.seed]
        receiver, senders = circuit["receiver"], circuit["senders"]
        if not receiver or not senders:
            out[view.words] = theme.empty("There are no multigram heads in both layers.")
            continue
        shown = []
        for kind in ("unnested", "nested"):
            at = one.sel(sentences=kind)
            loss, steps = at["bracket_loss"].values, one["step"].values
            ablated, patched = at["bracket_score"].sel(head=receiver), at["path_score"].sel(through="qkv")
            lines = [
                Line("whole model", steps, loss, INTACT, at["bracket_loss_se"].values, group="whole model"),
                Line(
                    f"{receiver} ablated",
                    steps,
                    loss + ablated.values,
                    ABLATED,
                    at["bracket_score_se"].sel(head=receiver).values,
                    group="receiver mean-ablated",
                ),
                Line(
                    f"layer 0 ablated in what {receiver} reads",
                    steps,
                    loss + patched.values,
                    PATCHED,
                    at["path_score_se"].sel(through="qkv").values,
                    group="multigram heads of layer 0 mean-ablated in what the receiver reads",
                ),
            ]
            shown.append(Panel(f"{kind} brackets, receiver {receiver}", lines, "loss of the bracket (nats)"))
        out[view.words] = panels(shown, columns=2, stages=stages(summary, view.setting, view.seed), legend_rows=3)
    return out
