"""What could be recommended: the items with their texts and attributes.

One row per item, ``item_id`` first, then any columns (``title`` and ``category`` are the ones the
toolkit shows: text, and of categories lists of texts, too). Rows are ordered by ``item_id``.
Attributes are read as they are; whether one was known at the time of an event is for the user of
the catalog to say.
"""

import polars as pl

from llmrec.data.vocabulary import Vocabulary, as_id_series
from llmrec.errors import DataError, nearest_name

TEXTS = ("title", "category")


def text_problem(series: pl.Series) -> str:
    """Why a ``title`` or ``category`` cannot be shown, and what to do; "" where it can."""
    dtype = series.dtype
    if series.name == "category" and isinstance(dtype, pl.List):
        dtype = series.head(0).explode().dtype
    if dtype == pl.Null or dtype.is_numeric() or (dtype.is_temporal() and dtype != pl.Duration):
        return ""
    if dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
        return ""
    lists = " or lists of texts" if series.name == "category" else ""
    return f"the values are {series.dtype}, not text{lists}; make them text"


class Catalog:
    """An immutable table of items.

    Args:
        frame: A table with ``item_id`` and any attributes.
        source: What the data is called in error messages.

    Raises:
        DataError: There is no ``item_id`` column, no row, an item is there twice, or titles or
            categories are no text (categories may be lists of texts).
    """

    def __init__(self, frame: pl.DataFrame, source: str = "catalog") -> None:
        if "item_id" not in frame.columns:
            hint = nearest_name("item_id", frame.columns) if frame.columns else ""
            raise DataError(f"{source} has no column 'item_id'{hint}.")
        if not frame.height:
            raise DataError(f"{source} has no rows.")
        for column in TEXTS:
            if column in frame.columns and (reason := text_problem(frame[column])):
                raise DataError(f"{source}, column {column}: {reason}.")
        ids = as_id_series(frame["item_id"], "item").alias("item_id")
        self._frame = (
            frame.with_columns(ids).sort("item_id").select("item_id", pl.exclude("item_id"))
        )
        self._vocabulary = Vocabulary(self._frame["item_id"], "item")

    @classmethod
    def from_ids(cls, ids: pl.Series) -> "Catalog":
        """Make a catalog without attributes from the ids that occur in ``ids``."""
        return cls(pl.DataFrame({"item_id": ids.unique()}))

    @property
    def frame(self) -> pl.DataFrame:
        """The table, one row per item, in the order of the vocabulary's codes."""
        return self._frame

    @property
    def vocabulary(self) -> Vocabulary:
        """Item ids and their codes: row ``i`` of the table has code ``i + 1``."""
        return self._vocabulary

    def __len__(self) -> int:
        return self._frame.height

    @property
    def titles(self) -> pl.Series:
        """A readable name of every item: its title, or its id where it has none."""
        fallback = self._frame["item_id"].cast(pl.String)
        if "title" not in self._frame.columns:
            return fallback.alias("title")
        titles = self._frame["title"].cast(pl.String)
        empty = titles.is_null() | (titles.str.strip_chars() == "")
        return titles.zip_with(~empty, fallback).alias("title")

    def texts(self, column: str) -> pl.Series:
        """A column as one text per item: lists joined by commas, nothing where it is empty."""
        values = self._frame[column]
        if isinstance(values.dtype, pl.List):
            values = values.cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
        return values.cast(pl.String).fill_null("")

    def restrict(self, ids: pl.Series) -> "Catalog":
        """Keep the items whose id occurs in ``ids``."""
        return Catalog(self._frame.filter(pl.col("item_id").is_in(ids.unique().implode())))
