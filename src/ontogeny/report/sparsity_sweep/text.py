"""The words of the sweep's report, rendered from its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.report.sparsity_sweep.sentences import ABSTRACT, CONCLUSIONS
from ontogeny.report.words import render


def abstract(summary: Mapping[str, Any]) -> str:
    """Render the abstract."""
    return render(ABSTRACT, summary)


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """Render the conclusions, a paragraph a template; one that has nothing to say about these numbers is left out."""
    said = (render(template, summary) for template in CONCLUSIONS)
    return [paragraph for paragraph in said if paragraph]
