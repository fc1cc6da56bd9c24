"""States of users in a table: one row each, for gates made without the model that made them.

Columns ``user_id``, ``state`` (a list of numbers, as wide as the gates read) and optionally
``events`` (how many events are behind the state). Parquet, JSONL or Arrow IPC.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.errors import DataError

_READERS: dict[str, Any] = {
    ".parquet": pl.read_parquet,
    ".jsonl": pl.read_ndjson,
    ".arrow": pl.read_ipc,
}


@dataclass(frozen=True)
class UserStates:
    """States of users.

    Attributes:
        users: ``n`` ids.
        states: ``[n, width]``.
        events: ``[n]`` numbers of events, or None.
    """

    users: list[Any]
    states: npt.NDArray[np.float32]
    events: npt.NDArray[np.int64] | None


def read_states(path: str | Path) -> UserStates:
    """Read a table of states.

    Raises:
        DataError: The file cannot be read, lacks a column, or states differ in width.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DataError(f"{path} must be one of {', '.join(_READERS)}, with user_id and state.")
    try:
        table = reader(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    if missing := [name for name in ("user_id", "state") if name not in table.columns]:
        raise DataError(f"{path} has no column {missing[0]!r}; it has {', '.join(table.columns)}.")
    rows = table["state"].to_list()
    widths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(widths) > 1 or -1 in widths:
        raise DataError(f"{path}: the states are not lists of one width; found {sorted(widths)}.")
    states = np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)
    events = table["events"].to_numpy() if "events" in table.columns else None
    return UserStates(table["user_id"].to_list(), states, events)
