"""Amazon product data, 2014 edition: reviews and product descriptions as given out.

Reviews come as strict JSON lines (``reviews_X_5.json.gz``) or as a ratings table without header
(``ratings_X.csv``: user, item, rating, seconds). Descriptions (``meta_X.json.gz``) are one Python
dictionary per line; they are read as literals and never run. Timestamps have the resolution of a
day. ``price`` and ``sales_rank`` were crawled after the events: kept, but no feature.
"""

import ast
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.interactions import Duplicates, Interactions
from llmrec.data.readers.scan import open_bytes
from llmrec.data.readers.tables import read_interactions
from llmrec.errors import DataError

MAX_LINE_BYTES = 1 << 20
_COLUMNS = {
    "user_id": "reviewerID",
    "item_id": "asin",
    "rating": "overall",
    "timestamp": "unixReviewTime",
}
_ITEM_SCHEMA = {
    "item_id": pl.String,
    "title": pl.String,
    "category": pl.String,
    "brand": pl.String,
    "description": pl.String,
    "price": pl.Float64,
    "sales_rank": pl.Int64,
}


def read_amazon2014(
    reviews: str | Path,
    meta: str | Path | None = None,
    name: str | None = None,
    *,
    duplicates: Duplicates = "error",
) -> Dataset:
    """Read reviews and, if given, the descriptions of the items that occur in them.

    Args:
        reviews: ``.json`` or ``.json.gz`` with one review per line, or the ratings table ``.csv``.
        meta: ``meta_X.json`` or ``.json.gz``; items without a line there keep only their id.
        name: Name of the data set; None takes the file's.
        duplicates: What to do with equal events; see :class:`Interactions`.

    Raises:
        DataError: A file or a line is not as it must be; the message names the line.
    """
    reviews = Path(reviews)
    interactions = _read_reviews(reviews, duplicates)
    ids = interactions.frame["item_id"].unique().sort()
    catalog = Catalog.from_ids(ids)
    if meta is not None:
        wanted = set(ids.to_list())
        rows = [row for row in _meta_rows(Path(meta)) if row["item_id"] in wanted]
        found = pl.DataFrame(rows, schema=_ITEM_SCHEMA).unique("item_id", keep="first")
        catalog = Catalog(pl.DataFrame({"item_id": ids}).join(found, on="item_id", how="left"))
    return Dataset(name or reviews.name.split(".")[0], interactions, catalog)


def _read_reviews(path: Path, duplicates: Duplicates) -> Interactions:
    if path.name.removesuffix(".gz").endswith(".csv"):
        return read_interactions(
            path,
            separator=",",
            header=["user_id", "item_id", "rating", "timestamp"],
            id_type="string",
            duplicates=duplicates,
        )
    return read_interactions(path, columns=_COLUMNS, duplicates=duplicates)


def _meta_rows(path: Path) -> Iterator[dict[str, Any]]:
    """One row per line; a Python loop, because only a Python parser reads Python literals."""
    try:
        with open_bytes(path) as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path.name} line {number} is longer than {MAX_LINE_BYTES} B.")
                if line.strip():
                    yield _meta_row(_literal(line, path.name, number), path.name, number)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {error}; get a whole copy.") from None


def _literal(line: bytes, source: str, number: int) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
        value = json.loads(text) if text.startswith('{"') else ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        value = None
    if not isinstance(value, dict):
        raise DataError(
            f"{source} line {number} is neither a Python dictionary nor JSON; "
            "the file is damaged or of another edition."
        )
    return value


def _meta_row(product: dict[str, Any], source: str, number: int) -> dict[str, Any]:
    if not isinstance(product.get("asin"), str):
        raise DataError(f"{source} line {number} has no 'asin', the id of the item.")
    ranks = product.get("salesRank")
    paths = product.get("categories")
    path = paths[0] if isinstance(paths, list) and paths and isinstance(paths[0], list) else None
    price = product.get("price")
    rank = next(iter(ranks.values()), None) if isinstance(ranks, dict) else None
    return {
        "item_id": product["asin"],
        "title": _text(product.get("title")),
        "category": None if path is None else ", ".join(str(part) for part in path),
        "brand": _text(product.get("brand")),
        "description": _text(product.get("description")),
        "price": float(price) if isinstance(price, int | float) else None,
        "sales_rank": rank if isinstance(rank, int) else None,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
