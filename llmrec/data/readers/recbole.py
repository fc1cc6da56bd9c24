"""RecBole atomic files: ``NAME.inter``, ``NAME.item``, ``NAME.user``.

Tab-separated, never quoted, with typed headers such as ``user_id:token``. Types ``token`` and
``token_seq`` stay text (ids become integers if all are), ``float`` becomes a number, ``float_seq``
stays text. Knowledge graphs (``.kg``, ``.link``) and networks are not read.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.interactions import Duplicates, Interactions
from llmrec.data.readers.columns import IdType, parse_ids, parse_number, parse_timestamps
from llmrec.data.readers.scan import open_table
from llmrec.errors import DataError, nearest_name

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
# Names that RecBole's own copies of public sets use, ours where the file has no such column.
_ALIASES = {
    "movie_title": "title",
    "name": "title",
    "genre": "category",
    "class": "category",
    "categories": "category",
}


def read_recbole(
    path: str | Path,
    name: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    id_type: IdType = "auto",
    duplicates: Duplicates = "error",
) -> Dataset:
    """Read a set of atomic files.

    Args:
        path: The ``.inter`` file, or the folder that holds exactly one.
        name: Name of the data set; None takes the file's.
        columns: Our name to the file's name (without its type), in all three files, for instance
            ``{"item_id": "business_id"}``.
        id_type: ``"auto"``, ``"integer"`` or ``"string"``.
        duplicates: What to do with equal events; see :class:`Interactions`.

    Raises:
        DataError: A header has no types, a column is missing or a value cannot be read.
    """
    inter = _inter_file(Path(path))
    mapping = dict(columns or {})
    events = _read(inter, mapping, ("user_id", "item_id"), id_type)
    item = inter.with_suffix(".item")
    user = inter.with_suffix(".user")
    catalog = None
    if item.is_file():
        frame = _read(item, mapping, ("item_id",), id_type)
        catalog = Catalog(_with_aliases(frame), item.name)
    return Dataset(
        name or inter.stem,
        Interactions(events, duplicates, inter.name),
        catalog,
        _read(user, mapping, ("user_id",), id_type) if user.is_file() else None,
    )


def _inter_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.inter")) if path.is_dir() else []
    if len(found) != 1:
        raise DataError(f"{path} holds {len(found)} .inter files, expected one; name the file.")
    return found[0]


def _read(
    path: Path, columns: Mapping[str, str], keys: tuple[str, ...], id_type: IdType
) -> pl.DataFrame:
    table = open_table(path, separator="\t", quoted=False)
    types = dict(_field_type(field, path.name) for field in table.columns)
    frame = table.read()
    frame.columns = list(types)
    ours = {theirs: name for name, theirs in columns.items() if theirs in types}
    frame = frame.rename(ours)
    for key in keys:
        if key not in frame.columns:
            raise DataError(
                f"{path.name} has no column {columns.get(key, key)!r}"
                f"{nearest_name(key, frame.columns)}; pass columns={{{key!r}: '...'}}."
            )
    if not frame.height:
        raise DataError(f"{path.name} has a header but no rows.")
    kinds = zip(frame.iter_columns(), types.values(), strict=True)
    return pl.DataFrame([_typed(series, kind, id_type, path.name) for series, kind in kinds])


def _field_type(field: str, source: str) -> tuple[str, str]:
    name, _, kind = field.rpartition(":")
    if not name:
        raise DataError(
            f"{source}: the header field {field!r} has no type; atomic files name fields like "
            "'user_id:token'. For a plain table use read_interactions."
        )
    if kind not in FIELD_TYPES:
        raise DataError(
            f"{source}: the header field {field!r} has an unknown type"
            f"{nearest_name(kind, FIELD_TYPES)}."
        )
    return name, kind


def _typed(series: pl.Series, kind: str, id_type: IdType, source: str) -> pl.Series:
    if series.name in ("user_id", "item_id"):
        return parse_ids(series, id_type, source)
    if series.name == "timestamp":
        return parse_timestamps(series, None, source)
    return parse_number(series, pl.Float64, source) if kind == "float" else series


def _with_aliases(items: pl.DataFrame) -> pl.DataFrame:
    names: dict[str, str] = {}
    for theirs, ours in _ALIASES.items():
        if theirs in items.columns and ours not in items.columns and ours not in names.values():
            names[theirs] = ours
    return items.rename(names)
