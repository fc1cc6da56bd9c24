"""Settings of a reward model and of aligning a generator with it.

Light, so that recipes can be checked against it; what the settings mean in formulas is told by
:mod:`llmrec.recommenders.onerec.alignment.losses` and
:mod:`llmrec.recommenders.onerec.alignment.objective`.
"""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmrec.recommenders.onerec.generator.sessions import SessionRule
from llmrec.training.config import TrainingConfig

Aggregation = Literal["weighted_sum", "product"]
RewardForm = Literal["lists", "items"]
_REWARD = "reward"  # the column of pairs that holds what the towers come to
LossType = Literal["dpo", "ipo", "cdpo", "rdpo", "simpo", "cpo"]


def _has_positive_sum(weights: tuple[float, ...]) -> bool:
    """Whether weights are finite and add up to more than rounding."""
    if not all(math.isfinite(weight) for weight in weights):
        return False
    return math.fsum(weights) > 1e-6 * math.fsum(abs(weight) for weight in weights)


class TowerRule(BaseModel):
    """How one kind of feedback is read off the events of a session."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Name of the tower; every tower has its own.")
    column: str = Field(description="Numeric column of the interactions; empty cells count as 0.")
    label: Literal["any", "high", "amount"] = Field(
        "any",
        description="any: an event above 0; high: a mean in the top share; amount: the mean as a "
        "share of the largest value of the training part.",
    )
    top: float = Field(
        0.5, gt=0, lt=1, description="Of high: the share of sessions of one length that is high."
    )


class RewardConfig(BaseModel):
    """Architecture of a reward model and how its towers become one number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    towers: tuple[str, ...] = Field(min_length=1, description="Kinds of feedback, one tower each.")
    form: RewardForm = Field(
        "lists",
        description="lists: towers over the sum of a list's items, the paper's form; items: towers "
        "over every item after those before it.",
    )
    discount: float = Field(
        1.0, gt=0, le=1, description="Of items: weight of an item beside that of the one before it."
    )
    content: int = Field(0, ge=0, description="Of items: width of the items' content vectors.")
    dim: int = Field(32, ge=2, description="Width of the states.")
    heads: int = Field(2, ge=1, description="Attention heads; must divide dim.")
    hidden: int = Field(64, ge=1, description="Width inside a tower.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the states.")
    history: int = Field(50, ge=1, description="Newest items of the history that are read.")
    session: int = Field(10, ge=1, description="Most items of a list that is judged.")
    aggregation: Aggregation = Field(
        "weighted_sum",
        description="weighted_sum: of the towers' probabilities over their base rates; product.",
    )
    weights: tuple[float, ...] | None = Field(
        None,
        description="One per tower, in their order; below 0 where feedback speaks against a list. "
        "Their sum is above 0; none weighs all alike.",
    )
    vocabulary: str | None = Field(
        None, description="Fingerprint of the items it knows, set when it is trained."
    )

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads} must divide dim={self.dim}")
        if len(set(self.towers)) < len(self.towers) or not all(self.towers):
            raise ValueError(f"towers={list(self.towers)} must have names, each another one")
        if _REWARD in self.towers:
            raise ValueError(f"a tower cannot be called {_REWARD!r}, which is what all make up")
        if self.weights is not None and len(self.weights) != len(self.towers):
            raise ValueError(f"{len(self.weights)} weights are given for {len(self.towers)} towers")
        if self.weights is not None and not _has_positive_sum(self.weights):
            raise ValueError(
                f"weights={list(self.weights)} must be finite numbers whose sum is above 0, for "
                "rewards are divided by it"
            )
        if self.form == "lists" and (self.content or self.discount != 1):
            raise ValueError("discount and content are for form=items; leave them out")
        return self


class RewardSettings(BaseModel):
    """A reward model: what it is taught, its size, its training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    towers: tuple[TowerRule, ...] = Field(
        min_length=1, description="Kinds of feedback and how each is read off the data."
    )
    form: RewardForm = Field("lists", description="Whether lists or their items are judged.")
    discount: float = Field(
        1.0, gt=0, le=1, description="Of items: weight of an item beside that of the one before it."
    )
    sessions: SessionRule = Field(
        SessionRule(group="gap"), description="Which events are a session that was judged."
    )
    most: int = Field(10, ge=1, description="Most items of a session.")
    dim: int = Field(32, ge=2, description="Width of the states.")
    heads: int = Field(2, ge=1, description="Attention heads; must divide dim.")
    hidden: int = Field(64, ge=1, description="Width inside a tower.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the states.")
    history: int = Field(50, ge=1, description="Newest items of the history that are read.")
    aggregation: Aggregation = Field("weighted_sum", description="How towers become one number.")
    weights: tuple[float, ...] | None = Field(
        None, description="One per tower, with a sum above 0; none: all alike."
    )
    training: TrainingConfig = Field(
        TrainingConfig(epochs=20, learning_rate=3e-3, patience=4, metric="auc"),
        description="Settings of its training; the metric is the mean AUC of the towers.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        RewardConfig(**self.architecture())
        return self

    def architecture(self) -> dict[str, object]:
        """Fields of :class:`RewardConfig`."""
        same = ("form", "discount", "dim", "heads", "hidden", "dropout", "history")
        values: dict[str, object] = {
            name: getattr(self, name) for name in (*same, "aggregation", "weights")
        }
        names = tuple(rule.name for rule in self.towers)
        return {"towers": names, "session": self.most, **values}


class AlignmentConfig(BaseModel):
    """Iterative preference alignment (OneRec, arXiv 2502.18965, section 3.4).

    In every iteration the policy writes ``lists`` lists for a share of the training moments, the
    reward model picks the best and the worst of each, and training goes on with both losses. The
    reference is the policy as it was when it wrote the lists.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward: RewardSettings = Field(description="The reward model.")
    iterations: int = Field(3, ge=1, description="Rounds of writing, judging and training.")
    share: float = Field(
        0.1, gt=0, le=1, description="Share of training moments whose lists are judged (r_DPO)."
    )
    lists: int = Field(16, ge=2, description="Lists written per moment, the beams of the search.")
    compose_from: int = Field(
        0,
        ge=0,
        description="Beside the policy's lists, one put together by reward from so many of its "
        "most probable next items; 0 is the paper's form without it.",
    )
    pick: Literal["reward", "random"] = Field(
        "reward", description="How a pair is picked; random is a control that learns nothing."
    )
    min_gap: float = Field(
        1e-3, ge=0, description="Pairs whose rewards differ by no more are dropped and counted."
    )
    loss_type: LossType = Field("dpo", description="dpo, ipo, cdpo, rdpo, simpo or cpo.")
    beta: float = Field(0.1, gt=0, description="Strength of the pull towards the reference.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Of cdpo and rdpo: probability that a preference is wrong."
    )
    gamma: float = Field(0.5, ge=0, description="Margin of simpo.")
    rpo_alpha: float = Field(
        0.0,
        ge=0,
        description="Weight of the loss of the chosen list's codes beside the preference loss, so "
        "that it becomes more likely and not only the other less; 0 is the paper's loss.",
    )
    weight: float = Field(
        1.0, gt=0, description="Weight of a pair's loss beside the mean loss of a code (lambda)."
    )
    most_loss: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Relative loss of the validation metric at which alignment stops; weights "
        "beyond it are not kept.",
    )
    retries: int = Field(
        0,
        ge=0,
        description="How often an iteration beyond that loss is tried again, each time with a "
        "third of the learning rate.",
    )
    watched: int = Field(
        500, ge=1, description="Validation users whose lists are watched during training."
    )
    allow_stale: bool = Field(
        False, description="Learn from lists that another policy wrote; refused by default."
    )
    training: TrainingConfig = Field(
        TrainingConfig(epochs=1, learning_rate=1e-4),
        description="Settings of the training of one iteration; metric is what must not fall.",
    )
