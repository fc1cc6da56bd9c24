"""What a model has seen: its training events, and what its parts were made from.

An evaluation refuses a model that has seen its answers. This module only collects.
"""

import warnings
from collections.abc import Iterable

from llmrec.data.histories import Origin


def seen_with_parts(
    name: str, seen: tuple[Origin, ...], origins: Iterable[Origin]
) -> tuple[Origin, ...]:
    """What is seen already, and what a part of a model was made from.

    Warns of a part that may be later than the training events: a refusal by the evaluation would
    come after hours of training.

    Args:
        name: The recommender.
        seen: What it has seen, its training events first.
        origins: What the part was made from.
    """
    origins = tuple(origins)
    for origin in origins:
        if seen and origin.is_later_than(seen[0]):
            warnings.warn(
                f"{name}: a part of the model was made from {origin.dataset} up to and including "
                f"part {origin.part} of split {origin.split_hash}, which may be later than the "
                "training events; the evaluation refuses to judge a model on what it knows.",
                stacklevel=4,
            )
    return tuple(dict.fromkeys((*seen, *origins)))
