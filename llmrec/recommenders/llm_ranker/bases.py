"""The recommender whose candidates are ranked: trained together with the ranker, or loaded.

A ranker is saved with its base inside, so that a saved ranker is whole: the base's arrays carry
the prefix ``base.``, its class and settings stand among the ranker's details.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, nearest_name
from llmrec.recommenders import artifacts
from llmrec.recommenders.base import BaseRecommender, FloatArray
from llmrec.recommenders.registry import MODELS, model_class

Base = BaseRecommender[Any]

PREFIX = "base."
_MODEL = "model"  # where a run keeps its model


def train_base(
    name: str,
    settings: Mapping[str, Any],
    train: Histories,
    valid: Cases | None,
    catalog: Catalog | None,
) -> Base:
    """Fit a recommender by its name.

    Raises:
        ConfigError: The name is that of a ranker of this kind, or a setting is wrong.
    """
    base = model_class(name)(**dict(settings))
    if catalog is not None:
        base.use_catalog(catalog)
    return base.fit(train, valid)


def load_base(name: str, vocabulary: Vocabulary) -> Base:
    """Read a recommender from a run or a saved model.

    Args:
        name: Its folder, or a name on the hub.
        vocabulary: The items that it must know, in this order.

    Raises:
        ConfigError: There is no such folder, and no recommender has that name.
        ArtifactError: It is damaged, or knows other items.
    """
    folder = Path(name)
    if not folder.is_dir() and name.count("/") != 1:
        raise ConfigError(
            f"base {name!r} is neither a folder with a run or a saved model, nor the name of a "
            f"recommender{nearest_name(name, MODELS)}."
        )
    base = artifacts.load(folder / _MODEL if (folder / _MODEL).is_dir() else name)
    if base.vocabulary.fingerprint != vocabulary.fingerprint:
        raise ArtifactError(
            f"the base {name} knows {len(base.vocabulary):,} items, and they are not the "
            f"{len(vocabulary):,} of the training histories; train it on the same data."
        )
    return base


def describe(base: Base) -> dict[str, Any]:
    """What :func:`restore` needs beside the arrays, as JSON values."""
    return {
        "name": base.name,
        "config": base.config.model_dump(mode="json"),
        "details": base.details,
    }


def restore(
    about: Mapping[str, Any],
    state: Mapping[str, npt.NDArray[Any]],
    like: Base,
) -> Base:
    """The base of a saved ranker.

    Args:
        about: What :func:`describe` gave.
        state: The ranker's arrays.
        like: The ranker itself, for its items and what it has seen.

    Raises:
        ArtifactError: The description is not whole.
    """
    try:
        base = model_class(about["name"])(**about["config"])
        base.details = dict(about["details"])
    except (KeyError, TypeError, ConfigError) as error:
        raise ArtifactError(f"the saved ranker does not describe its base: {error}.") from None
    base._vocabulary, base.titles, base._seen = like.vocabulary, like.titles, tuple(like.seen)
    base._load_state(
        {name.removeprefix(PREFIX): a for name, a in state.items() if name.startswith(PREFIX)}
    )
    return base


def best_candidates(
    scores: FloatArray, n: int, allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """The ``n`` best allowed items of every row, best first; among equals the lower code.

    Args:
        scores: ``[rows, items]`` of the base, not changed.
        n: Most items of a row.
        allowed: ``[rows, items]`` or ``[items]``.

    Returns:
        ``[rows, n]`` item codes; shorter rows end in zeros.
    """
    from llmrec.evaluation.ranks import top_items

    masked = np.where(allowed, scores, np.float32(-np.inf))
    return top_items(masked, min(n, scores.shape[1]))[0]


def below(scores: FloatArray, floor: FloatArray) -> FloatArray:
    """The order of scores, ties included, squeezed into the unit below a floor.

    Args:
        scores: ``[rows, items]``.
        floor: ``[rows]``; everything that comes back is at most ``floor - 1``.
    """
    found = np.empty(scores.shape, dtype=np.float32)
    for row, values in enumerate(scores):
        _, place = np.unique(values, return_inverse=True)
        found[row] = floor[row] - 2 + place / max(1, place.max(initial=0))
    return found
