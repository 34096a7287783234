"""The superposition study's report: every number by name, then the page that states them."""

from ontogeny.report.superposition.build import sections, write_superposition_report
from ontogeny.report.superposition.summary import summarise

__all__ = ["sections", "summarise", "write_superposition_report"]
