"""Log-probabilities of given lists after given histories, with gradient where it is wanted."""

import torch
from torch import Tensor

from llmrec.recommenders.onerec.generator.network import Generator, SessionBatch


def list_log_probabilities(generator: Generator, history: Tensor, lists: Tensor) -> Tensor:
    """Sum of the log-probabilities of all codes of a list.

    Args:
        generator: The network, in any mode.
        history: ``[rows, n]`` int64 item codes, oldest first, 0 after the end.
        lists: ``[rows, m]`` int64 item codes, 0 after the end.

    Returns:
        ``[rows]`` float32.
    """
    if generator.recency is not None:
        batch = SessionBatch(history, lists, lists > 0, generator.levels)
    else:
        whole, own = joined(history, lists)
        batch = SessionBatch(whole[:, :0], whole, own, generator.levels)
    with generator.writing_lists():
        found = generator.item_log_probabilities(batch)
    row = batch.learn_at.div(batch.session.shape[1], rounding_mode="floor")
    return torch.zeros(len(lists), device=found.device).index_add(0, row, found)


def joined(history: Tensor, lists: Tensor) -> tuple[Tensor, Tensor]:
    """Histories and lists as one sequence each, for a generator that reads what it writes.

    Returns:
        ``[rows, longest]`` int64 item codes, 0 after the end, and a mask of the lists' items.

    >>> joined(torch.tensor([[1, 2], [3, 0]]), torch.tensor([[4, 5], [6, 0]]))[0].tolist()
    [[1, 2, 4, 5], [3, 6, 0, 0]]
    """
    read, written = (history > 0).sum(1, keepdim=True), (lists > 0).sum(1, keepdim=True)
    longest = int((read + written).max()) if len(history) else 0
    place = torch.arange(longest, device=history.device)
    own = (place >= read) & (place < read + written)
    both = torch.cat([history, lists], dim=1)
    source = torch.where(own, place - read + history.shape[1], place)
    whole = both.gather(1, source.clamp_max(both.shape[1] - 1))
    return whole * (place < read + written), own
