"""What the neighbours of training sequences and items are like, as JSON values.

Two questions about sequences: do their neighbours give the answer away (a sequence of the same
user, or one that holds the item to be predicted), and do they say something useful (are they
followed by that item more often than chance)? Any table of neighbours can be described. What is
counted here is counted from the events themselves, without the code that chose the neighbours, so
that a fault there shows. Only training events are read; a sample of them is told by title, which
makes the report a text about users.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.recommenders.sra_cl.events import Int64Array, TrainingEvents
from llmrec.recommenders.sra_cl.semantics import Semantics
from llmrec.retrieval.neighbors import Neighbors
from llmrec.retrieval.report import neighbor_report

SCHEMA = 1
_SCORED = 2000  # rows whose cosines are computed
_SAMPLES = 10
_NEWEST = 5  # titles told of a sequence
_TOLD = (2, 5)  # neighbours told of a sequence and of an item

FloatArray = npt.NDArray[np.floating]
Table = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


def semantics_report(
    semantics: Semantics,
    events: TrainingEvents,
    titles: pl.Series,
    *,
    categories: Sequence[str] | None = None,
    item_vectors: FloatArray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Describe both tables of a training.

    Args:
        semantics: The tables, and the vectors of the sequences.
        events: The training events.
        titles: ``[items]`` readable names, row ``j`` is code ``j + 1``.
        categories: ``[items]`` the category of every item, empty where unknown; None for no
            figures about categories.
        item_vectors: ``[items, D]`` text vectors; None for no cosines of items.
        seed: Of the rows whose cosines are computed and of those that are told.

    Returns:
        ``schema``, and under ``sequences`` and ``items`` the results of :func:`sequence_report`
        and :func:`item_report`, None for a table that was not made.
    """
    of_sequences, of_items = semantics.sequence_neighbors, semantics.item_neighbors
    sequences = items = None
    if of_sequences.size:
        sequences = sequence_report(of_sequences, events, semantics.sequences, titles, seed)
    if of_items.size:
        items = item_report(of_items, titles, categories, item_vectors, seed)
    return {"schema": SCHEMA, "sequences": sequences, "items": items}


def sequence_report(
    table: Table,
    events: TrainingEvents,
    vectors: FloatArray,
    titles: pl.Series,
    seed: int = 0,
) -> dict[str, Any]:
    """Describe neighbours of the sequences that have a target.

    Shares are of those sequences that have a neighbour, or, where the name ends in ``_slots``, of
    their neighbours; None where there is nothing to take a share of.

    Args:
        table: ``[events, k]`` rows of events, -1 where unused.
        events: The training events.
        vectors: ``[events, D]`` text vectors.
        titles: ``[items]`` readable names.
        seed: Of the rows drawn.

    Returns:
        ``pool``, ``queries``, ``described`` (queries with a neighbour), ``k``, ``filled``,
        ``same_user_slots``, ``holds_target`` (a neighbour holds the item that follows the query),
        ``holds_target_slots``, ``same_next`` (a neighbour is followed by the item that follows the
        query: a useful signal), ``same_next_slots`` and what that would be by chance,
        ``users_per_query`` (mean number of different users), ``score``, ``duplicates``, ``hubness``
        and ``samples``.
    """
    asking = np.flatnonzero(events.targets > 0)
    told = asking[(table[asking] >= 0).any(1)]
    rows = table[told]
    used, near, target = rows >= 0, np.maximum(rows, 0), events.targets[told][:, None]
    same_user = used & (events.users[near] == events.users[told][:, None])
    holds = used & _holds(events, near, target)
    same_next = used & (events.targets[near] == target)
    found = {
        "pool": len(events),
        "queries": int(asking.size),
        "described": int(told.size),
        "same_user_slots": _share(same_user[used]),
        "holds_target": _share(holds.any(1)),
        "holds_target_slots": _share(holds[used]),
        "same_next": _share(same_next.any(1)),
        "same_next_slots": _share(same_next[used]),
        "same_next_slots_by_chance": _equal_by_chance(events),
        "users_per_query": _share(_n_different(np.where(used, events.users[near], -1))),
    }
    newest = titles.gather(events.items - 1)
    found |= _geometry(rows, told, vectors, len(events), newest, seed)
    return found | {"samples": _sequence_samples(told, rows, events, vectors, titles, seed)}


def item_report(
    table: Table,
    titles: pl.Series,
    categories: Sequence[str] | None = None,
    vectors: FloatArray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Describe neighbours of items.

    Args:
        table: ``[items, k]`` codes minus 1, -1 where unused.
        titles: ``[items]`` readable names.
        categories: ``[items]`` the category of every item, empty where unknown.
        vectors: ``[items, D]`` text vectors, for cosines.
        seed: Of the rows drawn.

    Returns:
        ``items``, ``described`` (items with a neighbour), ``k``, ``filled``,
        ``same_category_slots`` (of pairs whose categories are both known) and what that would be
        by chance, ``score``, ``duplicates``, ``hubness`` and ``samples``.
    """
    told = np.flatnonzero((table >= 0).any(1))
    rows = table[told]
    found: dict[str, Any] = {"items": len(table), "described": int(told.size)}
    found |= _categories(told, rows, categories)
    found |= _geometry(rows, told, vectors, len(table), titles, seed)
    chosen = _drawn(told.size, _SAMPLES, seed)
    samples = []
    for item, near in zip(told[chosen], rows[chosen], strict=True):
        names = titles.gather(near[near >= 0][: _TOLD[1]]).to_list()
        samples.append({"title": titles[int(item)], "neighbors": names})
    return found | {"samples": samples}


def _holds(events: TrainingEvents, ends: Int64Array, items: Int64Array) -> BoolArray:
    """Whether the sequences that end at ``ends`` hold ``items``: the user chose it by then."""
    width = int(events.items.max(initial=0)) + 1
    known, first = np.unique(events.users * width + events.items, return_index=True)
    wanted = events.users[ends] * width + items
    place = np.minimum(np.searchsorted(known, wanted), known.size - 1)
    held: BoolArray = (known[place] == wanted) & (first[place] <= ends)
    return held


def _equal_by_chance(events: TrainingEvents) -> float | None:
    """How often a sequence drawn at random is followed by the item that follows another."""
    counts = np.bincount(events.targets)[1:].astype(np.float64)
    asking = counts.sum()
    return float(np.sum(counts**2) / (asking * len(events))) if asking else None


def _n_different(values: Int64Array) -> Int64Array:
    """``[n]`` number of different values from 0 up in every row of ``[n, k]``."""
    ordered = np.sort(values, axis=1)
    fresh = ordered >= 0
    fresh[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    counts: Int64Array = fresh.sum(1)
    return counts


def _categories(
    told: Int64Array, rows: Table, categories: Sequence[str] | None
) -> dict[str, float | None]:
    if categories is None:
        return {"same_category_slots": None, "same_category_slots_by_chance": None}
    names, code = np.unique(np.asarray(categories, dtype=np.str_), return_inverse=True)
    known = names[code] != ""
    near = np.maximum(rows, 0)
    judged = (rows >= 0) & known[near] & known[told][:, None]
    shares = np.bincount(code[known]) / max(1, int(known.sum()))
    return {
        "same_category_slots": _share((code[near] == code[told][:, None])[judged]),
        "same_category_slots_by_chance": float(np.sum(shares**2)) if known.any() else None,
    }


def _geometry(
    rows: Table,
    queries: Int64Array,
    vectors: FloatArray | None,
    n_rows: int,
    labels: pl.Series,
    seed: int,
) -> dict[str, Any]:
    """Slots and hubs of all queries; cosines of a sample of them."""
    whole = neighbor_report(Neighbors(rows, np.zeros(rows.shape, dtype=np.float32)), n_rows)
    for hub in whole["hubness"]["hubs"]:
        hub["label"] = labels[hub["row"]]
    found = {name: whole[name] for name in ("k", "filled", "hubness")}
    if vectors is None:
        return found | {"score": None, "duplicates": None}
    chosen = _drawn(len(rows), _SCORED, seed)
    cosines = _cosines(vectors, queries[chosen], rows[chosen])
    scored = neighbor_report(Neighbors(rows[chosen], cosines), n_rows)
    score = {"of_queries": int(chosen.size), **scored["score"]}
    return found | {"score": score, "duplicates": scored["duplicates"]}


def _cosines(vectors: FloatArray, queries: Int64Array, rows: Table) -> npt.NDArray[np.float32]:
    """``[n, k]`` cosines of queries and their neighbours, -inf in unused slots."""
    left = _unit(vectors[queries])
    right = _unit(vectors[np.maximum(rows, 0)])
    cosines = np.einsum("nd,nkd->nk", left, right)
    return np.where(rows >= 0, cosines, -np.inf).astype(np.float32)


def _unit(vectors: FloatArray) -> npt.NDArray[np.float32]:
    """Stored vectors are rounded to float16; equal ones must have a cosine of 1 all the same."""
    values = vectors.astype(np.float32)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.where(norms > 0, norms, 1), dtype=np.float32)


def _sequence_samples(
    told: Int64Array,
    rows: Table,
    events: TrainingEvents,
    vectors: FloatArray,
    titles: pl.Series,
    seed: int,
) -> list[dict[str, Any]]:
    """A few sequences with their nearest neighbours, oldest title first."""
    chosen = _drawn(told.size, _SAMPLES, seed)
    cosines = _cosines(vectors, told[chosen], rows[chosen])
    samples = []
    for row, near, scores in zip(told[chosen], rows[chosen], cosines, strict=True):
        slots = np.flatnonzero(near >= 0)[: _TOLD[0]]
        neighbors = [
            _told(int(near[slot]), events, titles) | {"cosine": round(float(scores[slot]), 4)}
            for slot in slots
        ]
        samples.append(_told(int(row), events, titles) | {"neighbors": neighbors})
    return samples


def _told(row: int, events: TrainingEvents, titles: pl.Series) -> dict[str, Any]:
    first = max(int(events.starts[row]), row + 1 - _NEWEST)
    target = int(events.targets[row])
    return {
        "newest": titles.gather(events.items[first : row + 1] - 1).to_list(),
        "next": titles[target - 1] if target else None,
    }


def _drawn(n: int, most: int, seed: int) -> Int64Array:
    """Up to ``most`` different numbers below ``n``, ascending."""
    rng = np.random.default_rng([seed, 31])
    return np.sort(rng.choice(n, min(n, most), replace=False)).astype(np.int64)


def _share(values: npt.ArrayLike) -> float | None:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else None
