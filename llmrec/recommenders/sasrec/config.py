"""The settings of SASRec."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmrec.training.config import TrainingConfig


class SASRecConfig(BaseModel):
    """Architecture, loss and training of SASRec.

    The defaults are those that reached the best validation figures on small, sparse data: norms
    after each sub-layer, a norm on the input, all weights drawn with a small deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(64, ge=2, description="Width of item vectors and hidden states.")
    blocks: int = Field(2, ge=1, description="Transformer blocks.")
    heads: int = Field(2, ge=1, description="Attention heads; must divide dim.")
    feed_forward: int = Field(256, ge=1, description="Width inside the feed-forward layers.")
    max_length: int = Field(50, ge=1, description="Newest events that the model looks at.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout on embeddings and sub-layers.")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on attention weights.")
    norm: Literal["post", "pre"] = Field(
        "post", description="LayerNorm after or before sub-layers."
    )
    init_std: float = Field(0.02, gt=0, description="Deviation of the initial weights.")
    loss: Literal["auto", "full", "sampled"] = Field(
        "auto", description="Softmax over all items, over drawn ones, or full below 50,000 items."
    )
    negatives: int = Field(256, ge=1, description="Negatives per step of the sampled softmax.")
    sampler: Literal["uniform", "popularity"] = Field(
        "uniform", description="How negatives are drawn: uniformly or by training frequency."
    )
    logq: bool = Field(True, description="Correct the sampled softmax for its sampler.")
    repeat_bias: bool = Field(
        False,
        description="Learn one number that is added to the scores of items in the history: where "
        "people do not take an item twice it falls, where they do it rises. Needs the full "
        "softmax.",
    )
    targets: Literal["all", "prefix"] = Field(
        "all",
        description="all: every position of a sequence in one pass; prefix: one row per position, "
        "loss at its last one only (same targets, many times the work).",
    )
    validation_filters_seen: bool = Field(
        True,
        description="Leave out items of the history when validating; set it as the task does.",
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="Settings of the training loop."
    )

    @model_validator(mode="after")
    def _repeats_need_full_softmax(self) -> Self:
        if self.repeat_bias and self.loss == "sampled":
            raise ValueError("repeat_bias needs loss=full: drawn negatives rarely repeat an item")
        return self

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads} must divide dim={self.dim}")
        return self
