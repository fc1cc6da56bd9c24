"""Settings of a tokeniser of items.

Each field's description is what the documentation and ``llmrec items tokenize --help`` show.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmrec.training.config import TrainingConfig

Method = Literal["kmeans", "rqvae"]
Balance = Literal["capacity", "none", "sequential", "sequential_shuffled"]
Collisions = Literal["reassign", "extra_digit", "allow"]
Keeper = Literal["popularity", "nearest"]
WithoutText = Literal["error", "encode"]


class RqVaeConfig(BaseModel):
    """Settings of an RQ-VAE (Lee et al. 2022; TIGER, Rajput et al. 2023, section 3.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: tuple[int, ...] = Field((256, 128), description="Widths between vector and latent.")
    latent: int = Field(32, ge=1, description="Length of the vector that is quantised.")
    commitment: float = Field(0.25, ge=0, description="Weight that draws the encoder to its codes.")
    training: TrainingConfig = Field(
        TrainingConfig(epochs=100, batch_size=1024, learning_rate=1e-3),
        description="The training loop's settings; there is no validation.",
    )


class TokenizerConfig(BaseModel):
    """How items get their semantic IDs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = Field(
        "kmeans", description="Residual k-means on the vectors, or a trained RQ-VAE."
    )
    levels: int = Field(3, ge=1, le=16, description="Codes of an item.")
    codes: int = Field(256, ge=2, description="Codes to choose from at every level.")
    balance: Balance = Field(
        "capacity",
        description="Of k-means: equal loads by a joint assignment, none, or the paper's scheme "
        "that serves clusters one after another, in a fixed or in a random order.",
    )
    rounds: int = Field(30, ge=1, description="Most rounds of k-means per level.")
    collisions: Collisions = Field(
        "reassign",
        description="Items with equal codes: move to the next nearest free code of the last level, "
        "tell apart by one more digit, or leave.",
    )
    keeper: Keeper = Field(
        "popularity",
        description="Who keeps a code that several items want, and is first where they share it.",
    )
    without_text: WithoutText = Field(
        "error", description="Items whose vector is all zeros: refuse, or encode the zeros."
    )
    least_used: float = Field(
        0.1, ge=0, le=1, description="Share of a level's codes below which fitting has failed."
    )
    rqvae: RqVaeConfig = Field(RqVaeConfig(), description="Settings of the RQ-VAE.")
    seed: int = Field(0, ge=0, description="Seed of starting points, orders and weights.")
