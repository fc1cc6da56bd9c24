"""Zero-shot ranking by a language model, alone or over the candidates of another recommender."""

from llmrec.recommenders.llm_ranker.config import LLMRankerConfig
from llmrec.recommenders.llm_ranker.model import LLMRanker

__all__ = ["LLMRanker", "LLMRankerConfig"]
