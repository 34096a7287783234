"""CLAIMS.md says what the measurements said: its rows are made of the figures kept beside it."""

import json
from pathlib import Path

from ontogeny.report.sparsity_sweep.claims import excerpt, rows

ROOT = Path(__file__).resolve().parents[2]


def test_the_rows_of_the_sparsity_sweep_are_those_of_its_summary():
    summary = json.loads((ROOT / "claims" / "sparsity_sweep.json").read_text(encoding="utf-8"))
    assert excerpt(summary) == summary
    lines = (ROOT / "CLAIMS.md").read_text(encoding="utf-8").splitlines()
    for row in rows(summary):
        assert row in lines, f"CLAIMS.md lacks this row; run benchmarks/claims.py: {row}"


def test_every_verdict_is_a_known_word():
    summary = json.loads((ROOT / "claims" / "sparsity_sweep.json").read_text(encoding="utf-8"))
    assert {row.split(" | ")[-1].removesuffix(" |") for row in rows(summary)} <= {
        "agrees",
        "reproduced",
        "disagrees",
        "cannot be told",
    }
