"""The settings of a training run, one typed object for every system.

Nothing here knows what is trained. Each field's description is what ``llmrec train --help`` and
the documentation show.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Tracker = Literal[
    "aim", "all", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio",
    "wandb",
]  # fmt: skip
"""Trackers that accelerate knows by name."""


class TrainingConfig(BaseModel):
    """How to train.

    A *row* is what the trained system batches: a sequence window for SASRec, a prompt for a
    language model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(100, ge=1, description="Most passes over the training rows.")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="No epoch begins after so many minutes of training; none sets no limit. What "
        "is reached then depends on the machine.",
    )
    batch_size: int = Field(256, ge=1, description="Rows per optimiser step, over all processes.")
    accumulation: int = Field(
        1,
        ge=1,
        description="Micro-batches a step is cut into; changes memory, not the result, unless "
        "negatives are drawn: each micro-batch draws its own.",
    )
    group_by_length: bool = Field(
        False,
        description="Batches of rows of like length, for less padding; which rows meet in a batch "
        "is then less random.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay on matrices.")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="Second-moment decay of AdamW.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up from zero.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="Learning rate after warm-up; linear and cosine end at zero."
    )
    clip_norm: float | None = Field(
        None, gt=0, description="Largest global gradient norm; none clips nothing."
    )
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a moving average of the weights, which is then what is validated "
        "and kept; none keeps the weights themselves.",
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        "float32", description="Arithmetic of forward and backward; weights stay float32."
    )
    seed: int = Field(0, ge=0, description="Seed of initialisation, order and dropout.")
    metric: str = Field("ndcg@10", description="Validation metric that chooses the weights.")
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    patience: int = Field(
        10, ge=1, description="Validations without a better metric before training stops."
    )
    checkpoint_every: int = Field(1, ge=1, description="Epochs between checkpoints.")
    checkpoint_steps: int | None = Field(
        None, ge=1, description="Steps between checkpoints inside an epoch; none saves none."
    )
    report_to: tuple[Tracker, ...] = Field(
        (), description="Trackers of accelerate, for instance trackio; the JSONL log is always on."
    )
