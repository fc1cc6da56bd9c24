"""What texts say about the training data: vectors of sequences, neighbours of sequences and items.

Only training events are used: the vector of a sequence that ends at an event knows that event and
those before it, nothing later. Tables of neighbours are kept in the cache under a hash of
everything that they depend on.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from llmrec.recommenders.sra_cl.config import SRACLConfig
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.neighbors import (
    item_neighbors,
    random_neighbors,
    sequence_neighbors,
)
from llmrec.storage import atomic_file

FloatArray = npt.NDArray[np.float32]
Table = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Semantics:
    """What texts say about the training data.

    Attributes:
        sequences: ``[events, D]`` float16 text vectors of the sequences that end at each event.
        sequence_neighbors: ``[events, k]`` int32 rows of events, -1 where unused.
        item_neighbors: ``[items, k]`` int32 codes minus 1, -1 where unused.
    """

    sequences: npt.NDArray[np.float16]
    sequence_neighbors: Table
    item_neighbors: Table


def make_semantics(
    config: SRACLConfig,
    events: TrainingEvents,
    items: FloatArray,
    sequences: npt.NDArray[np.float16] | None,
    cache: Path | None,
) -> Semantics:
    """Find neighbours by text, or as the settings' control says.

    Args:
        config: The settings.
        events: The training events.
        items: ``[items, D]`` text vectors of items.
        sequences: ``[events, D]`` text vectors of sequences; None takes means of ``items``.
        cache: Where tables of neighbours are kept, or None.
    """
    seed = config.training.seed
    rng = np.random.default_rng([seed, 29])
    if config.control == "shuffled_vectors":  # the same texts, given to others at random
        items = items[rng.permutation(len(items))]
        if sequences is not None:
            sequences = sequences[rng.permutation(len(sequences))]
    given = sequences
    if sequences is None:
        sequences = decayed_means(items, events, config.history_decay)
    if config.control == "random_neighbors":
        near = random_neighbors(events, config.neighbors, config.neighbor_pool, seed)
        similar = rng.integers(0, len(items), (len(items), config.item_neighbors), dtype=np.int32)
        return Semantics(sequences, near, similar)
    key = _key(config, events, items, given)
    similar = _kept(
        cache, f"items-{key}", lambda: item_neighbors(items, config.item_neighbors).rows
    )
    one = config.neighbors_per_user == "one"
    rules = (config.neighbors, config.neighbor_pool, one, config.pool_size)
    near = _kept(
        cache,
        f"sequences-{key}",
        lambda: sequence_neighbors(sequences, events, *rules),
        wanted=bool(config.alpha),
    )
    return Semantics(sequences, near, similar)


def decayed_means(
    item_vectors: FloatArray, events: TrainingEvents, decay: float
) -> npt.NDArray[np.float16]:
    """Unit vectors of all sequences: ``v_t`` in the direction of ``x_t + decay * v_(t-1)``.

    Before it is brought to unit length, ``v_t`` is the sum of the items' vectors, each weighted by
    ``decay`` to the power of its age in events. The loop is over positions, not over users.

    Args:
        item_vectors: ``[items, D]``, row ``j`` is code ``j + 1``.
        events: The training events.
        decay: From above 0 to 1.

    Returns:
        ``[events, D]`` float16; zero rows where no item so far has a text.
    """
    found = np.empty((len(events), item_vectors.shape[1]), dtype=np.float16)
    rows = events.first_rows
    sums = np.zeros((rows.size, item_vectors.shape[1]), dtype=np.float32)
    while rows.size:
        sums = sums * np.float32(decay) + item_vectors[events.items[rows] - 1]
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        found[rows] = sums / np.where(norms > 0, norms, 1)
        going = rows + 1 < events.ends[rows]
        rows, sums = rows[going] + 1, sums[going]
    return found


def _key(
    config: SRACLConfig,
    events: TrainingEvents,
    items: FloatArray,
    given: npt.NDArray[np.float16] | None,
) -> str:
    """Hash of everything that the neighbours depend on, the same on every machine.

    Means are not hashed themselves: their last bits differ between processors.
    """
    digest = hashlib.sha256()
    rules: tuple[object, ...] = (config.neighbors, config.item_neighbors, config.neighbor_pool)
    if len(events) > config.pool_size:
        rules = (*rules, config.pool_size)
    if given is None:
        rules = (*rules, config.history_decay)
    digest.update(repr((2, *rules, config.neighbors_per_user)).encode())  # 2: of this format
    for array in (events.items, events.users, items, *(() if given is None else (given,))):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _kept(cache: Path | None, name: str, make: Callable[[], Table], wanted: bool = True) -> Table:
    """The table from the cache, or made and put there."""
    if not wanted:
        return np.empty((0, 0), dtype=np.int32)
    path = None if cache is None else cache / f"{name}.safetensors"
    if path is not None and path.is_file():
        return load_file(path)["rows"]
    table = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            save_file({"rows": table}, temporary)
    return table
