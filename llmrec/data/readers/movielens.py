"""Raw MovieLens releases, as a folder or the zip file that GroupLens gives out.

Three layouts: ``u.data`` (100K), ``ratings.dat`` with ``::`` (1M, 10M), and ``ratings.csv``
(20M, 25M, 32M, latest). Texts of the first two are latin-1, or UTF-8 where they are valid UTF-8
(10M). Tags and the tag genome are not read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.interactions import Interactions
from llmrec.data.readers.archives import unpacked
from llmrec.data.readers.columns import parse_ids, parse_number, parse_timestamps
from llmrec.data.readers.tables import read_catalog, read_interactions
from llmrec.errors import DataError

_RATINGS = ("user_id", "item_id", "rating", "timestamp")
_GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)


class _Layout(NamedTuple):
    marker: str
    read: Callable[[Path, str], Dataset]


def read_movielens(path: str | Path, name: str | None = None) -> Dataset:
    """Read a raw MovieLens release with its titles and genres.

    Args:
        path: The folder (or a folder around it), or the zip file.
        name: Name of the data set; None takes the file's or folder's.

    Raises:
        DataError: No known layout is found, or a file is not as it must be.
    """
    path = Path(path)
    name = name or path.name.removesuffix(".zip")
    if path.is_file():
        with unpacked(path) as folder:
            return _read_folder(folder, name, path)
    return _read_folder(path, name, path)


def _read_folder(folder: Path, name: str, shown: Path) -> Dataset:
    for inner in (folder, *sorted(p for p in folder.glob("*") if p.is_dir())):
        for layout in _LAYOUTS:
            if (inner / layout.marker).is_file():
                return layout.read(inner, name)
    markers = ", ".join(layout.marker for layout in _LAYOUTS)
    raise DataError(f"{shown} is no raw MovieLens release: none of {markers} is in it.")


def _read_100k(folder: Path, name: str) -> Dataset:
    interactions = read_interactions(folder / "u.data", separator="\t", header=_RATINGS)
    columns = ["item_id", "title", "release_date", "video_release_date", "url", *_GENRES_100K]
    items = _lines(folder / "u.item", "|", columns)
    flags = [
        pl.when(pl.col(genre) == "1").then(pl.lit(genre)).otherwise(None) for genre in _GENRES_100K
    ]
    category = pl.concat_str(flags, separator="|", ignore_nulls=True).alias("category")
    kept = items.select("item_id", "title", category, "release_date")
    users = _lines(folder / "u.user", "|", ["user_id", "age", "gender", "occupation", "zip"])
    return Dataset(name, interactions, _catalog(kept, "u.item"), _users(users, "u.user"))


def _read_dat(folder: Path, name: str) -> Dataset:
    raw = _lines(folder / "ratings.dat", "::", list(_RATINGS))
    source = "ratings.dat"
    events = pl.DataFrame(
        [
            parse_ids(raw["user_id"], "integer", source),
            parse_ids(raw["item_id"], "integer", source),
            parse_timestamps(raw["timestamp"], None, source),
            parse_number(raw["rating"], pl.Float64, source),
        ]
    )
    items = _lines(folder / "movies.dat", "::", ["item_id", "title", "category"])
    users = None
    if (folder / "users.dat").is_file():
        columns = ["user_id", "gender", "age", "occupation", "zip"]
        users = _users(_lines(folder / "users.dat", "::", columns), "users.dat")
    return Dataset(name, Interactions(events, source=source), _catalog(items, "movies.dat"), users)


def _read_csv(folder: Path, name: str) -> Dataset:
    columns = {"user_id": "userId", "item_id": "movieId"}
    interactions = read_interactions(folder / "ratings.csv", columns=columns, id_type="integer")
    items = {"item_id": "movieId", "category": "genres"}
    catalog = read_catalog(folder / "movies.csv", columns=items, id_type="integer")
    return Dataset(name, interactions, catalog)


_LAYOUTS = (
    _Layout("u.data", _read_100k),
    _Layout("ratings.dat", _read_dat),
    _Layout("ratings.csv", _read_csv),
)


def _lines(path: Path, separator: str, columns: list[str]) -> pl.DataFrame:
    """Cut every line at ``separator``, without quoting, into text columns."""
    if not path.is_file():
        raise DataError(f"{path.name} is missing beside the ratings; unpack the whole release.")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = pl.Series("line", text.replace("\r\n", "\n").rstrip("\n").split("\n"))
    fields = lines.str.count_matches(separator, literal=True) + 1
    if (wrong := fields != len(columns)).any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{path.name} row {row + 1}: found {fields[row]} fields between {separator!r}, "
            f"expected {len(columns)} ({', '.join(columns[:5])}, ...)."
        )
    cut = lines.str.split_exact(separator, len(columns) - 1)
    return cut.struct.rename_fields(columns).struct.unnest()


def _catalog(items: pl.DataFrame, source: str) -> Catalog:
    ids = parse_ids(items["item_id"], "integer", source)
    return Catalog(items.with_columns(ids), source)


def _users(users: pl.DataFrame, source: str) -> pl.DataFrame:
    ids = parse_ids(users["user_id"], "integer", source)
    return users.with_columns(ids, parse_number(users["age"], pl.Int64, source))
