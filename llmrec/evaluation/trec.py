"""Top lists and targets as TREC run and qrels files, so that other tools can check our figures."""

from pathlib import Path

import polars as pl

from llmrec.data.ragged import row_of_each
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.outcome import Evaluation
from llmrec.storage import atomic_file


def export_trec(evaluation: Evaluation, directory: str | Path) -> tuple[Path, Path]:
    """Write ``run.txt`` (``user Q0 item rank score model``) and ``qrels.txt`` (``user 0 item 1``).

    TREC tools order by score and break ties in their own way; the score written is therefore one
    over the rank, which keeps our order. Where a target's score is tied, our half ranks and their
    whole ranks may still differ.

    Args:
        evaluation: A full ranking fresh from :func:`llmrec.evaluation.evaluate`.
        directory: Where the two files go.

    Returns:
        The paths of run and qrels.

    Raises:
        ConfigError: The evaluation was read from disk or judged pairs, so it has no lists.
        DataError: An id is empty or contains white space, which the format cannot hold.
    """
    if evaluation.top is None or evaluation.cases is None:
        raise ConfigError("only a fresh evaluation of a full ranking has lists to export.")
    tag = evaluation.model.replace(" ", "_") or "model"
    run = evaluation.top.frame().select(
        pl.col("user_id").cast(pl.String),
        pl.lit("Q0").alias("q0"),
        pl.col("item_id").cast(pl.String),
        "rank",
        (1 / pl.col("rank")).alias("score"),
        pl.lit(tag).alias("tag"),
    )
    cases = evaluation.cases
    qrels = pl.DataFrame(
        {
            "user_id": cases.histories.user_ids.gather(row_of_each(cases.target_offsets)),
            "zero": 0,
            "item_id": cases.histories.vocabulary.decode(cases.targets),
            "relevance": 1,
        }
    ).with_columns(pl.col("user_id", "item_id").cast(pl.String))
    paths = (Path(directory) / "run.txt", Path(directory) / "qrels.txt")
    for frame in (run, qrels):
        _require_plain_ids(frame)
    for frame, path in zip((run, qrels), paths, strict=True):
        with atomic_file(path) as temporary:
            frame.write_csv(temporary, separator=" ", include_header=False, quote_style="never")
    return paths


def _require_plain_ids(frame: pl.DataFrame) -> None:
    for column in ("user_id", "item_id"):
        bad = frame[column].filter(
            frame[column].str.contains(r"\s") | (frame[column].str.len_bytes() == 0)
        )
        if bad.len():
            raise DataError(
                f"TREC files separate by blanks; {column} {bad[0]!r} cannot be written."
            )
