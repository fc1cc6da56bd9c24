"""What the language model learns: sequences of semantic IDs, IDs of titles, titles of IDs.

These are tasks of LC-Rec (Zheng et al., 2024) and MiniOneRec (arXiv 2510.24431, section 3): all but
the first tie the new tokens to words the model knows, item by item or within histories. Everything
is kept as flat tokens; a batch is cut out of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, position_of_each, row_of_each, span_indices
from llmrec.data.windows import window_rows
from llmrec.errors import DataError
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.inference.prompts import fill, markers_of, neutralised
from llmrec.recommenders.onerec.language.tokens import code_names
from llmrec.templates import load_template

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TextBatch:
    """Texts of a training step.

    Attributes:
        tokens: ``[rows, longest]`` int64, 0 after the end.
        mask: ``[rows, longest]`` int64, 1 where there is a token.
        learn: ``[rows, longest]`` bool, true for tokens that carry loss; never the first one.
        n_targets: Number of loss terms.
    """

    tokens: Tensor
    mask: Tensor
    learn: Tensor
    n_targets: int

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        for name in ("tokens", "mask", "learn"):
            object.__setattr__(self, name, getattr(self, name).to(device, non_blocking=True))
        return self


class TextRows:
    """Rows of tokens, a source of batches for the training loop.

    Args:
        tokens: Tokens of all rows, one after another.
        learn: Which of them carry loss.
        lengths: Tokens of every row.
    """

    def __init__(
        self, tokens: Int64Array, learn: npt.NDArray[np.bool_], lengths: Int64Array
    ) -> None:
        self._tokens, self._learn, self._lengths = tokens, learn, lengths
        self._starts = offsets_of(lengths)[:-1]

    def __len__(self) -> int:
        return self._lengths.size

    @property
    def row_lengths(self) -> Int64Array:
        """``[rows]`` tokens of the texts."""
        return self._lengths

    def __add__(self, other: "TextRows") -> "TextRows":
        return TextRows(
            np.concatenate([self._tokens, other._tokens]),
            np.concatenate([self._learn, other._learn]),
            np.concatenate([self._lengths, other._lengths]),
        )

    def batch(self, rows: Int64Array, generator: np.random.Generator) -> TextBatch:
        """Collate rows in the order given."""
        lengths = self._lengths[rows]
        offsets = offsets_of(lengths)
        source = span_indices(self._starts[rows], lengths)
        place = row_of_each(offsets), position_of_each(offsets)
        shape = (len(rows), int(lengths.max()))
        tokens = np.zeros(shape, dtype=np.int64)
        mask, learn = np.zeros_like(tokens), np.zeros(shape, dtype=np.bool_)
        tokens[place], mask[place] = self._tokens[source], 1
        learn[place] = self._learn[source]
        found = torch.from_numpy(tokens), torch.from_numpy(mask), torch.from_numpy(learn)
        return TextBatch(*found, int(learn.sum()))


class Prompts:
    """The texts around semantic IDs, as tokens.

    Args:
        tokens: The model's tokenizer, which has the tokens of the codes.
        table: ``[items + 1, levels]`` int64 tokens of every item.
        sizes: Codes per level.
    """

    def __init__(self, tokens: HFTokens, table: Tensor, sizes: Sequence[int]) -> None:
        self._tokens, self.table, self._sizes = tokens, table, tuple(sizes)
        history = load_template("onerec_history").render(items="")
        self.prefix = torch.tensor(tokens.prompts([history])[0])

    @property
    def levels(self) -> int:
        """Tokens of an item."""
        return len(self._sizes)

    def histories(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts whose answer is the next item.

        Args:
            items: ``[users, n]`` item codes, oldest first, 0 after the end.

        Returns:
            Tokens and their mask, ``[users, prefix + n * levels]`` int64, 0 after the end.
        """
        real = (items > 0)[..., None].expand(-1, -1, self.levels).flatten(1)
        written = self.table.to(items.device)[items].flatten(1) * real
        prefix = self.prefix.to(items.device).expand(len(items), -1)
        mask = torch.cat([torch.ones_like(prefix), real.long()], dim=1)
        return torch.cat([prefix, written], dim=1), mask

    def sequences(self, train: Histories, longest: int) -> TextRows:
        """Windows of what every user did; each item but a user's first carries loss once.

        Raises:
            DataError: No user has two events.
        """
        kept = np.flatnonzero(train.lengths >= 2)
        if not kept.size:
            raise DataError("no training history has two events, so there is nothing to predict.")
        starts, lengths, learnt = window_rows(train.offsets[kept], train.lengths[kept] - 1, longest)
        lengths = lengths + 1
        offsets = offsets_of(lengths)
        items = train.items[span_indices(starts, lengths)]
        late = position_of_each(offsets) >= (lengths - learnt)[row_of_each(offsets)]
        body, carries = self.table[items].numpy().ravel(), np.repeat(late, self.levels)
        prefix = self.prefix.numpy()
        sizes = lengths * self.levels + prefix.size
        tokens = np.empty(sizes.sum(), dtype=np.int64)
        learn = np.zeros(tokens.size, dtype=np.bool_)
        place = position_of_each(offsets_of(sizes))
        tokens[place < prefix.size] = np.tile(prefix, sizes.size)
        tokens[place >= prefix.size], learn[place >= prefix.size] = body, carries
        return TextRows(tokens, learn, sizes)

    def titles(self, titles: Sequence[str]) -> TextRows:
        """The ID of every title, and the title of every ID; items without a title are left out.

        Args:
            titles: ``[items]`` in the order of item codes.
        """
        tokens, markers = self._tokens, markers_of(self._tokens.tokenizer)
        known = [(code, text) for code, text in enumerate(titles, 1) if text.strip()]
        asked = load_template("onerec_item_of_title")
        told = load_template("onerec_title_of_item")
        prompts = tokens.prompts([fill(asked, {"title": text}, markers) for _, text in known])
        rows = [(prompt, self._id(code)) for prompt, (code, _) in zip(prompts, known, strict=True)]
        prompts = tokens.prompts([told.render(item=self._written([code])) for code, _ in known])
        rows += zip(prompts, self._spoken([text for _, text in known]), strict=True)
        return _rows_of(rows)

    def told_histories(
        self, train: Histories, titles: Sequence[str], longest: int, room: int | None
    ) -> TextRows:
        """The next item after titles, and its title after the IDs of the same items.

        One moment of every window of a history; moments at which the next item or all before it
        lack a title are left out, as are the oldest titles where there is no room for all.

        Args:
            train: Training events.
            titles: ``[items]`` in the order of item codes.
            longest: Items before the next one.
            room: Tokens that the model reads at most, or None.
        """
        tokens, markers = self._tokens, markers_of(self._tokens.tokenizer)
        by_titles = load_template("onerec_item_of_titles")
        by_ids = load_template("onerec_title_of_next")
        spoken = [[], *self._spoken([text.strip() for text in titles])]
        empty = len(tokens.prompts([by_titles.render(titles=[])])[0]) + self.levels
        texts: list[str] = []
        answers: list[list[int]] = []
        for items in _moments(train, longest):
            before = [code for code in items[:-1] if titles[code - 1].strip()]
            before = _newest_in(before, spoken, None if room is None else room - empty)
            if not before or not titles[items[-1] - 1].strip():
                continue
            named = {"titles": [titles[code - 1].strip() for code in before]}
            texts += [fill(by_titles, named, markers), by_ids.render(items=self._written(before))]
            answers += [self._id(items[-1]), spoken[items[-1]]]
        rows = list(zip(tokens.prompts(texts), answers, strict=True))
        return _rows_of([row for row in rows if room is None or len(row[0]) + len(row[1]) <= room])

    def _id(self, code: int) -> list[int]:
        """Tokens of an item's ID."""
        found: list[int] = self.table[code].tolist()
        return found

    def _written(self, codes: Sequence[int]) -> str:
        """IDs as text."""
        names = code_names(self._sizes)
        first = self._tokens.tokenizer.convert_tokens_to_ids(names[0])
        return "".join(names[token - first] for code in codes for token in self._id(code))

    def _spoken(self, titles: Sequence[str]) -> list[list[int]]:
        """Tokens of titles as answers, with the end of the text."""
        tokens, markers = self._tokens, markers_of(self._tokens.tokenizer)
        end = [tokens.tokenizer.eos_token_id] if tokens.tokenizer.eos_token_id is not None else []
        spoken = tokens.continuations([f" {neutralised(text, markers)}" for text in titles])
        return [[*text, *end] for text in spoken]


def _moments(train: Histories, longest: int) -> Iterator[list[int]]:
    """Item codes of windows: at most ``longest``, and the one that follows."""
    kept = np.flatnonzero(train.lengths >= 2)
    starts, lengths, _ = window_rows(train.offsets[kept], train.lengths[kept] - 1, longest)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        yield train.items[start : start + length + 1].tolist()


def _newest_in(
    codes: Sequence[int], spoken: Sequence[Sequence[int]], room: int | None
) -> list[int]:
    """The newest items whose titles, each with a separator in the place of its end, have room."""
    sizes = np.cumsum([len(spoken[code]) + 1 for code in reversed(codes)])
    kept = len(codes) if room is None else int((sizes <= room).sum())
    return list(codes[len(codes) - kept :])


def _rows_of(rows: Sequence[tuple[list[int], list[int]]]) -> TextRows:
    """Rows of prompts and answers; answers carry the loss."""
    tokens = [token for prompt, answer in rows for token in (*prompt, *answer)]
    sizes = [(len(prompt), len(answer)) for prompt, answer in rows]
    learn = np.repeat([False, True] * len(rows), np.array(sizes, dtype=np.int64).ravel())
    lengths = np.array(sizes, dtype=np.int64).reshape(-1, 2).sum(1)
    return TextRows(np.array(tokens, dtype=np.int64), learn, lengths)
