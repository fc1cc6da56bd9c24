"""The settings of gated LoRA; what they leave open is refused here, before any model is touched."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Compose = Literal["merge_factors", "sum_products", "rank_scale", "shared"]
GateScope = Literal["global", "layer", "module"]
GateInput = Literal["user", "instance"]


class GatedLoraConfig(BaseModel):
    """Experts, how they are mixed, and what decides the mixture (RecLoRA, arXiv 2408.03533).

    In every composition the update of a layer's weight is ``s B M(u) A`` with the stacked factors
    of all experts, ``s = alpha / rank`` and a small matrix ``M(u)`` from the gate's weights
    ``a``: ``merge_factors`` uses ``(a a^T) x I``, ``sum_products`` ``diag(a) x I``,
    ``rank_scale`` ``diag(a)`` on the ranks of one expert, ``shared`` the identity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_modules: tuple[str, ...] = Field(
        min_length=1, description="Last names of the linear layers that are adapted."
    )
    experts: int = Field(8, ge=1, description="LoRA experts per adapted layer (K).")
    rank: int = Field(8, ge=1, description="Rank of an expert (r).")
    alpha: float = Field(16.0, gt=0, description="The update is scaled by alpha / rank.")
    compose: Compose = Field("merge_factors", description="How experts become one update.")
    gate_scope: GateScope = Field(
        "module", description="One gate per adapted layer, per block of the model, or for all."
    )
    gate_input: GateInput = Field(
        "user",
        description="What the gate reads. Only with user does a person have one adapter.",
    )
    gate_dim: int = Field(0, ge=0, description="Width of the gate's input; 0 only for shared.")
    gate_hidden: int = Field(60, ge=1, description="Width inside a gate.")
    gate_dropout: float = Field(0.1, ge=0, lt=1, description="Dropout inside a gate.")
    gate_activation: Literal["softmax", "sqrt_softmax"] = Field(
        "softmax",
        description="sqrt_softmax takes the root, so that an even mixture is not a smaller one.",
    )
    temperature: float = Field(1.0, gt=0, description="The gate's logits are divided by it.")
    start_temperature: float = Field(5.0, gt=0, description="Temperature when training begins.")
    anneal_share: float = Field(
        0.2, ge=0, le=1, description="Share of training over which the temperature falls."
    )
    balance: float = Field(
        0.0, ge=0, description="Weight of the balance loss; only where experts are mixed."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on what the experts read.")
    b_noise: float = Field(
        0.0, ge=0, description="Deviation of the initial B; 0 starts as the base model."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.compose in ("shared", "rank_scale") and self.experts != 1:
            raise ValueError(
                f"compose={self.compose} has one expert; set experts=1 and choose the rank "
                f"({self.experts * self.rank} has as many weights)"
            )
        if self.compose == "shared" and self.gate_dim:
            raise ValueError("compose=shared has no gate; set gate_dim=0")
        if self.compose != "shared" and not self.gate_dim:
            raise ValueError("gate_dim must be the width of the gate's input")
        if self.compose in ("shared", "rank_scale") and self.balance:
            raise ValueError(
                f"compose={self.compose} has no weights of experts to spread, so balance says "
                "nothing; leave it at 0"
            )
        return self

    @property
    def blocks(self) -> int:
        """Blocks of ranks that a gate's weights act on; their number is the gate's width."""
        return self.rank if self.compose == "rank_scale" else self.experts

    @property
    def block_rank(self) -> int:
        """Ranks in a block."""
        return 1 if self.compose == "rank_scale" else self.rank

    @property
    def scale(self) -> float:
        """Factor on the update, ``s``."""
        return self.alpha / self.rank

    @property
    def adapter_rank(self) -> int:
        """Rank of a materialised adapter that is exact."""
        return self.rank if self.compose == "merge_factors" else self.blocks * self.block_rank


def temperature_at(config: GatedLoraConfig, progress: float) -> float:
    """Temperature at a share of the training: linear from start to end, then constant.

    >>> config = GatedLoraConfig(target_modules=("q_proj",), gate_dim=4)
    >>> [temperature_at(config, share) for share in (0.0, 0.1, 0.2, 1.0)]
    [5.0, 3.0, 1.0, 1.0]
    """
    if not config.anneal_share:
        return config.temperature
    left = max(0.0, 1 - progress / config.anneal_share)
    return config.temperature + left * (config.start_temperature - config.temperature)
