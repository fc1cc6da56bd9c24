"""Methods that a detector is compared with, on the same records and with the same care."""

from llmrec.signatures.baselines.named import (
    BASELINES,
    CONTROLS,
    SINGLE_SCORES,
    load_baseline,
    make_baseline,
    require_baseline,
)
from llmrec.signatures.baselines.scores import score_records

__all__ = [
    "BASELINES",
    "CONTROLS",
    "SINGLE_SCORES",
    "load_baseline",
    "make_baseline",
    "require_baseline",
    "score_records",
]
