"""SRA-CL: SASRec with contrastive objectives whose pairs come from texts."""

from llmrec.recommenders.sra_cl.config import SRACLConfig
from llmrec.recommenders.sra_cl.model import SRACL

__all__ = ["SRACL", "SRACLConfig"]
