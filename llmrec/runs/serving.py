"""Requests as they arrive on a command line or over a wire: ids as text, lists as text.

Ids are turned into the model's own type, and an id that is not known is answered with the nearest
known one. Results carry titles, which the model's item table holds.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError, UnknownIdError, nearest_name, shorten
from llmrec.inference.shards import require_shard
from llmrec.runs.directory import RunDirectory
from llmrec.storage import atomic_file, require_file

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender

    Model = BaseRecommender[Any]


def recommend_from(
    run: RunDirectory,
    users: Sequence[str],
    histories: Sequence[str],
    k: int | None = None,
    exclude_seen: bool = True,
    *,
    session: int | None = None,
    candidates: str | None = None,
) -> pl.DataFrame:
    """Recommend to known users or to histories: single items, best first, or a list of items.

    Args:
        run: The run that serves.
        users: Ids of known users, as text.
        histories: Item ids separated by commas, one text per person; give these or ``users``.
        k: Items per person; None is 10.
        exclude_seen: Leave out the items of the history.
        session: Instead of ``k``, the length of a list that is written as one.
        candidates: What is chosen from, as for :func:`rank_from`; None means the whole catalog.

    Returns:
        A frame ``user_id, item_id, score, rank, title``; the score of a list is that of the whole.

    Raises:
        ConfigError: Neither or both of ``users`` and ``histories`` are given, or of ``k`` and
            ``session``; ``k`` is larger than the catalog; or the model writes no such lists.
        UnknownIdError: A user or an item is not known; the nearest known id is named.
    """
    _require_one(k, session)
    model = run.model()
    inputs = _inputs(model, users, histories)
    return with_titles(model, _lists(model, inputs, k, exclude_seen, session, candidates))


def recommend_to_everyone(
    run: RunDirectory,
    output: str | Path,
    k: int | None = None,
    exclude_seen: bool = True,
    *,
    session: int | None = None,
    candidates: str | None = None,
    shard: tuple[int, int] = (1, 1),
) -> int:
    """Recommend to all known users and write the lists to a parquet file, whole or not at all.

    Args:
        run: The run that serves.
        output: The file; columns ``user_id, item_id, score, rank``. One that is there is replaced.
        k: As for :func:`recommend_from`, like what follows.
        exclude_seen: Leave out the items of the history.
        session: The length of a list that is written as one.
        candidates: What is chosen from.
        shard: ``(i, n)``: the i-th of n stretches of users, for so many machines.

    Returns:
        How many users it served.

    Raises:
        ConfigError: ``k`` and ``session`` are both given, ``k`` is larger than the catalog, there
            is no such shard, or the model writes no such lists.
        UnknownIdError: The run keeps no known users, or a candidate is unknown.
        StorageError: The file cannot be written; found out before anything is computed.
    """
    _require_one(k, session)
    number, count = shard
    require_shard(number, count)
    require_file(output)
    model = run.model()
    known = _known(model, "recommending to everyone needs a run that was saved with its users")
    edges = [len(known) * at // count for at in (number - 1, number)]
    block = known.block(*edges)
    lists = _lists(model, block, k, exclude_seen, session, candidates)
    with atomic_file(output) as temporary:
        lists.write_parquet(temporary)
    return len(block)


def rank_from(
    run: RunDirectory, users: Sequence[str], histories: Sequence[str], candidates: str
) -> pl.DataFrame:
    """Order candidates for known users or for histories.

    Args:
        run: The run that serves.
        users: Ids of known users, as text.
        histories: As for :func:`recommend_from`.
        candidates: Item ids separated by commas, or ``@file`` with one id per line; one that is
            there twice counts once.

    Returns:
        A frame ``user_id, item_id, score, rank, title``.
    """
    model = run.model()
    inputs = _inputs(model, users, histories)
    items = typed_ids(_candidate_texts(candidates), model.vocabulary).unique(maintain_order=True)
    return with_titles(model, model.rank(inputs, items))


def _require_one(k: int | None, session: int | None) -> None:
    if k is not None and session is not None:
        raise ConfigError("give either --k, items one by one, or --session, a list; not both.")


def _lists(
    model: "Model",
    inputs: Histories,
    k: int | None,
    exclude_seen: bool,
    session: int | None,
    candidates: str | None,
) -> pl.DataFrame:
    chosen = None
    if candidates is not None:
        chosen = typed_ids(_candidate_texts(candidates), model.vocabulary)
    if session is None:
        return model.recommend(inputs, 10 if k is None else k, chosen, exclude_seen)
    return _session_writer(model)(inputs, session, exclude_seen, candidates=chosen)


def _session_writer(model: "Model") -> Callable[..., pl.DataFrame]:
    """What writes a model's lists.

    Raises:
        ConfigError: It writes none.
    """
    write: Callable[..., pl.DataFrame] | None = getattr(model, "recommend_session", None)
    if write is None:
        raise ConfigError(
            f"this run's model, {model.name}, ranks items one by one and writes no sessions; leave "
            "out --session, or take a run of onerec or onerec_lm."
        )
    return write


def with_titles(model: "Model", lists: pl.DataFrame) -> pl.DataFrame:
    """Add a column ``title``; an item without one shows its id."""
    ids = model.vocabulary.ids
    names = ids.cast(pl.String) if model.titles is None else model.titles
    table = pl.DataFrame({"item_id": ids, "title": names})
    return lists.join(table, on="item_id", how="left", maintain_order="left")


def typed_ids(texts: Sequence[str], vocabulary: Vocabulary) -> pl.Series:
    """Turn ids given as text into the type of a vocabulary and check that they are known.

    Raises:
        UnknownIdError: An id is unknown; the nearest known one, or the form of ids, is named.
    """
    kind = vocabulary.kind
    series = pl.Series("id", [text.strip() for text in texts], dtype=pl.String)
    if vocabulary.dtype.is_integer():
        numbers = series.cast(pl.Int64, strict=False)
        if numbers.null_count():
            text = series.filter(numbers.is_null())[0]
            raise UnknownIdError(
                f"{kind} id {text!r} is not a whole number, as the {kind} ids here are "
                f"(for instance {shorten(vocabulary.ids.head(3))})."
            )
        series = numbers
    unknown = series.filter(pl.Series(vocabulary.encode(series, on_unknown="zero") == 0))
    if unknown.len():
        raise UnknownIdError(f"unknown {kind} id {_hint(unknown[0], vocabulary)}")
    return series


def _hint(unknown: str | int, vocabulary: Vocabulary) -> str:
    if isinstance(unknown, str) and len(vocabulary) <= 200_000:  # the search takes seconds beyond
        near = nearest_name(unknown, vocabulary.ids)
        if "did you mean" in near:
            return f"{unknown!r}{near}"
    examples = shorten(vocabulary.ids.head(3))
    way_out = (
        "; known ones are for instance " + examples + ", and --history serves anyone."
        if vocabulary.kind == "user"
        else f"; known ones are for instance {examples}."
    )
    return f"{unknown!r}{way_out}"


def _inputs(model: "Model", users: Sequence[str], histories: Sequence[str]) -> Histories:
    if bool(users) == bool(histories):
        raise ConfigError("give either --user ID or --history 'id,id,...', one of the two.")
    if users:
        known = _known(model, "give --history 'id,id,...'")
        vocabulary = Vocabulary(known.user_ids, "user")
        return known.take(vocabulary.encode(typed_ids(users, vocabulary)) - 1)
    rows = [typed_ids(_split(text), model.vocabulary) for text in histories]
    names = [f"history {number}" for number in range(1, len(rows) + 1)]
    return Histories.from_lists(dict(zip(names, rows, strict=True)), model.vocabulary)


def _known(model: "Model", way_out: str) -> Histories:
    if model.known_histories is None:
        raise UnknownIdError(f"this run has no histories of known users; {way_out}.")
    return model.known_histories


def _candidate_texts(candidates: str) -> list[str]:
    if not candidates.startswith("@"):
        return _split(candidates)
    path = Path(candidates[1:])
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"candidates {path} cannot be read: {reason}.") from None
    return [line for line in lines if line.strip()]


def _split(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]
