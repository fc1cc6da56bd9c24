"""The settings of SRA-CL: those of SASRec, and what is added to its loss."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from llmrec.recommenders.sasrec.config import SASRecConfig

PAPER: dict[str, Any] = {
    "max_length": 20,
    "dropout": 0.5,
    "attention_dropout": 0.5,
    "targets": "prefix",
    "loss": "full",
    "neighbor_bank": "none",
    "neighbor_pool": "all",
    "neighbors_per_user": "any",
    "warmup_epochs": 0,
    "views": 2,
    "encode_again": True,
    "mask_alike": False,
    "renormalise": False,
}
"""What ``paper_compat`` sets where a recipe is silent."""

PAPER_TRAINING: dict[str, Any] = {"epochs": 100, "batch_size": 256, "metric": "mrr@10"}


class SRACLConfig(SASRecConfig):
    """SASRec with contrastive objectives.

    ``alpha`` and ``beta`` are the weights of the SRA-CL paper, the two intent weights those of
    ICSRec. A weight of 0 leaves the objective out; all four at 0 is SASRec, bit for bit.
    """

    alpha: float = Field(0.1, ge=0, description="Weight of the inter-user contrast.")
    beta: float = Field(0.1, ge=0, description="Weight of the intra-user contrast.")
    coarse_intent: float = Field(
        0.0, ge=0, description="Weight of the contrast of sequences with the same next item."
    )
    fine_intent: float = Field(
        0.0, ge=0, description="Weight of the contrast of sequences with their cluster's centroid."
    )
    temperature: float = Field(1.0, gt=0, description="Divides the products in every InfoNCE.")
    anchors: int = Field(256, ge=1, description="Most positions of a batch that are contrasted.")
    mask_alike: bool = Field(
        True, description="Rows of one user or with the same next item are not negatives."
    )
    warmup_epochs: int = Field(1, ge=0, description="Epochs before the contrasts begin.")

    text_encoder: str = Field(
        "tfidf",
        description="tfidf, minilm, or the name or folder of a sentence-transformers model.",
    )
    item_text: Literal["profile", "title"] = Field(
        "profile",
        description="What is encoded of an item: title, brand, category and description,"
        " or the title alone.",
    )
    user_text: Literal["mean", "prefix", "every_m", "user"] = Field(
        "mean",
        description="Text vector of a sequence: decayed mean of its items' vectors, or the vector "
        "of a profile written for every prefix, every m-th one, or once per user. The last has "
        "seen the targets of the user's earlier positions.",
    )
    profiles: str | None = Field(
        None,
        description="Folder of user profiles that 'llmrec profiles write' made; they are used "
        "instead of user_text.",
    )
    profile_every: int = Field(5, ge=1, description="m of every_m.")
    history_decay: float = Field(
        0.8, gt=0, le=1, description="Weight of an event relative to the next newer one, in mean."
    )
    neighbors: int = Field(10, ge=1, description="Semantic neighbours of a sequence.")
    item_neighbors: int = Field(10, ge=1, description="Semantic neighbours of an item.")
    neighbor_pool: Literal["clean", "all"] = Field(
        "clean",
        description="clean: no sequence of the same user, none that holds the next item; all: only "
        "the sequence itself is left out.",
    )
    pool_size: int = Field(
        200_000,
        ge=1,
        description="Most sequences searched for neighbours; of more, this many are drawn.",
    )
    neighbors_per_user: Literal["one", "any"] = Field(
        "one", description="one: at most one neighbour from each other user."
    )
    control: Literal["none", "random_neighbors", "shuffled_vectors"] = Field(
        "none", description="Controls that destroy what the texts say; for ablations."
    )
    synthesis: Literal["learned", "uniform"] = Field(
        "learned", description="How the neighbours of a sequence are weighted."
    )
    attention: Literal["gat_v1", "gat_v2", "bilinear", "cosine"] = Field(
        "gat_v1", description="How learned weights compare texts; gat_v1 is the paper's."
    )
    synthesis_dropout: float = Field(0.5, ge=0, lt=1, description="Dropout on those weights.")
    renormalise: bool = Field(True, description="Make the weights that dropout left sum to 1.")
    encode_again: bool = Field(
        False, description="Encode the anchors once more for the inter-user contrast."
    )
    replace_probability: float = Field(
        0.2, ge=0, le=1, description="Of replacing an event by a similar item in a view."
    )
    views: Literal[1, 2] = Field(
        1, description="Views of a sequence: 1 against the sequence itself, or 2."
    )
    neighbor_bank: Literal["refresh", "write_through", "momentum", "none"] = Field(
        "write_through",
        description="Where neighbours' states come from: a bank that is rewritten between epochs, "
        "also by every step, or by a slow copy of the encoder; none encodes them with gradient.",
    )
    refresh_every: int = Field(1, ge=1, description="Epochs between rewritings of the whole bank.")
    bank_momentum: float = Field(0.99, ge=0, lt=1, description="Of the slow copy.")
    clusters: int = Field(256, ge=1, description="Centroids of the fine intents.")
    cold_items: bool = Field(
        False, description="Score items without training events by their text neighbours' vectors."
    )
    text_prior: float = Field(
        0.0,
        ge=0,
        description="After training, an item with n events keeps n / (n + text_prior) of its vector"
        " and takes the rest from its text neighbours; 0 changes nothing.",
    )
    paper_compat: bool = Field(
        False, description="Use the published settings where nothing else is said."
    )

    @model_validator(mode="before")
    @classmethod
    def _published_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("paper_compat"):
            return values
        training = values.get("training", {})
        if isinstance(training, dict):
            training = {**PAPER_TRAINING, **training}
        return {**PAPER, **values, "training": training}

    @model_validator(mode="after")
    def _enough_weight(self) -> Self:
        if self.neighbor_bank == "none" and self.targets == "all" and self.anchors > 4096:
            raise ValueError(
                "neighbor_bank=none encodes the neighbours of every anchor; lower anchors"
            )
        return self
