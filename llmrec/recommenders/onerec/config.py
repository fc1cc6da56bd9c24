"""The settings of OneRec: how items are tokenised, what is written, how it is searched."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.sessions import SessionRule
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.training.config import TrainingConfig


class GenerativeConfig(BaseModel):
    """What all recommenders ask for that write semantic IDs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokenizer: TokenizerConfig = Field(
        TokenizerConfig(), description="How items get their semantic IDs."
    )
    text_encoder: str = Field(
        "tfidf",
        description="tfidf, minilm, or the name or folder of a sentence-transformers model.",
    )
    item_text: Literal["profile", "title"] = Field(
        "profile",
        description="What is encoded of an item: title, brand, category and description,"
        " or the title alone.",
    )
    semantic_ids: str | None = Field(
        None,
        description="IDs that are there already: a folder of 'llmrec items tokenize', also under "
        "LLMREC_HOME/semantic-ids, or DATA SET/FILE with published ones. None fits a tokeniser.",
    )
    behaviour: float = Field(
        0.0,
        ge=0,
        description="Weight, beside texts, of vectors of which items follow one another in "
        "training; 0 tokenises texts alone.",
    )
    beam: int = Field(
        50, ge=1, description="Beams per user; items outside the beam are not recommended."
    )
    cold_items: bool = Field(
        False,
        description="Items without training events stand behind the item nearest by text that has "
        "some, where their own IDs score less.",
    )
    validation_filters_seen: bool = Field(
        True,
        description="Leave out items of the history when validating; set it as the task does.",
    )
    training: TrainingConfig = Field(TrainingConfig(), description="Settings of the training loop.")
    best_of: int = Field(
        8, ge=1, description="Sessions among which a reward model chooses, where there is one."
    )
    alignment: AlignmentConfig | None = Field(
        None, description="How 'llmrec align' goes on after training; training ignores it."
    )


class OneRecConfig(GenerativeConfig):
    """A generator of semantic IDs as a recommender.

    ``generator.session=1`` with ``form=encoder_decoder`` and without experts is TIGER's form of
    next-item generation (Rajput et al., 2023); more items per session is OneRec's.
    """

    generator: GeneratorConfig = Field(GeneratorConfig(), description="The network.")
    sessions: SessionRule = Field(
        SessionRule(),
        description="Which events make a session; the form decoder learns from every event anyway.",
    )
