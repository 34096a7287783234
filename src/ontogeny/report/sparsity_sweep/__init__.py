"""The sparsity sweep's report: what was found, every number by name, then the page that states them."""

from ontogeny.report.sparsity_sweep.build import sections, write_sparsity_sweep_report
from ontogeny.report.sparsity_sweep.found import Found
from ontogeny.report.sparsity_sweep.summary import summarise

__all__ = ["Found", "sections", "summarise", "write_sparsity_sweep_report"]
