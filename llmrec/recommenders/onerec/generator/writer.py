"""A generator as what writes semantic IDs."""

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from llmrec.recommenders.onerec.generator.forms import search_steps
from llmrec.recommenders.onerec.generator.lists import list_log_probabilities
from llmrec.recommenders.onerec.generator.network import Generator

_USERS_ON_CPU, _USERS_ON_DEVICE = 128, 512  # few on a CPU, whose cache is small


@dataclass(frozen=True, eq=False)
class GeneratorWriter:
    """Implements :class:`~llmrec.recommenders.onerec.writer.Writer`.

    Attributes:
        network: In evaluation mode where it is searched.
    """

    network: Generator

    @property
    def codes(self) -> Tensor:
        """Of the items; see the protocol."""
        return self.network.codes

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return self.network.sizes

    @property
    def at_once(self) -> int:
        """See the protocol."""
        return _USERS_ON_CPU if self.codes.device.type == "cpu" else _USERS_ON_DEVICE

    @property
    def knows_what_exists(self) -> bool:
        """See the protocol."""
        return self.network.existing is not None

    def newest(self, items: int) -> int:
        """See the protocol; the same however much is written, so that lists begin alike.

        A generator without encoder has learnt so many places: the longest list ends within them.
        """
        config = self.network.config
        if self.network.recency is not None:
            return config.history
        return max(1, config.history + 1 - config.session)

    def steps(self) -> Any:
        """See the protocol."""
        return search_steps(self.network)

    def writing(self, items: int) -> AbstractContextManager[None]:
        """See the protocol."""
        return self.network.writing_lists() if items > 1 else nullcontext()

    def list_log_probabilities(self, history: Tensor, lists: Tensor) -> Tensor:
        """See the protocol; lists may be shorter, with 0 after the end."""
        return list_log_probabilities(self.network, history, lists)

    def copied(self) -> Self:
        """See the protocol."""
        return replace(self, network=copy.deepcopy(self.network))
