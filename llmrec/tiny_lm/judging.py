"""How good an embedded model is on events it has not seen: perplexity and answers.

The model is asked through the same backend that everybody uses. N-gram models are given the same
tokens after the same tokens, so that their perplexities can be put beside the model's.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.contracts import LanguageModel
from llmrec.errors import ArtifactError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.inference.requests import ScoreRequest
from llmrec.inference.results import Score
from llmrec.tiny_lm.corpus import held_out_texts
from llmrec.tiny_lm.events import Events, HeldOut
from llmrec.tiny_lm.ngrams import Trigram, Unigram
from llmrec.tiny_lm.questions import NO, YES, Action, Question, held_out_questions


def perplexities(
    model: LanguageModel,
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    stream: npt.NDArray[np.int32],
) -> dict[str, float | int]:
    """Perplexity of continuations under the model and under n-gram models.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        texts: Pairs of a text and what follows it; only the latter is counted.
        stream: Training tokens, for the n-gram models.

    Returns:
        ``texts``, ``tokens``, ``perplexity``, ``unigram``, ``trigram``.

    Raises:
        ArtifactError: The model cannot score a text.
    """
    scores = _scored(
        model, [ScoreRequest(text, (end,), over_long="keep_end") for text, end in texts]
    )
    tokens = sum(score.texts[0].tokens for score in scores)
    logprob = math.fsum(score.texts[0].logprob for score in scores)
    before, ends = [], []
    for text, end in texts:
        ids = [*tokenizer(text)["input_ids"], *_plain(tokenizer, end)]
        for place in range(len(ids) - len(_plain(tokenizer, end)), len(ids)):
            before.append(ids[place - 2 : place])
            ends.append(ids[place])
    size = len(tokenizer)
    unigram = Unigram(stream, size).logprobs(ends)
    trigram = Trigram(stream, size).logprobs(before, ends)
    return {
        "texts": len(texts),
        "tokens": tokens,
        "perplexity": math.exp(-logprob / tokens),
        "unigram": math.exp(-unigram.mean()),
        "trigram": math.exp(-trigram.mean()),
    }


def answers(
    model: LanguageModel, events: Events, held_out: HeldOut, action: Action
) -> dict[str, float | int | None]:
    """How well P(Yes) tells held-out items apart that the user liked, or chose.

    Returns:
        ``questions``, ``share_yes`` (of the true answers), ``auc`` of the log-odds of yes, and
        ``auc_item_average`` of what the training events say about the item alone: the share of its
        likes, or how often it was chosen. An AUC is None where all true answers are equal.
    """
    questions = held_out_questions(events, held_out, action)
    requests = [
        ScoreRequest(question.prompt, (YES, NO), over_long="keep_end") for question in questions
    ]
    odds = [score.texts[0].logprob - score.texts[1].logprob for score in _scored(model, requests)]
    truth = [int(question.yes) for question in questions]
    return {
        "questions": len(questions),
        "share_yes": float(np.mean(truth)),
        "auc": _number(auc(truth, odds)),
        "auc_item_average": _number(auc(truth, _item_averages(events, questions, action))),
    }


def judge(
    model: LanguageModel,
    tokenizer: Any,
    events: Events,
    held_out: HeldOut,
    stream: npt.NDArray[np.int32],
    context: int,
) -> dict[str, Any]:
    """All held-out figures, as they stand in ``metrics.json``.

    Events that take more than ``context`` tokens to tell are counted as ``left_out``.
    """
    texts = held_out_texts(events, held_out)
    # the token that begins texts, and one of the text itself, have to fit before what is scored
    fitting = [(text, end) for text, end in texts if len(_plain(tokenizer, end)) + 2 <= context]
    found: dict[str, Any] = {}
    if fitting:
        found["texts"] = perplexities(model, tokenizer, fitting, stream)
        found["texts"]["left_out"] = len(texts) - len(fitting)
    if events.liked is not None:
        found["like"] = answers(model, events, held_out, "like")
    found["choose"] = answers(model, events, held_out, "choose")
    return found


def _item_averages(
    events: Events, questions: Sequence[Question], action: Action
) -> npt.NDArray[np.float64]:
    items = np.array([question.item for question in questions])
    counts = np.bincount(events.histories.items, minlength=len(events.facts.titles) + 1)
    if action == "choose" or events.liked is None:
        return np.asarray(counts[items], dtype=np.float64)
    likes = np.bincount(events.histories.items, events.liked, minlength=counts.size)
    prior = 5.0  # events that every item is thought to have had, liked as often as all
    share = (likes + prior * events.liked.mean()) / (counts + prior)
    return np.asarray(share[items])


def _scored(model: LanguageModel, requests: Sequence[ScoreRequest]) -> list[Score]:
    scores = model.score(requests)
    for score in scores:
        if score.error is not None:
            raise ArtifactError(f"a held-out text cannot be scored: {score.error}")
    return scores


def _plain(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
