"""Results as a table: one row per request, found by the hash of its request.

Columns ``key, version, value, arrays``: see :mod:`llmrec.inference.request_keys` and
:mod:`llmrec.inference.result_bytes`. Tables of another version are refused.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from llmrec.errors import ArtifactError
from llmrec.inference.request_keys import Request, request_key
from llmrec.inference.result_bytes import VERSION, Result, result_from_bytes, result_to_bytes

COLUMNS = {"key": pl.String, "version": pl.Int64, "value": pl.String, "arrays": pl.Binary}


def results_frame(requests: Sequence[Request], results: Sequence[Result]) -> pl.DataFrame:
    """The table of some results, one per request and in their order."""
    rows = [
        (request_key(request), VERSION, *result_to_bytes(result))
        for request, result in zip(requests, results, strict=True)
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def read_results(path: str | Path) -> list[tuple[str, Result]]:
    """Read a table from parquet: the key and the result of every row, in the order of the file.

    Raises:
        ArtifactError: The file is missing or damaged, or of another version.
    """
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ArtifactError(
            f"{path} is no readable file of results ({error}); make it again."
        ) from error
    if frame.schema != COLUMNS or not frame["version"].eq(VERSION).all():
        raise ArtifactError(f"{path} holds no results, or those of another version; make it again.")
    rows = frame.select("key", "value", "arrays").rows()
    return [(key, result_from_bytes(value, arrays)) for key, value, arrays in rows]
