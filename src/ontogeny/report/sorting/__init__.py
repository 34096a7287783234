"""The report of the sorting study."""

from ontogeny.report.sorting.build import write_sorting_report
from ontogeny.report.sorting.summary import summarise, whole

__all__ = ["summarise", "whole", "write_sorting_report"]
