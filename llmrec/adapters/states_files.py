"""States of users in a table: one row each, for gates made without the model that made them.

Columns ``user_id``, ``state`` (a list of numbers: what ``RecLoRA.gate_inputs`` gives),
``ctr_model`` (the hash of the CTR model that they come from, ``RecLoRA.bundle.ctr_model``; one in
all rows) and optionally ``events`` (how many events are behind the state) and ``new_events`` (how
many of them came since the last refresh). Parquet, JSONL or Arrow IPC.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.adapters.bundle import Bundle
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
        new_events: ``[n]`` numbers of new events, or None.
        ctr_model: Hash of the CTR model; nothing where the table does not say.
    """

    users: list[Any]
    states: npt.NDArray[np.float32]
    events: npt.NDArray[np.int64] | None
    new_events: npt.NDArray[np.int64] | None = None
    ctr_model: str = ""

    def require(self, bundle: Bundle, path: str | Path) -> None:
        """Refuse states that the gates of a store do not read.

        Args:
            bundle: What the store was made for.
            path: Where the states come from, for the message.

        Raises:
            DataError: The store names its CTR model, and the table does not.
            ArtifactError: It names another one: these would be gates for another CTR model.
        """
        if bundle.ctr_model and self.users and not self.ctr_model:
            raise DataError(
                f"{path} has no column 'ctr_model', so that nothing says which CTR model its "
                f"states come from; this store was made for {bundle.ctr_model}, which is "
                "RecLoRA.bundle.ctr_model."
            )
        bundle.require(Bundle(base_model="", experts="", ctr_model=self.ctr_model))


def read_states(path: str | Path) -> UserStates:
    """Read a table of states.

    Raises:
        DataError: The file cannot be read, lacks a column, states differ in width or hold
            something else than numbers, or it names several CTR models.
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
    states = _states(table["state"], path)
    counts = {name: _counts(table, name, path) for name in ("events", "new_events")}
    return UserStates(
        table["user_id"].to_list(), states, **counts, ctr_model=_ctr_model(table, path)
    )


def _states(column: pl.Series, path: Path) -> npt.NDArray[np.float32]:
    """``[n, width]``; of no rows ``[0, 0]``, for nothing says how wide they would be."""
    rows = column.to_list()
    if not rows:
        return np.empty((0, 0), dtype=np.float32)
    widths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(widths) > 1 or -1 in widths:
        raise DataError(f"{path}: the states are not lists of one width; found {sorted(widths)}.")
    values = column.explode()
    if not values.dtype.is_numeric():
        raise DataError(f"{path}: states hold {values.dtype} and not numbers; write them as such.")
    if values.null_count():
        number = (values.is_null().arg_max() or 0) // max(widths.pop(), 1)
        raise DataError(f"{path}: the state in row {number + 1} lacks a number (null).")
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)


def _counts(table: pl.DataFrame, name: str, path: Path) -> npt.NDArray[np.int64] | None:
    if name not in table.columns:
        return None
    column = table[name]
    if column.null_count() or not column.dtype.is_integer():
        raise DataError(f"{path}: {name} must be a whole number in every row.")
    return column.cast(pl.Int64).to_numpy()


def _ctr_model(table: pl.DataFrame, path: Path) -> str:
    if "ctr_model" not in table.columns:
        return ""
    found = table["ctr_model"].unique().to_list()
    if len(found) > 1 or not all(isinstance(name, str) and name for name in found):
        raise DataError(f"{path}: ctr_model must be one hash, the same in all rows.")
    return found[0] if found else ""
