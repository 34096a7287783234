"""Figures of curves over training: each returns {option: figure}, an option a seed, a setting or a way to colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
import xarray as xr

from ontogeny.plots import theme
from ontogeny.plots.heads import Line, Looks, Panel, head_lines, panels
from ontogeny.report.attention_heads.looks import BY_CLUSTER, BY_TYPE, boxes, by_cluster, by_type, stages
from ontogeny.report.attention_heads.statements import CODE

Measured = Mapping[str, xr.Dataset]
Summary = Mapping[str, Any]
LLC = "λ̂ (dimensionless)"
NAMES = {"text": "text: wrLLC", "code": "code: wdrLLC", "one-layer model": "one-layer model: wdrLLC"}
KINDS = ("zero", "mean", "resample")


class View(NamedTuple):
    """One option of a figure: a seed at a setting, and how its heads are told apart."""

    words: str
    setting: str
    seed: int
    looks: Looks
    hover: dict[str, str]


def views(measured: Measured, summary: Summary, *, clusters: bool = True, settings: bool = True) -> Iterator[View]:
    """Every seed at every setting, by type and where there are any by cluster."""
    chosen = list(summary["clusters"]) if settings else list(summary["clusters"])[:1]
    for setting in chosen:
        for seed in range(summary["seeds"]):
            grouped = by_cluster(summary, setting, seed)
            hover = boxes(summary, measured["behaviour"].sel(seed=seed), seed, grouped)
            words = f"seed {seed}" + (f", {setting} setting" if len(chosen) > 1 else "")
            yield View(f"{words}, {BY_TYPE}" if clusters else words, setting, seed, by_type(summary, seed), hover)
            if clusters and grouped is not None:
                yield View(f"{words}, {BY_CLUSTER}", setting, seed, grouped, hover)


def layers_of(names: Sequence[str]) -> list[int]:
    """The layers of heads."""
    return sorted({int(name.split(":")[0]) for name in names})


def in_layer(values: xr.DataArray, layer: int, dim: str = "head") -> xr.DataArray:
    """Those heads that are in the layer, under the dim ``head``."""
    own = [str(name) for name in values[dim].values if str(name).startswith(f"{layer}:")]
    found = values.sel({dim: own})
    return found if dim == "head" else found.rename({dim: "head"})


def refined(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """λ̂ of every head on text, code and the one-layer model, a row a layer (figures 1 left, 2, 3, 5, 8 and 23)."""
    out = {}
    for view in views(measured, summary):
        heads = measured["heads"].sel(setting=view.setting, seed=view.seed)
        names = [name for name in NAMES if name in heads["dataset"]]
        shown = [
            Panel(
                f"layer {layer}, {NAMES[name]}",
                head_lines(
                    in_layer(heads["llc"].sel(dataset=name), layer, "component"),
                    view.looks,
                    error=in_layer(heads["llc_se"].sel(dataset=name), layer, "component"),
                    status=in_layer(heads["status"].sel(dataset=name), layer, "component"),
                    hover=view.hover,
                ),
                LLC,
            )
            for layer in layers_of(list(view.looks.groups))
            for name in names
        ]
        behind = stages(summary, view.setting, view.seed)
        out[view.words] = panels(shown, columns=len(names), stages=behind)
    return out


def of_heads(
    measured: Measured,
    summary: Summary,
    rows: Sequence[tuple[str, str, Mapping[str, str]]],
    y_title: str,
    group: str = "behaviour",
) -> dict[str, go.Figure]:
    """Variables by head of a group of results; rows: (title, variable, what is selected of its other dims)."""
    out = {}
    for view in views(measured, summary, settings=False):
        one = measured[group].sel(seed=view.seed)
        shown = []
        for title, name, at in rows:
            for layer in layers_of(list(view.looks.groups)):
                values, error = (in_layer(one[word].sel(at), layer) for word in (name, f"{name}_se"))
                lines = head_lines(values, view.looks, error=error, hover=view.hover)
                shown.append(Panel(f"layer {layer}, {title}", lines, y_title))
        columns = len(shown) // len(rows)
        out[view.words] = panels(shown, columns=columns, stages=stages(summary, view.setting, view.seed))
    return out


def ablations(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figure 17: what ablating each head does."""
    rows = [(f"{kind} ablation", "ablation_score", {"ablation": kind}) for kind in KINDS]
    return of_heads(measured, summary, rows, "rise of the loss (nats)")


def traces(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figure 14: the Hessian trace of each head."""
    names = [str(name) for name in measured["behaviour"]["trace_dataset"].values]
    rows = [(name, "hessian_trace", {"trace_dataset": name}) for name in names]
    return of_heads(measured, summary, rows, "trace (nats/weight²)")


def attention(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """The scores that types rest on; center-left and right of figure 24."""
    rows: list[tuple[str, str, Mapping[str, str]]] = [
        ("previous-token score", "previous_token", {}),
        ("current-token score", "current_token", {}),
        ("prefix-matching score", "prefix_matching", {}),
    ]
    return of_heads(measured, summary, rows, "mean attention (1)")


def relative(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """(λ̂ on code - λ̂ on text)/λ̂ on text of every head; left and center-right of figure 24, on this study's model."""
    out = {}
    for view in views(measured, summary):
        if CODE not in measured["heads"]["dataset"]:
            out[view.words] = theme.empty("There is no data set of code.")
            continue
        heads = measured["heads"].sel(setting=view.setting, seed=view.seed)
        text, code = (heads.sel(dataset=name) for name in ("text", "code"))
        share = (code["llc"] - text["llc"]) / text["llc"]
        error = ((code["llc_se"] / text["llc"]) ** 2 + (code["llc"] * text["llc_se"] / text["llc"] ** 2) ** 2) ** 0.5
        known = text["llc"] > 3 * text["llc_se"]  # else the quotient is of noise
        shown = [
            Panel(
                f"layer {layer}",
                head_lines(
                    in_layer(share.where(known), layer, "component"),
                    view.looks,
                    error=in_layer(error.where(known), layer, "component"),
                    hover=view.hover,
                ),
                "(λ̂ code - λ̂ text)/λ̂ text (1)",
            )
            for layer in layers_of(list(view.looks.groups))
        ]
        out[view.words] = panels(shown, columns=len(shown), stages=stages(summary, view.setting, view.seed))
    return out


def composition(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figure 7: a panel a head of layer 0, a curve a head of the layers above; Q, K and V by selector."""
    out = {}
    for view in views(measured, summary, clusters=False, settings=False):
        one = measured["behaviour"].sel(seed=view.seed)
        writers = [head for head in view.looks.groups if head.startswith("0:")]
        readers = [head for head in view.looks.groups if not head.startswith("0:")]
        for way in "KQV":
            scores = one[f"{way.lower()}_composition"].sel(reader=readers).rename(reader="head")
            shown = [
                Panel(
                    f"{writer} ({view.looks.groups[writer]})",
                    head_lines(scores.sel(writer=writer), view.looks, hover=view.hover),
                    f"{way}-composition (1)",
                )
                for writer in writers
            ]
            figure = panels(shown, columns=min(4, len(shown)), stages=stages(summary, view.setting, view.seed))
            out[f"{view.words}, {way}-composition"] = figure
    return out


def clusterings(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figures 18 and 19, and of other seeds 20 to 22: a row an algorithm, a column a layer and number of clusters."""
    out = {}
    for setting, records in summary["clusters"].items():
        for seed in range(summary["seeds"] if records else 0):
            heads = measured["heads"].sel(setting=setting, seed=seed, dataset="text")
            algorithms = list(records[0]["by_algorithm"]) if seed == 0 else ["shape", "euclidean"]
            shown = []
            for algorithm in algorithms:
                for one in records:
                    labels = _labels(one, seed, algorithm)
                    if labels is None:
                        continue
                    looks = Looks({head: f"cluster {label + 1}" for head, label in labels.items()})
                    curves = heads["llc"].sel(component=list(labels)).rename(component="head")
                    title = f"{algorithm}, layer {one['layer']}, c = {one['count']}"
                    shown.append(Panel(title, head_lines(curves, looks), LLC))
            if shown:
                columns = max(len(shown) // len(algorithms), 1)
                made = panels(shown, columns=columns, stages=stages(summary, setting, seed))
                out[f"seed {seed}, {setting} setting"] = made
    return out


def _labels(record: Mapping[str, Any], seed: int, algorithm: str) -> dict[str, int] | None:
    if seed == 0:
        return dict(zip(record["heads"], record["by_algorithm"][algorithm]["cluster"], strict=True))
    for part in record["transfer"]:
        if part["seed"] == seed and part["algorithm"] == algorithm:
            return dict(zip(part["heads"], part["cluster"], strict=True))
    return None


def whole_model(measured: Measured, summary: Summary) -> dict[str, go.Figure]:
    """Figures 12 and 13: λ̂ of all weights and the loss, on data and on models as data."""
    out = {}
    for view in views(measured, summary, clusters=False):
        one = measured["whole"].sel(setting=view.setting, seed=view.seed)
        names = [str(name) for name in one["dataset"].values]
        data = [name for name in names if not name.endswith("model")]
        models = [name for name in names if name.endswith("model")]
        shown = [
            Panel(f"{title}, {what}", _by_dataset(one, variable, some), y_title)
            for title, some in (("data sets", data), ("models as data", models))
            for what, variable, y_title in (("drLLC", "llc", LLC), ("loss", "loss", "loss (nats a token)"))
        ]
        out[view.words] = panels(shown, columns=2, stages=stages(summary, view.setting, view.seed))
    return out


def _by_dataset(one: xr.Dataset, variable: str, names: Sequence[str]) -> list[Line]:
    known = [str(name) for name in one["dataset"].values]
    return [
        Line(
            name,
            one["step"].values,
            one[variable].sel(dataset=name).values,
            theme.feature_colour(known.index(name)),
            one[f"{variable}_se"].sel(dataset=name).values,
            group=name,
            marks=[str(word) for word in one["status"].sel(dataset=name).values] if variable == "llc" else (),
        )
        for name in names
    ]
