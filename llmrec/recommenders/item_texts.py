"""Texts of items and their vectors, for every model that learns from them.

Item texts come from the catalog alone: nothing here reads what users did.
"""

from collections.abc import Sequence
from pathlib import Path

from llmrec.data.catalog import Catalog
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError
from llmrec.profiles.facts import item_facts
from llmrec.profiles.requests import item_requests
from llmrec.profiles.writers import TemplateWriter
from llmrec.retrieval.encoders import cached_encoder, text_encoder
from llmrec.retrieval.vectors import TextVectors
from llmrec.templates import load_template

ITEM_TEMPLATE = "item_profile"


def item_texts(catalog: Catalog, kind: str) -> list[str]:
    """One text per item in the order of the catalog; empty where nothing is known of it.

    Args:
        catalog: The items.
        kind: ``"title"``, or ``"profile"`` for title, brand, categories and description.
    """
    facts = item_facts(catalog)
    if kind == "title":
        return facts.own_titles
    texts = TemplateWriter(load_template(ITEM_TEMPLATE)).write(item_requests(catalog))
    known = zip(facts.own_titles, facts.brands, facts.categories, facts.descriptions, strict=True)
    return [text if any(told) else "" for text, told in zip(texts, known, strict=True)]


def embed_items(
    texts: Sequence[str], vocabulary: Vocabulary, encoder: str, cache: Path | None
) -> TextVectors:
    """Vectors of item texts.

    Raises:
        DataError: There is no text, or they are all the same.
    """
    filled = {text.strip() for text in texts} - {""}
    if not filled:
        raise DataError(
            "no item of the catalog has a text (title, brand, category or description), so texts "
            "cannot say which items are alike; give the items texts, or vectors of another kind."
        )
    if len(filled) == 1 and len(texts) > 1:
        raise DataError(
            f"all items have the same text {next(iter(filled))[:60]!r}, which says nothing about "
            "which are alike; give the items texts, or vectors of another kind."
        )
    corpus = sorted(filled)
    made = (
        text_encoder(encoder, corpus) if cache is None else cached_encoder(encoder, corpus, cache)
    )
    return TextVectors.embed(texts, vocabulary, made, cache)
