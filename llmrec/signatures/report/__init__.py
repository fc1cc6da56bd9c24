"""One offline HTML page about risks: how good they are, what they promise, what is risky."""

from llmrec.signatures.report.judged import Method, RiskReport
from llmrec.signatures.report.page import write_risk_report

__all__ = ["Method", "RiskReport", "write_risk_report"]
