"""What writes semantic IDs after a history: one face for networks of our own and language models.

Searches, exact scores, rewards and preferences need nothing else of a model; see :class:`Writer`.
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

from torch import Tensor, nn

from llmrec.data.histories import Histories
from llmrec.recommenders.onerec.generator.rows import padded


class Writer(Protocol):
    """A network that writes semantic IDs, and what belongs to it.

    The weights are what is learnt, and what a version is of.
    """

    @property
    def network(self) -> nn.Module:
        """Its forward gives the summed loss of a batch of training rows."""
        ...

    @property
    def codes(self) -> Tensor:
        """``[items + 1, levels]`` int64 semantic IDs by item code, on the network's device."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        ...

    @property
    def at_once(self) -> int:
        """Users that are searched for together."""
        ...

    @property
    def knows_what_exists(self) -> bool:
        """Whether only codes that lead to items compete in training."""
        ...

    def newest(self, items: int) -> int:
        """How many items of a history are read before ``items`` are written."""
        ...

    def steps(self) -> Any:
        """What a beam search asks: ``begin(history)``, then the steps of a decoder."""
        ...

    def writing(self, items: int) -> AbstractContextManager[None]:
        """While lists of ``items`` are written: a writer may tell a list from a next item."""
        ...

    def list_log_probabilities(self, history: Tensor, lists: Tensor) -> Tensor:
        """Log-probabilities of whole lists, with gradient where it is wanted.

        Args:
            history: ``[rows, n]`` int64 item codes, oldest first, 0 after the end.
            lists: ``[rows, m]`` int64 item codes.

        Returns:
            ``[rows]`` float32.
        """
        ...

    def copied(self) -> Self:
        """The same with a network of its own."""
        ...


def read_histories(writer: Writer, histories: Histories, items: int) -> Tensor:
    """The newest items of every history, ``[n, longest]`` int64, 0 after the end.

    A writer may need places for what it writes: so much is cut that a list of ``items`` fits.
    """
    cut = histories.last(writer.newest(items))
    return padded(cut.items, cut.offsets[:-1], cut.lengths).to(writer.codes.device)
