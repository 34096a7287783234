"""The tables of the sweep's report that are about events, every cell from the summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.plots.events import kind_name
from ontogeny.plots.sweep import indicator_name
from ontogeny.report.page import Cell, Table
from ontogeny.report.sparsity_sweep.tables import estimate, fraction
from ontogeny.report.words import number, pvalue

Summary = Mapping[str, Any]


def detection(summary: Summary) -> Table:
    """Recall, precision and lag of each indicator's change points for each kind of event, beside chance."""
    rows: list[list[Cell]] = []
    for indicator, kinds in summary["detections"].items():
        for kind, cell in kinds.items():
            rows.append(
                [
                    indicator_name(indicator),
                    kind_name(kind),
                    cell["events"],
                    _against_chance(cell, "recall"),
                    _against_chance(cell, "precision"),
                    _steps(cell["lag"]),
                    _p(cell["p_value"], summary["detection_test"]["draws"]),
                    "yes" if cell["finds"] else "—",
                ]
            )
    headers = ("indicator", "event", "n", "recall / chance", "precision / chance", "lag, steps", "p", "found")
    return Table(headers, rows, text_columns=(0, 1, 7))


def _p(p: float | None, draws: int | None) -> str:
    if p is None or draws is None:
        return "—" if p is None else number(p, 2)
    return pvalue(p, draws).removeprefix("p ").removeprefix("= ")


def _steps(cell: Mapping[str, Any]) -> str:
    if None in (cell["mean"], *cell["interval"]):
        return estimate(cell)
    mean, low, high = (f"{v:+,.0f}".replace("-", "−") for v in (cell["mean"], *cell["interval"]))
    return f"{mean} [{low}, {high}]"


def _against_chance(cell: Mapping[str, Any], name: str) -> str:
    null = cell[f"{name}_null"]
    return f"{fraction(cell[name])} / {'—' if null is None else f'{null:.2f}'}"


def unexplained(summary: Summary) -> Table:
    """Change points a run that match no event, by indicator and sparsity."""
    rows = [
        [indicator_name(indicator), *(estimate(cell) for cell in by_sparsity.values())]
        for indicator, by_sparsity in summary["unexplained"].items()
    ]
    return Table(("indicator", *(f"S = {s}" for s in summary["sparsities"])), rows)


def combination(summary: Summary) -> Table:
    """Scores of every combination of indicators on held-out seeds, and the difference from its best single one."""
    rows: list[list[Cell]] = []
    for name, cell in summary["combination"]["scores"].items():
        beside = summary["combination"]["comparisons"].get(name)
        rows.append(
            [
                " + ".join(indicator_name(one) for one in name.split(" + ")),
                *(fraction(cell[k]) for k in ("f1", "average_precision")),
                "—" if beside is None else fraction(beside),
                "—" if beside is None else beside["statement"],
            ]
        )
    headers = ("indicators", "F1", "AP", "F1 − best", "so it is")
    return Table(headers, rows, text_columns=(0, 4))
