"""The questions written out, to be put to a language model elsewhere, such as a vLLM server."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.recommenders.reclora.answers import answer_texts
from llmrec.recommenders.reclora.ranker import Ranker


@dataclass(frozen=True)
class Prompt:
    """A question about one item after one history.

    Attributes:
        text: As it reads, with the marks of a chat, but without the token that begins texts where
            the tokenizer adds it by itself.
        tokens: As this model is asked; a server that takes tokens is asked exactly the same. The
            text's tokens may be others where the history meets the item.
        answers: The texts of yes and of no.
        answer_tokens: Their first tokens. The probability of yes is the two-way softmax of the
            log-probabilities of these two as the next token.
    """

    text: str
    tokens: tuple[int, ...]
    answers: tuple[str, str]
    answer_tokens: tuple[int, int]


def written_out(ranker: Ranker, histories: Histories, items: npt.NDArray[np.int32]) -> list[Prompt]:
    """The questions of a model about item code ``items[i]`` after history ``i``.

    Args:
        ranker: The model.
        histories: ``[n]`` with its vocabulary.
        items: ``[n]``.
    """
    questions = ranker.questions
    ends = questions.ends.take(items.astype(np.int64) - 1)
    rows = questions.beginnings(histories, items).followed_by(ends)
    answers = answer_texts(ranker.config.answers, questions.tokens)
    prompts = (tuple(rows[row].tolist()) for row in range(len(rows)))
    return [Prompt(_read(questions.tokens, ids), ids, answers, ranker.answers) for ids in prompts]


def _read(tokens: HFTokens, ids: tuple[int, ...]) -> str:
    begun = tokens.adds_bos and ids[:1] == (tokens.bos,)
    text: str = tokens.tokenizer.decode(
        list(ids[begun:]), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text
