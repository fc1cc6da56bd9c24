"""The settings of a language model that writes semantic IDs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.training.config import TrainingConfig


class OneRecLMConfig(BaseModel):
    """A causal language model over texts and semantic IDs as a recommender."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language_model: str = Field(
        description="tiny:DATASET, hf:FOLDER_OR_HUB_NAME, or a folder: the model to start from."
    )
    tokenizer: TokenizerConfig = Field(
        TokenizerConfig(), description="How items get their semantic IDs."
    )
    text_encoder: str = Field(
        "tfidf",
        description="tfidf, minilm, or the name or folder of a sentence-transformers model.",
    )
    item_text: Literal["profile", "title"] = Field(
        "profile", description="What is encoded of an item."
    )
    semantic_ids: str | None = Field(
        None,
        description="IDs that are there already: a folder of 'llmrec items tokenize', also under "
        "LLMREC_HOME/semantic-ids, or DATA SET/FILE with published ones. None fits a tokeniser.",
    )
    behaviour: float = Field(
        0.0, ge=0, description="Weight, beside texts, of which items follow one another."
    )
    history: int = Field(20, ge=1, description="Newest items of the history that are read.")
    titles: bool = Field(
        True, description="Learn the IDs of titles and the titles of IDs, too, once per epoch."
    )
    beam: int = Field(
        50, ge=1, description="Beams per user; items outside the beam are not recommended."
    )
    validation_filters_seen: bool = Field(
        True, description="Leave out items of the history when validating; as the task does."
    )
    training: TrainingConfig = Field(
        TrainingConfig(epochs=10, batch_size=32, learning_rate=3e-4, clip_norm=1.0),
        description="Settings of the training loop.",
    )
