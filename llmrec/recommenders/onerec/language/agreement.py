"""Whether a language model can be searched: kinds that read a text otherwise are refused early.

The search writes all beams of a user into one text, with a mask per query and positions of its own
(:mod:`~llmrec.recommenders.onerec.language.steps`). A model that ignores them, or looks at
neighbours only, would be trained in full and then searched as another one.
"""

import numpy as np
import torch

from llmrec.data.histories import Histories
from llmrec.errors import ConfigError
from llmrec.recommenders.onerec.language.writer import LanguageWriter
from llmrec.recommenders.onerec.serving import first_items, search
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.onerec.writer import read_histories

_MOST = 2e-3  # far more than float32 rounds a list's log-probability by, far less than a mask does
_WIDTH = 3


def require_search(
    writer: LanguageWriter, trie: Trie, train: Histories, items: int, name: str
) -> None:
    """Compare a small search with a forward pass over what it found.

    Args:
        writer: In evaluation mode.
        trie: The semantic IDs.
        train: The longest and the shortest of them are continued.
        items: Items per list.
        name: Of the language model.

    Raises:
        ConfigError: The model cannot be searched, or a list is more or less probable in the search.
    """
    lengths = np.where(train.lengths > 0, train.lengths, train.lengths.max())
    two = train.take([int(lengths.argmax()), int(lengths.argmin())])
    kind = type(writer.network.model).__name__
    try:
        unlike = _disagreement(writer, trie, two, items)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise ConfigError(
            f"language_model={name!r} is a {kind}, which cannot be searched "
            f"({type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no reason given'}); "
            "take a kind of model that is given positions and a mask per token, such as Llama, "
            "Qwen2 or GPT-2."
        ) from e
    if unlike > _MOST:
        raise ConfigError(
            f"language_model={name!r} is a {kind}, which gives a list another log-probability in "
            f"the search than when it reads it (by {unlike:.2g}); take a kind of model that is "
            "given positions and a mask per token, such as Llama, Qwen2 or GPT-2."
        )


@torch.inference_mode()
def _disagreement(writer: LanguageWriter, trie: Trie, two: Histories, items: int) -> float:
    """By how much the log-probabilities of what is found differ at most."""
    worst = 0.0
    read = read_histories(writer, two, items)
    for rows, found in search(writer, trie, two, _WIDTH, items):
        lists = torch.from_numpy(first_items(trie, found.leaves).astype(np.int64)).to(read.device)
        for beam in range(lists.shape[1]):
            whole = (lists[:, beam] > 0).all(1)
            again = writer.list_log_probabilities(read[rows][whole], lists[whole, beam])
            apart = (found.scores[whole, beam] - again).abs()
            worst = max(worst, float(apart.max()) if len(apart) else 0.0)
    return worst
