"""Does what was recommended exist? Titles that a language model wrote, against a catalogue.

Titles are compared by a normal form: case, accents, punctuation and blanks do not matter, and
``Matrix, The (1999)`` is ``The Matrix (1999)``. A title without a year is that of any item so
called; a year that no item of that title has makes it another title. Near misses are named, never
taken for hits.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmrec.data.catalog import Catalog

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
_ARTICLE = re.compile(r"^(.*), (the|a|an|la|le|les|l'|el|il|der|die|das)$")
_LINE = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+(.*\S)\s*$")
_COMMENT = re.compile(r"\s+(?:[-–—:]|\((?!\d{4}\)))\s*|[:,;]\s|\.\s")
_QUOTES = "\"'“”„«»*_ "
_MOST_CANDIDATES = 300
_LEAST_LIKENESS = 0.75


@dataclass(frozen=True)
class NamedItem:
    """A title that was recommended.

    Attributes:
        title: As it was written.
        item_ids: The items of the catalogue that are so called; none for an item that does not
            exist.
        nearest: The most similar title of the catalogue where there is none, if one is similar.
    """

    title: str
    item_ids: tuple[str | int, ...] = ()
    nearest: str | None = None

    @property
    def exists(self) -> bool:
        """Whether the catalogue has such an item."""
        return bool(self.item_ids)


class TitleIndex:
    """Titles of a catalogue by their normal forms, to look many answers up.

    Args:
        catalog: The items.

    Example:
        >>> import polars as pl
        >>> titles = ["Matrix, The (1999)", "Heat (1995)"]
        >>> index = TitleIndex(Catalog(pl.DataFrame({"item_id": ["1", "2"], "title": titles})))
        >>> [found.exists for found in index.find(["the matrix", "Heat 2 (2025)"])]
        [True, False]
        >>> index.find(["The Matrix (2003)"])[0].nearest
        'Matrix, The (1999)'
    """

    def __init__(self, catalog: Catalog) -> None:
        self._titles: list[str] = [str(title) for title in catalog.titles]
        ids = catalog.frame["item_id"].to_list()
        self._exact: dict[tuple[str, str], list[str | int]] = {}
        self._any_year: dict[str, list[str | int]] = {}
        self._words: dict[str, list[int]] = {}
        for place, (title, item) in enumerate(zip(self._titles, ids, strict=True)):
            name, year = normal_form(title)
            self._exact.setdefault((name, year), []).append(item)
            self._any_year.setdefault(name, []).append(item)
            for word in set(name.split()):
                self._words.setdefault(word, []).append(place)

    def find(self, titles: Iterable[str]) -> list[NamedItem]:
        """Look titles up, in their order."""
        return [self._found(title) for title in titles]

    def _found(self, written: str) -> NamedItem:
        """The longest beginning of a line that is a title, since comments may follow it."""
        beginnings = _beginnings(written)
        for title in beginnings:
            name, year = normal_form(title)
            items = self._exact.get((name, year)) if year else self._any_year.get(name)
            if items:
                return NamedItem(title, tuple(items))
        for title in beginnings:
            nearest = self._nearest(normal_form(title)[0])
            if nearest is not None:
                return NamedItem(title, nearest=nearest)
        return NamedItem(beginnings[-1])

    def _nearest(self, name: str) -> str | None:
        """The most similar title among those that share a rare word."""
        known = sorted((w for w in name.split() if w in self._words), key=self._commonness)
        places: list[int] = []
        for word in known:
            places += self._words[word][: _MOST_CANDIDATES - len(places)]
        forms = {normal_form(self._titles[place])[0]: self._titles[place] for place in places}
        close = difflib.get_close_matches(name, forms, n=1, cutoff=_LEAST_LIKENESS)
        return forms[close[0]] if close else None

    def _commonness(self, word: str) -> int:
        return len(self._words[word])


def flag_unknown_items(answers: Sequence[str], catalog: Catalog) -> list[list[NamedItem]]:
    r"""The titles that answers recommend and the catalogue does not have, one list per answer.

    Args:
        answers: Texts that a model wrote: a list, one title per line.
        catalog: The items that exist.

    Example:
        >>> import polars as pl
        >>> catalog = Catalog(pl.DataFrame({"item_id": ["2"], "title": ["Heat (1995)"]}))
        >>> (unknown,) = flag_unknown_items(["1. Heat\n2. Heatwave Nights: a thriller"], catalog)
        >>> [found.title for found in unknown]
        ['Heatwave Nights']
    """
    index = TitleIndex(catalog)
    return [
        [found for found in index.find(listed_titles(answer)) if not found.exists]
        for answer in answers
    ]


def listed_titles(answer: str) -> list[str]:
    r"""Lines of a list that a model wrote, without numbers, bullets and quotes.

    Numbered lines, or those with a bullet, where there are any, else every line. Comments after a
    title are left; :class:`TitleIndex` looks past them.

    >>> listed_titles('Sure!\n1. "Heat (1995)"\n2) Alien (1979) - in space')
    ['Heat (1995)', 'Alien (1979) - in space']
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    marked = [match[1] for match in map(_LINE.match, lines) if match]
    return [title for title in map(_tidy, marked or lines) if title]


def _beginnings(written: str) -> list[str]:
    """A line, then what is left of it at every sign that may begin a comment, longest first."""
    years = [match.end() for match in re.finditer(r"\(\d{4}\)", written)]
    least = years[0] if years else 0  # a title is not taken apart from its year
    cuts = [match.start() for match in _COMMENT.finditer(written) if match.start() >= least]
    parts = [_tidy(written[:cut]) for cut in sorted([*cuts, *years], reverse=True)]
    return [written.strip(), *(part for part in parts if part)]


def _tidy(title: str) -> str:
    return title.strip(_QUOTES).rstrip(".,;").strip(_QUOTES)


def normal_form(title: str) -> tuple[str, str]:
    """A title without what may be written in several ways, and its year or ``""``.

    >>> normal_form("Misérables, Les (1995)")
    ('les miserables', '1995')
    """
    plain = unicodedata.normalize("NFKD", title.casefold())
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign)).strip()
    year = _YEAR.search(plain)
    plain = _YEAR.sub("", plain).strip()
    article = _ARTICLE.match(plain)
    if article:
        plain = f"{article[2]} {article[1]}"
    words = re.sub(r"[^\w]+", " ", plain.replace("&", " and ")).split()
    return " ".join(words), year[1] if year else ""
