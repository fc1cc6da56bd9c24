"""What a catalog says about its items, in a form that texts can be written from.

Text is tidied once per catalog: HTML entities are resolved, control characters and line breaks
become blanks. Nothing that was found out after the events (price and sales rank at the time of a
crawl) is read unless it is asked for by name, and then with a warning.
"""

import html
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.errors import ConfigError, nearest_name

T = TypeVar("T")
AFTER_THE_FACT = frozenset({"price", "salesrank", "rank"})
_ENTITY = re.compile(r"&#?\w+;")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# a quote closes where a separator follows, so that 'Women's' stays whole
_QUOTED = re.compile(r"""(?<![^,\[\s])(?:'(.*?)'|"(.*?)")(?=\s*(?:[,\]]|$))""")
_SEPARATORS = ("|", " > ", ";", ",")


@dataclass(frozen=True)
class ItemFields:
    """Which columns of a catalog are told about an item. A column that is not there is left out.

    Attributes:
        brand: Column of the brand.
        category: Column of the categories, text or lists of texts.
        description: Column of the description.
        description_characters: How much of the beginning of a description is told.
        facts: Further columns to tell, by name. Price and sales rank were crawled after the
            events and give a warning.
    """

    brand: str = "brand"
    category: str = "category"
    description: str = "description"
    description_characters: int = 500
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemFacts:
    """What is told about every item; row ``i`` has the item code ``i + 1``.

    Attributes:
        titles: Title; without one the most specific category, else the id. Never empty.
        own_titles: Title, or an empty text where the catalog has none.
        brands: Brand or an empty text.
        categories: Category names, the widest first.
        descriptions: Beginning of the description or an empty text.
        facts: Names and values of the further columns; an empty value is left out.
    """

    titles: list[str]
    own_titles: list[str]
    brands: list[str]
    categories: list[list[str]]
    descriptions: list[str]
    facts: list[list[tuple[str, str]]]


def item_facts(catalog: Catalog, fields: ItemFields | None = None) -> ItemFacts:
    """Read the facts of a catalog: a plain loop over items, about 20 microseconds each.

    Args:
        catalog: The items.
        fields: Which columns; None for the usual names.

    Raises:
        ConfigError: A column of ``fields.facts`` is not in the catalog.
    """
    fields = fields or ItemFields()
    _require_facts(catalog, fields)
    own_titles = _texts(catalog, "title")
    categories = _categories(catalog, fields.category)
    ids = catalog.frame["item_id"].cast(pl.String)
    named = zip(own_titles, categories, ids, strict=True)
    most = fields.description_characters
    return ItemFacts(
        [title or (parts[-1] if parts else item) for title, parts, item in named],
        own_titles,
        _texts(catalog, fields.brand),
        categories,
        [text[:most].rstrip() for text in _texts(catalog, fields.description)],
        _further(catalog, fields.facts),
    )


def tidy(text: str) -> str:
    r"""One line of text: HTML entities resolved, control characters and runs of blanks one blank.

    >>> tidy("AT&amp;T\n phone ")
    'AT&T phone'
    """
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return " ".join(_CONTROL.sub(" ", text).split())


def split_category(text: str) -> list[str]:
    r"""Category names of one text, in order, each once.

    Lists written as text keep the commas inside their quotes; otherwise the first of ``|``,
    ``>``, ``;`` and ``,`` that occurs separates. A comma inside an unquoted name cannot be told
    from a separator.

    >>> split_category("'Beauty', 'Creams, Gels', \"Women's\"")
    ['Beauty', 'Creams, Gels', "Women's"]
    >>> split_category("Drama|Children's")
    ['Drama', "Children's"]
    """
    text = tidy(text)
    if text[:1] in "'\"[":
        found = [single or double for single, double in _QUOTED.findall(text)]
        parts = found or text.strip("[]").split(",")
    else:
        separator = next((mark for mark in _SEPARATORS if mark in text), ",")
        parts = text.split(separator)
    names = (part.replace("\\'", "'").replace('\\"', '"').strip(" '\"") for part in parts)
    return list(dict.fromkeys(name for name in names if name))


def _require_facts(catalog: Catalog, fields: ItemFields) -> None:
    for name in fields.facts:
        if name not in catalog.frame.columns:
            hint = nearest_name(name, catalog.frame.columns)
            raise ConfigError(f"the catalog has no column {name!r} to tell about items{hint}.")
    late = [name for name in fields.facts if re.sub(r"[\W_]", "", name).lower() in AFTER_THE_FACT]
    if late:
        warnings.warn(
            f"{' and '.join(late)} were crawled after the events took place: texts that tell them "
            "know more than anyone did at the time, and figures obtained with them are too good.",
            stacklevel=4,
        )


def _texts(catalog: Catalog, column: str) -> list[str]:
    return _each(catalog, column, tidy, "")


def _categories(catalog: Catalog, column: str) -> list[list[str]]:
    frame = catalog.frame
    if column in frame.columns and isinstance(frame[column].dtype, pl.List):
        rows = frame[column].to_list()
        names = [[tidy(str(part)) for part in row or [] if part is not None] for row in rows]
        return [list(dict.fromkeys(filter(None, row))) for row in names]
    return _each(catalog, column, split_category, [])


def _further(catalog: Catalog, columns: tuple[str, ...]) -> list[list[tuple[str, str]]]:
    names = [tidy(name.replace("_", " ")).capitalize() for name in columns]
    values = zip(*(_texts(catalog, column) for column in columns), strict=True)
    rows = list(values) if columns else [()] * len(catalog)
    return [[pair for pair in zip(names, row, strict=True) if pair[1]] for row in rows]


def _each(catalog: Catalog, column: str, read: Callable[[str], T], empty: T) -> list[T]:
    """``read`` of every value of a column; many items share a category, so each once."""
    if column not in catalog.frame.columns:
        return [empty] * len(catalog)
    texts = catalog.frame[column].cast(pl.String).to_list()
    known = {text: read(text) for text in dict.fromkeys(texts) if text is not None}
    return [empty if text is None else known[text] for text in texts]
