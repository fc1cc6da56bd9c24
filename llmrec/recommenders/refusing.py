"""A fit that is refused leaves a model as it was."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmrec.errors import LlmrecError, TrainingError

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender


@contextmanager
def as_before_if_refused(model: "BaseRecommender[Any]") -> Iterator[None]:
    """Put all of a model back where the block ends in one of our errors.

    A training that stops half-way (:class:`TrainingError`) has learnt something, and keeps it.

    Args:
        model: Its attributes may be set anew in the block; what they hold must not be changed.
    """
    before = {**vars(model), "details": copy.deepcopy(model.details)}
    try:
        yield
    except TrainingError:
        raise
    except LlmrecError:
        vars(model).clear()
        vars(model).update(before)
        raise
