"""The report of the attention-heads study."""

from ontogeny.report.attention_heads.build import write_attention_heads_report
from ontogeny.report.attention_heads.summary import summarise

__all__ = ["summarise", "write_attention_heads_report"]
