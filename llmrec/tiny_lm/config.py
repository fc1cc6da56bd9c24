"""Sizes and settings of an embedded language model, and presets of them.

The size is bounded by characters of text and epochs, not by the data set: training takes about the
same time for any. Nothing heavy is imported here.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmrec.errors import ConfigError, nearest_name
from llmrec.training import TrainingConfig
from llmrec.validation import validated

HEAD_DIM = 32
"""Width of an attention head: the smallest that vLLM serves."""


class Corpus(BaseModel):
    """How much text of each kind is learnt; documents are drawn until a bound is reached.

    Attributes:
        catalog: Characters about items.
        histories: Characters of histories.
        questions: Characters of questions with answers.
        texts: Characters of text files.
        like_share: Among questions about rated events, those that ask whether the user will like
            an item; the others ask whether the user will choose it.
        liked_from: A rating from here on is a like.
        answer_weight: How often the answer of a question counts; a title counts once per token,
            and there are many more of those.
        seed: Of what is drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalog: int = Field(1_500_000, ge=0)
    histories: int = Field(1_500_000, ge=0)
    questions: int = Field(5_500_000, ge=0)
    texts: int = Field(2_000_000, ge=0)
    like_share: float = Field(0.7, ge=0, le=1)
    liked_from: float = 4.0
    answer_weight: int = Field(6, ge=1)
    seed: int = Field(0, ge=0)


class TinyConfig(BaseModel):
    """What an embedded language model is made of.

    Attributes:
        hidden_size: Width, a multiple of 32.
        layers: Number of blocks.
        intermediate_size: Width inside a block's feed-forward part.
        vocab_size: Most tokens of the tokenizer; few texts give fewer.
        context: Most tokens of a text; every position is trained.
        corpus: What is learnt.
        training: The training loop; a row is a block of ``context`` tokens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: int = Field(192, ge=HEAD_DIM)
    layers: int = Field(4, ge=1)
    intermediate_size: int = Field(512, ge=1)
    vocab_size: int = Field(4096, ge=300)
    context: int = Field(1024, ge=16)
    corpus: Corpus = Field(default_factory=Corpus)
    training: TrainingConfig = Field(
        default_factory=lambda: TrainingConfig(
            epochs=2,
            batch_size=2,
            learning_rate=2e-3,
            weight_decay=0.05,
            adam_beta2=0.98,
            warmup_steps=100,
            schedule="cosine",
            clip_norm=1.0,
            checkpoint_steps=200,
        )
    )

    @model_validator(mode="after")
    def _whole_heads(self) -> "TinyConfig":
        if self.hidden_size % HEAD_DIM:
            raise ConfigError(
                f"hidden_size is {self.hidden_size}; expected a multiple of {HEAD_DIM}, the width "
                "of an attention head."
            )
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "large": {
        "hidden_size": 256,
        "intermediate_size": 640,
        "vocab_size": 8192,
        "corpus": {"catalog": 4_000_000, "histories": 9_000_000, "questions": 15_000_000},
    },
    "compact": {
        "hidden_size": 128,
        "layers": 3,
        "intermediate_size": 320,
        "vocab_size": 2048,
        "context": 512,
        "corpus": {"catalog": 300_000, "histories": 500_000, "questions": 1_500_000},
        "training": {"batch_size": 4, "learning_rate": 3e-3},
    },
    "test": {
        "hidden_size": 64,
        "layers": 2,
        "intermediate_size": 128,
        "vocab_size": 512,
        "context": 256,
        "corpus": {"catalog": 10_000, "histories": 30_000, "questions": 40_000, "texts": 20_000},
        "training": {"epochs": 2, "batch_size": 8, "warmup_steps": 5, "checkpoint_steps": 10},
    },
}
"""Settings that differ from the defaults, by name of the preset."""


def make_config(preset: str = "small", **changes: Any) -> TinyConfig:
    """The settings of a preset.

    Args:
        preset: A name of :data:`PRESETS`.
        changes: Fields to change; ``corpus`` and ``training`` are mappings of their own fields.

    Raises:
        ConfigError: The preset or a field is unknown, or a value is out of range.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}{nearest_name(preset, PRESETS)}.")
    values: dict[str, Any] = TinyConfig().model_dump()
    for source in (PRESETS[preset], changes):
        for name, value in source.items():
            inner = isinstance(value, dict) and isinstance(values.get(name), dict)
            values[name] = {**values[name], **value} if inner else value
    return validated(TinyConfig, values, "tiny language model")
