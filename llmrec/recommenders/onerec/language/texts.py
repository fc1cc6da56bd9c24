"""What the language model learns: sequences of semantic IDs, IDs of titles, titles of IDs.

These are tasks of LC-Rec (Zheng et al., 2024) and MiniOneRec (arXiv 2510.24431, section 3): the
second and third tie the new tokens to words the model knows. Everything is kept as flat tokens; a
batch is cut out of them.
"""

from collections.abc import Sequence
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
        tokens, names = self._tokens, code_names(self._sizes)
        markers = markers_of(tokens.tokenizer)
        first = tokens.tokenizer.convert_tokens_to_ids(names[0])
        known = [(code, text) for code, text in enumerate(titles, 1) if text.strip()]
        asked = load_template("onerec_item_of_title")
        told = load_template("onerec_title_of_item")
        rows: list[tuple[list[int], list[int]]] = []
        prompts = tokens.prompts([fill(asked, {"title": text}, markers) for _, text in known])
        answers = [self.table[code].tolist() for code, _ in known]
        rows += zip(prompts, answers, strict=True)
        written = ["".join(names[token - first] for token in answer) for answer in answers]
        prompts = tokens.prompts([told.render(item=item) for item in written])
        spoken = tokens.continuations([f" {neutralised(text, markers)}" for _, text in known])
        end = [tokens.tokenizer.eos_token_id] if tokens.tokenizer.eos_token_id is not None else []
        rows += [(prompt, [*text, *end]) for prompt, text in zip(prompts, spoken, strict=True)]
        return _rows_of(rows)


def _rows_of(rows: Sequence[tuple[list[int], list[int]]]) -> TextRows:
    """Rows of prompts and answers; answers carry the loss."""
    tokens = [token for prompt, answer in rows for token in (*prompt, *answer)]
    sizes = [(len(prompt), len(answer)) for prompt, answer in rows]
    learn = np.repeat([False, True] * len(rows), np.array(sizes, dtype=np.int64).ravel())
    lengths = np.array(sizes, dtype=np.int64).sum(1)
    return TextRows(np.array(tokens, dtype=np.int64), learn, lengths)
