"""The settings of a generator of semantic IDs; light, so that recipes can be checked against it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class GeneratorConfig(BaseModel):
    """Architecture of the generator.

    The defaults are small enough for a CPU. ``encoder_decoder`` is the form of the paper (OneRec,
    arXiv 2502.18965, section 3.2); ``decoder`` reads and writes one sequence and learns from every
    item of it, at a fraction of the cost per target; ``item_decoder`` does so with one token per
    item and small layers that write its codes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["encoder_decoder", "decoder", "item_decoder"] = Field(
        "encoder_decoder",
        description="encoder_decoder: history encoded, session written; decoder: one sequence of "
        "codes; item_decoder: one sequence of items, whose codes are written by further layers.",
    )
    dim: int = Field(64, ge=2, description="Width of hidden states.")
    heads: int = Field(4, ge=1, description="Attention heads; must divide dim.")
    encoder_layers: int = Field(2, ge=1, description="Layers that read the history.")
    decoder_layers: int = Field(2, ge=1, description="Layers that write.")
    choices: Literal["all", "existing"] = Field(
        "all",
        description="What a level chooses from: all of its codes, or those that continue to an item"
        " of the catalogue.",
    )
    tied: bool = Field(False, description="Codes have the same vectors as inputs and as outputs.")
    repeat_bias: bool = Field(
        False,
        description="Of encoder_decoder: learn one number that is added for items of the history: "
        "where people do not take an item twice it falls, where they do it rises.",
    )
    writer_layers: int = Field(
        1, ge=1, description="Of item_decoder: layers that write the codes of an item."
    )
    item_vectors: bool = Field(
        False,
        description="Of item_decoder: a learnt vector per item beside those of its codes; with "
        "choices=existing it also speaks for the codes that lead to the item.",
    )
    feed_forward: int = Field(128, ge=1, description="Hidden width of a dense feed-forward layer.")
    experts: int = Field(
        0, ge=0, description="Experts of every decoder layer; 0 for a dense layer."
    )
    expert_width: int = Field(128, ge=1, description="Hidden width of an expert.")
    experts_per_token: int = Field(2, ge=1, description="Experts that a token is sent to.")
    renormalize_gate: bool = Field(
        False, description="Make the chosen gate values sum to 1; the paper keeps them as they are."
    )
    balance_rate: float = Field(
        0.001,
        ge=0,
        description="Step of the bias that sends tokens to rarely used experts; 0 for none.",
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout on embeddings and sub-layers.")
    history: int = Field(
        20,
        ge=1,
        description="Newest items of the history that are read. The forms without an encoder learn "
        "sequences of so many items and read as many less one as a session holds more, for a "
        "longest list to end within what was learnt; theirs must not be less than session.",
    )
    session: int = Field(1, ge=1, description="Most items that are written.")
    marks_lists: bool = Field(
        False,
        description="Starts of items carry a mark where a list is written, so that alignment may "
        "change lists without changing what is said of the next item.",
    )
    list_layers: bool = Field(
        False,
        description="Of item_decoder: lists are written by layers of their own, copies of those of "
        "next items as supervised training leaves them, which alignment then changes.",
    )

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads} must divide dim={self.dim}")
        if self.experts and self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token={self.experts_per_token} is more than experts={self.experts}"
            )
        if self.form != "encoder_decoder" and self.history < self.session:
            raise ValueError(
                f"history={self.history} must not be less than session={self.session} with "
                f"form={self.form}, which reads history + 1 - session items; raise history"
            )
        if self.repeat_bias and self.form != "encoder_decoder":
            raise ValueError("repeat_bias is for form=encoder_decoder; leave it out with others")
        own = {"list_layers": self.list_layers, "item_vectors": self.item_vectors}
        for name, given in {**own, "writer_layers": self.writer_layers > 1}.items():
            if given and self.form != "item_decoder":
                raise ValueError(f"{name} is for form=item_decoder; leave it out, or use that form")
        return self
