"""Codes of known users, kept as hashes of their ids."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True)
class UserCodes:
    """Known users, 1 to ``len(self)``; everybody else is 0.

    Attributes:
        keys: ``[n]`` uint64 hashes of the users' ids, in the order of their codes.
    """

    keys: npt.NDArray[np.uint64]

    @classmethod
    def nobody(cls) -> "UserCodes":
        """No user is known."""
        return cls(np.empty(0, dtype=np.uint64))

    @classmethod
    def of(cls, user_ids: pl.Series) -> "UserCodes":
        """Make all different users known."""
        return cls(hashed_ids(user_ids.unique(maintain_order=True)))

    def __len__(self) -> int:
        return len(self.keys)

    def encode(self, user_ids: pl.Series) -> npt.NDArray[np.int64]:
        """``[n]`` codes of users."""
        if not self.keys.size:
            return np.zeros(user_ids.len(), dtype=np.int64)
        order, ordered = self._sorted
        wanted = hashed_ids(user_ids)
        place = np.minimum(np.searchsorted(ordered, wanted), ordered.size - 1)
        return np.where(ordered[place] == wanted, order[place] + 1, 0)

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        order = np.argsort(self.keys)
        return order, self.keys[order]


def hashed_ids(user_ids: pl.Series) -> npt.NDArray[np.uint64]:
    """64-bit hashes of ids; 5 and "5" are the same user."""
    texts = user_ids.cast(pl.String).to_list()
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
