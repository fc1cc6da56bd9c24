"""New gates from new events: no gradient, no language model, milliseconds a user (reclora.md 5.1).

Whatever gives gate weights can refresh a store: a trained recommender, or a plain function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from llmrec.adapters.bundle import Bundle
from llmrec.adapters.store import AdapterStore
from llmrec.data.histories import Histories
from llmrec.errors import ConfigError, DataError

_HISTORIES_AT_ONCE = 8192


@runtime_checkable
class GateSource(Protocol):
    """Something that knows which gate weights a history stands for."""

    @property
    def bundle(self) -> Bundle:
        """What its weights belong to; a store made for something else refuses them."""
        ...

    def gates(self, histories: Histories) -> npt.NDArray[np.float32]:
        """``[n, gates, blocks]`` for n histories, the same every time."""
        ...


GateFunction = Callable[[Histories], npt.ArrayLike]


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        new: Users who had no gate.
        updated: Users whose gate was replaced.
        unchanged: Users whose gate moved too little, or who have too few events; they keep what
            they have, and their adapters stay valid.
    """

    new: int
    updated: int
    unchanged: int


def refresh(
    store: AdapterStore,
    source: GateSource | GateFunction,
    histories: Histories,
    *,
    name: str = "refresh",
    min_events: int = 1,
    min_drift: float = 0.0,
) -> Refreshed:
    """Compute gates from histories and write those that changed.

    Args:
        store: Where to.
        source: What gives gates. A plain function cannot say what it belongs to, so that only the
            shape of its weights is checked.
        histories: Whole histories of the users, their new events included.
        name: Written beside the gates as their source.
        min_events: A user with fewer events is left as they are.
        min_drift: A gate is replaced only if some weight moves further than this.

    Raises:
        ArtifactError: The source belongs to something else than the store; the part is named.
        DataError: A user has two histories, or the source gives another shape.
        ConfigError: A limit is out of range.
    """
    if min_events < 0 or min_drift < 0:
        raise ConfigError("min_events and min_drift must be 0 or more.")
    gates_of = source.gates if isinstance(source, GateSource) else source
    if isinstance(source, GateSource):
        store.bundle.require(source.bundle)
    users = histories.user_ids.to_list()
    if len(set(users)) < len(users):
        raise DataError("a user has two histories; give each user one, with all events.")
    rows = np.flatnonzero(histories.lengths >= min_events)
    counted = {"new": 0, "updated": 0, "unchanged": len(users) - rows.size}
    for start in range(0, rows.size, _HISTORIES_AT_ONCE):
        part = histories.take(rows[start : start + _HISTORIES_AT_ONCE])
        _refresh_part(store, part, np.asarray(gates_of(part)), name, min_drift, counted)
    return Refreshed(**counted)


def _refresh_part(
    store: AdapterStore,
    histories: Histories,
    gates: npt.NDArray[np.float32],
    name: str,
    min_drift: float,
    counted: dict[str, int],
) -> None:
    users = histories.user_ids.to_list()
    if gates.shape != (len(users), *store.experts.gate_shape):
        raise DataError(
            f"the source gave gates of shape {list(gates.shape)} for {len(users)} users, but this "
            f"store holds gates of shape {list(store.experts.gate_shape)}; is it of another model?"
        )
    ready = store.prepared(gates, histories.lengths)
    kept = []
    for row, user in enumerate(users):
        old = store.gate(user)
        if old is None:
            counted["new"] += 1
        elif np.abs(ready[row] - old.gate).max() <= min_drift:
            counted["unchanged"] += 1
            continue
        else:
            counted["updated"] += 1
        kept.append(row)
    if kept:
        store.put([users[row] for row in kept], ready[kept], name)
