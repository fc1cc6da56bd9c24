"""Settings of the ranker: whom to ask, what to ask, and about which items."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmrec.errors import ConfigError

GIVEN = "given"
"""The language model is handed over in memory and has no name."""

TEMPLATES = {"pointwise": "yes_no_question", "listwise": "rank_list"}
"""The template of each mode where none is named."""


class LLMRankerConfig(BaseModel):
    """Settings of :class:`~llmrec.recommenders.llm_ranker.model.LLMRanker`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language_model: str = Field(
        GIVEN, min_length=1, description="Name, as for open_language_model; or 'given' in memory."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of its backend, such as device."
    )
    mode: Literal["pointwise", "listwise"] = Field(
        "pointwise", description="Yes or no for every item alone, or an order of a list."
    )
    template: str | None = Field(
        None, description="Prompt template; None is yes_no_question or rank_list."
    )
    chat_tokenizer: str | None = Field(
        None, description="Folder or name of the tokenizer whose chat format wraps the prompt."
    )
    answers: tuple[str, str] | None = Field(
        None, description="What yes and no look like after the prompt; None fits the format."
    )
    action: Literal["auto", "like", "choose"] = Field(
        "auto", description="What is asked: auto is like where training events say who liked what."
    )
    liked_from: float = Field(4.0, description="A rating from here on is a like.")
    history: int = Field(16, ge=0, description="Newest events that are told.")
    base: str | None = Field(
        None, description="Who chooses candidates: a model's name, a run, or a saved model."
    )
    base_settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of a base that is named and trained here."
    )
    n_candidates: int = Field(100, ge=1, description="Best items of the base that are asked about.")
    seen_candidates: bool = Field(
        False,
        description="Ask about items of the history, too, when the whole catalogue is scored.",
    )
    window: int = Field(20, ge=2, description="Items in one list, for listwise ranking.")
    stride: int = Field(10, ge=1, description="How far the window moves towards the front.")
    max_tokens: int | None = Field(
        None, ge=1, description="Most tokens of a list's answer; None is eight for every item."
    )
    cache: str | None = Field(None, description="File in which answers are kept, by user.")
    on_failure: Literal["error", "keep_order"] = Field(
        "error", description="A request that failed is an error, or leaves the base's order."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "LLMRankerConfig":
        if self.base_settings and self.base is None:
            raise ConfigError("base_settings are given, but no base.")
        if self.stride > self.window:
            raise ConfigError(
                f"stride is {self.stride} and window {self.window}: items in between would never "
                "be asked about; set a stride of at most the window."
            )
        if self.answers is not None and (
            self.answers[0] == self.answers[1] or not all(self.answers)
        ):
            raise ConfigError(f"answers are {self.answers!r}; expected two different texts.")
        if self.on_failure == "keep_order" and self.base is None:
            raise ConfigError("on_failure is keep_order, which needs a base whose order is kept.")
        return self

    @property
    def template_name(self) -> str:
        """The template in use."""
        return self.template or TEMPLATES[self.mode]

    @property
    def yes_no(self) -> tuple[str, str]:
        """Yes and no as they continue the prompt: a chat's answer begins without a blank."""
        if self.answers is not None:
            return self.answers
        return (" Yes", " No") if self.chat_tokenizer is None else ("Yes", "No")

    @property
    def answer_tokens(self) -> int:
        """Most tokens of a list's answer."""
        return self.max_tokens or 8 * self.window
