"""OneRec: generative recommendation with semantic IDs (arXiv 2502.18965)."""

from llmrec.recommenders.onerec.config import OneRecConfig
from llmrec.recommenders.onerec.model import OneRec

__all__ = ["OneRec", "OneRecConfig"]
