"""Heads in other figures than curves: shares of patterns, multigrams against λ̂, and the texts that a head is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from ontogeny.plots import theme
from ontogeny.plots.heads import Looks

PATTERN_COLOURS = {
    "induction": "#a8447f",
    "dyck": "#0072b2",
    "skip_ngram": "#b87900",
    "ngram": "#d55e00",
    "unexplained": "#c9ccd3",
}
ROW_HEIGHT = 46
BLANK = {"\n": "⏎", "\t": "⇥"}


def share_bars(contexts: xr.Dataset, words: Mapping[str, str]) -> go.Figure:
    """Stacked shares of the patterns of each head, a row of panels a checkpoint; heads in the order of multigrams.

    contexts: ``share`` (when, head, pattern) and ``multigrams`` (when, head); words: what the panels are called.
    """
    made = make_subplots(rows=len(words), cols=1, subplot_titles=list(words.values()), vertical_spacing=0.16)
    made.update_layout(
        template=theme.template(),
        barmode="stack",
        height=290 * len(words) + 60,
        uirevision="keep",
        **theme.legend_above(1),
    )
    made.update_layout(margin={"t": 70})
    for row, when in enumerate(words, start=1):
        one = contexts.sel(when=when)
        order = np.argsort(one["multigrams"].values, kind="stable")
        heads = [f"{one['head'].values[place]}<br>{int(one['multigrams'].values[place])}" for place in order]
        for pattern in (str(name) for name in one["pattern"].values):
            share = 100 * one["share"].sel(pattern=pattern).values[order]
            made.add_trace(
                go.Bar(
                    x=heads,
                    y=theme.compact(share),
                    name=pattern.replace("_", " "),
                    legendgroup=pattern,
                    showlegend=row == 1,
                    marker={"color": PATTERN_COLOURS.get(pattern, "#7a7f87")},
                    hovertemplate=f"%{{x}} multigrams<br>{pattern.replace('_', ' ')}: %{{y:.1f}} %<extra></extra>",
                ),
                row=row,
                col=1,
            )
        made.update_yaxes(title_text="tokens in context (%)", range=[0, 100], row=row, col=1)
    made.update_xaxes(title_text="head, and its number of unique multigrams", row=len(words), col=1)
    return made


def against_multigrams(
    multigrams: xr.DataArray, llc: xr.DataArray, error: xr.DataArray, looks: Looks, hover: Mapping[str, str]
) -> go.Figure:
    """Final wrLLC ± 1.96 s.e. over the number of unique multigrams, a point a head."""
    made = theme.figure(400, **theme.legend_above(1))
    named: set[str] = set()
    for head in (str(name) for name in llc["head"].values):
        group = looks.groups[head]
        made.add_trace(
            go.Scatter(
                x=[int(multigrams.sel(head=head))],
                y=[float(llc.sel(head=head))],
                error_y={"array": [1.96 * float(error.sel(head=head))], "thickness": 1},
                mode="markers+text",
                text=[head],
                textposition="top center",
                textfont={"size": 10},
                marker={"size": 9, "color": looks.colour(head)},
                name=group,
                legendgroup=group,
                showlegend=group not in named,
                hovertemplate=f"<b>{head}</b> %{{x}} multigrams, wrLLC %{{y:.3g}}<br>{hover.get(head, '')}"
                "<extra></extra>",
            )
        )
        named.add(group)
    made.update_xaxes(title_text="unique multigrams")
    made.update_yaxes(title_text="final wrLLC λ̂ (dimensionless)")
    return made


def context_card(tokens: Sequence[Mapping[str, Any]], words: str) -> go.Figure:
    """The tokens in context a head is most for: a row each, the attention from the current token as colour.

    The current token is boxed with a thin line, the token that was to be foretold with a thick one.
    """
    if not tokens:
        return theme.empty("No token of the sample is foretold worse without this head.")
    widest = max(len(one["texts"]) for one in tokens)
    attention = np.full((len(tokens), widest), np.nan)
    texts = [[""] * widest for _ in tokens]
    for row, one in enumerate(tokens):
        place = widest - len(one["texts"])  # flush right, so that the tokens to be foretold stand near each other
        attention[row, place:] = one["attention"]
        texts[row][place:] = [_shown(text) for text in one["texts"]]
    labels = [f"+{one['increase']:.2f} {one['pattern'].replace('_', ' ')}" for one in tokens]
    made = theme.figure(ROW_HEIGHT * len(tokens) + 170)
    made.add_trace(
        go.Heatmap(
            z=theme.compact(attention),
            text=texts,
            texttemplate="%{text}",
            textfont={"size": 9},
            zmin=0,
            zmax=1,
            colorscale=[[0, "#ffffff"], [1, "#f0a04b"]],
            xgap=1,
            ygap=6,
            colorbar={"title": {"text": "attention"}, "thickness": 10},
            hovertemplate="“%{text}” attention %{z:.3f}<extra></extra>",
        )
    )
    for row, one in enumerate(tokens):
        current = widest - len(one["texts"]) + int(one["position"])
        for place, width in ((current, 1), (current + 1, 2.5)):
            made.add_shape(
                type="rect",
                x0=place - 0.5,
                x1=place + 0.5,
                y0=row - 0.44,
                y1=row + 0.44,
                line={"color": "#0072b2", "width": width},
            )
    made.update_yaxes(
        tickvals=list(range(len(tokens))), ticktext=labels, autorange="reversed", title_text="rise of the loss (nats)"
    )
    made.update_xaxes(visible=False)
    made.update_layout(margin={"t": 90, "b": 20})
    made.add_annotation(
        text=words, xref="paper", yref="paper", x=0, y=1.0, yshift=12, yanchor="bottom", align="left", font={"size": 12}
    )
    return made


def _shown(text: str) -> str:
    """A token as it stands in a cell: spaces and line ends are seen, and nothing is read as markup."""
    for letter, sign in BLANK.items():
        text = text.replace(letter, sign)
    return text.replace(" ", "·").replace("&", "&amp;").replace("<", "&lt;")
