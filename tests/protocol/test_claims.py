"""CLAIMS.md says what the measurements said: its rows are made of the figures kept beside it."""

import json
from pathlib import Path

import pytest

from ontogeny.report.attention_heads import claims as attention_heads
from ontogeny.report.feature_targeted import claims as feature_targeted
from ontogeny.report.sorting import claims as sorting
from ontogeny.report.sparsity_sweep import claims as sparsity_sweep

ROOT = Path(__file__).resolve().parents[2]
STUDIES = {
    "sparsity_sweep": sparsity_sweep,
    "sorting": sorting,
    "attention_heads": attention_heads,
    "feature_targeted": feature_targeted,
}


def kept(study):
    return json.loads((ROOT / "claims" / f"{study}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("study", STUDIES)
def test_the_rows_are_those_of_the_summary(study):
    summary = kept(study)
    assert STUDIES[study].excerpt(summary) == summary
    lines = (ROOT / "CLAIMS.md").read_text(encoding="utf-8").splitlines()
    for row in STUDIES[study].rows(summary):
        assert row in lines, f"CLAIMS.md lacks this row; run benchmarks/claims.py: {row}"


@pytest.mark.parametrize("study", STUDIES)
def test_every_verdict_is_a_known_word(study):
    assert {row.split(" | ")[-1].removesuffix(" |") for row in STUDIES[study].rows(kept(study))} <= {
        "agrees",
        "reproduced",
        "disagrees",
        "cannot be told",
    }
