"""Asking the language model: yes or no about single items, or the order of lists.

All histories of a call are asked about together, so that a backend can batch them. Answers are
kept in a cache, where there is one, under the user whose history the prompt tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.contracts import LanguageModel
from llmrec.data.histories import Histories
from llmrec.errors import LanguageModelError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.cached_model import CachedModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.recommenders.llm_ranker.answers import AnswerCounts, read_order
from llmrec.recommenders.llm_ranker.questions import Questioner

FloatArray = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


@dataclass
class Asker:
    """Asks about items after histories.

    Attributes:
        model: The language model.
        questioner: Writes the prompts.
        cache: Where answers are kept, or None.
        keep_failures: A failed request leaves NaN or the order as it was; else it is an error.
        counts: Of lists asked about.
    """

    model: LanguageModel
    questioner: Questioner
    cache: ResponseCache | None
    keep_failures: bool
    counts: AnswerCounts

    def log_odds(self, histories: Histories, codes: Codes, yes_no: tuple[str, str]) -> FloatArray:
        """Log-odds of yes for items: ``[n, C]`` float32; NaN for code 0 and for failed requests.

        Raises:
            LanguageModelError: A request failed, and that is not to be passed over.
        """
        rows, requests, asked = [], [], []
        for row in range(len(histories)):
            own = np.unique(codes[row])
            own = own[own > 0]
            if not own.size:
                continue
            question = self.questioner.one(histories, row)
            titles = [self.questioner.titles[code - 1] for code in own.tolist()]
            texts = [question.about(title) + answer for title in titles for answer in yes_no]
            rows.append(row)
            asked.append(own)
            requests.append(ScoreRequest(question.prefix, tuple(texts), over_long="keep_end"))
        owners = [str(histories.user_ids[row]) for row in rows]
        found = np.full(codes.shape, np.nan, dtype=np.float32)
        scores = self._ask("score", requests, owners)
        for row, own, score in zip(rows, asked, scores, strict=True):
            if score.error is None:
                logprobs = np.array([text.logprob for text in score.texts]).reshape(-1, 2)
                odds = (logprobs[:, 0] - logprobs[:, 1]).astype(np.float32)
                place = np.minimum(np.searchsorted(own, codes[row]), own.size - 1)
                found[row] = np.where(codes[row] > 0, odds[place], np.nan)
        return found

    def ordered(
        self, histories: Histories, codes: Codes, window: int, stride: int, max_tokens: int
    ) -> Codes:
        """Put items in order, best first, by a window that moves from the back to the front.

        What ends up at the front of a window takes part in the next one (Sun et al., 2023, "Is
        ChatGPT Good at Search?", section 3.2).

        Args:
            histories: ``[n]``.
            codes: ``[n, C]`` distinct items in the order they have, zeros at the end.
            window: Items in one list.
            stride: How far the window moves.
            max_tokens: Of an answer.

        Returns:
            ``[n, C]`` the same items in their new order.

        Raises:
            LanguageModelError: As for :meth:`log_odds`.
        """
        order = codes.copy()
        lengths = (codes > 0).sum(axis=1)
        # every row begins at its own end; rows with fewer windows are done earlier
        starts = [_window_starts(int(length), window, stride) for length in lengths]
        for step in range(max(map(len, starts), default=0)):
            rows = [row for row in range(len(starts)) if step < len(starts[row])]
            spans = [slice(s := starts[row][step], min(s + window, lengths[row])) for row in rows]
            self._order_windows(histories, order, rows, spans, max_tokens)
        return order

    def _order_windows(
        self,
        histories: Histories,
        order: Codes,
        rows: Sequence[int],
        spans: Sequence[slice],
        max_tokens: int,
    ) -> None:
        """Ask about one window of each row, and change the order in place."""
        decoding = Decoding(max_tokens=max_tokens)
        requests = [
            GenerateRequest(
                self.questioner.many(histories, row, order[row, span]),
                decoding,
                over_long="keep_end",  # what is asked stands at the end
            )
            for row, span in zip(rows, spans, strict=True)
        ]
        owners = [str(histories.user_ids[row]) for row in rows]
        answers = self._ask("generate", requests, owners)
        for row, span, answer in zip(rows, spans, answers, strict=True):
            if answer.error is not None:
                self.counts.count(None)
                continue
            own = order[row, span]
            read = read_order(answer.text, [self.questioner.titles[c - 1] for c in own.tolist()])
            self.counts.count(read)
            order[row, span] = own[list(read.places)]

    def _ask(self, kind: str, requests: list[Any], owners: Sequence[str]) -> list[Any]:
        """Results in the order of the requests."""
        model: Any = self.model
        if self.cache is not None:
            whose: dict[Any, list[str]] = {}  # users with equal histories ask the same
            for request, owner in zip(requests, owners, strict=True):
                whose.setdefault(request, []).append(owner)
            model = CachedModel(self.model, self.cache, whose.__getitem__)
        results: list[Any] = getattr(model, kind)(requests) if requests else []
        failed = [place for place, result in enumerate(results) if result.error is not None]
        if failed and not self.keep_failures:
            kept = "What was answered is kept." if self.cache else "Set a cache to keep answers."
            raise LanguageModelError(
                f"{len(failed)} of {len(results)} requests failed, the first about user "
                f"{owners[failed[0]]!r}: {results[failed[0]].error} {kept}"
            )
        return results


def _window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin, from the back to the front; none for fewer than two items."""
    if length < 2:
        return []
    starts = list(range(max(0, length - window), 0, -stride))
    return [*starts, 0]
