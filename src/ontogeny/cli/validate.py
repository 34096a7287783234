"""``ontogeny validate``: the sampler against values that are known exactly, on this machine, with nothing tuned."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from ontogeny.core.errors import OntogenyError


def validate(
    full: Annotated[
        bool, typer.Option("--full", help="Every problem and setting; about 20 minutes on 2 cores.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the table to this file too.")] = None,
    seed: Annotated[int, typer.Option(help="The seed of all random streams.")] = 0,
) -> None:
    """Estimate λ̂(nβ, γ) where it is known exactly; status 1 when a z is beyond 4 or an error beyond its bound."""
    from dataclasses import asdict

    from rich.console import Console

    from ontogeny.core.version import __version__
    from ontogeny.report.words import plain
    from ontogeny.store import write_text
    from ontogeny.validation import suite

    if json_file is not None and json_file.is_dir():
        raise typer.BadParameter(f"must be a file; {json_file} is a folder.", param_hint="--json")
    began = time.monotonic()
    rows = suite.run(not full, seed=seed)
    console = Console(width=None if Console().is_terminal else 160)
    for table in _tables(rows):
        console.print(table)
    console.print(
        "exact: λ̂(nβ, γ) by closed form or quadrature, or, with an error, by an independent reference sampler. λ is "
        "its limit at large nβ, for information. z: distance in standard errors."
    )
    columns = suite.summarise(rows)
    for column in columns:
        console.print(
            f"{column.title}: median error {column.median:.2%}, worst {column.worst:.2%} ({column.worst_problem}), "
            f"{column.problems} problems, {column.gradients:,} gradient evaluations, {column.seconds:.0f} s of work"
        )
    words = ", ".join(f"{count} {word}" for word, count in Counter(row.status for row in rows).most_common())
    console.print(f"status: {words}; what is not ok is less sure than was asked for, and is held to the same bounds")
    console.print(f"done in {time.monotonic() - began:.0f} s")
    if json_file is not None:
        found: dict[str, Any] = {
            "ontogeny_version": __version__,
            "seed": seed,
            "part": "full" if full else "quick",
            "rows": [asdict(row) | {"fault": row.fault} for row in rows],
            "columns": [column._asdict() for column in columns],
        }
        write_text(json_file, json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False))
    faults = [
        f"{row.problem} at nβ = {row.n_beta:g}, γ = {row.localization:g}: {row.fault}" for row in rows if row.fault
    ]
    if faults:
        raise OntogenyError(f"{len(faults)} of {len(rows)} estimates are off: {'; '.join(faults)}.")


def _tables(rows: list[Any]) -> list[Any]:
    from rich.table import Table

    from ontogeny.validation.suite import Setting

    tables: dict[str, Table] = {}
    for row in rows:
        title = Setting(row.n_beta, row.localization, 0.0, 0.0, row.minibatch).title
        if title not in tables:
            tables[title] = Table(title=title, title_justify="left")
            for name in ("problem", "weights", "λ", "exact λ̂", "estimate ± s.e.", "error", "z", "gradients", "s"):
                tables[title].add_column(name, justify="left" if name == "problem" else "right", no_wrap=True)
            tables[title].add_column("status, regime")
        tables[title].add_row(
            row.problem,
            f"{row.weights:,}",
            "" if row.learning_coefficient is None else f"{row.learning_coefficient:.5g}",
            f"{row.exact:.5g}" + (f" ± {row.exact_se:.1g}" if row.exact_se else ""),
            f"{row.estimate:.5g} ± {row.se:.2g}",
            f"{row.error:+.2%}",
            f"{row.z:+.1f}",
            f"{row.gradients:,}",
            f"{row.seconds:.1f}",
            f"{row.status}, {row.regime}",
        )
    return list(tables.values())
