"""The structural types that every part of the toolkit speaks.

Only signatures live here; any class with these methods takes part, whether or not it is ours. The
module imports nothing heavy at run time.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from llmrec.data.histories import Histories, Origin
    from llmrec.data.splits import Cases
    from llmrec.data.vocabulary import Vocabulary
    from llmrec.inference.requests import GenerateRequest, ScoreRequest
    from llmrec.inference.results import Generation, Score
    from llmrec.inference.signature import SignatureRecord

    FloatArray = npt.NDArray[np.float32]
    Users = Iterable[str] | Iterable[int] | pl.Series | Histories
    Candidates = Iterable[str] | Iterable[int] | pl.Series | Sequence[Iterable[str] | Iterable[int]]

OnUnknown = Literal["error", "skip"]


@runtime_checkable
class Recommender(Protocol):
    """Something that ranks items for histories.

    ``vocabulary`` holds the items it can score; ``seen`` says what it was trained on, so that an
    evaluation can refuse a model that has seen its answers.
    """

    @property
    def vocabulary(self) -> "Vocabulary":
        """The items the model can score."""
        ...

    @property
    def seen(self) -> "Sequence[Origin]":
        """Where the training events came from."""
        ...

    def fit(self, train: "Histories", valid: "Cases | None" = None) -> Self:
        """Learn from training histories; ``valid`` is for early stopping only."""
        ...

    def score_catalog(self, histories: "Histories") -> "FloatArray":
        """Score every item: ``[n, items]`` float32, column ``j`` is code ``j + 1``."""
        ...

    def score(self, histories: "Histories", candidates: "Candidates") -> "FloatArray":
        """Score candidates: ``[n, C]`` float32, -inf for skipped items."""
        ...

    def rank(self, histories: "Histories", candidates: "Candidates") -> "pl.DataFrame":
        """Order candidates: a frame ``user_id, item_id, score, rank``."""
        ...

    def recommend(
        self,
        users: "Users",
        k: int = 10,
        candidates: "Candidates | None" = None,
        exclude_seen: bool = True,
        on_unknown: OnUnknown = "error",
    ) -> "pl.DataFrame":
        """Choose ``k`` items per user: a frame ``user_id, item_id, score, rank``."""
        ...

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the model to a directory."""
        ...

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Read a model from a directory or the Hugging Face hub."""
        ...

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Upload the model without anything about users; returns the address."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Something that turns texts into vectors of one length."""

    @property
    def fingerprint(self) -> str:
        """Identity of the encoder: everything that changes its output, weights included."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> "FloatArray":
        """Embed texts: ``[n, dim]`` float32 unit rows; a text with nothing in it is all zeros."""
        ...


@runtime_checkable
class NeighborIndex(Protocol):
    """Vectors that can be searched by inner product.

    A row without direction (all zeros) is never an answer, and a query of zeros has none.
    """

    def __len__(self) -> int:
        """Number of rows, those without direction included."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def search(
        self, queries: "npt.ArrayLike", k: int
    ) -> "tuple[FloatArray, npt.NDArray[np.int64]]":
        """Find the ``k`` best rows of every query ``[q, dim]``.

        Returns:
            Scores ``[q, k]`` float32, best first, and rows ``[q, k]``, counted from 0. Where the
            index has no more to offer, -inf and -1.
        """
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """Something that continues texts and says how probable texts are.

    Requests are independent: a result depends on its request and the model alone, not on the other
    requests of a call. What decides which tokens come out is in the request.
    """

    @property
    def fingerprint(self) -> "Mapping[str, str]":
        """What answers depend on: model, tokenizer, backend and its version."""
        ...

    def generate(self, requests: "Sequence[GenerateRequest]") -> "list[Generation]":
        """Continue prompts: one result per request, in their order."""
        ...

    def score(self, requests: "Sequence[ScoreRequest]") -> "list[Score]":
        """Score continuations, or prompts themselves: one result per request, in their order."""
        ...


@runtime_checkable
class RiskScorer(Protocol):
    """Something that learns from labelled signatures which of them are risky; 1 means risk."""

    def fit(
        self,
        records: "Sequence[SignatureRecord]",
        labels: "npt.ArrayLike",
        groups: Sequence[Hashable] | None = None,
    ) -> Self:
        """Learn from records with labels; records of one group belong together."""
        ...

    def predict_risk(self, records: "Sequence[SignatureRecord]") -> "FloatArray":
        """Say how risky records are: ``[n]``, higher for more risk."""
        ...


@runtime_checkable
class Guarantee(Protocol):
    """What may be promised about the answers whose risk is not above a threshold."""

    @property
    def threshold(self) -> float | None:
        """The largest risk that is answered; None where nothing can be promised."""
        ...

    @property
    def sentence(self) -> str:
        """The promise, under which assumption and with which certainty, or why there is none."""
        ...


@runtime_checkable
class RiskModel(RiskScorer, Protocol):
    """A scorer whose risks are probabilities, and which knows what it may promise."""

    def calibrate(
        self,
        records: "Sequence[SignatureRecord]",
        labels: "npt.ArrayLike",
        groups: Sequence[Hashable] | None = None,
    ) -> Self:
        """Turn scores into probabilities, by records that were used for nothing else."""
        ...

    def guarantee(self, alpha: float, delta: float = 0.05) -> Guarantee:
        """Choose the threshold up to which at most a share ``alpha`` of answers is wrong."""
        ...
