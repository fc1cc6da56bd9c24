"""The recommenders by name, imported when asked for.

A plain table: adding a recommender means adding its line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError, nearest_name

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender

MODELS = {
    "popularity": "llmrec.recommenders.popularity:Popularity",
    "item_knn": "llmrec.recommenders.item_knn:ItemKNN",
    "sasrec": "llmrec.recommenders.sasrec:SASRec",
    "sra_cl": "llmrec.recommenders.sra_cl:SRACL",
    "deepfm": "llmrec.recommenders.ctr:DeepFM",
    "din": "llmrec.recommenders.ctr:DIN",
    "sim": "llmrec.recommenders.ctr:SIM",
    "reclora": "llmrec.recommenders.reclora:RecLoRA",
    "llm_ranker": "llmrec.recommenders.llm_ranker:LLMRanker",
    "onerec": "llmrec.recommenders.onerec:OneRec",
    "onerec_lm": "llmrec.recommenders.onerec.language:OneRecLM",
}


def model_class(name: str) -> "type[BaseRecommender[Any]]":
    """The class of a recommender.

    Raises:
        ConfigError: No recommender has that name.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}{nearest_name(name, MODELS)}.")
    module, attribute = MODELS[name].split(":")
    found: type[BaseRecommender[Any]] = getattr(import_module(module), attribute)
    return found
