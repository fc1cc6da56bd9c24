"""The settings of RecLoRA: the base model, the CTR model, prompts, experts, and the controls."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmrec.adapters.config import Compose, GatedLoraConfig, GateInput, GateScope
from llmrec.recommenders.ctr.config import DeepFMConfig, DINConfig, SIMConfig
from llmrec.training.config import TrainingConfig

Retrieval = Literal["recent", "user_topk", "target_topk"]
GateControl = Literal["none", "uniform", "shuffled"]

_JUDGED = {"metric": "auc", "epochs": 2, "patience": 2}


class DINChoice(DINConfig):
    """DIN as the source of the gates."""

    name: Literal["din"] = "din"


class SIMChoice(SIMConfig):
    """SIM as the source of the gates."""

    name: Literal["sim"] = "sim"


class DeepFMChoice(DeepFMConfig):
    """DeepFM as the source of the gates."""

    name: Literal["deepfm"] = "deepfm"


CTRChoice = Annotated[DINChoice | SIMChoice | DeepFMChoice, Field(discriminator="name")]


class LoraSection(BaseModel):
    """Experts and gates; what depends on the CTR model is added when it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_modules: tuple[str, ...] = Field(
        ("q_proj", "v_proj"), min_length=1, description="Layers that are adapted, by last name."
    )
    experts: int = Field(8, ge=1, description="LoRA experts per adapted layer (K).")
    rank: int = Field(8, ge=1, description="Rank of an expert (r).")
    alpha: float = Field(16.0, gt=0, description="The update is scaled by alpha / rank.")
    compose: Compose = Field("merge_factors", description="How experts become one update.")
    gate_scope: GateScope = Field("module", description="What has a gate of its own.")
    gate_input: GateInput = Field(
        "user", description="What gates read; only with user does a person have one adapter."
    )
    gate_hidden: int = Field(60, ge=1, description="Width inside a gate.")
    gate_dropout: float = Field(0.1, ge=0, lt=1, description="Dropout inside a gate.")
    gate_activation: Literal["softmax", "sqrt_softmax"] = Field(
        "softmax", description="sqrt_softmax takes the root of the weights."
    )
    temperature: float = Field(1.0, gt=0, description="Of the gates.")
    start_temperature: float = Field(5.0, gt=0, description="Temperature when training begins.")
    anneal_share: float = Field(
        0.2, ge=0, le=1, description="Share of training over which the temperature falls."
    )
    balance: float = Field(
        0.0, ge=0, description="Weight of the balance loss; only where experts are mixed."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on what the experts read.")
    b_noise: float = Field(
        0.01, ge=0, description="Deviation of the initial B; with 0 all experts begin alike."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self.settings(0 if self.compose == "shared" else 1)  # refuses what does not
        return self

    def settings(self, gate_dim: int) -> GatedLoraConfig:
        """Settings of the adapters.

        Args:
            gate_dim: Width of what the gates read; 0 only for ``shared``.
        """
        return GatedLoraConfig(**self.model_dump(), gate_dim=gate_dim)


class RecLoRAConfig(BaseModel):
    """RecLoRA (arXiv 2408.03533) and its controls; see ``docs/reclora.md``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(
        min_length=1, description="The base model: tiny:DATASET[@HASH], hf:NAME, or a folder."
    )
    base_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Number format of the frozen base model; adapters are float32."
    )
    ctr: CTRChoice = Field(
        default_factory=DINChoice, description="The CTR model that the gates read, by name."
    )
    ctr_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the training events, oldest first, that the CTR model learns; the "
        "language model learns from the later ones. With 1 both learn from all.",
    )
    lora: LoraSection = Field(
        default_factory=LoraSection, description="Experts, gates and how they are mixed."
    )
    gate_control: GateControl = Field(
        "none",
        description="uniform: all experts weigh the same; shuffled: gates read the state of "
        "somebody else, drawn anew for every moment.",
    )
    gate_scale: Literal["each", "whitened"] = Field(
        "each",
        description="How states are scaled for the gates: each number by its own mean and "
        "deviation; whitened: uncorrelated, too, so that directions in which people differ little "
        "are learnt as fast as those in which they differ much.",
    )
    subset: int = Field(
        70_000,
        ge=1,
        description="Most events that the language model learns from; drawn once. Where "
        "events have no answer, each comes with ``negatives`` drawn items as further rows.",
    )
    subset_seed: int = Field(0, ge=0, description="Of that draw; the same for all seeds.")
    negatives: int = Field(
        1, ge=1, description="Items drawn per event where events have neither labels nor ratings."
    )
    text_history: int = Field(10, ge=0, description="Most events that a prompt tells.")
    history_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of training rows whose prompt tells no event, drawn anew in every "
        "batch: what they ask can only be answered from the gates.",
    )
    retrieval: Retrieval = Field(
        "recent",
        description="Which events those are: the newest, those most like the user's others, or "
        "those most like the item in question. They are told in order of time.",
    )
    searched: int = Field(60, ge=1, description="Newest events among which they are searched.")
    similarity: Literal["co_occurrence", "text"] = Field(
        "co_occurrence", description="What makes events alike: who chose them, or their texts."
    )
    similarity_dim: int = Field(64, ge=1, description="Width of the co-occurrence vectors.")
    prompt: str = Field(
        "yes_no_question",
        min_length=1,
        description="A template of prompts/ or a file of one's own, with its variables.",
    )
    item_names: Literal["title", "id"] = Field(
        "title", description="What prompts call an item; id only where there are no texts."
    )
    max_tokens: int = Field(
        128, ge=16, description="Most tokens of a prompt; the oldest events are left out."
    )
    title_tokens: int = Field(32, ge=1, description="Most tokens of a title; longer ones are cut.")
    answers: tuple[str, str] | None = Field(
        None,
        description="What follows a prompt for yes and for no; none takes Yes and No, with a "
        "space before them unless the base model is asked in a chat.",
    )
    shrink: float = Field(
        0.0,
        ge=0,
        description="Events that the mean gate counts as: gates of people with few events are "
        "drawn to it.",
    )
    candidates: int = Field(
        100, ge=1, description="Items of the first stage that recommend ranks anew."
    )
    tokens_at_once: int = Field(
        16_384, ge=256, description="Most tokens of a pass, padding included."
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Activations of the base model are computed again in the backward pass: less "
        "memory, more time, the same result.",
    )
    shard_base: bool = Field(
        False,
        description="Where several processes train: each holds a share of the frozen base model, "
        "for models too big for one device. All must then score together, too.",
    )
    validate_pairs: int | None = Field(
        None, ge=1, description="Judged pairs that validation draws; none takes all."
    )
    training: TrainingConfig = Field(
        default_factory=lambda: TrainingConfig(
            **_JUDGED, learning_rate=3e-4, batch_size=128, schedule="linear"
        ),
        description="Settings of the training loop of the language model's part.",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if isinstance(values.get("training"), dict):
            values["training"] = {**_JUDGED, **values["training"]}
        if isinstance(values.get("ctr"), dict):
            values["ctr"] = {"name": "din", **values["ctr"]}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.gate_control != "none" and self.lora.compose == "shared":
            raise ValueError(
                f"compose=shared has no gates, so gate_control={self.gate_control} says nothing"
            )
        if self.title_tokens > self.max_tokens // 2:
            raise ValueError("title_tokens must be at most half of max_tokens")
        if self.ctr.train_share != 1:
            raise ValueError("set ctr_share beside ctr instead of ctr.train_share")
        return self

    @property
    def shares_prefix(self) -> bool:
        """Whether the prompts of one history about different items begin alike.

        The history must not depend on the item in question, and neither may the gates: adapters
        change keys and values.
        """
        user_gates = self.lora.compose == "shared" or self.lora.gate_input == "user"
        return self.retrieval != "target_topk" and user_gates
