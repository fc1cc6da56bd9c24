"""The settings of LOS-Net."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmrec.training.config import TrainingConfig
from llmrec.validation import validated

Normaliser = Literal["topk", "full", "full_approx", "none"]
Task = Literal["correctness", "membership"]
Policy = Literal["tokenizer", "model", "mode"]


def _training() -> TrainingConfig:
    """The schedule of the paper: AdamW, linear, stopped by the AUC of validation."""
    return TrainingConfig(
        epochs=300,
        batch_size=64,
        learning_rate=1e-4,
        weight_decay=1e-3,
        schedule="linear",
        metric="auc",
        patience=30,
        checkpoint_every=50,
    )


class LOSNetConfig(BaseModel):
    """What LOS-Net looks at, its size, and how it is trained.

    The defaults are ours: they need nothing but the values that a server sends. :meth:`published`
    gives the settings of the paper (arXiv 2503.14043 v3).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task = Field(
        "correctness",
        description="What risk means: the answer is wrong, or the text was trained on.",
    )
    k: int = Field(20, ge=1, description="Log-probabilities per position that the network reads.")
    reads: Literal["signature", "actual"] = Field(
        "signature",
        description="signature: the K values and the token really there; actual: that token's "
        "log-probability and rank alone, a baseline.",
    )
    normaliser: Normaliser = Field(
        "topk",
        description="topk: z-score of the values received; full: by mean and deviation over the "
        "vocabulary, which the source must give; full_approx: as full, both estimated from the "
        "values and the tail; none: log-probabilities as they are.",
    )
    rank_encoding: Literal["scale", "one_hot"] = Field(
        "scale",
        description="scale: the rank's share of the vocabulary; one_hot: a vector per rank, which "
        "binds the network to one vocabulary size.",
    )
    extra_channels: bool = Field(
        True, description="Also read what the z-score hides: its mean and scale, the tail, flags."
    )
    hidden: int = Field(128, ge=2, description="Width; heads must divide it, and it is even.")
    layers: int = Field(1, ge=1, description="Transformer layers.")
    heads: int = Field(8, ge=1, description="Attention heads.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Dropout inside the layers.")
    pooling: Literal["cls", "mean"] = Field(
        "cls", description="What is read: the first state, or the mean of all states."
    )
    pad_attention: Literal["masked", "official"] = Field(
        "masked",
        description="masked: padding is never looked at; official: rows are filled with zeros up "
        "to the window, and those are attended to as in the authors' code.",
    )
    long_text: Literal["windows", "cut"] = Field(
        "windows", description="Beyond the window: pool overlapping windows, or drop the rest."
    )
    window: int = Field(100, ge=1, description="Most positions that are looked at together.")
    stride: int = Field(50, ge=1, description="Positions between the starts of windows.")
    random_k: bool = Field(
        False,
        description="Train on a random number of columns per answer, so that fewer may come when "
        "scoring.",
    )
    random_prefix: bool = Field(
        False, description="Train on random beginnings too, so that risk can be told on the way."
    )
    members: int = Field(1, ge=1, description="Networks with seeds of their own, averaged.")
    balanced: bool = Field(
        False,
        description="Weigh the rarer label up while training; the shift of the probabilities that "
        "this causes is taken out again.",
    )
    validation_share: float = Field(
        0.2, gt=0, lt=1, description="Share of the groups held out to choose the weights."
    )
    fingerprint_policy: Policy = Field(
        "tokenizer",
        description="What must be as in training: mode and kind always; the tokenizer; or the "
        "model as well.",
    )
    warmup_share: float = Field(0.1, ge=0, lt=1, description="Share of all steps with warm-up.")
    training: TrainingConfig = Field(
        default_factory=_training, description="Settings of the training loop."
    )

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The settings of the paper: full-vocabulary z-score of 1,000 values, padding attended.

        Args:
            changes: Fields to set otherwise.
        """
        values: dict[str, Any] = {
            "k": 1000,
            "normaliser": "full",
            "extra_channels": False,
            "pad_attention": "official",
            "long_text": "cut",
        }
        return cls(**(values | changes))

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        if self.hidden % self.heads or self.hidden % 2:
            raise ValueError(f"heads={self.heads} and 2 must divide hidden={self.hidden}")
        if self.stride > self.window:
            raise ValueError(f"stride={self.stride} would skip positions of window={self.window}")
        if self.reads == "actual" and (self.extra_channels or self.normaliser == "topk"):
            raise ValueError(
                "reads=actual goes with extra_channels=false and another normaliser than topk: "
                "both say something about the other values"
            )
        return self


def make_config(options: Mapping[str, Any]) -> LOSNetConfig:
    """Settings from plain values; training settings that are not given keep LOS-Net's defaults.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """
    values = dict(options)
    given = values.get("training")
    if isinstance(given, Mapping):
        defaults = LOSNetConfig().training.model_dump()
        values["training"] = {**defaults, **given}
    return validated(LOSNetConfig, values, "settings of LOS-Net")
