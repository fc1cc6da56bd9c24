"""The settings of the CTR models: which fields they read, how wide they are, how they train."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmrec.training.config import TrainingConfig

FieldKind = Literal[
    "user", "item", "category", "categories", "number", "history_length", "mean_rating"
]

ABOUT_ITEMS = ("item", "category", "categories", "number")
"""Kinds of fields that describe an item; they are read for the target and for every event."""

STATISTICS = ("history_length", "mean_rating")
"""Kinds of fields that are numbers computed from the history."""


class InputField(BaseModel):
    """One named input.

    Written as a mapping, or as a bare word for a kind that needs nothing else (``user``,
    ``item``, ``history_length``, ``mean_rating``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="The name it goes by in weights and messages.")
    kind: FieldKind = Field(
        description="user and item: the id; category: one value of a catalog column; categories: "
        "several, separated; number: a numeric catalog column; history_length and mean_rating: "
        "computed from the history."
    )
    column: str | None = Field(None, description="Catalog column; none means the field's name.")
    separator: str = Field("|", min_length=1, description="Between the values of categories.")

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"name": value, "kind": value} if isinstance(value, str) else value

    @property
    def source(self) -> str:
        """The catalog column that is read."""
        return self.column or self.name


_DEFAULT_FIELDS = tuple(
    InputField.model_validate(kind) for kind in ("user", "item", "history_length", "mean_rating")
)


class CTRConfig(BaseModel):
    """What DeepFM, DIN and SIM share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: tuple[InputField, ...] = Field(
        _DEFAULT_FIELDS, description="The inputs beside the events of the history."
    )
    dim: int = Field(16, ge=1, description="Width of the vector of every id and of an event.")
    hidden: tuple[int, ...] = Field(
        (64, 32), min_length=1, description="Widths of the layers before the answer."
    )
    history: int = Field(60, ge=1, description="Newest events that are read.")
    feedback: bool = Field(
        True, description="Events carry what the user said of them: the rating, else the label."
    )
    liked_above: float = Field(
        3.0, description="Where events have ratings and no labels, those above this are liked."
    )
    negatives: int = Field(
        1, ge=1, description="Items drawn per event where events have neither labels nor ratings."
    )
    train_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training events, oldest first, that are learnt from; the later "
        "ones are left for what is trained on top of this model. Needs a clock if below 1.",
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout on vectors and hidden layers.")
    init_std: float = Field(0.01, gt=0, description="Deviation of the initial id vectors.")
    training: TrainingConfig = Field(
        default_factory=lambda: TrainingConfig(metric="auc", epochs=30, patience=3),
        description="Settings of the training loop.",
    )

    @model_validator(mode="before")
    @classmethod
    def _judges_by_auc(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("training"), dict):
            return values
        training = {"metric": "auc", "epochs": 30, "patience": 3, **values["training"]}
        return {**values, "training": training}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [field.name for field in self.fields]
        if len(set(names)) < len(names):
            raise ValueError(f"two fields have the same name among {', '.join(names)}")
        if not any(field.kind in ABOUT_ITEMS for field in self.fields):
            raise ValueError("no field describes the item; add item, or a column of the catalog")
        return self


class DINConfig(CTRConfig):
    """Target attention over the newest events."""

    attention_hidden: int = Field(32, ge=1, description="Width inside the attention unit.")
    attention: Literal["sum", "softmax"] = Field(
        "sum",
        description="sum: weights as they come, so that many alike events count more (the "
        "paper's); softmax: weights that sum to 1.",
    )


class SIMConfig(DINConfig):
    """A search over a long history before target attention."""

    history: int = Field(500, ge=1, description="Newest events that are searched.")
    found: int = Field(30, ge=1, description="Events that the search keeps for attention.")
    similarity: Literal["co_occurrence", "text"] = Field(
        "co_occurrence",
        description="What makes an event similar to the target: the same people in the training "
        "histories, or the texts of the catalog. Vectors given by use_vectors replace both.",
    )
    similarity_dim: int = Field(64, ge=1, description="Width of the co-occurrence vectors.")


class DeepFMConfig(CTRConfig):
    """Products of pairs of fields beside a deep part."""
