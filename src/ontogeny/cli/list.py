"""``ontogeny list``: the studies, their presets and what they cost."""

from __future__ import annotations


def list_studies() -> None:
    """Show the studies and each preset with its measured cost."""
    from rich.console import Console
    from rich.table import Column, Table

    from ontogeny.studies.registry import STUDIES

    table = Table(Column("study", no_wrap=True), "question", "preset", "measures", "seeds", "minutes on 2 cores")
    for name, study in STUDIES.items():
        for preset, cost in study.presets.items():
            minutes = "not measured" if cost.minutes is None else f"{cost.minutes:g}"
            table.add_row(name, study.question, preset, cost.description, str(cost.seeds or study.seeds), minutes)
    Console().print(table)
