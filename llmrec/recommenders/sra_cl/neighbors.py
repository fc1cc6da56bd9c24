"""Who is similar to whom by text: neighbours of training sequences and of items.

The pool of sequences is the training part alone. The clean pool also leaves out the user's own
sequences and every sequence that holds the item which the query is to predict: either would let the
positive say what the target is. Held-out events are never used, not even to leave something out.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.ragged import offsets_of
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.retrieval.faiss_index import LARGEST_EXACT, neighbor_index
from llmrec.retrieval.neighbors import Neighbors, nearest
from llmrec.retrieval.per_group import nearest_per_group
from llmrec.retrieval.ranges import RowRanges

FloatArray = npt.NDArray[np.floating]
Pool = Literal["clean", "all"]


def item_neighbors(vectors: FloatArray, k: int) -> Neighbors:
    """The ``k`` items whose texts are nearest to each item's; rows are codes minus 1.

    Args:
        vectors: ``[items, D]`` text vectors.
        k: Neighbours per item.
    """
    itself = RowRanges.from_rows(np.arange(len(vectors)))
    return nearest(neighbor_index(vectors), vectors, k, itself)


def sequence_neighbors(
    vectors: FloatArray,
    events: TrainingEvents,
    k: int,
    pool: Pool = "clean",
    one_per_user: bool = True,
    pool_size: int | None = None,
    seed: int = 0,
) -> npt.NDArray[np.int32]:
    """Neighbours of every sequence that has a target.

    Args:
        vectors: ``[events, D]`` text vectors of the sequences that end at each event.
        events: The training events.
        k: Neighbours per sequence.
        pool: ``"clean"``, or ``"all"`` to leave out the sequence itself only.
        one_per_user: Keep only the nearest sequence of each other user.
        pool_size: Search in at most this many sequences, drawn at random; None for all.
        seed: Of that draw.

    Returns:
        ``[events, k]`` int32 rows of events; -1 in unused slots and for sequences without target.
    """
    asking = np.flatnonzero(events.targets > 0)
    values = vectors.astype(np.float32)
    searched = np.arange(len(events))
    if pool_size is not None and pool_size < len(events):
        drawn = np.random.default_rng([seed, 31]).choice(len(events), pool_size, replace=False)
        searched = np.sort(drawn)
    own = (RowRanges(np.arange(asking.size + 1), asking, asking + 1),)
    rules = clean_exclusions(events, asking) if pool == "clean" else own
    excluded = [_among(searched, rule) for rule in rules]
    users = events.users[searched] if one_per_user else None
    exact_on_cpu = len(searched) <= LARGEST_EXACT and not torch.cuda.is_available()
    if users is not None and pool == "clean" and exact_on_cpu:
        found = nearest_per_group(values[searched], users, values[asking], k, excluded)
    else:
        found = nearest(neighbor_index(values[searched]), values[asking], k, excluded, users)
    rows = np.where(found.used, searched[np.maximum(found.rows, 0)], -1).astype(np.int32)
    return _placed(rows, asking, len(events))


def _among(searched: npt.NDArray[np.int64], rule: RowRanges) -> RowRanges:
    """The same exclusions in row numbers of the searched rows, which are ascending."""
    starts, stops = np.searchsorted(searched, rule.starts), np.searchsorted(searched, rule.stops)
    return RowRanges(rule.offsets, starts, stops, rule.lists)


def random_neighbors(
    events: TrainingEvents, k: int, pool: Pool, seed: int
) -> npt.NDArray[np.int32]:
    """Neighbours drawn at random among the allowed ones; a control. Shapes as for texts."""
    asking = np.flatnonzero(events.targets > 0)
    drawn = np.random.default_rng([seed, 23]).integers(0, len(events), (asking.size, k))
    number = np.arange(asking.size)[:, None]
    if pool == "clean":
        refused = [rule.contain(number, drawn) for rule in clean_exclusions(events, asking)]
        drawn[refused[0] | refused[1]] = -1
    else:
        drawn[drawn == asking[:, None]] = -1
    return _placed(drawn.astype(np.int32), asking, len(events))


def clean_exclusions(
    events: TrainingEvents, asking: npt.NDArray[np.int64]
) -> tuple[RowRanges, RowRanges]:
    """What the clean pool leaves out for each of the sequences ``asking``.

    Returns:
        The rows of the same user, and the rows of sequences that hold the target: from each event
        with that item to the last of its user.
    """
    first = events.first_rows
    number = (
        np.searchsorted(first, asking, side="right") - 1
    )  # of the user, among those with events
    own = RowRanges(np.arange(first.size + 1), first, events.ends[first], number)
    by_item = np.argsort(events.items, kind="stable")
    offsets = offsets_of(np.bincount(events.items))
    holding = RowRanges(offsets, by_item, events.ends[by_item], events.targets[asking])
    return own, holding


def _placed(
    rows: npt.NDArray[np.int32], asking: npt.NDArray[np.int64], n_events: int
) -> npt.NDArray[np.int32]:
    table = np.full((n_events, rows.shape[1]), -1, dtype=np.int32)
    table[asking] = rows
    return table
