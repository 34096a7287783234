"""What ``ontogeny measure`` prints: what is to be measured, and what was found at the last checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

SHOWN = 12
"""Components named in the plan."""
TITLES = {
    "llc": "λ̂ ± s.e.",
    "second_order_llc": "second order ± s.e.",
    "status": "status",
    "regime": "regime",
    "gradient_norm": "‖gradient‖",
    "hessian_trace": "tr H ± s.e.",
    "fisher_trace": "tr F ± s.e.",
    "empirical_fisher_trace": "tr F, empirical ± s.e.",
    "hessian_rank": "rank ± s.e.",
    "loss": "loss ± s.e.",
}
"""Columns of the table, where they were measured."""


def print_plan(
    name: str,
    model: Any,
    run: Any,
    rows: Mapping[str, Any],
    selections: Mapping[str, Any],
    metrics: Sequence[str],
    loss: str,
) -> None:
    """One line each for model, checkpoints, data, components and metrics, and the weights that components share."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    steps = (
        ", ".join(map(str, run.steps)) if len(run) <= SHOWN else f"{len(run)} from {run.steps[0]} to {run.steps[-1]}"
    )
    names = list(selections)
    _say("model", f"{name}: {type(model).__name__}, {weights:,} weights")
    _say("checkpoints", f"step {steps}" if len(run) == 1 else f"steps {steps}")
    for dataset, tokens in rows.items():
        _say("data", f"{dataset}: {len(tokens):,} rows of {tokens.shape[1]:,} tokens")
    more = f", … ({len(names)} in all)" if len(names) > SHOWN else ""
    _say("components", f"{', '.join(names[:SHOWN])}{more}")
    if shared := _shared(model, selections):
        _say("", shared)
    _say("metrics", f"{', '.join(metrics)}, of the loss {loss}")


def print_measured(found: Any, results: Path) -> None:
    """Component × data set at the last checkpoint, and over all checkpoints the statuses with what they mean."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 120)
    console.print(_table(found.isel(checkpoint=-1)))
    if "status" in found:
        _print_statuses(found["status"].values.ravel().tolist())
    typer.echo(f"measurements  {results}")


def _print_statuses(words: list[str]) -> None:
    from ontogeny.estimators.status import describe_status

    counts = Counter(words)
    faults = [word for word in counts if word != "ok"]
    typer.echo(f"{counts['ok']} of {len(words)} estimates are ok" + ("; not ok:" if faults else "."))
    for word in faults:
        typer.echo(f"  {word}, {counts[word]}: {describe_status(word)}")


def _table(last: Any) -> Any:
    from rich.markup import escape
    from rich.table import Table

    by_component = any("component" in last[name].dims for name in last.data_vars)
    components = last["component"].values.tolist() if by_component else [None]
    columns = [name for name in TITLES if name in last]
    table = Table(title=f"step {int(last['step'])}", title_justify="left")
    for name in (*(["component"] if by_component else []), "data set"):
        table.add_column(name)
    for name in columns:
        words = name in ("status", "regime")
        table.add_column(TITLES[name], justify="left" if words else "right", no_wrap=True)
    for component in components:
        for dataset in last["dataset"].values.tolist():
            one = last.sel(dataset=dataset)
            one = one if component is None else one.sel(component=component)
            cells = [_cell(one, name) for name in columns]
            table.add_row(*([] if component is None else [escape(component)]), escape(dataset), *cells)
    return table


def _cell(one: Any, name: str) -> str:
    value = one[name].item()
    if isinstance(value, str):
        return value
    error = f"{name}_se"
    return f"{value:.4g} ± {one[error].item():.2g}" if error in one else f"{value:.3g}"


def _shared(model: Any, selections: Mapping[str, Any]) -> str:
    """What to know where components are not separate weights; "" where they are."""
    from ontogeny.inputs.components import overlaps

    found = overlaps(model, selections)
    if not found:
        return ""
    (first, second), most = max(found.items(), key=lambda pair: pair[1])
    pairs = "1 pair of components shares" if len(found) == 1 else f"{len(found)} pairs of components share"
    return f"{pairs} weights, {first} and {second} the most, {most:,}"


def _say(what: str, value: str) -> None:
    typer.echo(f"{what:13} {value}")
