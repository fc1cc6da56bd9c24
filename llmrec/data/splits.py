"""Who may learn from which event.

A split gives every canonical row one part: train, valid, test, or unused. Cases are what a model
is asked: an input history that ends strictly before its targets. Users too short for a split stay
in training and are counted in ``n_too_short``.

What each split leaks: leave-one-out and ratio cut every user at another moment, so one user's
training events may be later than another's test event (popularity and co-occurrence from the
future). A global-time split does not; it needs timestamps.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.dataset import Dataset
from llmrec.data.hashing import hash_arrays, hash_json
from llmrec.data.histories import PART_ORDER, Histories, Origin
from llmrec.data.ragged import offsets_of, row_of_each, smaller_before
from llmrec.errors import ConfigError, DataError, nearest_name, shorten

Part = Literal["train", "valid", "test"]
TRAIN, VALID, TEST, UNUSED = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Cases:
    """Moments to predict at: every case has one input history and one or more targets.

    Attributes:
        histories: ``[n]`` inputs, all events strictly before the targets.
        targets: ``[sum of targets]`` int32 item codes, distinct within a case.
        target_offsets: ``[n + 1]`` int64.
        part: ``"valid"`` or ``"test"``.
    """

    histories: Histories
    targets: npt.NDArray[np.int32]
    target_offsets: npt.NDArray[np.int64]
    part: Part

    def __len__(self) -> int:
        return len(self.histories)

    def take(self, rows: npt.ArrayLike) -> "Cases":
        """Select cases by number."""
        rows = np.asarray(rows, dtype=np.int64)
        as_rows = Histories(
            self.histories.user_ids, self.targets, self.target_offsets, self.histories.vocabulary
        ).take(rows)
        return Cases(self.histories.take(rows), as_rows.items, as_rows.offsets, self.part)


@dataclass(frozen=True, eq=False)
class LabelledCases:
    """Judged user-item pairs: each pair has its own input history.

    Attributes:
        histories: ``[n]`` inputs, all events with a timestamp strictly below the pair's.
        items: ``[n]`` int32 item codes.
        labels: ``[n]`` int8, 1 if the user liked the item.
        part: The part the pairs belong to.
    """

    histories: Histories
    items: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int8]
    part: Part

    def __len__(self) -> int:
        return len(self.histories)


@dataclass(frozen=True, eq=False)
class Split:
    """A data set with a part for every canonical row.

    Attributes:
        dataset: The data set.
        name: ``leave_one_out``, ``ratio``, ``global_time`` or ``given``.
        params: The arguments it was made with, as JSON values.
        parts: ``[events]`` uint8: 0 train, 1 valid, 2 test, 3 unused. Within a user, parts never
            go back in time.
        n_too_short: Users with too few events to be split; all their events are in training.
    """

    dataset: Dataset
    name: str
    params: Mapping[str, Any]
    parts: npt.NDArray[np.uint8]
    n_too_short: int = 0

    @cached_property
    def hash(self) -> str:
        """Hash of data set, split and every row's part, 16 hexadecimal digits."""
        description = [self.dataset.fingerprint, self.name, dict(self.params)]
        return hash_json([description, hash_arrays({"parts": self.parts})])[:16]

    def train_histories(self, include_valid: bool = False) -> Histories:
        """Every user's training events, one row per user that has any.

        Args:
            include_valid: Also the validation events, for a final fit before the test.
        """
        last: Part = "valid" if include_valid else "train"
        lengths = self._counts(PART_ORDER[last])
        rows = np.flatnonzero(lengths)
        return self._with_origin(self.dataset.histories.prefixes(rows, lengths[rows]), last)

    def cases(self, part: Part) -> Cases:
        """What a model is asked in ``part``: one case per user with events there.

        The input is everything before that part (for the test: training and validation events).
        Users without any earlier event are left out: there is nothing to condition on.

        Raises:
            ConfigError: ``part`` is the training part.
            DataError: Nobody has an event in that part.
        """
        if part not in ("valid", "test"):
            raise ConfigError(f"cases are made for 'valid' or 'test', not {part!r}.")
        before = self._counts(PART_ORDER[part] - 1)
        n_targets = self._counts(PART_ORDER[part]) - before
        rows = np.flatnonzero((before > 0) & (n_targets > 0))
        if not rows.size:
            raise DataError(
                f"{self.dataset.name}: no user has a {part} event under split {self.name}; "
                "the histories are too short or the cut is too late."
            )
        previous: Part = "train" if part == "valid" else "valid"
        inputs = self._with_origin(self.dataset.histories.prefixes(rows, before[rows]), previous)
        targets, offsets = self._targets(rows, PART_ORDER[part])
        return Cases(inputs, targets, offsets, part)

    def labelled_cases(self, part: Part) -> LabelledCases:
        """The judged pairs of ``part``: every row that has a label, and the events before it.

        Raises:
            DataError: The data has no ``label`` column or no clock, or no event of the part has a
                label.
        """
        data = self.dataset
        if "label" not in data.interactions.frame.columns:
            raise DataError(f"{data.name} has no column 'label'; pair metrics need judged pairs.")
        times = data.histories.times
        if times is None:
            raise DataError(f"{data.name} is order-only; judged pairs need timestamps.")
        judged = data.interactions.frame["label"].is_not_null().to_numpy()
        of_part = self.parts == PART_ORDER[part]
        index = np.flatnonzero(of_part & judged)
        if of_part.any() and not index.size:
            raise DataError(
                f"{data.name}: no {part} event has a label under split {self.name}; pair metrics "
                "need judged pairs, and an empty label is not one."
            )
        owners = row_of_each(data.user_offsets)[index]
        earlier = smaller_before(times, data.user_offsets)[index]
        inputs = data.histories.prefixes(owners, earlier)
        labels = data.interactions.frame["label"].to_numpy()[index].astype(np.int8)
        return LabelledCases(self._with_origin(inputs, part), data.item_codes[index], labels, part)

    def _counts(self, last: int) -> npt.NDArray[np.int64]:
        """``[users]`` number of events in the parts up to ``last``."""
        total = np.concatenate([[0], np.cumsum(self.parts <= last)])
        return np.asarray(np.diff(total[self.dataset.user_offsets]), dtype=np.int64)

    def _targets(
        self, rows: npt.NDArray[np.int64], code: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Distinct items of the part per user, in order of first appearance."""
        mask = self.parts == code
        owner = row_of_each(self.dataset.user_offsets)[mask]
        frame = pl.DataFrame({"owner": owner, "item": self.dataset.item_codes[mask]})
        chosen = frame.unique(maintain_order=True).filter(
            pl.col("owner").is_in(pl.Series(rows).implode())
        )
        counts = np.bincount(chosen["owner"].to_numpy(), minlength=int(rows[-1]) + 1)[rows]
        return chosen["item"].to_numpy(), offsets_of(counts)

    def _with_origin(self, histories: Histories, part: Part) -> Histories:
        newest = None
        if histories.times is not None and histories.times.size:
            newest = int(histories.times.max())
        origin = Origin(self.dataset.name, self.dataset.fingerprint, self.hash, part, newest)
        return dataclasses.replace(histories, origin=origin)


def leave_one_out(dataset: Dataset) -> Split:
    """Last event of every user to test, last but one to validation, the rest to training.

    Users with fewer than three events stay in training. Leaks the future of other users.
    """
    offsets = dataset.user_offsets
    long_enough = np.diff(offsets) >= 3
    parts = np.zeros(offsets[-1], dtype=np.uint8)
    parts[offsets[1:][long_enough] - 1] = TEST
    parts[offsets[1:][long_enough] - 2] = VALID
    return Split(dataset, "leave_one_out", {}, parts, int((~long_enough).sum()))


def ratio(dataset: Dataset, train: float = 0.8, valid: float = 0.1) -> Split:
    """Cut every user's own events in time order; the rest after train and valid is test.

    Users who would get an empty part stay in training. Leaks the future of other users.

    Raises:
        ConfigError: The shares are not positive or leave nothing for the test.
    """
    _require_shares("ratio", train, valid)
    lengths = np.diff(dataset.user_offsets)
    n_train = np.floor(lengths * train + 1e-9).astype(np.int64)
    n_known = np.floor(lengths * (train + valid) + 1e-9).astype(np.int64)
    too_short = (n_train < 1) | (n_known <= n_train) | (lengths <= n_known)
    n_train, n_known = (np.where(too_short, lengths, n) for n in (n_train, n_known))
    position = np.arange(dataset.user_offsets[-1]) - np.repeat(dataset.user_offsets[:-1], lengths)
    parts = (position >= np.repeat(n_train, lengths)).astype(np.uint8)
    parts += position >= np.repeat(n_known, lengths)
    return Split(dataset, "ratio", {"train": train, "valid": valid}, parts, int(too_short.sum()))


def global_time(
    dataset: Dataset,
    valid_from: int | None = None,
    test_from: int | None = None,
    train: float = 0.8,
    valid: float = 0.1,
) -> Split:
    """Cut all events at two moments of the clock; an event at a cut belongs to the later part.

    Args:
        dataset: Data with timestamps.
        valid_from: Unix seconds at which validation begins; None places the cut so that about
            ``train`` of all events lie before it.
        test_from: Unix seconds at which the test begins; None likewise with ``train + valid``.
        train: Share of events before ``valid_from``, used when that is None.
        valid: Share of events between the cuts, used when ``test_from`` is None.

    Raises:
        DataError: The data is order-only, or a part is empty.
        ConfigError: The cuts are out of order, or the shares that place one are not positive or
            leave nothing for the test.
    """
    times = dataset.histories.times
    if times is None:
        raise DataError(
            f"{dataset.name} is order-only: it has no timestamps, so a global-time split is not "
            "possible; use leave_one_out or ratio."
        )
    first, second = valid_from, test_from
    if first is None or second is None:
        _require_shares("global_time", train, valid)
        cuts = np.quantile(times, [train, train + valid], method="higher")
        first = int(cuts[0]) if first is None else first
        second = int(cuts[1]) if second is None else second
    if first >= second:
        raise ConfigError(f"global_time: valid_from={first} must be before test_from={second}.")
    parts = (times >= first).astype(np.uint8) + (times >= second).astype(np.uint8)
    for code, name in enumerate(("training", "validation", "test")):
        if not (parts == code).any():
            raise DataError(
                f"global_time: no {name} event with cuts {first} and {second}; the data runs from "
                f"{times.min()} to {times.max()}."
            )
    return Split(dataset, "global_time", {"valid_from": first, "test_from": second}, parts)


def given(dataset: Dataset) -> Split:
    """Take the parts from the data's own ``split`` column (``train``, ``valid``, ``test``).

    Raises:
        DataError: There is no such column, a value is unknown, or a user's parts go back in time.
    """
    frame = dataset.interactions.frame
    if "split" not in frame.columns:
        raise DataError(f"{dataset.name} has no column 'split'; choose another split.")
    parts = _given_parts(frame["split"], dataset.name)
    same_user = np.diff(row_of_each(dataset.user_offsets)) == 0
    back = np.flatnonzero((np.diff(parts.astype(np.int8)) < 0) & same_user)
    if back.size:
        user = frame["user_id"][int(back[0])]
        raise DataError(
            f"{dataset.name}: the given split goes back in time for user {user!r}: "
            f"a {frame['split'][int(back[0])]} event comes before a training one."
        )
    return Split(dataset, "given", {}, parts)


def _require_shares(name: str, train: float, valid: float) -> None:
    if not (0 < train < 1 and 0 < valid < 1 and train + valid < 1):
        raise ConfigError(
            f"{name} split: train={train} and valid={valid} must be positive and sum to below 1."
        )


def _given_parts(column: pl.Series, source: str) -> npt.NDArray[np.uint8]:
    """``[events]`` part of every event by its name."""
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        few = shorten(column.unique().to_list())
        raise DataError(
            f"{source}: column 'split' holds {column.dtype} ({few}), not text; use "
            f"{list(PART_ORDER)}."
        )
    names = column.cast(pl.String)
    codes = names.replace_strict(PART_ORDER, default=UNUSED, return_dtype=pl.UInt8)
    if (codes == UNUSED).any():
        bad = column.filter(codes == UNUSED).unique(maintain_order=True)
        raise DataError(
            f"{source}: column 'split' has the values [{shorten(bad)}]; use {list(PART_ORDER)}."
        )
    return codes.to_numpy().astype(np.uint8)


SPLITS = {
    "leave_one_out": leave_one_out,
    "ratio": ratio,
    "global_time": global_time,
    "given": given,
}


def make_split(dataset: Dataset, name: str, /, **params: Any) -> Split:
    """Make a split by name, as task files do.

    Raises:
        ConfigError: The name or a parameter is unknown.
    """
    if name not in SPLITS:
        raise ConfigError(f"unknown split {name!r}{nearest_name(name, SPLITS)}.")
    known = list(inspect.signature(SPLITS[name]).parameters)[1:]
    for param in params:
        if param not in known:
            hint = nearest_name(param, known) if known else "; it takes none"
            raise ConfigError(f"split {name} has no parameter {param!r}{hint}.")
    try:
        return SPLITS[name](dataset, **params)
    except TypeError as error:
        raise ConfigError(f"split {name}: {error}.") from None
