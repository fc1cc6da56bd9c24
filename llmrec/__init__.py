"""Recommendation with language models, and analysis of how those models behave."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from llmrec.recommenders.base import BaseRecommender

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(name: "str | Path") -> "BaseRecommender[Any]":
    """Load a trained recommender.

    Args:
        name: A run directory, a directory of ``save_pretrained``, or ``owner/name`` on the Hugging
            Face hub.

    Returns:
        A recommender with ``recommend``, ``rank`` and ``score``; it serves the users it knows by
        their ids where their histories came along, and anyone else by the histories given.

    Raises:
        ArtifactError: There is no such model, or it is damaged; the sentence says which.
    """
    from llmrec.runs.loading import load as load_model  # torch and polars load here, not above

    return load_model(name)
