r"""Log-probabilities as OpenAI-compatible servers write them, in all their dialects.

Two forms: lists of tokens with one dictionary per position (legacy completions) and one object per
position (chat, also sent by some servers for completions). Rows come with K or K+1 values, with
fewer where two tokens have the same text and fell together as keys of a dictionary, with -9999 for
minus infinity, with tokens as texts, as ``bytes:\xe2`` or as ``token_id:17``. All become
:class:`~llmrec.inference.signature.Position`; nothing is made up.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.errors import DataError
from llmrec.inference.signature import FLOOR, Position

_TOKEN_ID = re.compile(r"token_id:(\d+)")
_SAME = 1e-4
"""Two log-probabilities of one token in one answer differ by rounding at most."""


@dataclass(frozen=True)
class TokenLogprobs:
    """The log-probabilities of a text, position by position.

    Attributes:
        positions: What was sent about each; a first token without a prediction is left out.
        tokens: Texts of the tokens, None where the server sent ids instead.
        offsets: Where in the text each token starts, in characters, None where not sent.
        skipped: How many positions at the start had no prediction.
        skipped_text: Their texts.
    """

    positions: tuple[Position, ...]
    tokens: tuple[str, ...] | None
    offsets: tuple[int, ...] | None = None
    skipped: int = 0
    skipped_text: str = ""

    @property
    def logprob(self) -> float | None:
        """Sum over the tokens really there, or None where one is missing."""
        return sum_of_actual(self.positions)


def read_logprobs(logprobs: Any, k: int, allow_missing: bool) -> TokenLogprobs | None:
    """Read the ``logprobs`` of a choice, in either form.

    Args:
        logprobs: The value as it came, or None.
        k: How many values per position were asked for.
        allow_missing: Take what there is.

    Returns:
        The log-probabilities, or None where there are none and that is allowed.

    Raises:
        DataError: They are missing or fewer than asked for, or are not log-probabilities.
    """
    if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
        found, must_be_full = _chat_form(logprobs["content"]), True
    elif isinstance(logprobs, dict) and isinstance(logprobs.get("tokens"), list):
        found, must_be_full = _legacy_form(logprobs), False
    elif allow_missing:
        return None
    else:
        raise DataError(
            "the server sent no log-probabilities although they were asked for; choose a server "
            "and model that give them, or allow_missing_logprobs."
        )
    if not allow_missing:
        check_width(found.positions, k, every_row=must_be_full)
    return found


def check_width(positions: Sequence[Position], k: int, *, every_row: bool) -> None:
    """Refuse rows narrower than ``k``.

    Args:
        positions: The rows.
        k: How many values were asked for.
        every_row: One narrow row is enough. Otherwise only if none is wide enough: in a dictionary
            of texts two tokens may have fallen together, a limit of the server shows in all rows.

    Raises:
        DataError: They are too narrow.
    """
    widths = [len(position.logprobs) for position in positions]
    if not widths or k == 0:
        return
    width = min(widths) if every_row else max(widths)
    if width < k or min(widths) == 0:
        row = widths.index(min(widths))
        raise DataError(
            f"the server sent {widths[row]} log-probabilities at position {row}, although {k} were "
            f"asked for; ask for no more than it gives (logprobs={max(min(widths), 1)}), raise its "
            "limit, or allow_missing_logprobs."
        )


def sum_of_actual(positions: Sequence[Position]) -> float | None:
    """Log-probability of the tokens really there, or None where one is missing."""
    total = 0.0
    for position in positions:
        value = position.actual_logprob
        if position.actual is not None:
            value = position.logprobs[position.actual]
        if value is None:
            return None
        total += max(value, FLOOR)
    return total


def read_prompt_row(row: Any, token: int, place: int) -> Position | None:
    """Read one entry of vLLM's ``prompt_logprobs``; None at a first token.

    Args:
        row: ``{token id: {"logprob", "rank", "decoded_token"}}``, or None.
        token: Id of the token really there.
        place: For errors.

    Raises:
        DataError: It has another form, or lacks that token.
    """
    if row is None:
        return None
    if not isinstance(row, dict) or str(token) not in row:
        raise DataError(f"prompt_logprobs at position {place} lacks the token {token} itself.")
    entries = [_entry(value, place) for value in row.values()]
    values = [_number(entry.get("logprob"), place) for entry in entries]
    actual = list(row).index(str(token))
    above = sum(value > values[actual] for value in values)
    rank: Any = entries[actual].get("rank")
    # the server counts from 1 and counts ties; in reach of the values sent, we count ourselves
    told = isinstance(rank, int) and above == len(values) - 1
    ids = [_whole(name, place) for name in row]
    return Position(values, ids, actual=actual, actual_rank=max(rank - 1, above) if told else None)


def prompt_tokens(rows: Sequence[Any], ids: Sequence[int]) -> tuple[str, ...] | None:
    """Texts of the tokens really there in rows of ``prompt_logprobs``, None where one is missing.

    Args:
        rows: As :func:`read_prompt_row` takes them.
        ids: The tokens really there.
    """
    pairs = zip(rows, ids, strict=True)
    texts = [row[str(token)].get("decoded_token") for row, token in pairs]
    return tuple(texts) if all(isinstance(text, str) for text in texts) else None


def _legacy_form(logprobs: Mapping[str, Any]) -> TokenLogprobs:
    tokens = [str(token) for token in logprobs["tokens"]]
    values = _column(logprobs, "token_logprobs", len(tokens))
    rows = _column(logprobs, "top_logprobs", len(tokens))
    skipped = 1 if tokens and values[0] is None and rows[0] is None else 0
    positions = [
        _legacy_position(tokens[i], values[i], rows[i], i) for i in range(skipped, len(tokens))
    ]
    offsets = logprobs.get("text_offset")
    known = isinstance(offsets, list) and len(offsets) == len(tokens)
    return TokenLogprobs(
        tuple(positions),
        _texts(tokens[skipped:]),
        tuple(offsets[skipped:]) if isinstance(offsets, list) and known else None,
        skipped,
        "".join(tokens[:skipped]),
    )


def _legacy_position(token: str, value: Any, row: Any, place: int) -> Position:
    row = {} if row is None else _entry(row, place)
    values = [_number(found, place) for found in row.values()]
    own = None if value is None else _number(value, place)
    names = list(row)
    return Position(values, _ids(names), **_own(names, values, token, own))


def _chat_form(content: Sequence[Any]) -> TokenLogprobs:
    positions, tokens = [], []
    for place, raw in enumerate(content):
        entry = _entry(raw, place)
        top = [_entry(value, place) for value in entry.get("top_logprobs") or ()]
        values = [_number(value.get("logprob"), place) for value in top]
        own = entry.get("logprob")
        own = None if own is None else _number(own, place)
        names = [_name(value) for value in top]
        given = [value["id"] for value in top if isinstance(value.get("id"), int)]
        ids = given if top and len(given) == len(top) else _ids([str(v["token"]) for v in top])
        positions.append(Position(values, ids, **_own(names, values, _name(entry), own)))
        tokens.append(str(entry["token"]))
    return TokenLogprobs(tuple(positions), _texts(tokens))


def _own(
    names: Sequence[Any], values: Sequence[float], name: Any, value: float | None
) -> dict[str, Any]:
    """Find the token really there among those sent: same name and same value.

    Under one name may stand another token that looks alike, so the value decides.
    """
    same = [place for place, other in enumerate(names) if other == name]
    if value is None:
        return {"actual": same[0]} if len(same) == 1 else {}
    for place in same:
        if abs(values[place] - value) <= _SAME:
            return {"actual": place}
    return {"actual_logprob": value}


def _name(entry: Mapping[str, Any]) -> Any:
    """What tells tokens apart: their bytes where sent, because parts of characters look alike."""
    if "token" not in entry:
        raise DataError("an entry of the log-probabilities has no token.")
    sent = entry.get("bytes")
    return (entry["token"], tuple(sent) if isinstance(sent, list) else None)


def _texts(tokens: Sequence[str]) -> tuple[str, ...] | None:
    return None if _ids(tokens) is not None else tuple(tokens)


def _ids(names: Sequence[str]) -> list[int] | None:
    if not names or not names[0].startswith("token_id:"):  # the usual case, and cheap
        return None
    found = [_TOKEN_ID.fullmatch(name) for name in names]
    ids = [int(match[1]) for match in found if match]
    return ids if len(ids) == len(names) else None


def _column(logprobs: Mapping[str, Any], name: str, length: int) -> list[Any]:
    values = logprobs.get(name)
    if values is None:
        return [None] * length
    if not isinstance(values, list) or len(values) != length:
        raise DataError(f"the log-probabilities have {length} tokens, but {name} does not fit.")
    return values


def _entry(value: Any, place: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"the log-probabilities at position {place} are no JSON object.")
    return value


def _number(value: Any, place: int) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or math.isnan(value):
        raise DataError(f"position {place} of the log-probabilities holds {value!r}, no number.")
    return float(value)


def _whole(name: str, place: int) -> int:
    if not name.isdecimal():
        raise DataError(f"prompt_logprobs at position {place} has {name!r} for a token id.")
    return int(name)
