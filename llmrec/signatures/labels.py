"""Labels, groups and further columns of records, from a table beside them."""

from pathlib import Path

import polars as pl

from llmrec.errors import DataError, shorten
from llmrec.signatures.records import SignatureSet


def with_labels(signatures: SignatureSet, path: str | Path) -> SignatureSet:
    """Records with the columns of a CSV, TSV or parquet file, joined by ``id``.

    Args:
        signatures: Records; what the file says replaces what they say.
        path: The file: ``id``, and ``label`` (0, or 1 for risk), ``group`` or anything else.

    Raises:
        DataError: The file cannot be read, has no ids or repeats one, has a label that is not 0 or
            1, or knows none of the records.
    """
    table = _table(Path(path))
    if "id" not in table.columns:
        raise DataError(f"{path} has no column id; it has {', '.join(table.columns)}.")
    table = table.with_columns(pl.col("id").cast(pl.String))
    repeated = table["id"].filter(table["id"].is_duplicated()).unique(maintain_order=True)
    if repeated.len():
        raise DataError(f"{path} repeats the ids {shorten(repeated)}; give one row each.")
    if "label" in table.columns:
        table = table.with_columns(_labels(table["label"], path))
    if "group" in table.columns:
        table = table.with_columns(pl.col("group").cast(pl.String))
    if not table["id"].is_in(signatures.examples["id"].implode()).any():
        raise DataError(
            f"{path} knows none of the {len(signatures)} records; its ids look like "
            f"{shorten(table['id'][:2])}, theirs like {shorten(signatures.ids[:2])}."
        )
    kept = [name for name in signatures.examples.columns if name not in table.columns]
    joined = signatures.examples.select("id", *kept).join(
        table, on="id", how="left", maintain_order="left"
    )
    if "group" in table.columns:
        joined = joined.with_columns(pl.col("group").fill_null(pl.col("id")))
    return SignatureSet(signatures.records, joined)


def _labels(column: pl.Series, path: str | Path) -> pl.Series:
    found = column.cast(pl.Float32, strict=False)
    odd = column.filter(column.is_not_null() & (~found.is_in([0.0, 1.0])).fill_null(True))
    if odd.len():
        raise DataError(f"{path} has the label {odd[0]!r}; labels are 0, or 1 for risk.")
    return found


def _table(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is missing.")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        separator = "\t" if path.name.removesuffix(".gz").endswith(".tsv") else ","
        return pl.read_csv(path, separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}.") from None
