"""The report of the sorting study."""

from ontogeny.report.sorting.build import write_sorting_report
from ontogeny.report.sorting.summary import summarise

__all__ = ["summarise", "write_sorting_report"]
