"""Signatures together with what is known about each: an id, a label, a group, any further columns.

Label 1 always means risk: a wrong answer, or a text that was trained on. A group is what must not
lie on two sides of a split: a question, a subject, a document.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.errors import DataError, shorten
from llmrec.inference.signature import SignatureRecord

COLUMNS = {"id": pl.String, "label": pl.Float32, "group": pl.String}
"""What every set says about its records."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SignatureSet:
    """Records and a row about each.

    Attributes:
        records: Signatures.
        examples: One row per record with the columns of :data:`COLUMNS`; the label is null where it
            is not known. Further columns (subject, task, prompt) are kept and serve as slices.

    Raises:
        DataError: Rows and records differ in number, a column is missing, an id occurs twice, or
            a label is not 0 or 1.

    Example:
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> records, labels = labelled_signatures(6, seed=0)
        >>> found = SignatureSet.of(records, labels, groups=list("aabbcc"))
        >>> found.take([0, 5]).groups
        ['a', 'c']
    """

    records: Sequence[SignatureRecord]
    examples: pl.DataFrame

    def __post_init__(self) -> None:
        if len(self.records) != self.examples.height:
            raise DataError(
                f"{len(self.records)} signatures have {self.examples.height} rows of examples; "
                "give one row each."
            )
        for name, kind in COLUMNS.items():
            if self.examples.schema.get(name) != kind:
                raise DataError(f"examples of signatures need a column {name} of type {kind}.")
        repeated = self.examples["id"].filter(self.examples["id"].is_duplicated())
        if repeated.len():
            raise DataError(
                f"signatures with the same id: {shorten(repeated.unique(maintain_order=True))}; "
                "ids must be unique."
            )
        odd = self.examples.filter(pl.col("label").is_in([0.0, 1.0]).not_())
        if odd.height:
            raise DataError(
                f"signature {odd['id'][0]!r} has label {odd['label'][0]}; labels are 0, or 1 for "
                "risk, or null."
            )

    @classmethod
    def of(
        cls,
        records: Sequence[SignatureRecord],
        labels: npt.ArrayLike | None = None,
        groups: Sequence[Hashable] | None = None,
        ids: Sequence[str] | None = None,
        **columns: Any,
    ) -> Self:
        """Put a set together from lists.

        Args:
            records: Signatures.
            labels: ``[n]`` 1 for risk, NaN or None where not known; None for no labels at all.
            groups: What must not be torn; None makes every record its own group.
            ids: Unique names; None numbers the records.
            columns: Further columns, ``[n]`` each.
        """
        n = len(records)
        names = [str(i) for i in range(n)] if ids is None else list(ids)
        known = np.full(n, np.nan) if labels is None else np.asarray(labels, dtype=np.float32)
        given = {
            "id": names,
            "label": known,
            "group": names if groups is None else [str(group) for group in groups],
            **columns,
        }
        lengths = {name: len(values) for name, values in given.items() if len(values) != n}
        if lengths:
            name, length = next(iter(lengths.items()))
            raise DataError(f"{n} signatures have {length} values of {name}; give one each.")
        frame = pl.DataFrame(given, schema_overrides=COLUMNS, strict=False)
        return cls(list(records), frame.with_columns(pl.col("label").fill_nan(None)))

    @classmethod
    def concat(cls, sets: Sequence[Self]) -> Self:
        """Sets one after another; columns that a set lacks are null there."""
        records = [record for one in sets for record in one.records]
        frames = [one.examples for one in sets]
        empty = pl.DataFrame(schema=COLUMNS)
        return cls(records, pl.concat([empty, *frames], how="diagonal_relaxed"))

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> list[str]:
        """Names of the records."""
        return self.examples["id"].to_list()

    @property
    def labels(self) -> FloatArray:
        """``[n]`` float32, 1 for risk.

        Raises:
            DataError: A record has none.
        """
        missing = self.examples.filter(pl.col("label").is_null())
        if missing.height:
            raise DataError(
                f"{missing.height} of {len(self)} signatures have no label, the first is "
                f"{missing['id'][0]!r}; give labels, or take labelled() ones only."
            )
        return self.examples["label"].to_numpy()

    @property
    def groups(self) -> list[str]:
        """The group of every record."""
        return self.examples["group"].to_list()

    def take(self, rows: npt.ArrayLike) -> Self:
        """Some of the records, in the order of ``rows``."""
        chosen = np.asarray(rows, dtype=np.int64)
        return type(self)([self.records[int(i)] for i in chosen], self.examples[chosen])

    def where(self, condition: pl.Expr) -> Self:
        """The records whose row meets a condition, such as ``pl.col("mode") == "Direct"``."""
        rows = self.examples.with_row_index("llmrec_row").filter(condition)["llmrec_row"]
        return self.take(rows.to_numpy())

    def labelled(self) -> Self:
        """The records whose label is known."""
        return self.where(pl.col("label").is_not_null())

    def require_labelled(self) -> Self:
        """The records whose label is known.

        Raises:
            DataError: There is none.
        """
        known = self.labelled()
        if not len(known):
            raise DataError(
                f"none of the {len(self)} records has a label (1 for risk): add a field 'label' or "
                "'correct' beside the responses, or give a table of labels (--labels)."
            )
        return known
