"""SASRec: next-item prediction with a causal Transformer over item histories."""

from llmrec.recommenders.sasrec.config import SASRecConfig
from llmrec.recommenders.sasrec.model import SASRec

__all__ = ["SASRec", "SASRecConfig"]
