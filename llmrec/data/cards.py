"""The data sets known by name: what each is, whose licence it has, and how a copy is checked.

``in hand`` editions carry the SHA-256 of their files, computed from the copy the toolkit was
developed with. Addresses have not been tried from here (``address_tried`` is False) and checksums
of downloads are those their publisher gives, not verified by us; where there is none, the counts
of users, items and events are the check.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["uniform", "movielens", "amazon2014"]


@dataclass(frozen=True)
class Download:
    """One file at its official address.

    Attributes:
        url: The address.
        md5: What the publisher gives, or None.
        max_bytes: A larger answer is refused.
    """

    url: str
    md5: str | None = None
    max_bytes: int = 1_000_000_000

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Card:
    """What is known about a named data set.

    Attributes:
        name: The name; another edition of the same set has another name.
        description: One sentence.
        edition: Which release, and what was done to it.
        licence: The terms, in one sentence.
        homepage: Where the publisher describes it.
        citation: The paper to cite.
        has_timestamps: Whether it has a clock.
        counts: Users, items of the catalog as loaded, and events.
        files: SHA-256 of the files of the uniform folder in hand, by file name.
        downloads: Where it is fetched from; empty if this edition has no official address.
        reader: How the downloaded files are read.
        catalog: ``"interacting"`` leaves out items without any event, as published protocols do.
        notes: What to beware of.
        address_tried: Whether the addresses have been tried.
    """

    name: str
    description: str
    edition: str
    licence: str
    homepage: str
    citation: str
    has_timestamps: bool
    counts: tuple[int, int, int]
    files: Mapping[str, str] = field(default_factory=dict)
    downloads: tuple[Download, ...] = ()
    reader: Kind = "uniform"
    catalog: Literal["full", "interacting"] = "full"
    notes: str = ""
    address_tried: bool = False

    @property
    def checksum(self) -> str:
        """How a copy is checked, in words."""
        if self.files:
            return "sha256 of the files in hand"
        if self.downloads and all(d.md5 for d in self.downloads):
            return "md5 as its publisher gives it; not verified"
        return "not verified"


_GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
_AMAZON = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
_MOVIELENS_PAPER = (
    "Harper and Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4):19, "
    "doi 10.1145/2827872"
)
_AMAZON_PAPER = (
    "McAuley, Targett, Shi and van den Hengel (2015), Image-based Recommendations on Styles and "
    "Substitutes, SIGIR"
)
_MOVIELENS_TERMS = (
    "GroupLens terms: research use with acknowledgement, no commercial use without permission, "
    "no redistribution without permission"
)
_LATEST_TERMS = (
    "GroupLens terms: research use with acknowledgement, no commercial use without permission, "
    "redistribution under the same terms"
)
_AMAZON_TERMS = "research use with citation, no redistribution (reviews belong to their authors)"
_HINDSIGHT = "price and sales_rank were crawled after the events: kept, but never a feature."

_IN_HAND = [
    Card(
        name="ml-latest-small",
        description="Movie ratings with half stars, titles and genres; small, for development.",
        edition="GroupLens release of 9/2018",
        licence=_LATEST_TERMS,
        homepage="https://grouplens.org/datasets/movielens/latest/",
        citation=_MOVIELENS_PAPER,
        has_timestamps=True,
        counts=(610, 9742, 100_836),
        files={
            "interactions.csv.gz": "7f32fa14265268d99d08d0f89a315814"
            "db02938f04455defb9527fa006bf0880",
            "items.csv.gz": "df1da53fd776823093c66e9424272d196019454c657e7c3420a20a9ab5f0be64",
        },
        downloads=(Download(_GROUPLENS + "ml-latest-small.zip", max_bytes=50_000_000),),
        reader="movielens",
        notes="A 'latest' release may change at its address; the counts are checked. The catalog "
        "is the full one: 18 of 9,742 movies have no rating. Row 206 of the interactions file in "
        "hand has a blank after its timestamp, which is removed when read.",
    ),
    Card(
        name="ml-1m",
        description="Movie ratings as sequences, with titles, genres, descriptions and user data.",
        edition="ML-1M as order-only sequences of 999,252 events, descriptions written by an LLM",
        licence=_MOVIELENS_TERMS,
        homepage="https://grouplens.org/datasets/movielens/1m/",
        citation=_MOVIELENS_PAPER,
        has_timestamps=False,
        counts=(6040, 3363, 999_252),
        files={
            "sequences.csv.gz": "364c479e04a4afdbd993767c222865b1d6ac281637514dd25747aef707aeeadd",
            "items.csv.gz": "f31b0d44ea826c8d2a4aad836e81563c1a48d329a1cc4c0b27c80a52b94489bc",
            "users.csv.gz": "00af618da8745c95cb1de54259cd7463c737d3111cf8269915c6512cb2e2f5e4",
        },
        catalog="interacting",
        notes="items.csv.gz lists 3,883 movies; published protocols rank the 3,363 with events, "
        "and so does the catalog. description_llm was written by a language model that may know "
        "the movies' reception. No ratings, no clock: see ml-1m-raw.",
    ),
    Card(
        name="ml-1m-collm",
        description="Judged movie pairs (label: rating above 3) split by time, with titles.",
        edition="The part of ML-1M used by CoLLM and BinLLM, with their split and cold marks",
        licence=_MOVIELENS_TERMS,
        homepage="https://grouplens.org/datasets/movielens/1m/",
        citation=_MOVIELENS_PAPER + "; Zhang et al. (2023), CoLLM, arXiv 2310.19488",
        has_timestamps=True,
        counts=(838, 3255, 51_623),
        files={
            "interactions.csv.gz": "8d59c3958e00ef6e6ea736f05fcc5e7a"
            "8aaad5458592398c7ae7d50a979b56dd",
            "items.csv.gz": "336a47eedd12345cb7cc8c61c0061457b419eba61d239a1f9f04a70bcbf98fae",
        },
        notes="User and item ids are this edition's own, not those of ML-1M.",
    ),
    Card(
        name="amazon-beauty",
        description="Purchases of beauty products as sequences, with titles and categories.",
        edition="Amazon 2014 Beauty, 5-core, order only",
        licence=_AMAZON_TERMS,
        homepage="https://jmcauley.ucsd.edu/data/amazon/",
        citation=_AMAZON_PAPER,
        has_timestamps=False,
        counts=(22_363, 12_101, 198_502),
        files={
            "sequences.csv.gz": "2f33022f1a90b29e78043b4cccb013f374a43e24140e2989e96e9d572031765f",
            "items.csv.gz": "8124ea44bb136b1a12ec5beacfe120c0fb7f0e801058e4ec9ad1f27591457282",
        },
        notes=_HINDSIGHT,
    ),
    Card(
        name="amazon-office",
        description="Purchases of office products as sequences, with titles and descriptions.",
        edition="Amazon 2014 Office Products, 5-core, order only; the set of the SRA-CL paper",
        licence=_AMAZON_TERMS,
        homepage="https://jmcauley.ucsd.edu/data/amazon/",
        citation=_AMAZON_PAPER,
        has_timestamps=False,
        counts=(4905, 2420, 53_258),
        files={
            "sequences.csv.gz": "520d1eb51853cb5a3db3646783cd59013d8ba46df07765071da1517a5dd8ba8b",
            "items.csv.gz": "2181a2ed58f8d1d6ff51df99408c472ec6b1de3a7b635e8d12c6a245d88a0d19",
        },
        catalog="interacting",
        notes="User and item ids are this edition's own numbers.",
    ),
]


def _movielens(
    name: str,
    release: str,
    page: str,
    counts: tuple[int, int, int],
    md5: str | None,
) -> Card:
    return Card(
        name=name,
        description=f"Movie ratings with a clock, titles and genres ({counts[2]:,} ratings).",
        edition=f"GroupLens release {release}, unchanged",
        licence=_MOVIELENS_TERMS,
        homepage=f"https://grouplens.org/datasets/movielens/{page}/",
        citation=_MOVIELENS_PAPER,
        has_timestamps=True,
        counts=counts,
        downloads=(Download(f"{_GROUPLENS}{release}.zip", md5),),
        reader="movielens",
        notes="Ratings were entered in bursts: many events of a user share a second.",
    )


def _amazon(name: str, file: str, counts: tuple[int, int, int]) -> Card:
    return Card(
        name=name,
        description=f"Reviews of {file.replace('_', ' ').lower()} with ratings, days and titles.",
        edition=f"Amazon 2014 {file}, 5-core, with ratings and a clock of one day",
        licence=_AMAZON_TERMS,
        homepage="https://jmcauley.ucsd.edu/data/amazon/",
        citation=_AMAZON_PAPER,
        has_timestamps=True,
        counts=counts,
        downloads=(
            Download(f"{_AMAZON}reviews_{file}_5.json.gz"),
            Download(f"{_AMAZON}meta_{file}.json.gz"),
        ),
        reader="amazon2014",
        notes=_HINDSIGHT + " Events of one day have no known order.",
    )


_RAW = [
    _movielens(
        "ml-100k", "ml-100k", "100k", (943, 1682, 100_000), "0e33842e24a9c977be4e0107933c0723"
    ),
    _movielens(
        "ml-1m-raw", "ml-1m", "1m", (6040, 3883, 1_000_209), "c4d9eecfca2ab87c1945afe126590906"
    ),
    _movielens(
        "ml-20m", "ml-20m", "20m", (138_493, 27_278, 20_000_263), "cd245b17a1ae2cc31bb14903e1204af3"
    ),
    _movielens(
        "ml-25m", "ml-25m", "25m", (162_541, 62_423, 25_000_095), "6b51fb2759a8657d3bfcbfc42b592ada"
    ),
    _movielens("ml-32m", "ml-32m", "32m", (200_948, 87_585, 32_000_204), None),
    _amazon("amazon-beauty-raw", "Beauty", (22_363, 12_101, 198_502)),
    _amazon("amazon-office-raw", "Office_Products", (4905, 2420, 53_258)),
]

CARDS: dict[str, Card] = {card.name: card for card in (*_IN_HAND, *_RAW)}
