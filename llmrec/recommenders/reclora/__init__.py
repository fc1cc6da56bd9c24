"""RecLoRA: one language model, other adapters for every user."""

from llmrec.recommenders.reclora.asked import Prompt
from llmrec.recommenders.reclora.config import RecLoRAConfig
from llmrec.recommenders.reclora.model import RecLoRA

__all__ = ["Prompt", "RecLoRA", "RecLoRAConfig"]
