"""CTR models: will this user like this item? Also the source of the two gate inputs of RecLoRA."""

from llmrec.recommenders.ctr.deepfm import DeepFM
from llmrec.recommenders.ctr.din import DIN
from llmrec.recommenders.ctr.model import CTRModel
from llmrec.recommenders.ctr.sim import SIM

__all__ = ["DIN", "SIM", "CTRModel", "DeepFM"]
