"""Which events of a long history a short prompt tells, always back in order of time.

``recent`` takes the newest events. ``user_topk`` takes those most like the mean of the user's
searched events: what this person is typically about; it does not depend on the item in question,
so prompts about many items share their beginning. ``target_topk`` takes those most like the item
in question (reclora.md 2.5 and 2.15).
"""

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, span_indices
from llmrec.recommenders.reclora.config import Retrieval

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

_ROWS_AT_ONCE = 2048


def told_events(
    histories: Histories,
    retrieval: Retrieval,
    most: int,
    searched: int,
    vectors: Float32 | None = None,
    targets: npt.NDArray[np.int32] | None = None,
) -> tuple[Int64, Int64]:
    """Choose the events that prompts tell.

    Args:
        histories: ``[n]``.
        retrieval: How they are chosen.
        most: Events per row, at most.
        searched: Newest events among which they are chosen.
        vectors: ``[items + 1, d]`` unit vectors of items; needed unless ``recent``.
        targets: ``[n]`` item codes; needed by ``target_topk`` and read by it alone.

    Returns:
        Flat positions of the events in ``histories``, oldest first in every row, and their
        offsets ``[n + 1]``. Of equally similar events the newer ones are taken.
    """
    lengths = histories.lengths
    kept = np.minimum(lengths, most)
    starts = histories.offsets[1:] - kept
    index, offsets = span_indices(starts, kept), offsets_of(kept)
    if retrieval == "recent" or not most:
        return index, offsets
    assert vectors is not None
    asked = targets if retrieval == "target_topk" else None
    # only rows with more events than are told need a search
    long = np.flatnonzero(lengths > most)
    for first in range(0, long.size, _ROWS_AT_ONCE):
        rows = long[first : first + _ROWS_AT_ONCE]
        about = None if asked is None else vectors[asked[rows]]
        places = _most_similar(histories, rows, most, searched, vectors, about)
        index[span_indices(offsets[rows], kept[rows])] = places.ravel()
    return index, offsets


def _most_similar(
    histories: Histories,
    rows: Int64,
    most: int,
    searched: int,
    vectors: Float32,
    about: Float32 | None,
) -> Int64:
    """``[rows, most]`` flat positions in order of time; every row has more than ``most`` events."""
    ends = histories.offsets[rows + 1]
    width = max(most, min(searched, int(histories.lengths[rows].max())))
    places = ends[:, None] - width + np.arange(width)
    there = places >= histories.offsets[rows][:, None]
    events = vectors[histories.items[np.maximum(places, 0)]] * there[:, :, None]
    if about is None:
        about = events.sum(axis=1) / there.sum(axis=1, keepdims=True)
    scores = np.einsum("nld,nd->nl", events, about)
    # coarse, so that equal items stay equal and the newer event wins
    ranked = np.round(scores * 2**16) + np.arange(width) / (2 * width)
    ranked[~there] = -np.inf
    chosen = np.sort(np.argpartition(-ranked, most - 1, axis=1)[:, :most], axis=1)
    return np.take_along_axis(places, chosen, axis=1)
