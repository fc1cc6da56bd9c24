"""Ready-made semantic IDs from a table ``item_id, codes`` such as LETTER publishes.

Codes are written ``<a_183> <b_70> <c_232> <d_6>``: one letter per level, in order. Rows are joined
to items by their id, never by position. There are no codebooks, so new items cannot be encoded.
"""

import re
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data.hashing import hash_arrays, hash_json
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError, shorten
from llmrec.recommenders.onerec.tokenizer.collisions import Int32Array, count_collisions
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.storage import file_sha256

_CODE = re.compile(r"<([a-z])_(\d+)>")
_CODES = re.compile(r"\s*(?:<[a-z]_\d+>\s*)+")


def read_letter_ids(path: str | Path, vocabulary: Vocabulary, codes: int = 256) -> SemanticIds:
    """Read published semantic IDs for the items of a catalogue.

    Args:
        path: A CSV file, gzip or plain, with the columns ``item_id`` and ``codes``.
        vocabulary: The items; every one must be in the file.
        codes: Codes to choose from at every level.

    Raises:
        DataError: The file is missing or no such table, a column or an item is missing, an item is
            there twice, or codes are not of the form above; the row is named.
    """
    path = Path(path)
    frame = _read_table(path, vocabulary)
    if missing := {"item_id", "codes"} - set(frame.columns):
        raise DataError(f"{path.name} has no column {shorten(sorted(missing))}.")
    listed = Vocabulary(frame["item_id"], "item")
    rows = listed.encode(vocabulary.ids, on_unknown="zero").astype(np.int64) - 1
    if (absent := np.flatnonzero(rows < 0)).size:
        names = shorten(vocabulary.decode(absent + 1).to_list())
        raise DataError(f"{path.name} has no semantic ID for {absent.size} items: {names}.")
    table = _parsed(frame["codes"].to_list(), path.name, codes)[rows]
    sizes = (codes,) * table.shape[1]
    source = f"file:{file_sha256(path)}"
    return SemanticIds(
        table,
        sizes,
        vocabulary,
        np.zeros(len(vocabulary), dtype=np.int64),
        np.ones(len(vocabulary), dtype=np.bool_),
        None,
        TokenizerConfig(method="rqvae", levels=table.shape[1], codes=codes, collisions="allow"),
        source,
        source,
        hash_json([list(sizes), hash_arrays({"c": table}), source]),
        details={"source": path.name, "collisions_after": count_collisions(table)},
    )


def _read_table(path: Path, vocabulary: Vocabulary) -> pl.DataFrame:
    """The file as a table whose ids are of the catalogue's type."""
    try:
        return pl.read_csv(path, schema_overrides={"item_id": vocabulary.dtype, "codes": pl.String})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path} cannot be read as a CSV table of item_id ({vocabulary.dtype}) and codes: "
            f"{str(error).splitlines()[0].rstrip('.')}. Name such a table; of semantic IDs that "
            "'llmrec items tokenize' wrote, name the folder."
        ) from None


def _parsed(texts: list[str], name: str, codes: int) -> Int32Array:
    found: list[list[int]] = []
    for row, text in enumerate(texts, 2):  # row 1 is the header
        pairs = _CODE.findall(text or "")
        letters = "".join(letter for letter, _ in pairs)
        expected = "abcdefghijklmnopqrstuvwxyz"[: len(pairs)]
        values = [int(value) for _, value in pairs]
        whole = _CODES.fullmatch(text or "")
        if not whole or letters != expected or max(values) >= codes:
            raise DataError(
                f"{name} line {row}, column codes: {text!r} is not a semantic ID like '<a_12> "
                f"<b_7>' with codes below {codes}."
            )
        if found and len(values) != len(found[0]):
            raise DataError(
                f"{name} line {row}, column codes: {len(values)} codes, the lines before have "
                f"{len(found[0])}."
            )
        found.append(values)
    return np.array(found, dtype=np.int32)
