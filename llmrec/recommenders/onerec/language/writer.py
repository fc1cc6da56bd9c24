"""A causal language model as what writes semantic IDs."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from llmrec.recommenders.onerec.language.network import LanguageNetwork
from llmrec.recommenders.onerec.language.steps import LanguageSteps
from llmrec.recommenders.onerec.language.texts import Prompts

_USERS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class LanguageWriter:
    """Implements :class:`~llmrec.recommenders.onerec.writer.Writer`.

    Attributes:
        network: In evaluation mode where it is searched.
        prompts: How histories are written.
        codes: ``[items + 1, levels]`` int64, on the model's device.
        sizes: Codes per level.
        first: Token of the first code of the first level.
        history: Newest items of a history that are read.
    """

    network: LanguageNetwork
    prompts: Prompts
    codes: Tensor
    sizes: tuple[int, ...]
    first: int
    history: int
    at_once = _USERS_AT_ONCE
    knows_what_exists = False  # every token competes

    def newest(self, items: int) -> int:
        """See the protocol: so many that a list ends where the longest texts of training did."""
        return max(1, self.history + 1 - items)

    def steps(self) -> LanguageSteps:
        """See the protocol."""
        return LanguageSteps(self.network.model, self.prompts, self.first, self.sizes)

    def writing(self, items: int) -> AbstractContextManager[None]:
        """See the protocol; a list is written as its items would be one after another."""
        return nullcontext()

    def list_log_probabilities(self, history: Tensor, lists: Tensor) -> Tensor:
        """See the protocol."""
        return self.network.list_log_probabilities(self.prompts, history, lists)

    def copied(self) -> Self:
        """See the protocol."""
        return replace(self, network=self.network.copied())
