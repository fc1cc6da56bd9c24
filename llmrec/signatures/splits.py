"""Splits that tear no group: one question in several ways, one subject, one document.

A split is made once, of group names, and then applied to any number of sets: the same question
lies in the same part for every mode and every model. A group in two parts is refused.
"""

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.errors import ConfigError, DataError, ProtocolError, shorten

IntArray = npt.NDArray[np.int64]

DEFAULT_SHARES: Mapping[str, float] = {"learn": 0.5, "valid": 0.15, "calibrate": 0.1, "test": 0.25}


@dataclass(frozen=True)
class GroupSplit:
    """Which part every group belongs to.

    Attributes:
        parts: Name of a part by name of a group.
    """

    parts: Mapping[str, str]

    def rows(self, part: str, groups: Sequence[Hashable]) -> IntArray:
        """The rows of one part.

        Args:
            part: Its name.
            groups: The group of every row.

        Raises:
            ConfigError: No group is in such a part.
            DataError: A group is not known to the split.
        """
        if part not in self.parts.values():
            known = ", ".join(sorted(set(self.parts.values())))
            raise ConfigError(f"the split has no part {part!r}; it has {known}.")
        unknown = {str(group) for group in groups} - self.parts.keys()
        if unknown:
            raise DataError(
                f"the split does not know the groups {shorten(sorted(unknown))}; make it of all "
                "groups at once."
            )
        return np.flatnonzero([self.parts[str(group)] == part for group in groups])

    @property
    def hash(self) -> str:
        """Identity of the split: 16 hexadecimal digits."""
        text = json.dumps(sorted(self.parts.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def split_groups(
    groups: Sequence[Hashable], shares: Mapping[str, float] | None = None, seed: int = 0
) -> GroupSplit:
    """Draw a part for every group, so that the parts hold about the given shares of the rows.

    Args:
        groups: The group of every row, of all sets that are to be split alike.
        shares: Share of the rows by name of the part, which sum to 1; None takes
            :data:`DEFAULT_SHARES`.
        seed: Of the draw. Depends on the names and sizes of groups, not on the order of rows.

    Raises:
        ConfigError: Shares do not sum to 1.
        DataError: There are fewer groups than parts.

    Example:
        >>> split = split_groups(list("aabbccddee"), {"learn": 0.6, "test": 0.4})
        >>> len(split.rows("learn", list("abcde")))
        3
    """
    wanted = dict(DEFAULT_SHARES if shares is None else shares)
    if not wanted or min(wanted.values()) <= 0 or abs(sum(wanted.values()) - 1) > 1e-6:
        raise ConfigError(f"shares {wanted} of a split must be positive and sum to 1.")
    names, sizes = np.unique([str(group) for group in groups], return_counts=True)
    if names.size < len(wanted):
        raise DataError(
            f"{names.size} groups cannot be split into {len(wanted)} parts; name groups that are "
            "finer, or fewer parts."
        )
    order = np.random.default_rng([seed, 11]).permutation(names.size)
    parts: dict[str, str] = {}
    room = {part: share * sizes.sum() for part, share in wanted.items()}
    for group in order.tolist():
        # the part that lacks most of what it should have, among those that a group would not burst
        fits = [part for part in wanted if room[part] >= sizes[group] / 2]
        part = max(fits or wanted, key=lambda name: room[name] / wanted[name])
        parts[str(names[group])] = part
        room[part] -= sizes[group]
    return GroupSplit(parts)


def leave_one_out(groups: Sequence[Hashable]) -> dict[str, GroupSplit]:
    """One split per group, which is its ``test``; all others are ``rest``.

    Raises:
        DataError: There are fewer than two groups.
    """
    names = sorted({str(group) for group in groups})
    if len(names) < 2:
        raise DataError(f"leaving one of {len(names)} groups out leaves nothing to learn from.")
    return {
        left: GroupSplit({name: "test" if name == left else "rest" for name in names})
        for left in names
    }


def require_disjoint(parts: Mapping[str, Sequence[Hashable]]) -> None:
    """Refuse parts that share a group.

    Args:
        parts: Groups of the rows of every part.

    Raises:
        ProtocolError: A group is in two parts; the sentence names it.

    >>> require_disjoint({"train": ["q1", "q2"], "test": ["q3"]})
    """
    seen: dict[str, str] = {}
    for part, groups in parts.items():
        for group in dict.fromkeys(str(group) for group in groups):
            if group in seen:
                raise ProtocolError(
                    f"the group {group!r} is in {seen[group]} and in {part}: what is known from "
                    "one part is tested in the other. Split by group."
                )
            seen[group] = part
