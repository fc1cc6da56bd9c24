"""From a short history and an item to the tokens of a question, cut from the oldest event.

A prompt is a *beginning*, which tells the history, and an *end*, which names the item in question.
Both are read by the tokenizer on their own, so all prompts of one history have the same beginning,
token by token, and a beginning leaves room for the longest end. What stands in a title like a mark
of a chat format is broken up, and a title is one line, so that it cannot tell events of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import row_of_each
from llmrec.errors import ConfigError
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.inference.prompts import as_chat, markers_of, neutralised
from llmrec.recommenders.reclora.token_rows import TokenRows
from llmrec.templates import Template

Int64 = npt.NDArray[np.int64]

_MARK = "\ue000"  # stands for the item in question while the template is filled
_VARIABLES = {"opinions", "chosen", "action", "title"}
_WRITTEN_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Told:
    """Events that prompts tell, oldest first.

    Attributes:
        items: ``[events]`` int32 item codes.
        liked: ``[events]`` whether each was liked, or None where nothing tells.
        offsets: ``[n + 1]`` int64.
    """

    items: npt.NDArray[np.int32]
    liked: npt.NDArray[np.bool_] | None
    offsets: Int64

    def __len__(self) -> int:
        return self.offsets.size - 1


class PromptWriter:
    """Writes the questions of one base model about one catalog.

    Args:
        tokens: The base model's tokenizer.
        template: With the variables of ``yes_no_question``; the item comes after the history.
        names: What items are called, by code minus 1.
        action: What is asked: ``like`` or ``choose``.
        max_tokens: Most tokens of a prompt.
        title_tokens: Most tokens of a name; longer names are cut.

    Attributes:
        ends: The end of the question about every item, row ``code - 1``.
        cut_names: How many names were cut.

    Raises:
        ConfigError: The template has other variables, does not name the item exactly once, or
            tells something of the history behind it; or a prompt has no room for any event.
    """

    def __init__(
        self,
        tokens: HFTokens,
        template: Template,
        names: Sequence[str],
        action: str,
        max_tokens: int,
        title_tokens: int,
    ) -> None:
        self._tokens, self._template, self._action = tokens, template, action
        if set(template.variables) != _VARIABLES:
            raise ConfigError(
                f"template {template.name} has the variables {', '.join(template.variables)}; "
                f"RecLoRA fills {', '.join(sorted(_VARIABLES))}."
            )
        markers = markers_of(tokens.tokenizer)
        lines = [" ".join(name.replace(_MARK, "").splitlines()) for name in names]
        safe = [neutralised(line, markers) for line in lines]
        self._names, self._sizes = self._cut(safe, title_tokens)
        self.cut_names = sum(a != b for a, b in zip(safe, self._names, strict=True))
        begin, tail = self._parts([], None)
        if self._parts([self._names[0]], None)[1] != tail:
            raise ConfigError(
                f"template {template.name} tells the history behind the item in question; put it "
                "before, so that prompts about many items can share it."
            )
        space = " " if begin.endswith(" ") else ""
        self.ends = TokenRows.of(
            tokens.continuations([f"{space}{name}{tail}" for name in self._names])
        )
        self._room = max_tokens - int(self.ends.lengths.max(initial=0))
        self._fixed, self._per_event = self._costs()
        if len(self._begin(begin)) > self._room:
            raise ConfigError(
                f"max_tokens is {max_tokens}, which template {template.name} and the longest name "
                "fill without any history; raise it, or lower title_tokens."
            )

    def beginnings(self, told: Told) -> TokenRows:
        """The beginnings of prompts; the oldest events are left out where there is no room."""
        return self.written(told)[0]

    def written(self, told: Told) -> tuple[TokenRows, Int64]:
        """The beginnings of prompts, and how many events each leaves out for want of room.

        Returns:
            The beginnings and ``[n]`` int64.
        """
        first = self._first_that_fits(told)
        found: list[list[int]] = []
        for start in range(0, len(told), _WRITTEN_AT_ONCE):
            rows = range(start, min(start + _WRITTEN_AT_ONCE, len(told)))
            found += self._fitting(told, rows, first)
        return TokenRows.of(found), first - told.offsets[:-1]

    def _fitting(self, told: Told, rows: range, first: Int64) -> list[list[int]]:
        """Write rows from their first event that fits; costs are estimates, so check and mend."""
        found: dict[int, list[int]] = {}
        waiting = list(rows)
        while waiting:
            texts = [self._text(told, row, int(first[row])) for row in waiting]
            found |= zip(waiting, self._tokens.prompts(texts), strict=True)
            waiting = [row for row in waiting if len(found[row]) > self._room]
            first[waiting] += 1
        return [found[row] for row in rows]

    def _text(self, told: Told, row: int, first: int) -> str:
        span = slice(first, int(told.offsets[row + 1]))
        names = [self._names[code - 1] for code in told.items[span].tolist()]
        marks = None if told.liked is None else told.liked[span].tolist()
        return self._parts(names, marks)[0].rstrip(" ")

    def _parts(self, names: list[str], marks: list[bool] | None) -> tuple[str, str]:
        """What stands before and behind the item in question."""
        text = self._template.render(
            opinions=[] if marks is None else list(zip(names, marks, strict=True)),
            chosen=names if marks is None else [],
            action=self._action,
            title=_MARK,
        )
        parts = as_chat(self._tokens.tokenizer, text).split(_MARK)
        if len(parts) != 2:
            raise ConfigError(
                f"template {self._template.name} names the item in question {len(parts) - 1} "
                "times; it must do so exactly once."
            )
        return parts[0], parts[1]

    def _first_that_fits(self, told: Told) -> Int64:
        """``[n]`` flat position of the oldest event that is told, by estimated costs."""
        costs = self._sizes[told.items - 1] + self._per_event
        summed = np.append(0, np.cumsum(costs))
        owner = row_of_each(told.offsets)
        newer = summed[told.offsets[1:]][owner] - summed[:-1]  # this event and those after it
        too_many = newer + self._fixed > self._room
        dropped = np.bincount(owner[too_many], minlength=len(told))
        return np.asarray(told.offsets[:-1] + dropped, dtype=np.int64)

    def _costs(self) -> tuple[int, int]:
        """Tokens that any history takes, and those of an event beside its name."""
        name, size = self._names[0], int(self._sizes[0])
        lengths = []
        for count in (1, 2, 3):
            texts = [self._parts([name] * count, marks)[0] for marks in (None, [True] * count)]
            lengths.append(max(len(self._begin(text)) for text in texts))
        per_event = max(0, lengths[2] - lengths[1] - size)
        return max(0, lengths[1] - 2 * (per_event + size)), per_event

    def _begin(self, text: str) -> list[int]:
        return self._tokens.prompts([text.rstrip(" ")])[0]

    def _cut(self, names: list[str], most: int) -> tuple[list[str], Int64]:
        """Names of at most so many tokens, and their numbers of tokens."""
        ids = self._tokens.continuations([f" {name}" for name in names])
        kept = [
            name if len(own) <= most else self._tokens.decode(own[:most]).strip()
            for name, own in zip(names, ids, strict=True)
        ]
        sizes = np.array([min(len(own), most) for own in ids], dtype=np.int64)
        return kept, sizes
