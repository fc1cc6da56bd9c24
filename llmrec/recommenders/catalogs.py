"""Whether a catalog tells of the items that histories are of, code by code."""

from llmrec.data.catalog import Catalog
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError


def require_items_of(catalog: Catalog, vocabulary: Vocabulary, name: str) -> None:
    """Refuse a catalog whose rows would be read as those of other items.

    Args:
        catalog: What is known of the items.
        vocabulary: The items of the histories.
        name: Of the model, for the sentence.

    Raises:
        DataError: An item is missing, is too many, or has another code.
    """
    there = catalog.vocabulary
    if there.fingerprint == vocabulary.fingerprint:
        return
    ours, theirs = vocabulary.ids.to_list(), there.ids.to_list()
    held, wanted = set(theirs), set(ours)
    missing = [item for item in ours if item not in held]
    further = [item for item in theirs if item not in wanted]
    if missing:
        what = f"it lacks {len(missing)} of them, {missing[0]!r} first"
    elif further:
        what = f"it has {len(further)} more, {further[0]!r} first"
    else:
        what = "it has them in another order"
    raise DataError(
        f"{name}: the catalog does not hold the items of the histories: {what}; give the catalog "
        "of the same dataset."
    )
