"""LOS-Net beside every baseline on one split: figures, intervals, a table, a file."""

from llmrec.signatures.comparison.compare import Comparison, compare_methods
from llmrec.signatures.comparison.results import (
    SignatureResult,
    load_signature_results,
    write_signature_result,
)

__all__ = [
    "Comparison",
    "SignatureResult",
    "compare_methods",
    "load_signature_results",
    "write_signature_result",
]
