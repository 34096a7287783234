"""The report of the feature-targeted study."""

from ontogeny.report.feature_targeted.build import write_feature_report
from ontogeny.report.feature_targeted.summary import summarise

__all__ = ["summarise", "write_feature_report"]
