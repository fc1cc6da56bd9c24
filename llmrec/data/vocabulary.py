"""User-facing ids to dense integers and back.

Codes run from 1 to ``len(vocabulary)``; 0 is padding and never names anything. A vocabulary does
not change after it is made: new ids mean a new vocabulary.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.hashing import hash_series
from llmrec.errors import DataError, UnknownIdError, shorten

Ids = Iterable[str] | Iterable[int] | pl.Series | npt.NDArray[np.generic]


class Vocabulary:
    """An ordered set of ids of one kind (``"user"`` or ``"item"``).

    Args:
        ids: Distinct ids, integers or strings, in the order of their codes (the first gets 1).
        kind: The word that error messages use.

    Raises:
        DataError: An id is missing, is there twice, or is neither an integer nor a string.
    """

    def __init__(self, ids: Ids, kind: str = "item") -> None:
        self.kind = kind
        self._ids = as_id_series(ids, kind).alias("id")
        if self._ids.null_count():
            raise DataError(f"a {kind} id is missing (null); drop or fill such rows first.")
        if self._ids.n_unique() != self._ids.len():
            doubled = self._ids.filter(self._ids.is_duplicated()).unique(maintain_order=True)
            raise DataError(f"{kind} ids are there more than once: {shorten(doubled)}.")

    @property
    def ids(self) -> pl.Series:
        """The ids in the order of their codes, length ``len(self)``."""
        return self._ids

    @property
    def dtype(self) -> pl.DataType:
        """``Int64`` or ``String``."""
        return self._ids.dtype

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ids in order; two vocabularies with equal fingerprints share their codes."""
        return hash_series(self._ids)

    def __len__(self) -> int:
        return self._ids.len()

    def __contains__(self, value: object) -> bool:
        return value in self._code_of

    def encode(
        self, ids: Ids, on_unknown: Literal["error", "zero"] = "error"
    ) -> npt.NDArray[np.int32]:
        """Map ids to codes, int32 of the same length.

        Args:
            ids: Ids of the vocabulary's own type.
            on_unknown: ``"error"``, or ``"zero"`` to give unknown ids the padding code.

        Raises:
            UnknownIdError: An id is unknown and ``on_unknown`` is ``"error"``.
            DataError: The ids are of another type than the vocabulary's.
        """
        series = as_id_series(ids, self.kind)
        if series.len() and series.dtype != self.dtype:
            raise DataError(
                f"{self.kind} ids are {_type_name(series.dtype)} here but "
                f"{_type_name(self.dtype)} in the vocabulary; convert one of the two "
                f"(first value: {series[0]!r})."
            )
        codes = self._lookup(series)
        if on_unknown == "error" and (unknown := codes == 0).any():
            names = series.filter(pl.Series(unknown)).unique(maintain_order=True)
            raise UnknownIdError(f"unknown {self.kind} id: {shorten(names)}.")
        return codes

    def decode(self, codes: npt.ArrayLike) -> pl.Series:
        """Map codes (1-based) back to ids; code 0 becomes null."""
        index = np.asarray(codes, dtype=np.int64).ravel()
        if index.size and (index.min() < 0 or index.max() > len(self)):
            raise DataError(f"{self.kind} codes must lie between 0 and {len(self)}.")
        if not len(self):
            return pl.Series("id", [None] * index.size, dtype=self.dtype)
        found = self._ids.gather(np.maximum(index - 1, 0))
        return found if (index > 0).all() else found.set(pl.Series(index == 0), None)

    def _lookup(self, series: pl.Series) -> npt.NDArray[np.int32]:
        if series.len() <= 64:  # a dictionary beats a join for the handful of ids of one request
            return np.array([self._code_of.get(value, 0) for value in series], dtype=np.int32)
        query = pl.DataFrame({"id": series})
        joined = query.join(self._code_frame, on="id", how="left", maintain_order="left")
        return joined["code"].fill_null(0).to_numpy().astype(np.int32, copy=False)

    @cached_property
    def _code_frame(self) -> pl.DataFrame:
        codes = pl.Series("code", np.arange(1, len(self) + 1, dtype=np.int32))
        return pl.DataFrame([self._ids, codes])

    @cached_property
    def _code_of(self) -> dict[object, int]:
        return {value: code for code, value in enumerate(self._ids.to_list(), 1)}


def as_id_series(ids: Ids, kind: str) -> pl.Series:
    """Return ids as an ``Int64`` or ``String`` series.

    Raises:
        DataError: The values are of another type, or an integer does not fit in 64 bits.
    """
    try:
        series = ids if isinstance(ids, pl.Series) else pl.Series("id", ids, strict=True)
    except (TypeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{kind} ids must be all integers or all strings: {reason}.") from None
    if series.dtype.is_integer():
        return _as_int64(series, kind)
    if series.dtype in (pl.String, pl.Categorical) or isinstance(series.dtype, pl.Enum):
        return series.cast(pl.String)
    if series.len() == series.null_count() == 0:
        return series.cast(pl.Int64)
    raise DataError(
        f"{kind} ids must be integers or strings, found {series.dtype}; "
        f"convert the column first (first value: {series[0]!r})."
    )


def _as_int64(series: pl.Series, kind: str) -> pl.Series:
    fitting = series.cast(pl.Int64, strict=False)
    if fitting.null_count() > series.null_count():
        large = series.filter(fitting.is_null() & series.is_not_null()).unique(maintain_order=True)
        raise DataError(
            f"{kind} ids that are integers must lie between -2**63 and 2**63 - 1, found "
            f"{shorten(large)}; make the column text (cast it to String), where any id fits."
        )
    return fitting


def _type_name(dtype: pl.DataType) -> str:
    return "integers" if dtype.is_integer() else "strings"
