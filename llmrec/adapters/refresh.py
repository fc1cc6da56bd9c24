"""New gates from new events: no gradient, no language model, milliseconds a user (reclora.md 5.1).

Whatever gives gate weights can refresh a store: a trained recommender, a plain function, or what
gates read of users, computed elsewhere.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from llmrec.adapters.bundle import Bundle
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.user_keys import UserId, user_key
from llmrec.data.histories import Histories
from llmrec.errors import ArtifactError, ConfigError, DataError

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
        unchanged: Users whose gate moved too little, or who have too few new events; they keep
            what they have, and their adapters stay valid.
        overtaken: Users who were forgotten, or got a gate from somebody else, while this went on;
            nothing is written of them.
    """

    new: int
    updated: int
    unchanged: int
    overtaken: int = 0


def refresh(
    store: AdapterStore,
    source: GateSource | GateFunction,
    histories: Histories,
    *,
    new_events: npt.ArrayLike | None = None,
    name: str = "refresh",
    min_events: int = 1,
    min_drift: float = 0.0,
) -> Refreshed:
    """Compute gates from histories and write those that changed.

    Args:
        store: Where to.
        source: What gives gates. A plain function cannot say what it belongs to, so that only the
            shape of its weights is checked. A source whose ``config.shrink`` draws gates to a mean
            is refused where the store does so, too.
        histories: Whole histories of the users, their new events included.
        new_events: ``[n]`` how many of each history's events came since the user's gate was
            computed; None says all of them. To a user without a gate all are new.
        name: Written beside the gates as their source.
        min_events: A user with fewer new events is left as they are.
        min_drift: A gate is replaced only if some weight moves further than this.

    Raises:
        ArtifactError: The source belongs to something else than the store; the part is named.
        DataError: A user has two histories, an id is none that a store takes, or the source gives
            another shape.
        ConfigError: A limit is out of range, or gates would be drawn to a mean twice.
    """
    gates_of = source.gates if isinstance(source, GateSource) else source
    if isinstance(source, GateSource):
        store.bundle.require(source.bundle)
        require_drawn_once(source, store.settings.prior_events)
    users = histories.user_ids.to_list()
    if len(set(users)) < len(users):
        raise DataError("a user has two histories; give each user one, with all events.")
    for user in users:  # before the first of them is written
        user_key(user)
    _require_limits(min_events, min_drift)
    rows = np.flatnonzero(due(store, users, histories.lengths, new_events, min_events))
    before = store.gates.versions_now(users)  # of all, since their histories have been read
    counted = Counter(unchanged=len(users) - rows.size)
    for start in range(0, rows.size, _HISTORIES_AT_ONCE):
        these = rows[start : start + _HISTORIES_AT_ONCE]
        part = histories.take(these)
        gates = np.asarray(gates_of(part))
        given = _Given(part.user_ids.to_list(), gates, part.lengths, before[these])
        counted += _refresh_part(store, given, name, min_drift)
    return _refreshed(counted)


def refresh_from_states(
    store: AdapterStore,
    users: Sequence[UserId],
    states: npt.ArrayLike,
    *,
    events: npt.ArrayLike | None = None,
    new_events: npt.ArrayLike | None = None,
    name: str = "refresh",
    min_events: int = 1,
    min_drift: float = 0.0,
) -> Refreshed:
    """Compute gates from what they read of users, and write those that changed.

    Args:
        store: Where to.
        users: Different ids.
        states: ``[n, gate_dim]``, such as ``RecLoRA.gate_inputs`` gives.
        events: ``[n]`` events behind each state, by which gates are drawn to the mean where the
            store does that.
        new_events: ``[n]`` how many of them came since the user's gate was computed. To a user
            without a gate all events are new, where their number is given.
        name: Written beside the gates as their source.
        min_events: A user with fewer new events is left as they are.
        min_drift: A gate is replaced only if some weight moves further than this.

    Raises:
        ConfigError: A limit is out of range, the states have another width than the gates read,
            or more than one new event is asked for and ``new_events`` is not given.
        DataError: A user is named twice, or numbers of events are not one for each user.
    """
    _require_limits(min_events, min_drift)
    if new_events is None and min_events > 1:
        raise ConfigError(
            f"min_events is {min_events}, but nothing says how many events are new; give "
            "new_events, or leave min_events at 1."
        )
    if len(set(users)) < len(users):
        raise DataError("a user is named twice; give each user one state.")
    chosen = np.arange(len(users))
    if new_events is not None:
        known = new_events if events is None else events
        chosen = np.flatnonzero(due(store, users, known, new_events, min_events))
    names = [users[row] for row in chosen.tolist()]
    before = store.gates.versions_now(names)
    gates = store.weights_of(np.asarray(states)[chosen])
    behind = None if events is None else np.asarray(events)[chosen]
    counted = _refresh_part(store, _Given(names, gates, behind, before), name, min_drift)
    return _refreshed(counted + Counter(unchanged=len(users) - chosen.size))


def due(
    store: AdapterStore,
    users: Sequence[UserId],
    events: npt.ArrayLike,
    new_events: npt.ArrayLike | None,
    min_events: int,
) -> npt.NDArray[np.bool_]:
    """Which users have enough new events for another gate.

    Args:
        store: Whose gates.
        users: ``n`` ids.
        events: ``[n]`` all events of each.
        new_events: ``[n]`` those since the user's gate was computed, or None for all.
        min_events: How many are enough.

    Raises:
        DataError: There is not one number of events, 0 or more, for each user.
    """
    known = _counts(events, users)
    if new_events is None:
        return known >= min_events
    enough = _counts(new_events, users) >= min_events
    for row in np.flatnonzero(~enough & (known >= min_events)).tolist():
        enough[row] = _gate(store, users[row]) is None
    return enough


def require_drawn_once(source: object, prior_events: float) -> None:
    """Refuse that gates of people with few events are drawn to a mean by a model and by a store.

    Args:
        source: What gives gates, such as a recommender with ``config.shrink``.
        prior_events: Of the store.

    Raises:
        ConfigError: Both do.
    """
    shrink = getattr(getattr(source, "config", None), "shrink", 0)
    if shrink and prior_events:
        raise ConfigError(
            f"shrink={shrink:g} and prior_events={prior_events} both draw gates of people with few "
            "events to a mean; leave one of them at 0."
        )


def _counts(events: npt.ArrayLike, users: Sequence[UserId]) -> npt.NDArray[np.int64]:
    counts = np.asarray(events)
    if counts.shape != (len(users),) or (counts < 0).any():
        raise DataError("numbers of events must be one for each user, 0 or more.")
    return counts.astype(np.int64)


def _require_limits(min_events: int, min_drift: float) -> None:
    if min_events < 0 or min_drift < 0:
        raise ConfigError("min_events and min_drift must be 0 or more.")


class _Given(NamedTuple):
    """Users, their gates ``[n, gates, blocks]``, events behind them ``[n]``, versions before."""

    users: Sequence[UserId]
    gates: npt.NDArray[np.float32]
    events: npt.NDArray[np.int64] | None
    before: npt.NDArray[np.int64]


def _refresh_part(store: AdapterStore, given: _Given, name: str, min_drift: float) -> Counter[str]:
    """Write gates that moved of users who are as they were; how many of each kind there were."""
    users, gates = given.users, given.gates
    if gates.shape != (len(users), *store.experts.gate_shape):
        raise DataError(
            f"the source gave gates of shape {list(gates.shape)} for {len(users)} users, but this "
            f"store holds gates of shape {list(store.experts.gate_shape)}; is it of another model?"
        )
    ready = store.prepared(gates, given.events)
    olds = (_gate(store, user) for user in users)
    moved = np.array(
        [old is None or np.abs(ready[n] - old).max() > min_drift for n, old in enumerate(olds)],
        dtype=bool,
    )
    names = [user for user, yes in zip(users, moved, strict=True) if yes]
    before = given.before[moved]
    written = store.gates.put(names, ready[moved], name, before)
    return Counter(
        new=int((written & (before == 0)).sum()),
        updated=int((written & (before > 0)).sum()),
        unchanged=int((~moved).sum()),
        overtaken=int((~written).sum()),
    )


def _refreshed(counted: Counter[str]) -> Refreshed:
    kinds = (each.name for each in fields(Refreshed))
    return Refreshed(**{kind: counted[kind] for kind in kinds})


def _gate(store: AdapterStore, user: UserId) -> npt.NDArray[np.float32] | None:
    """A user's gate; a damaged one is written anew as if there were none."""
    try:
        row = store.gate(user)
    except ArtifactError:
        return None
    return None if row is None else row.gate
